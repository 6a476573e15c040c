"""The two ways in which a store is driven: by an event loop, or by the threads that use it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .batch import Applier, Done, Result
from .desk import Desk
from .environment import Environment
from .leading import Flusher, Leader, Ticket
from .lending import Post
from .machine import Command
from .reader import Reader
from .stats import StoreStats
from .transaction import ReadTxn
from .writer import Writer


@dataclass(frozen=True, slots=True)
class Settings:
    """How a store works; see `Store.open`."""

    post: Post | None
    defer: Post
    clock: Callable[[], float]
    stall_s: float
    max_batch: int
    max_backlog: int
    flush_s: float | None


class Driver(Protocol):
    """Brings what is appended to the disk, and answers."""

    def append(
        self,
        partition: int,
        commands: Sequence[Command],
        done: Done | None,
        expected: int | None,
        lead: bool,
    ) -> Ticket | None:
        """See `Store.append`."""

    def apply_now(
        self, partition: int, commands: Sequence[Command], expected: int | None
    ) -> list[Result]:
        """See `Store.apply_now`."""

    def relieve(self, partition: int) -> None:
        """See `Store.relieve`."""

    def read(
        self, partition: int, fn: Callable[[ReadTxn], Any], done: Callable[[Any], None]
    ) -> None:
        """See `Store.read`."""

    def glance(self) -> None:
        """See `Store.glance`."""

    def drain(self) -> None:
        """Block until everything is answered."""

    async def idle(self) -> None:
        """Return when everything is answered."""

    def refuse(self) -> None:
        """Take nothing more; what is queued goes on."""

    def stop(self) -> None:
        """End the threads; everything is answered."""

    @property
    def backlog(self) -> int:
        """Commands that are not answered."""

    @property
    def late_turns(self) -> int:
        """Lent turns that a worker outlasted."""


DriverMaker = Callable[[Sequence[Applier], Sequence[Environment], Settings, StoreStats], Driver]
"""Makes the driver of a store; without appliers it only reads."""


def drive(
    appliers: Sequence[Applier],
    environments: Sequence[Environment],
    settings: Settings,
    stats: StoreStats,
) -> Driver:
    """Return the driver for the settings; without appliers it only reads."""
    reader = Reader(
        environments,
        post=settings.post,
        defer=settings.defer,
        clock=settings.clock,
        stall_s=settings.stall_s,
        max_backlog=settings.max_backlog,
        stats=stats,
    )
    if settings.post is None:
        return ByThreads(appliers, reader, settings, stats)
    return ByLoop(appliers, reader, settings, stats)


class ByLoop:
    """A writer thread per partition that the loop lends its turns to; see `lending`."""

    __slots__ = ("_desks", "_reader", "_writers")

    def __init__(
        self, appliers: Sequence[Applier], reader: Reader, settings: Settings, stats: StoreStats
    ) -> None:
        self._reader = reader
        self._writers = [
            Writer(
                partition,
                applier,
                post=settings.post,
                defer=settings.defer,
                clock=settings.clock,
                stall_s=settings.stall_s,
                max_batch=settings.max_batch,
                max_backlog=settings.max_backlog,
                stats=stats,
            )
            for partition, applier in enumerate(appliers)
        ]
        self._desks: tuple[Desk[Any, Any], ...] = (*self._writers, reader)

    def append(
        self,
        partition: int,
        commands: Sequence[Command],
        done: Done | None,
        expected: int | None,
        lead: bool,
    ) -> Ticket | None:
        """Queue for the writer's thread."""
        self._writers[partition].append(commands, done, expected)
        return None

    def apply_now(
        self, partition: int, commands: Sequence[Command], expected: int | None
    ) -> list[Result]:
        """Block the loop."""
        collected: list[list[Result]] = []
        self._writers[partition].append(commands, collected.append, expected)
        self._writers[partition].drain()
        return collected[0]

    def relieve(self, partition: int) -> None:
        """Do nothing: the writer's thread works by itself."""

    def read(
        self, partition: int, fn: Callable[[ReadTxn], Any], done: Callable[[Any], None]
    ) -> None:
        """Queue for the reader's thread."""
        self._reader.read(partition, fn, done)

    def glance(self) -> None:
        """Look at every desk."""
        for desk in self._desks:
            desk.glance()

    def drain(self) -> None:
        """Block the loop until everything is answered."""
        for desk in self._desks:
            desk.drain()

    async def idle(self) -> None:
        """Return when everything is answered."""
        for desk in self._desks:
            idle = asyncio.Event()
            desk.when_idle(idle.set)
            await idle.wait()

    def refuse(self) -> None:
        """Take nothing more."""
        for desk in self._desks:
            desk.refuse()

    def stop(self) -> None:
        """End the threads."""
        for desk in self._desks:
            desk.stop()

    @property
    def backlog(self) -> int:
        """Commands that are not answered."""
        return sum(writer.backlog for writer in self._writers)

    @property
    def late_turns(self) -> int:
        """Lent turns that a worker outlasted."""
        return sum(desk.thread.late_turns for desk in self._desks)


class ByThreads:
    """Whoever waits works; see `leading`. Everything here is called from any thread."""

    __slots__ = ("_flusher", "_leaders", "_reader", "_reading")

    def __init__(
        self, appliers: Sequence[Applier], reader: Reader, settings: Settings, stats: StoreStats
    ) -> None:
        self._flusher = Flusher(settings.flush_s)
        counting = threading.Lock()
        self._leaders = [
            Leader(
                applier,
                max_batch=settings.max_batch,
                max_backlog=settings.max_backlog,
                stats=stats,
                counting=counting,
                arm=self._flusher.arm,
            )
            for applier in appliers
        ]
        self._flusher.serve(self._leaders)
        self._reader = reader
        self._reading = threading.RLock()  # a `done` of a read may read

    def append(
        self,
        partition: int,
        commands: Sequence[Command],
        done: Done | None,
        expected: int | None,
        lead: bool,
    ) -> Ticket | None:
        """Queue for whoever waits first."""
        return self._leaders[partition].append(commands, done, expected, lead=lead)

    def apply_now(
        self, partition: int, commands: Sequence[Command], expected: int | None
    ) -> list[Result]:
        """Append and wait."""
        return self._leaders[partition].append(commands, None, expected, lead=False).wait()

    def relieve(self, partition: int) -> None:
        """Work where there is enough for a batch, wait where there is too much."""
        self._leaders[partition].relieve()

    def read(
        self, partition: int, fn: Callable[[ReadTxn], Any], done: Callable[[Any], None]
    ) -> None:
        """Queue for `drain`."""
        with self._reading:
            self._reader.read(partition, fn, done)

    def glance(self) -> None:
        """Do nothing: no loop is to be spared."""

    def drain(self) -> None:
        """Block until everything is answered."""
        for leader in self._leaders:
            leader.drain()
        with self._reading:
            self._reader.drain()

    async def idle(self) -> None:
        """Return when everything is answered."""
        await asyncio.to_thread(self.drain)

    def refuse(self) -> None:
        """Take nothing more."""
        for leader in self._leaders:
            leader.refuse()
        with self._reading:
            self._reader.refuse()

    def stop(self) -> None:
        """End the threads."""
        self._flusher.stop()
        self._reader.stop()

    @property
    def backlog(self) -> int:
        """Commands that are not durable."""
        return sum(leader.backlog for leader in self._leaders)

    @property
    def late_turns(self) -> int:
        """None is lent."""
        return 0
