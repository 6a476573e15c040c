"""The deterministic world: virtual time, hosts, their network, one tape of choices."""
