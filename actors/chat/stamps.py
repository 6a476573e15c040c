"""A hybrid logical clock: stamps that respect causality and stay close to wall time.

A stamp is 48 bits of unix milliseconds and 16 bits of a counter. Whoever has seen a stamp gives
out only greater ones, however the wall clock jumps (Kulkarni et al., "Logical Physical Clocks",
2014).
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MAX_DRIFT_MS", "StampClock", "StampTooFarAhead", "stamp_ms"]

#: A stamp further ahead of this node's clock than this was not given out by an honest server.
MAX_DRIFT_MS = 60_000

_COUNTER_BITS = 16


class StampTooFarAhead(ValueError):
    """A client claims to have seen a stamp from too far in the future."""


def stamp_ms(stamp: int) -> int:
    """The wall time within a stamp, unix milliseconds."""
    return stamp >> _COUNTER_BITS


class StampClock:
    """Gives out rising stamps for one node.

    Args:
        time_ms: the wall clock, unix milliseconds.
        floor: no stamp at or below this one is given out again.
    """

    __slots__ = ("_last", "_time_ms")

    def __init__(self, time_ms: Callable[[], int], floor: int = 0) -> None:
        self._time_ms = time_ms
        self._last = floor

    @property
    def latest(self) -> int:
        """The latest stamp that was given out or seen here."""
        return self._last

    def take(self, count: int = 1) -> int:
        """The first of `count` new stamps in a row, greater than all seen before."""
        first = max(self._time_ms() << _COUNTER_BITS, self._last + 1)
        self._last = first + count - 1
        return first

    def observe(self, stamp: int) -> None:
        """Note a stamp that this system gave out."""
        if stamp > self._last:
            self._last = stamp

    def observe_claim(self, stamp: int) -> None:
        """Note a stamp that a client says it has seen.

        Raises:
            StampTooFarAhead: it is more than a minute ahead of both the wall clock and all stamps
                seen here, so that a liar cannot push the clock of everyone into the future.
        """
        if stamp <= self._last:
            return
        limit = max(self._time_ms() << _COUNTER_BITS, self._last) + (MAX_DRIFT_MS << _COUNTER_BITS)
        if stamp > limit:
            raise StampTooFarAhead(f"stamp {stamp} lies more than {MAX_DRIFT_MS} ms in the future")
        self._last = stamp
