"""How much of a journal may be forgotten."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

__all__ = ["Sizes", "may_forget"]

_STEP_BYTES: Final = 1 << 20


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


class Sizes:
    """How large the entries were that a replica has applied since it began, to a mebibyte.

    Args:
        most_bytes: beyond which nobody asks.
    """

    __slots__ = ("_marks", "_most_bytes", "_step_bytes", "_total_bytes")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._step_bytes = min(_STEP_BYTES, most_bytes)
        self._total_bytes = 0
        # Positions, each with the bytes of all entries up to it, in steps.
        self._marks: deque[tuple[int, int]] = deque()

    def add(self, position: int, size_bytes: int) -> None:
        """The next entry was applied."""
        self._total_bytes += size_bytes
        marks = self._marks
        if not marks or self._total_bytes - marks[-1][1] >= self._step_bytes:
            marks.append((position, self._total_bytes))
            while len(marks) > 1 and self._total_bytes - marks[1][1] > self._most_bytes:
                marks.popleft()

    def beyond(self) -> int:
        """A position behind which there are about `most_bytes`; 0 if there are fewer in all."""
        marks = self._marks
        if marks and self._total_bytes - marks[0][1] >= self._most_bytes:
            return marks[0][0]
        return 0
