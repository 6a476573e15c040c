"""The store: partitions of tables, a state machine over each, one durable log of commands.

With a loop, every method except `backup`, `content_digest`, `digest`, `peek` and `stats` belongs to
its thread: the one that runs what `post` is given. Without a loop, every method may be called from
any thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from .batch import Applier, Done, Identity, Result, read_identity
from .copying import Copying
from .driving import DriverMaker, Settings, drive
from .environment import (
    DEFAULT_MAP_BYTES,
    DEFAULT_MAX_MAP_BYTES,
    DEFAULT_MAX_SNAPSHOT_S,
    Environment,
)
from .errors import (
    StoreClosed,
    StoreCorrupt,
    WrongSequence,
)
from .leading import Ticket
from .lending import Post
from .machine import Command, Machine
from .opening import Opened, open_folder
from .partitioning import check_partitions, partition_of
from .stats import StoreStats
from .transaction import ReadTxn

T = TypeVar("T")

DEFAULT_MAX_BATCH = 512
DEFAULT_MAX_BACKLOG = 20_000
DEFAULT_STALL_MS = 2.0
DEFAULT_FLUSH_MS = 10.0


class Store(Copying):
    """A folder of partitions, opened by one process; see `Store.open`.

    Attributes:
        path: the store's folder.
        partitions: how many there are, a power of two, fixed when the folder was created.
        readonly: whether appends are refused.
    """

    def __init__(
        self,
        path: Path,
        machine: Callable[[int], Machine],
        opened: Opened,
        settings: Settings,
        driver: DriverMaker = drive,
    ) -> None:
        self.path = path
        self.partitions = len(opened.environments)
        self.readonly = opened.lock is None
        super().__init__(machine, opened.machines, opened.environments)
        self._opened = opened
        self._stats = StoreStats()
        self._appliers: list[Applier] = []
        if not self.readonly:
            # All appliers first: they may find damage, and no thread runs yet.
            self._appliers += [
                Applier(partition, environment, own, settings.clock)
                for partition, (environment, own) in enumerate(
                    zip(opened.environments, opened.machines, strict=True)
                )
            ]
        self._driver = driver(self._appliers, opened.environments, settings, self._stats)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        machine: Callable[[int], Machine],
        *,
        partitions: int | None = None,
        post: Post | None = None,
        defer: Post | None = None,
        map_size_bytes: int = DEFAULT_MAP_BYTES,
        max_map_bytes: int = DEFAULT_MAX_MAP_BYTES,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_backlog: int = DEFAULT_MAX_BACKLOG,
        max_snapshot_s: float = DEFAULT_MAX_SNAPSHOT_S,
        stall_ms: float = DEFAULT_STALL_MS,
        flush_ms: float | None = DEFAULT_FLUSH_MS,
        readonly: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Store:
        """Open the store in `path`, creating it when there is none.

        Args:
            path: the store's folder.
            machine: makes the state machine of a partition.
            partitions: a power of two, needed at creation (default 1) and compared afterwards;
                None accepts what the folder has.
            post: runs a callable on the owner's thread, callable from any thread
                (`loop.call_soon_threadsafe`). None: no loop; any thread appends, and those that
                wait do the work (`apply_now`, `wait`, `drain`; see `leading`).
            defer: the same, called on the owner's thread only and therefore cheaper
                (`loop.call_soon`); by default `post`.
            map_size_bytes: address space of a partition to begin with; the file grows with its
                content, and the map is doubled when it is full.
            max_map_bytes: up to which it is; beyond, commands fail with StoreFull.
            max_batch: commands in one transaction (one append is never divided).
            max_backlog: commands that may wait in one partition, and reads in the store; beyond,
                Overloaded; without a loop the append waits instead.
            max_snapshot_s: how long a map that has to grow waits for the end of open snapshots;
                beyond, its commands fail with StoreFull, which names the snapshot.
            stall_ms: how long the owner's thread waits for a worker at a time; see `lending`.
            flush_ms: without a loop: after which time that is made durable which nobody waits for,
                in a thread of its own; None: never, somebody will wait.
            readonly: open beside a running owner, without its lock; no appends.
            clock: seconds, monotonic; for turns and figures only.

        Raises:
            StoreLocked, StoreMissing (readonly only), StoreCorrupt, StoreVersion, StoreMismatch,
            StoreFull (no room to create it).
        """
        if partitions is not None:
            check_partitions(partitions)
        opened = open_folder(
            Path(path),
            machine,
            partitions,
            readonly=readonly,
            environment=lambda place, tables: Environment(
                place,
                tables,
                map_size_bytes=map_size_bytes,
                max_map_bytes=max_map_bytes,
                max_snapshot_s=max_snapshot_s,
                readonly=readonly,
                clock=clock,
            ),
        )
        try:
            return cls(
                Path(path),
                machine,
                opened,
                Settings(
                    post=post,
                    defer=defer or post or _no_loop,
                    clock=clock,
                    stall_s=stall_ms / 1000,
                    max_batch=max_batch,
                    max_backlog=max_backlog,
                    flush_s=None if flush_ms is None else flush_ms / 1000,
                ),
            )
        except BaseException:
            opened.close()
            raise

    def partition_of(self, key: bytes) -> int:
        """Return the partition that `key` belongs to; see `partitioning`."""
        return partition_of(key, self.partitions)

    def append(
        self,
        partition: int,
        commands: Sequence[Command],
        done: Done | None = None,
        *,
        expected: int | None = None,
        lead: bool = True,
    ) -> Ticket | None:
        """Queue commands to be applied in order, in one transaction.

        Args:
            partition: where.
            commands: what; each has its own outcome.
            done: called after the durable commit, in the order of the appends, with one result per
                command: an Outcome, Rejected or a CommandError. With a loop on the owner's thread,
                otherwise on any that leads, one at a time per partition; what it raises is told to
                the loop, or to `threading.excepthook`.
            expected: the partition's last applied sequence that the caller knows; when it is
                another, nothing of this append is applied and every result is WrongSequence.
            lead: without a loop: whether the call may work or block when enough is pending (see
                `relieve`). False for a caller with a lock that a `done` needs; it calls `relieve`
                when it has given the lock back.

        Returns:
            Without a loop, what to `wait` for; None with one.

        Raises:
            Overloaded: the backlog is full (with a loop only); nothing was queued.
            StoreClosed: the store is closing or readonly.
        """
        if self.readonly:
            raise StoreClosed
        if lead:
            self._assert_no_view()
        return self._driver.append(partition, commands, done, expected, lead)

    def wait(self, ticket: Ticket) -> list[Result]:
        """Block until what was appended is durable, working if nobody does; return the results.

        Without a loop, from any thread, but not inside `view`. Its `done` may still be under way,
        on another thread.
        """
        self._assert_no_view()
        return ticket.wait()

    def relieve(self, partition: int) -> None:
        """Work if a full batch is pending and nobody does; wait while the backlog is too large.

        What `append` does by itself unless told not to. Nothing with a loop.
        """
        self._assert_no_view()
        self._driver.relieve(partition)

    def glance(self) -> None:
        """Let a commit finish whose disk work is probably done: for a busy loop, once a turn.

        Beside a busy thread the writer may wait for milliseconds until it gets the interpreter to
        say that a commit is durable; this gives it the interpreter at the right moment. Costs next
        to nothing otherwise. Every `append` leads to one glance a turn anyhow.
        """
        self._driver.glance()

    def read(
        self, partition: int, fn: Callable[[ReadTxn], T], done: Callable[[T | Exception], None]
    ) -> None:
        """Run `fn` over a snapshot in the reader's thread; `done` gets its result or exception.

        Without a loop it is done by `drain`.

        Raises:
            Overloaded: too many reads wait; nothing was queued.
            StoreClosed: the store is closing.
        """
        self._driver.read(partition, fn, done)

    def look(self, partition: int) -> AbstractContextManager[ReadTxn]:
        """Return a snapshot for the length of a block; from any thread, for a moment only.

        While it is open the map cannot grow; nobody may wait for a writer inside the block.
        """
        if self._closed:
            raise StoreClosed
        return self._environments[partition].snapshot()

    def view(self, partition: int, fn: Callable[[ReadTxn], T]) -> T:
        """Run `fn` over a snapshot here and now: for tools, tests and the start of a program."""
        if self._closed:
            raise StoreClosed
        # A growing map lets nobody in and waits for those inside: for the outer view, for ever.
        here = (threading.get_ident(), partition)
        assert here not in self._viewing, "a view inside a view of the same partition"
        self._viewing.add(here)
        try:
            with self._environments[partition].snapshot("a view") as txn:
                return fn(txn)
        finally:
            self._viewing.discard(here)

    def peek(self, partition: int, table: str, key: bytes) -> bytes | None:
        """Return one value as of now, None when it is absent: the cheapest read, from any thread.

        Raises:
            RecordCorrupt: the record is damaged.
        """
        if self._closed:
            raise StoreClosed
        return self._environments[partition].peek(table, key)

    def apply_now(
        self, partition: int, commands: Sequence[Command], *, expected: int | None = None
    ) -> list[Result]:
        """Append and block until it is durable: for tools, tests and the start of a program.

        What was queued before it is applied first, and with a loop answered. Not inside `view`.
        """
        if self.readonly:
            raise StoreClosed
        self._assert_no_view()
        return self._driver.apply_now(partition, commands, expected)

    def drain(self) -> None:
        """Block until every append and read is answered: for programs without a loop."""
        self._assert_no_view()
        self._driver.drain()

    def applied(self, partition: int) -> int:
        """Return the last sequence that is applied and durable; 0 before the first."""
        return self._identity(partition).applied

    def digest(self, partition: int) -> tuple[int, int]:
        """Return (last applied sequence, 64-bit digest of the history up to it).

        Replicas that applied the same commands have the same digest at the same sequence, however
        these came to be divided into batches; see `WriteTxn.digest`.
        """
        identity = self._identity(partition)
        return identity.applied, identity.digest

    def _identity(self, partition: int) -> Identity:
        if not self.readonly:
            return self._appliers[partition].identity
        identity = self.view(partition, read_identity)
        if identity is None:
            folder_ = self._environments[partition].folder
            raise StoreCorrupt(folder_, "its applied sequence is missing or damaged")
        return identity

    def truncate(self, partition: int, sequence: int) -> None:
        """Forget the commands up to `sequence`, which a durable snapshot holds.

        This engine keeps none: a command's effects are durable in the tables, which are their own
        snapshot at every sequence. So there is nothing to forget, only something to compare.

        Raises:
            WrongSequence: the partition has not come to `sequence` yet.
        """
        applied = self.applied(partition)
        if sequence > applied:
            raise WrongSequence(sequence, applied)

    def stats(self) -> StoreStats:
        """Return the figures since the store was opened (a live object: read, do not keep)."""
        stats = self._stats
        stats.backlog = self._driver.backlog
        stats.late_turns = self._driver.late_turns
        stats.growths = sum(environment.growths for environment in self._environments)
        sizes = [environment.sizes for environment in self._environments]
        stats.map_bytes = sum(size[0] for size in sizes)
        stats.used_bytes = sum(size[1] for size in sizes)
        stats.growth_blocked = sum(environment.growth_blocked for environment in self._environments)
        open_now = [environment.oldest_snapshot for environment in self._environments]
        oldest = max(filter(None, open_now), key=lambda found: found.age_s, default=None)
        stats.oldest_snapshot = "" if oldest is None else oldest.what
        stats.oldest_snapshot_s = 0.0 if oldest is None else oldest.age_s
        stats.oldest_snapshot_commits = 0 if oldest is None else oldest.commits
        return stats

    async def close(self) -> None:
        """Answer what is queued, then end the threads and give the folder free.

        Appends and reads are refused from the first moment on. Harmless when repeated.
        """
        if self._closed:
            return
        self._refuse()
        await self._driver.idle()
        self.close_now()

    def close_now(self) -> None:
        """Like `close`, blocking: for programs without a loop, from any thread.

        Not from inside a `done`: those have to come to their end first.
        """
        with self._closing_down:
            if self._closed:
                return
            self._refuse()
            self.drain()
            self._closed = True
            self._driver.stop()
            self._opened.close()

    def _refuse(self) -> None:
        self._closing = True
        self._driver.refuse()


def _no_loop(_: Callable[[], None]) -> None:
    """Stand in for `defer` where there is no loop: `drain` looks at the queues itself."""
