"""Time, as a port: the runtime asks only this object what time it is."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock", "TimerHandle"]


class TimerHandle(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None:
        """Make it not happen; harmless after it has."""


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def time_ms(self) -> int:
        """Wall clock: milliseconds since 1970 UTC; may jump."""

    def call_at(self, when_s: float, fn: Callable[[], None]) -> TimerHandle:
        """Call `fn` once, when `monotonic()` has reached `when_s` or soon after."""


class SystemClock:
    """The machine's clocks; timers by the running asyncio loop, to the millisecond above."""

    __slots__ = ()

    # The C function itself: the scheduler asks after every turn.
    monotonic = staticmethod(time.monotonic)

    def time_ms(self) -> int:
        """Wall clock: milliseconds since 1970 UTC; may jump."""
        return time.time_ns() // 1_000_000

    def call_at(self, when_s: float, fn: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `fn` on the running loop when `monotonic()` has reached `when_s`."""
        # By delay, not by loop.time(): uvloop's is a cached one. Rounded up to milliseconds,
        # because uvloop rounds to the nearest, and a timer must not be early.
        delay_ms = math.ceil((when_s - time.monotonic()) * 1000)
        return asyncio.get_running_loop().call_later(max(0, delay_ms) / 1000, fn)
