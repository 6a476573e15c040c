"""The log engine `simulated`: the contract of durability at its worst, in memory."""

from __future__ import annotations

from .disk import SimulatedDisk
from .faults import Calm, DiskFaults, DiskHabits
from .store import SimulatedStore

__all__ = ["Calm", "DiskFaults", "DiskHabits", "SimulatedDisk", "SimulatedStore"]
