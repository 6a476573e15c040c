"""A journal in memory, for one loop, and time that passes when it is told to.

Nothing goes wrong with it by itself: a test takes hold of what is published and of the followers.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from functools import partial

from palaver.storage.replicated.ports import (
    Entry,
    JournalError,
    JournalTruncated,
    JournalUnavailable,
)


class Reader:
    """One who follows."""

    def __init__(
        self,
        journal: MemoryJournal,
        after: int,
        deliver: Callable[[list[Entry]], None],
        failed: Callable[[JournalError], None],
    ) -> None:
        self.journal = journal
        self.after = after
        self.deliver = deliver
        self.failed = failed
        self.due = False
        self.closed = False

    def close(self) -> None:
        self.closed = True
        if self in self.journal.readers:
            self.journal.readers.remove(self)

    def wake(self) -> None:
        if not self.due and not self.closed:
            self.due = True
            asyncio.get_running_loop().call_soon(self.run)

    def run(self) -> None:
        self.due = False
        journal = self.journal
        if self.closed or journal.deaf:
            return
        if self.after + 1 < journal.first:
            self.close()
            self.failed(JournalTruncated(journal.first))
            return
        entries = journal.entries[self.after + 1 - journal.first :][:100]
        if entries:
            self.after = entries[-1].position
            self.deliver(entries)
            self.wake()


class Held:
    """An entry on its way into the journal."""

    def __init__(
        self,
        journal: MemoryJournal,
        id: str,  # noqa: A002
        body: bytes,
        done: Callable[[int | JournalError], None],
    ) -> None:
        self.journal = journal
        self.id = id
        self.body = body
        self.done = done
        self.position: int | None = None

    def store(self) -> Held:
        """Let it arrive."""
        self.position = self.journal.add(self.id, self.body)
        return self

    def confirm(self) -> None:
        """Say where it is."""
        assert self.position is not None
        self.done(self.position)

    def lose(self) -> None:
        """Say that nothing is known of it."""
        self.done(JournalUnavailable("no answer"))


class Time:
    """The timers of a store, by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.number = 0
        self.calls: list[tuple[float, int, Timer]] = []

    def now_s(self) -> float:
        return self.now

    def call_soon(self, fn: Callable[[], None]) -> object:
        return asyncio.get_running_loop().call_soon(fn)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Timer:
        self.number += 1
        timer = Timer(fn)
        heapq.heappush(self.calls, (self.now + delay_s, self.number, timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass, and what is due in it happen."""
        until = self.now + seconds
        while self.calls and self.calls[0][0] <= until:
            self.now, _, timer = heapq.heappop(self.calls)
            if not timer.cancelled:
                timer.fn()
            await turns()
        self.now = until


class Timer:
    """One call that is due."""

    def __init__(self, fn: Callable[[], None]) -> None:
        self.fn = fn
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


async def turns(count: int = 20) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until a condition holds."""
    for _ in range(200_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come about")


class MemoryJournal:
    """The journal of one partition."""

    def __init__(self) -> None:
        self.first = 1
        self.entries: list[Entry] = []
        self.readers: list[Reader] = []
        self.deaf = False  # whether nothing is delivered
        self.held: list[Held] | None = None
        self.looks = 0
        self.known: dict[str, int] | None = None  # ids, where they are remembered

    @property
    def last(self) -> int:
        return self.first + len(self.entries) - 1

    def add(self, id: str, body: bytes) -> int:  # noqa: A002
        if self.known is not None:
            if id in self.known:
                return self.known[id]
            self.known[id] = self.last + 1
        self.entries.append(Entry(self.last + 1, id, body))
        for reader in self.readers:
            reader.wake()
        return self.last

    def publish(self, id: str, body: bytes, done: Callable[[int | JournalError], None]) -> None:  # noqa: A002
        if self.held is not None:
            self.held.append(Held(self, id, body, done))
            return
        asyncio.get_running_loop().call_soon(partial(done, self.add(id, body)))

    def fail(self, error: JournalError) -> None:
        """Let every follower fail."""
        for reader in list(self.readers):
            reader.close()
            asyncio.get_running_loop().call_soon(reader.failed, error)

    def follow(
        self,
        after: int,
        deliver: Callable[[list[Entry]], None],
        failed: Callable[[JournalError], None],
    ) -> Reader:
        reader = Reader(self, after, deliver, failed)
        self.readers.append(reader)
        reader.wake()
        return reader

    async def bounds(self) -> tuple[int, int]:
        self.looks += 1
        return self.first, self.last

    async def truncate(self, up_to: int) -> None:
        gone = max(0, min(up_to, self.last) - self.first + 1)
        del self.entries[:gone]
        self.first += gone
