"""The clock of a host: it drifts, and its wall clock jumps; its monotonic one never goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from palaver.actors.simulation.world.loop import ORIGIN_S

if TYPE_CHECKING:
    from palaver.actors.simulation.world.loop import SimulatedLoop
    from palaver.actors.simulation.world.place import Handle, Place

__all__ = ["WALL_ORIGIN_MS", "HostClock"]

WALL_ORIGIN_MS: Final = 1_767_225_600_000
"""The wall clock's time when a world begins: 2026-01-01 00:00 UTC."""

_NEVER_EARLY_S: Final = 1e-6


class HostClock:
    """A host's time, as the runtime's `Clock`, and as the client library's.

    Args:
        loop: virtual time.
        place: where its timers run.
        rate: seconds of this clock in a second; 1.0 is exact.
        jumped_ms: how far the wall clock is off.
    """

    __slots__ = ("_loop", "_place", "jumped_ms", "rate")

    def __init__(
        self, loop: SimulatedLoop, place: Place, rate: float = 1.0, jumped_ms: int = 0
    ) -> None:
        self._loop = loop
        self._place = place
        self.rate = rate
        self.jumped_ms = jumped_ms

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        now_s = self._loop.time()
        return now_s if self.rate == 1.0 else ORIGIN_S + (now_s - ORIGIN_S) * self.rate

    def time_ms(self) -> int:
        """Wall clock: milliseconds since 1970 UTC; jumps."""
        passed_ms = (self.monotonic() - ORIGIN_S) * 1000
        return WALL_ORIGIN_MS + self.jumped_ms + int(passed_ms)

    def call_at(self, when_s: float, fn: Callable[[], None]) -> Handle:
        """Call `fn` in the host's place when `monotonic()` has reached `when_s`."""
        if self.rate != 1.0:
            when_s = ORIGIN_S + (when_s - ORIGIN_S) / self.rate + _NEVER_EARLY_S
        return self._loop.deliver_at(when_s, self._place, fn)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Handle:
        """Call `fn` in the host's place after `delay_s` of this clock."""
        return self.call_at(self.monotonic() + delay_s, fn)
