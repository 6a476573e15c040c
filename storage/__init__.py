"""Durable tables: partitions of LMDB under a deterministic state machine, and blobs.

The names here are the package's face; the modules are its rooms.
"""

from __future__ import annotations

from .errors import (
    ApplyFailed,
    BackupError,
    CommandError,
    Overloaded,
    RecordCorrupt,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StoreMismatch,
    StoreMissing,
    StoreUnavailable,
    StoreUnusable,
    StoreVersion,
    WrongSequence,
)
from .installing import SnapshotInfo
from .leading import Ticket
from .log import LogPort
from .machine import Command, CutAware, Finishing, Machine, Named, Outcome, Rejected
from .stats import StoreStats
from .store import Store
from .transaction import ReadTxn, WriteTxn, successor

__all__ = [
    "ApplyFailed",
    "BackupError",
    "Command",
    "CommandError",
    "CutAware",
    "Finishing",
    "LogPort",
    "Machine",
    "Named",
    "Outcome",
    "Overloaded",
    "ReadTxn",
    "RecordCorrupt",
    "Rejected",
    "SnapshotInfo",
    "Store",
    "StoreBusy",
    "StoreClosed",
    "StoreCorrupt",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreLocked",
    "StoreMismatch",
    "StoreMissing",
    "StoreStats",
    "StoreUnavailable",
    "StoreUnusable",
    "StoreVersion",
    "Ticket",
    "WriteTxn",
    "WrongSequence",
    "successor",
]
