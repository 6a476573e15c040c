"""The log engine `replicated`: equal tables on several nodes, by one journal per partition.

The names here are the package's face; the modules are its rooms. `ports` says what a distributed
engine has to do for it.
"""

from __future__ import annotations

from .entries import CHECKPOINT, COMMANDS, TAKEOVER, Standing
from .errors import (
    EntryTooLarge,
    EntryUnreadable,
    JournalLost,
    JournalRefuses,
    JournalSilent,
    NotOwner,
    OwnershipLost,
    ReplicaDamaged,
    ReplicaForeign,
    ReplicaOrphaned,
    ReplicaStopped,
    SnapshotMissing,
)
from .machine import JournalMachine, read_checkpoints, read_standing
from .marks import Checkpoint
from .publishing import PublishLimits
from .settings import Codec, Limits, LoopTimers, ReplicaState, Timers
from .store import ReplicatedStore
from .truncation import may_forget

__all__ = [
    "CHECKPOINT",
    "COMMANDS",
    "TAKEOVER",
    "Checkpoint",
    "Codec",
    "EntryTooLarge",
    "EntryUnreadable",
    "JournalLost",
    "JournalMachine",
    "JournalRefuses",
    "JournalSilent",
    "Limits",
    "LoopTimers",
    "NotOwner",
    "OwnershipLost",
    "PublishLimits",
    "ReplicaDamaged",
    "ReplicaForeign",
    "ReplicaOrphaned",
    "ReplicaState",
    "ReplicaStopped",
    "ReplicatedStore",
    "SnapshotMissing",
    "Standing",
    "Timers",
    "may_forget",
    "read_checkpoints",
    "read_standing",
]
