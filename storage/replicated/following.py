"""How a replica reads its journal: again after every failure, by a snapshot where entries are gone.

off          nothing is read
reading      entries are delivered
pausing      too many are on their way into the tables; read on when there are fewer
waiting      the journal failed; tried again, later each time
installing   entries that are needed are gone: another replica's snapshot takes their place

A journal that is gone stops the replica; trying again would change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol

from palaver.storage.errors import StoreClosed, StoreError

from .entries import CHECKPOINT, Standing, pack
from .errors import JournalLost, ReplicaOrphaned, SnapshotMissing
from .ports import (
    Entry,
    Follow,
    Journal,
    JournalError,
    JournalGone,
    JournalShort,
    JournalTruncated,
)
from .settings import Handle, Limits, Timers

__all__ = ["Following", "Reader"]


class Reader(Protocol):
    """The replica that reads."""

    partition: int
    read: Standing

    def arrived(self, position: int, body: bytes) -> bool:
        """Take the entry behind the one that was read last; False: no more until `resume`."""

    def arrived_all(self) -> None:
        """All entries of a delivery have been taken."""

    async def install(self) -> None:
        """Put another replica's snapshot in place of the tables. Raises `StoreError`."""

    def stop(self, error: Exception) -> None:
        """The replica cannot go on."""

    def trouble(self, source: str, error: Exception | None) -> None:
        """Something keeps the replica from going on, or does no longer."""


class Following:
    """Reads a journal for a replica; see the module.

    Args:
        reader: the replica.
        journal: of its partition.
        timers: time.
        limits: of the store.
        name: of this node and its start, with which ids of entries begin.

    Attributes:
        state: its name.
        first: position of the journal's first entry, as it was seen last.
        last: of the last one that is known of.
        goal: the last one that was known when the reading began.
    """

    def __init__(
        self, reader: Reader, journal: Journal, timers: Timers, limits: Limits, name: str
    ) -> None:
        self._name = name
        self._probes = 0
        self._reader = reader
        self._journal = journal
        self._timers = timers
        self._limits = limits
        self._follow: Follow | None = None
        self._turn = 0  # what belongs to an earlier one is void
        self._timer: Handle | None = None
        self._looker: Handle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._retry_s = limits.retry_s
        self._short_looks = 0
        self._read_before = 0
        self.state = "off"
        self.first = 1
        self.last = 0
        self.goal: int | None = None

    def start(self, *, by_snapshot: bool = False) -> None:
        """Read on from where the replica is, or from a snapshot of another one."""
        if self.state != "off":
            return
        self._short_looks = 0
        self._read_before = self._reader.read.position
        if by_snapshot:
            self.install()
        else:
            self._open()
        self._look()

    def stop(self) -> None:
        """Read nothing more."""
        self._close()
        self.state = "off"
        self.goal = None
        if self._looker is not None:
            self._looker.cancel()
            self._looker = None
        for task in self._tasks:
            task.cancel()

    def _close(self) -> None:
        self._turn += 1
        if self._follow is not None:
            self._follow.close()
            self._follow = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _open(self) -> None:
        self._close()
        self.state = "reading"
        turn = self._turn
        self._follow = self._journal.follow(
            self._reader.read.position,
            partial(self._delivered, turn),
            partial(self._failed, turn),
        )

    def _delivered(self, turn: int, entries: list[Entry]) -> None:
        if turn != self._turn:
            return
        reader = self._reader
        self.last = max(self.last, entries[-1].position if entries else 0)
        self._retry_s = self._limits.retry_s
        if self.state == "reading":
            reader.trouble("journal", None)
        for position, _, body in entries:
            behind = position - reader.read.position
            if behind <= 0:
                continue  # the owner knows it already
            if behind > 1:
                self._again("it left an entry out")
                break
            if not reader.arrived(position, body):
                if turn == self._turn:
                    self._close()
                    self.state = "pausing"
                break
        reader.arrived_all()

    def resume(self) -> None:
        """Read on, where there was too much."""
        if self.state == "pausing":
            self._open()

    def _failed(self, turn: int, error: JournalError) -> None:
        if turn != self._turn:
            return None
        if isinstance(error, JournalTruncated):
            self.first = max(self.first, error.first)
            if self._reader.read.position + 1 < error.first:
                return self.install()
        if self._is_final(error):
            return None
        if isinstance(error, JournalShort):
            self._probe()
        self._again(str(error))
        return None

    def _is_final(self, error: JournalError) -> bool:
        """Stop the replica if its journal is gone."""
        if isinstance(error, JournalGone):
            self._reader.stop(ReplicaOrphaned(self._reader.partition, str(error)))
        return isinstance(error, JournalGone)

    def _again(self, why: str) -> None:
        self._close()
        self.state = "waiting"
        if self._retry_s > self._limits.retry_s:
            self._reader.trouble("journal", JournalError(why))
        self._timer = self._timers.call_later(self._next_retry_s(), self._open)

    def _next_retry_s(self) -> float:
        delay_s = self._retry_s
        self._retry_s = min(2 * delay_s, self._limits.retry_most_s)
        return delay_s

    # -- snapshots ---------------------------------------------------------------------------

    def install(self) -> None:
        """Put a snapshot in place of the tables, and read on behind it."""
        self._close()
        self.state = "installing"
        self._spawn(self._install(self._turn))

    async def _install(self, turn: int) -> None:
        try:
            await self._reader.install()
            if self._reader.read.position + 1 < self.first:
                at = self._reader.read.position
                raise StoreError(f"that one is at position {at} only")
        except StoreClosed:
            return
        except (StoreError, JournalError, OSError) as error:
            if turn == self._turn:
                missing = SnapshotMissing(self._reader.partition, self.first, str(error))
                self._reader.trouble("journal", missing)
                self._timer = self._timers.call_later(self._next_retry_s(), self.install)
            return
        if turn == self._turn:
            self._retry_s = self._limits.retry_s
            self._reader.trouble("journal", None)
            self._read_before = self._reader.read.position
            self._open()

    # -- the journal's bounds ----------------------------------------------------------------

    def _look(self) -> None:
        self._looker = self._timers.call_later(self._limits.look_s, self._look)
        self._spawn(self._look_at_bounds())

    async def _look_at_bounds(self) -> None:
        before, self._read_before = self._read_before, self._reader.read.position
        try:
            first, last = await self._journal.bounds()
        except JournalError as error:
            if self.state != "off":
                self._is_final(error)
            return
        if self.state == "off":
            return
        if self.state == "reading":
            self._reader.trouble("journal", None)
        self.first = max(self.first, first) if last >= before else first
        self.last = max(self.last, last)
        if self.goal is None:
            self.goal = last
        # Another machine than the one that delivered may answer: looked into when it stays so.
        self._short_looks = self._short_looks + 1 if last < before else 0
        if self._short_looks >= self._limits.lost_looks:
            self._short_looks = 0
            self._probe()

    def _probe(self) -> None:
        """Find out for certain whether the journal has lost what was read of it.

        An entry that counts for nobody is published: its place must be behind everything.
        """
        self._probes += 1
        read = self._reader.read
        body = pack(CHECKPOINT, max(1, read.epoch), 0, None)
        self._journal.publish(
            f"{self._name}.probe{self._probes}", body, partial(self._probed, read.position)
        )

    def _probed(self, read: int, answer: int | JournalError) -> None:
        if self.state == "off":
            return
        if isinstance(answer, JournalError):
            self._is_final(answer)
        elif answer <= read:
            self._reader.stop(JournalLost(self._reader.partition, read, answer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
