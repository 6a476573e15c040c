"""The guard: what is not deterministic is refused or seen."""

from palaver.actors.simulation.guarding.errors import NonDeterminism
from palaver.actors.simulation.guarding.guard import Guard, guarded

__all__ = ["Guard", "NonDeterminism", "guarded"]
