"""What the client takes from the outside world: time and chance, each through a port."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = ["Backoff", "Clock", "SystemClock", "TimerHandle"]


class TimerHandle(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Cancel the timer; harmless after it fired."""


class Clock(Protocol):
    """Time as the client sees it."""

    def monotonic(self) -> float:
        """Return a time in seconds that never goes back."""

    def time_ms(self) -> int:
        """Return the wall clock in unix milliseconds."""

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> TimerHandle:
        """Call ``fn`` on the event loop after ``delay_s`` seconds."""


class SystemClock:
    """The running event loop's clock."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Return the operating system's monotonic time in seconds."""
        return time.monotonic()

    def time_ms(self) -> int:
        """Return the wall clock in unix milliseconds."""
        return time.time_ns() // 1_000_000

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> TimerHandle:
        """Call ``fn`` on the running event loop after ``delay_s`` seconds."""
        return asyncio.get_running_loop().call_later(delay_s, fn)


class Backoff(NamedTuple):
    """Exponential backoff with full jitter: uniform in [0, min(cap, base * 2**attempt)]."""

    base_s: float = 0.25
    cap_s: float = 30.0

    def delay_s(self, attempt: int, chance: random.Random) -> float:
        """Return a delay in seconds before attempt number ``attempt`` (0 is the first retry)."""
        # 2**32 * any sane base is beyond any cap; the bound keeps the float from overflowing.
        return chance.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(attempt, 32)))

    def after_s(self, asked_s: float, chance: random.Random) -> float:
        """Return a delay of at least ``asked_s`` with jitter on top, so that a crowd spreads."""
        return asked_s + chance.uniform(0.0, max(self.base_s, asked_s / 2.0))
