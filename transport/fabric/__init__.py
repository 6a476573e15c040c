"""Packets between nodes, in order or not at all, over NATS core messaging."""
