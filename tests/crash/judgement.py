"""What a judge of a disk may say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class LostError(AssertionError):
    """Something that was acknowledged is not there."""


class TornError(AssertionError):
    """Something is there that was never written so: half a transaction, a gap, a damaged file."""


class Judge(Protocol):
    """Knows what must be true of whatever a power cut has left."""

    def judge(self, place: Path, notes: Sequence[str]) -> None:
        """Raise LostError or TornError; the folder is used up.

        Args:
            place: the disk.
            notes: what had been promised when the power went.
        """
