"""What a simulated disk asks: which way it goes, what time it is, and to be called later.

Every question has a name, by which a run can be repeated: "disk-slow/<disk>/<folder>/<partition>"
and so on. The answer 0 is always the quiet one: nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

CallLater = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds, once."""


class DiskFaults(Protocol):
    """The disk's way to whoever decides what happens."""

    def choose(self, name: str, options: int, rate: float) -> int:
        """Return 0 <= x < `options` for the next question of this name; 0 is the quiet choice.

        Args:
            name: of the question; its answers come one after the other.
            options: how many ways there are.
            rate: how often another way than 0 is worth trying, 0.0 to 1.0.
        """

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> object:
        """Call `fn` once, `delay_s` seconds from now."""

    def now_s(self) -> float:
        """Return the time in seconds; it never goes back."""


@dataclass(frozen=True, slots=True)
class Calm:
    """A disk that nothing is wrong with.

    Attributes:
        later: calls a function after so many seconds (`loop.call_later`).
        clock: returns seconds (`loop.time`).
    """

    later: CallLater
    clock: Callable[[], float]

    def choose(self, name: str, options: int, rate: float) -> int:
        """Return the quiet choice."""
        return 0

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> object:
        """Pass it on."""
        return self.later(delay_s, fn)

    def now_s(self) -> float:
        """Return the clock's time."""
        return self.clock()


@dataclass(frozen=True, slots=True)
class DiskHabits:
    """How fast a disk is, and how often it fails; a rate of 0.0 asks no question.

    Attributes:
        commit_s: how long a durable commit takes, seconds.
        read_s: how long a read takes, seconds.
        stall_s: how long the disk stands still where it stalls, seconds.
        trouble_s: how long it stays full, or fails, where it does; seconds.
        slow: rate of commits that take 2 to 128 times as long.
        stall: rate of commits that have to wait for the end of a stall.
        late: rate of commits of which the owner hears some time after they are durable.
        slow_read: rate of reads that take longer.
        full: rate of commits at which the disk becomes full for a time.
        fail: rate of commits that the disk fails.
        lost: rate of commits under way at the end of an incarnation that are there afterwards.
    """

    commit_s: float = 0.001
    read_s: float = 0.0001
    stall_s: float = 2.0
    trouble_s: float = 5.0
    slow: float = 0.1
    stall: float = 0.002
    late: float = 0.05
    slow_read: float = 0.05
    full: float = 0.0
    fail: float = 0.0
    lost: float = 0.5
