"""The guard: what is not deterministic is refused or seen."""
