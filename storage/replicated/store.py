"""The log engine `replicated`: a store per node, kept equal by a journal per partition.

Everything here belongs to the thread of the loop, except what `Store` allows from any thread.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import structlog

from palaver.storage.batch import Done
from palaver.storage.errors import StoreClosed, WrongSequence
from palaver.storage.installing import SnapshotInfo
from palaver.storage.log import LogPort
from palaver.storage.machine import Command
from palaver.storage.stats import StoreStats
from palaver.storage.store import Store
from palaver.storage.transaction import ReadTxn

from .errors import ReplicaForeign
from .machine import read_checkpoints
from .ports import Journal, JournalError
from .replica import Replica
from .settings import (
    Codec,
    FetchSnapshot,
    Limits,
    LoopTimers,
    ReplicaState,
    RunBlocking,
    Surroundings,
    Timers,
    no_snapshot,
)

__all__ = ["ReplicatedStore"]

log = structlog.get_logger("palaver")

T = TypeVar("T")


def _quiet(*_: object) -> None:
    """Tell nobody."""


class ReplicatedStore:
    """A node's replicas of partitions, those that it leads among them.

    Keeps `palaver.storage.LogPort` for the partitions that it leads. Made inside of the running
    loop.

    Args:
        store: this node's tables, opened with a loop, whose machines are `JournalMachine`s. It
            belongs to this object from now on.
        journals: returns the journal of a partition.
        codec: commands as bytes.
        node_name: this node's name, which takeovers carry.
        timers: time; the running loop's by default.
        incarnation: distinguishes this start of the node from every other one; drawn by default.
        limits: sizes and times.
        fetch_snapshot: brings another replica's snapshot.
        run_blocking: runs a function that blocks.
        on_lost: see the method.
        on_trouble: called with (partition, error) when a replica cannot go on applying, None when
            it can again. `ReplicaStopped` stays until somebody acts.

    Attributes:
        partitions: how many there are.
        store: the tables.
    """

    def __init__(
        self,
        store: Store,
        journals: Callable[[int], Journal],
        codec: Codec,
        *,
        node_name: str,
        timers: Timers | None = None,
        incarnation: str | None = None,
        limits: Limits | None = None,
        fetch_snapshot: FetchSnapshot = no_snapshot,
        run_blocking: RunBlocking = asyncio.to_thread,
        on_lost: Callable[[int, str], None] = _quiet,
        on_trouble: Callable[[int, Exception | None], None] = _quiet,
    ) -> None:
        self.store = store
        self.partitions = store.partitions
        self._told_of_loss = on_lost
        self._journals = [journals(partition) for partition in range(store.partitions)]
        self._limits = Limits() if limits is None else limits
        self._around = Surroundings(
            store=store,
            codec=codec,
            timers=LoopTimers(asyncio.get_running_loop()) if timers is None else timers,
            limits=self._limits,
            node_name=node_name,
            incarnation=secrets.token_hex(8) if incarnation is None else incarnation,
            fetch_snapshot=fetch_snapshot,
            run_blocking=run_blocking,
            on_lost=self._lost,
            on_trouble=on_trouble,
        )
        self._replicas = [
            Replica(partition, journal, self._around)
            for partition, journal in enumerate(self._journals)
        ]
        self._truncating: dict[int, asyncio.Task[None]] = {}
        self._closing = False

    # -- replicas ----------------------------------------------------------------------------

    def follow(self, partition: int) -> None:
        """Begin to read the partition's journal and to apply it; nothing if that goes on already.

        Raises:
            ReplicaForeign: the tables hold content that did not come out of a journal.
            ReplicaStopped: it has stopped for good; `rebuild` begins anew.
            StoreClosed: the store is closing.
        """
        self._assert_open()
        self._replicas[partition].follow()

    async def unfollow(self, partition: int) -> None:
        """Read the journal no longer; returns when what was read is applied. An owner steps down.

        The tables stay as they are; to follow again goes on from there. `forget` removes them.
        """
        replica = self._replicas[partition]
        replica.unfollow()
        await replica.settled()

    def held(self, partition: int) -> int:
        """Return up to which position of the journal the tables here are, followed or not.

        0 when there is nothing of the journal in them.
        """
        return self._replicas[partition].position

    async def forget(self, partition: int) -> None:
        """Follow no longer and remove the tables; to follow again begins with nothing.

        A crash at any moment leaves the tables whole, or none. Harmless when repeated.

        Raises:
            ReplicaForeign: their content did not come out of a journal; it is left alone.
            StoreError: the disk is full, or the system refuses; the tables are whole.
            StoreClosed: the store is closing.
        """
        self._assert_open()
        applied = self.applied(partition)
        if applied and not self.held(partition):
            raise ReplicaForeign(partition, applied)
        await self._replicas[partition].forget()

    async def rebuild(self, partition: int) -> None:
        """Replace the tables of a partition by another replica's, and follow from there.

        For a replica that differs from the others, or that has stopped. Returns when that has
        begun; `state` tells how it goes on.
        """
        self._assert_open()
        self._replicas[partition].rebuild()

    def state(self, partition: int) -> ReplicaState | None:
        """Return what the replica of a partition is now; None if it is not followed."""
        replica = self._replicas[partition]
        return replica.state() if replica.known else None

    def on_lost(self, told: Callable[[int, str], None]) -> None:
        """Have `told` called, instead of any before, with (partition, why) of a partition lost.

        That is one that this node led and leads no longer, though nobody asked for that: another
        node took it over, the journal is silent, or something has failed here.
        """
        self._told_of_loss = told

    def _lost(self, partition: int, why: str) -> None:
        self._told_of_loss(partition, why)

    # -- leading -----------------------------------------------------------------------------

    async def lead(self, partition: int, epoch: int) -> None:
        """Take a partition over; returns when everything before that is in the tables here.

        Nothing of an earlier epoch counts behind the takeover, so what is read from then on is the
        truth until somebody takes over with a greater epoch.

        Args:
            partition: which this node follows.
            epoch: greater than every earlier one.

        Raises:
            NotOwner: the partition is not followed here, or the epoch is not greater than the
                current one, which the error names.
            JournalSilent: time was up. The takeover may count later; then nobody leads until
                somebody takes over with a greater epoch.
            ReplicaStopped: this replica cannot go on.
            StoreFull, StoreFailed: its disk has no room, or fails.
            StoreClosed: the store is closing.
        """
        self._assert_open()
        await self._replicas[partition].owner.lead(epoch)

    def step_down(self, partition: int) -> None:
        """Lead no longer; harmless when it does not.

        Appends are refused from now on. Those that count are answered as soon as they are durable,
        the others with `OwnershipLost`. For a planned move, stop who appends and await `settled`
        before.
        """
        self._replicas[partition].owner.drop("it stepped down")

    async def settled(self, partition: int) -> None:
        """Return when every append up to now is answered."""
        await self._replicas[partition].owner.answered()

    def leads(self, partition: int) -> bool:
        """Whether this node leads the partition and can prove it now."""
        return self._replicas[partition].owner.serves()

    # -- the log port ------------------------------------------------------------------------

    def partition_of(self, key: bytes) -> int:
        """Return the partition that `key` belongs to."""
        return self.store.partition_of(key)

    def append(
        self,
        partition: int,
        commands: Sequence[Command],
        done: Done | None = None,
        *,
        expected: int | None = None,
    ) -> None:
        """Publish commands, and apply them when a quorum has them on its disks.

        They are applied in order. Commands of one append that do not fit into one entry are
        divided, unless it names what it expects. `done` is called once, with one result per
        command: an Outcome, Rejected, a CommandError, or `OwnershipLost`.

        Args:
            partition: one that this node leads.
            commands: what; each has its own outcome.
            done: called on the loop's thread, in the order of the appends of the partition, when
                the results are durable here and in the journal.
            expected: the partition's last applied sequence that the caller knows; when it is
                another, nothing of this append is applied and every result is WrongSequence.

        Raises:
            NotOwner: this node does not lead, or cannot prove that it does; nothing was queued.
            EntryTooLarge: a command does not fit into an entry; nothing was queued.
            Overloaded: the backlog is full; nothing was queued.
            StoreClosed: the store is closing.
        """
        self._assert_open()
        self._replicas[partition].owner.append(commands, done, expected)

    def read(
        self, partition: int, fn: Callable[[ReadTxn], T], done: Callable[[T | Exception], None]
    ) -> None:
        """Run `fn` over a snapshot of a partition that this node leads; see `Store.read`.

        Raises:
            NotOwner: this node does not lead, or cannot prove that it does.
            Overloaded, StoreClosed: as `Store.read` does.
        """
        self._assert_open()
        self._replicas[partition].owner.require()
        self.store.read(partition, fn, done)

    def view(self, partition: int, fn: Callable[[ReadTxn], T]) -> T:
        """Run `fn` over this node's replica here and now, whoever leads; see `Store.view`."""
        return self.store.view(partition, fn)

    def look(self, partition: int) -> AbstractContextManager[ReadTxn]:
        """Return a snapshot of this node's replica, whoever leads; see `Store.look`."""
        return self.store.look(partition)

    def peek(self, partition: int, table: str, key: bytes) -> bytes | None:
        """Return one value of this node's replica, whoever leads; see `Store.peek`."""
        return self.store.peek(partition, table, key)

    def applied(self, partition: int) -> int:
        """Return the last sequence that is applied and durable here."""
        return self.store.applied(partition)

    def digest(self, partition: int) -> tuple[int, int]:
        """Return (last applied sequence, digest of the history up to it) of this replica."""
        return self.store.digest(partition)

    def content_digest(self, partition: int) -> tuple[int, int]:
        """Return (last applied sequence, digest of the content); see `Store.content_digest`."""
        return self.store.content_digest(partition)

    def stats(self) -> StoreStats:
        """Return the figures of the tables under it; the backlog is that of the appends here."""
        stats = self.store.stats()
        stats.backlog = sum(replica.owner.calls.backlog for replica in self._replicas)
        return stats

    def glance(self) -> None:
        """Let a commit finish whose disk work is probably done; see `Store.glance`."""
        self.store.glance()

    def snapshot(self, partition: int, dest: str | os.PathLike[str]) -> SnapshotInfo:
        """Copy this node's replica into a new file, its place in the journal included.

        See `Store.snapshot`; may be called from any thread.
        """
        return self.store.snapshot(partition, dest)

    def install(self, partition: int, source: str | os.PathLike[str], info: SnapshotInfo) -> None:
        """Replace a replica by a snapshot of the same journal, and go on from there.

        A replica that needs one gets it by itself (`fetch_snapshot`). Blocks until done. An owner
        steps down: what was appended and does not count yet is answered with `OwnershipLost`.

        Raises:
            What `Store.install` does.
        """
        self._assert_open()
        self._replicas[partition].install_given(source, info)

    def truncate(self, partition: int, sequence: int) -> None:
        """Let the journal forget the commands up to `sequence`, which a durable snapshot holds.

        That is done later, up to the last checkpoint before, and a tail stays; see
        `truncate_allowed`, which a running cluster uses.

        Raises:
            WrongSequence: that has not been applied here yet.
        """
        applied = self.applied(partition)
        if sequence > applied:
            raise WrongSequence(sequence, applied)
        marks = self.store.view(partition, read_checkpoints)
        position = max((m.position for m in marks if m.applied <= sequence), default=0)
        self.truncate_allowed(partition, position)

    def truncate_allowed(self, partition: int, position: int) -> None:
        """Let the journal forget entries up to a position, which a majority has durably applied.

        The last `Limits.tail_entries` stay, or `tail_bytes` of them, and so does what this replica
        has not applied. Done later; a journal that cannot do it now is asked again by the next
        call.
        """
        replica = self._replicas[partition]
        position = min(position, replica.position)
        position = max(position - self._limits.tail_entries, min(position, replica.sizes.beyond()))
        if position < replica.first or partition in self._truncating:
            return
        task = asyncio.get_running_loop().create_task(self._truncate(partition, position))
        self._truncating[partition] = task
        task.add_done_callback(lambda _: self._truncating.pop(partition, None))

    async def _truncate(self, partition: int, position: int) -> None:
        try:
            await self._journals[partition].truncate(position)
        except JournalError as error:
            log.warning("a journal was not truncated", partition=partition, error=str(error))
        else:
            self._replicas[partition].truncated(position)

    async def close(self) -> None:
        """Answer what is pending, stop following, and close the tables; harmless when repeated.

        Waits for `Limits.close_s` for what the journal has not confirmed yet; beyond, that is
        answered with `OwnershipLost`.
        """
        if self._closing:
            return
        self._closing = True
        answering = [asyncio.ensure_future(replica.owner.answered()) for replica in self._replicas]
        await asyncio.wait(answering, timeout=self._limits.close_s)
        for replica in self._replicas:
            await replica.close()
        await asyncio.wait(answering)
        for task in self._truncating.values():
            task.cancel()
        await self.store.close()

    def _assert_open(self) -> None:
        if self._closing:
            raise StoreClosed


ReplicatedLog: type[LogPort] = ReplicatedStore
"""The engine of a cluster's nodes."""
