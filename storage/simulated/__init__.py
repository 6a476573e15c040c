"""The engines `simulated`: contracts of log, journal and registers at their worst, in memory."""

from __future__ import annotations

from .disk import SimulatedDisk
from .engine import SimulatedConnection, SimulatedEngine
from .engine_faults import CalmEngine, EngineFaults, EngineHabits
from .faults import Calm, DiskFaults, DiskHabits
from .store import SimulatedStore

__all__ = [
    "Calm",
    "CalmEngine",
    "DiskFaults",
    "DiskHabits",
    "EngineFaults",
    "EngineHabits",
    "SimulatedConnection",
    "SimulatedDisk",
    "SimulatedEngine",
    "SimulatedStore",
]
