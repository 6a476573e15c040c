"""How much of a journal may be forgotten."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["may_forget"]


def may_forget(positions: Sequence[int], *, replicas: int, tail: int) -> int:
    """Return the position up to which a journal may be truncated; 0: not at all.

    Never beyond what a majority of the replicas has durably applied: so two failures among three
    leave one that has what the journal has not. The last `tail` entries before that stay.

    Args:
        positions: how far the replicas are that could be asked.
        replicas: how many there are.
        tail: how many entries stay.
    """
    majority = replicas // 2 + 1
    if len(positions) < majority:
        return 0
    return max(0, sorted(positions, reverse=True)[majority - 1] - tail)
