"""A journal in memory, for one loop: what `ports.Journal` promises, and nothing goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cbor2

from palaver.storage.replicated.ports import Entry, JournalError, JournalTruncated


class PlainCodec:
    """Commands of tests as CBOR."""

    def encode(self, commands: Sequence[Any]) -> bytes:
        return cbor2.dumps([list(command) for command in commands])

    def decode(self, encoded: bytes) -> list[Any]:
        return [tuple(command) for command in cbor2.loads(encoded)]


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
        if self.closed:
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


class MemoryJournal:
    """The journal of one partition."""

    def __init__(self) -> None:
        self.first = 1
        self.entries: list[Entry] = []
        self.readers: list[Reader] = []

    @property
    def last(self) -> int:
        return self.first + len(self.entries) - 1

    def add(self, id: str, body: bytes) -> int:  # noqa: A002
        self.entries.append(Entry(self.last + 1, id, body))
        for reader in self.readers:
            reader.wake()
        return self.last

    def publish(self, id: str, body: bytes, done: Callable[[int | JournalError], None]) -> None:  # noqa: A002
        asyncio.get_running_loop().call_soon(partial(done, self.add(id, body)))

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
        return self.first, self.last

    async def truncate(self, up_to: int) -> None:
        gone = max(0, min(up_to, self.last) - self.first + 1)
        del self.entries[:gone]
        self.first += gone
