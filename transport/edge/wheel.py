"""A wheel of deadlines: thousands of connections, one timer.

A timer per connection costs memory and a heap operation for every byte that comes in. Here an
item lies in the bucket of the tick at which somebody should look at it again; that something
happened meanwhile is noted on the item and read when its tick comes.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

_ITEMS_PER_TURN: Final = 256


class Timed(Protocol):
    """What can lie in a wheel."""

    due_tick: int
    """The tick of the bucket it lies in, 0 for none; only the wheel writes it."""

    def on_due(self) -> None:
        """Look at what is overdue. The item is out of the wheel and may schedule itself again."""


class Wheel:
    """Calls items at or a little after the time they asked for; `tick_s` is how much."""

    __slots__ = ("_buckets", "_loop", "_next_tick", "_tick_s", "_timer", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_s: float) -> None:
        self._loop = loop
        self._tick_s = tick_s
        self.now = loop.time()
        """The time of the last tick; good enough to say when something was heard."""
        self._next_tick = self._tick_of(self.now) + 1
        # Dicts in place of sets: their order is the same in every run.
        self._buckets: dict[int, dict[Timed, None]] = {}
        self._timer: asyncio.Handle = loop.call_later(tick_s, self._turn)

    def _tick_of(self, when: float) -> int:
        return int(when / self._tick_s)

    def schedule(self, item: Timed, when: float) -> None:
        """Have `item` looked at once `when` is over, instead of when it was to be looked at."""
        self.cancel(item)
        tick = max(self._tick_of(when), self._next_tick) + 1
        item.due_tick = tick
        self._buckets.setdefault(tick, {})[item] = None

    def sooner(self, item: Timed, when: float) -> None:
        """Have `item` looked at once `when` is over, unless it is to be earlier anyhow."""
        if not item.due_tick or self._tick_of(when) + 1 < item.due_tick:
            self.schedule(item, when)

    def cancel(self, item: Timed) -> None:
        """Take `item` out."""
        if item.due_tick:
            bucket = self._buckets.get(item.due_tick)
            if bucket is not None:
                bucket.pop(item, None)
                if not bucket:
                    del self._buckets[item.due_tick]
            item.due_tick = 0

    def stop(self) -> None:
        """Stop the timer and forget all items."""
        self._timer.cancel()
        self._buckets.clear()

    def _turn(self) -> None:
        self.now = self._loop.time()
        current = self._tick_of(self.now)
        left = _ITEMS_PER_TURN
        if not self._buckets:
            self._next_tick = current + 1
        while self._next_tick <= current:
            bucket = self._buckets.get(self._next_tick)
            while bucket:
                if not left:  # The rest of the loop gets its turn in between.
                    self._timer = self._loop.call_soon(self._turn)
                    return
                left -= 1
                item, _ = bucket.popitem()
                item.due_tick = 0
                item.on_due()
            self._buckets.pop(self._next_tick, None)
            self._next_tick += 1
        # A little into the next tick, so that rounding cannot land in this one again.
        self._timer = self._loop.call_at((current + 1.01) * self._tick_s, self._turn)
