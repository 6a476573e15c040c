"""The trace: what happened, for people; and its hash, by which two runs are compared."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple
from zlib import crc32

__all__ = ["KEPT_LINES", "Line", "Trace"]

KEPT_LINES: Final = 20_000
"""So many lines are kept, the last ones."""

_MASK: Final = (1 << 64) - 1
_PRIME: Final = 0x100000001B3  # of FNV-1a


class Line(NamedTuple):
    """Something that happened."""

    at_s: float
    """Virtual time."""
    kind: str
    """What it was: ``deviation``, ``fault``, ``host``, ``crash``, ``send``, ..."""
    who: str
    """The host, or ``host/process``."""
    text: str
    to: str | None = None
    """Whom it reached, if it went somewhere."""

    def __str__(self) -> str:
        whom = f" -> {self.to}" if self.to else ""
        return f"{self.at_s:12.6f}  {self.kind:<10} {self.who}{whom}  {self.text}"


class Trace:
    """What happened in a run, the last `KEPT_LINES` of it, and the hash of all of it."""

    __slots__ = ("_now", "hash", "lines", "steps")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.hash = 0xCBF29CE484222325
        """Of everything that was noted or fed: equal for equal runs."""
        self.lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self.steps: list[int] | None = None
        """If a list: the hash after each thing fed, to find where two runs part."""

    def stop_clock(self, now_s: float) -> None:
        """The world has ended at this time; the trace no longer holds on to it."""
        self._now = lambda: now_s

    def note(self, kind: str, who: str, text: str, to: str | None = None) -> None:
        """Add a line, which is part of the hash."""
        self.lines.append(Line(self._now(), kind, who, text, to))
        self.feed(crc32(f"{kind} {who} {to} {text}".encode()))

    def tell(self, kind: str, who: str, text: str, to: str | None = None) -> None:
        """Add a line that is no part of the hash: for what only a report watches."""
        self.lines.append(Line(self._now(), kind, who, text, to))

    def feed(self, number: int) -> None:
        """Let the hash know of something that is no line."""
        self.hash = ((self.hash ^ number) * _PRIME) & _MASK
        if self.steps is not None:
            self.steps.append(self.hash)
