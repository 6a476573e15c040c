"""Every deadline of a node, in one heap behind one `Clock.call_at`.

Call timeouts are the special case that must cost next to nothing: nearly all are cancelled, and
nearly all have the same length. Deadlines of one length end in the order in which they began, so
such a *lane* is an insertion-ordered dict: one insertion and one deletion per call, no heap.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from palaver.actors.runtime.clock import Clock, TimerHandle
from palaver.actors.runtime.pid import Ref

__all__ = ["Expiring", "Lane", "TimerRef", "Timers"]

MAX_LANES = 32
"""How many lengths of timeout have a lane of their own; the others share the heap."""


class Expiring(Protocol):
    """Something with a deadline."""

    def expire(self) -> None:
        """The deadline has passed."""


class TimerRef(Ref):
    """A timer that is running, unless it has fired or been cancelled."""

    __slots__ = ("action", "deadline_s")

    def __init__(self, deadline_s: float, action: Callable[[], None]) -> None:
        self.deadline_s = deadline_s
        self.action: Callable[[], None] | None = action


class Lane(dict[Any, float]):
    """The deadlines of all timeouts of one length, earliest first; `del lane[entry]` cancels."""

    __slots__ = ("armed", "length_s", "timers")

    def __init__(self, timers: Timers, length_s: float) -> None:
        super().__init__()
        self.timers = timers
        self.length_s = length_s
        self.armed = False

    def add(self, entry: Expiring) -> None:
        """Let `entry` expire in `length_s`, unless it is deleted before."""
        # `ProcessContext.call` has these lines in place.
        self[entry] = self.timers.monotonic() + self.length_s
        if not self.armed:
            self.arm(entry)

    def arm(self, first: Expiring) -> None:
        """Look again when the first entry is due."""
        self.armed = True
        self.timers.add_at(self[first], self.check)

    def check(self) -> None:
        """Expire what is due, and look again when the next one is."""
        now = self.timers.monotonic()
        due: list[Expiring] = []
        self.armed = False
        for entry, deadline_s in self.items():
            if deadline_s > now:
                self.armed = True
                self.timers.add_at(deadline_s, self.check)
                break
            due.append(entry)
        for entry in due:
            del self[entry]
        if not self:
            # A fresh table: next(iter(...)) of one that only ever lost its head walks the holes.
            self.clear()
        for entry in due:
            entry.expire()


class OddLane(Lane):
    """A timeout of an uncommon length: a heap timer with a lane's face."""

    __slots__ = ("timer",)

    def arm(self, first: Expiring) -> None:
        """Set the timer; `armed` stays False."""
        self.timer = self.timers.add_at(self[first], self.check)

    def __delitem__(self, entry: Expiring) -> None:
        self.timers.cancel(self.timer)
        super().__delitem__(entry)


class Timers:
    """The deadlines of one node."""

    __slots__ = (
        "_cancelled",
        "_clock",
        "_handle",
        "_heap",
        "_next_s",
        "_serial",
        "lanes",
        "monotonic",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.monotonic = clock.monotonic
        self._heap: list[tuple[float, int, TimerRef]] = []
        self._serial = 0  # breaks ties: equal deadlines fire in the order they were set
        self._cancelled = 0
        # The default of `call` has its lane from the start: others cannot take its place.
        self.lanes: dict[float, Lane] = {5.0: Lane(self, 5.0)}
        self._handle: TimerHandle | None = None
        self._next_s = 0.0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def lane(self, length_s: float) -> Lane:
        """Where timeouts of this length go."""
        lane = self.lanes.get(length_s)
        if lane is None:
            if len(self.lanes) >= MAX_LANES:
                return OddLane(self, length_s)
            self.lanes[length_s] = lane = Lane(self, length_s)
        return lane

    def add(self, delay_s: float, action: Callable[[], None]) -> TimerRef:
        """Call `action` once, `delay_s` from now or soon after, never before."""
        return self.add_at(self.monotonic() + delay_s, action)

    def add_at(self, deadline_s: float, action: Callable[[], None]) -> TimerRef:
        """Call `action` once `Clock.monotonic()` has reached `deadline_s`."""
        timer = TimerRef(deadline_s, action)
        self._serial += 1
        heappush(self._heap, (deadline_s, self._serial, timer))
        if self._handle is None or deadline_s < self._next_s:
            self._arm(deadline_s)
        return timer

    def cancel(self, timer: TimerRef) -> bool:
        """Stop a timer; False if it had fired or been cancelled before."""
        if timer.action is None:
            return False
        timer.action = None
        self._cancelled += 1
        # Left in the heap, skipped when due; swept when they are the greater part of it.
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapify(self._heap)
            self._cancelled = 0
        return True

    def close(self) -> None:
        """Forget every timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for _, _, timer in self._heap:
            timer.action = None
        self._heap.clear()
        self._cancelled = 0
        self.lanes.clear()

    def _arm(self, deadline_s: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._next_s = deadline_s
        self._handle = self._clock.call_at(deadline_s, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self.monotonic()
        try:
            # self._heap anew each time: an action may cancel, and a sweep replaces the list.
            while self._heap and self._heap[0][0] <= now:
                timer = heappop(self._heap)[2]
                action = timer.action
                if action is None:
                    self._cancelled -= 1
                else:
                    timer.action = None
                    action()
        finally:
            if self._heap and (self._handle is None or self._heap[0][0] < self._next_s):
                self._arm(self._heap[0][0])
