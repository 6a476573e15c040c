"""Checkpoints: where replicas compare themselves with each other."""

from __future__ import annotations

from typing import NamedTuple

from palaver.storage.errors import StoreUnusable

__all__ = ["CHECKPOINTS_KEPT", "Checkpoint", "Unsound"]

CHECKPOINTS_KEPT = 64
"""How many a replica remembers."""


class Checkpoint(NamedTuple):
    """What a replica was at a checkpoint.

    Attributes:
        position: of the checkpoint in the journal.
        digest: of the history up to it.
        applied: the last sequence that was applied.
    """

    position: int
    digest: int
    applied: int


class Unsound(StoreUnusable):
    """An entry could not be applied for a reason that lies in this replica; nothing of it was."""
