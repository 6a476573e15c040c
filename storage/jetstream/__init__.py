"""The log and the registers of a cluster in NATS JetStream."""
