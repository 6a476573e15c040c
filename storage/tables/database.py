"""The database: tables in a folder or in memory, and the activities on them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from palaver.storage.environment import DEFAULT_MAP_BYTES, DEFAULT_MAX_MAP_BYTES
from palaver.storage.lending import Post
from palaver.storage.store import Store

from .activities import Activities
from .activity import Activity
from .aio import Aio
from .archives import fallback
from .archives.checkpoints import Checkpoint
from .archives.operations import Archives
from .committing import Committer
from .core import Counters
from .dirty import DirtyOperations
from .errors import BadArgument, NoExists, NotRunning, RecordDamaged
from .events import SystemEvent, UserEvent
from .facts import system_fact, table_fact
from .isolation import Running
from .loading import load, note_damage
from .machine import TableMachine
from .pipeline import Pipeline
from .records import RecordType
from .rows import StoreRows
from .schema import AccessMode, StorageType, TableType
from .storelog import StoreLog
from .subscriptions import Callback, Detail, Subscription, Subscriptions
from .table import Table, TableState

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_MAX_BACKLOG = 10_000
"""Commits that may wait for the disk."""


class Database(Activities, Archives, DirtyOperations):
    """Tables, as Mnesia has them; see `Database.open` and `Database.in_memory`.

    May be used from any thread. A context manager: leaving it closes.

    Attributes:
        path: the folder, None in memory.
        aio: the activities for programs under an asyncio loop.
    """

    def __init__(
        self,
        store: Store | None,
        records: Iterable[type],
        *,
        post: Post | None,
        max_backlog: int,
        progress: Callable[[str, int], None] | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = clock
        self.checkpoints_by_name: dict[str, Checkpoint] = {}
        self.checkpoint_numbers = 0
        self.path = None if store is None else store.path
        self.mutex = threading.RLock()
        self.running = Running(self.mutex)
        self.store = store
        self.log = None if store is None else StoreLog(store, post)
        self.max_backlog = max_backlog
        self.subscriptions = Subscriptions()
        self.classes = {RecordType.of(record).name: record for record in records}
        self.states: dict[str, TableState] = {}
        self._by_handle: dict[Any, TableState] = {}
        self.rows = None if store is None else StoreRows(store, self._damage_found)
        self.pipeline = Pipeline(
            self.log,
            self.mutex,
            self.running,
            events=self.subscriptions.queue,
            report=self.subscriptions.report,
            deliver=self.subscriptions.deliver,
        )
        self.committer = Committer(
            self.mutex,
            self.running,
            1 if store is None else store.partitions,
            self._partition_of,
            self.pipeline,
        )
        self.counters = Counters()
        self.waits_elsewhere: set[int] = set()
        self._closed = False
        self._is_free = False
        self._overloaded = False
        self._loner: int | None = None  # the thread that runs a transaction alone
        self.next_space = load(self, progress)
        self.aio = Aio(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        records: Iterable[type] = (),
        partitions: int | None = None,
        post: Post | None = None,
        defer: Post | None = None,
        map_size_bytes: int = DEFAULT_MAP_BYTES,
        max_map_bytes: int = DEFAULT_MAX_MAP_BYTES,
        max_batch: int = 512,
        max_backlog: int = DEFAULT_MAX_BACKLOG,
        progress: Callable[[str, int], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Database:
        """Open the database in the folder `path`, creating it when there is none.

        Args:
            path: the folder; one process at a time.
            records: the classes of the records in stored tables, found by their names. Tables
                without a class have records that are made up from the stored attributes.
            partitions: a power of two up to 256, chosen at creation (default 1); None accepts what
                the folder has.
            post: under an asyncio loop its `call_soon_threadsafe`; the opening thread is then the
                loop's. None: no loop; whoever waits for durability does the work.
            defer: under a loop its `call_soon`; by default `post`.
            map_size_bytes: address space of a partition to begin with.
            max_map_bytes: up to which it grows; beyond, commits fail.
            max_batch: commits that share one durable transaction at most.
            max_backlog: commits that may wait for the disk; at the limit callers wait, or where
                they cannot, Overloaded is raised.
            progress: called with (table, records so far) while tables are loaded.
            clock: seconds, monotonic; for figures, and for how long checkpoints live.

        Raises:
            StoreLocked: another process has it open.
            StoreCorrupt, StoreVersion, StoreMismatch: it cannot be opened as it is.
            SchemaMismatch: a class in `records` does not fit the stored table.
            BadType: one is no record class.
            BadArgument: the path is empty.
        """
        if not os.fspath(path):
            raise BadArgument("a path that is empty names no folder; '.' is the working directory")
        fallback.bring_in(Path(path))
        store = Store.open(
            path,
            TableMachine,
            partitions=partitions,
            post=post,
            defer=defer,
            map_size_bytes=map_size_bytes,
            max_map_bytes=max_map_bytes,
            max_batch=max_batch,
            max_backlog=4 * max_backlog,  # ours is the bound; agreements take some entries more
            clock=clock,
        )
        try:
            return cls(
                store,
                records,
                post=post,
                max_backlog=max_backlog,
                progress=progress,
                clock=clock,
            )
        except BaseException:
            store.close_now()
            raise

    @classmethod
    def over(
        cls,
        store: Store,
        *,
        records: Iterable[type] = (),
        post: Post | None = None,
        max_backlog: int = DEFAULT_MAX_BACKLOG,
        progress: Callable[[str, int], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Database:
        """Open the database that a store keeps, one with the machine `TableMachine`.

        For a store that is not in a folder, a simulated one. It belongs to the database from now
        on, which closes it; where this raises, it is as it was.

        Args:
            store: open, with a backlog of four times `max_backlog` at least.
            records: see `open`.
            post: what the store was given; None for one without a loop.
            max_backlog: see `open`.
            progress: see `open`.
            clock: see `open`.

        Raises:
            SchemaMismatch, BadType: see `open`.
        """
        return cls(
            store, records, post=post, max_backlog=max_backlog, progress=progress, clock=clock
        )

    @classmethod
    def in_memory(cls, *, records: Iterable[type] = ()) -> Database:
        """Return a database without a folder: its tables are ram_copies."""
        return cls(None, records, post=None, max_backlog=DEFAULT_MAX_BACKLOG, progress=None)

    # -- events ----------------------------------------------------------------------------------

    def subscribe(self, what: Any, callback: Callback, detail: Detail = "simple") -> Subscription:
        """Call `callback(event)` for each event of a table, or of the "system", from now on.

        Table events come after the commit is durable, in the order of the commits. The callback
        runs on the thread that learns of it (the loop's, under a loop) and should be short; what
        it raises is reported as a system event and reaches nobody else.

        Args:
            what: a table, or "system".
            callback: takes an event of `events`.
            detail: "detailed" adds the records that were there before.

        Raises:
            NoExists: there is no such table.
            BadArgument: there is no such detail, or the callback cannot be called.
        """
        if detail not in ("simple", "detailed"):
            raise BadArgument(f"the detail is 'simple' or 'detailed', not {detail!r}")
        if not callable(callback):
            raise BadArgument(f"{callback!r} cannot be called")
        if what == "system":
            return self.subscriptions.to_system(callback)
        return self.subscriptions.to_table(self.state(what), callback, detail)

    def report_event(self, event: Any) -> None:
        """Tell subscribers of the system: mnesia:report_event/1."""
        self.report(UserEvent(event))

    def report(self, event: SystemEvent) -> None:
        """Tell subscribers of the system."""
        self.subscriptions.report(event)
        self.subscriptions.deliver()

    # -- facts -----------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """Return the names of the tables, sorted."""
        return sorted(self.states)

    def wait_for_tables(self, tables: Iterable[Any]) -> None:
        """Make sure that tables are there: mnesia:wait_for_tables/2.

        They are loaded when `open` returns, so nothing is ever waited for.

        Raises:
            NoExists: one is not there.
        """
        for table in tables:
            self.state(table)

    @overload
    def table(self, record: type[R]) -> Table[R]: ...
    @overload
    def table(self, record: str) -> Table[Any]: ...
    def table(self, record: Any) -> Table[Any]:
        """Return the handle of a table that is there."""
        return Table(self.state(record).name)

    def table_info(self, table: Any, item: str) -> Any:
        """Return a fact about a table: mnesia:table_info/2.

        Args:
            table: the table, or "schema".
            item: `access_mode`, `arity`, `attributes`, `checkpoints`, `disc_copies`, `frag_size`,
                `index`, `load_order`, `memory`, `n_fragments`, `record_name`, `size`,
                `storage_type`, `type`, `user_properties`, `version`, `wild_pattern`, or `all`.

        Raises:
            BadArgument: there is no such item.
        """
        return table_fact(self, table, item)

    def system_info(self, item: str) -> Any:
        """Return a fact about the database: mnesia:system_info/1; `all` for all of them."""
        return system_fact(self, item)

    @property
    def is_running(self) -> bool:
        """Whether it is open."""
        return not self._closed

    def digest(self, partition: int = 0) -> tuple[int, int]:
        """Return (last durable sequence, digest of everything that was written up to it).

        Two replicas that applied the same commits have the same digest at the same sequence.
        """
        return self._store(partition).digest(partition)

    def content_digest(self, partition: int = 0) -> tuple[int, int]:
        """Return (last durable sequence, digest of what the partition holds); reads all of it."""
        return self._store(partition).content_digest(partition)

    def _store(self, partition: int) -> Store:
        if self.store is None:
            raise NoExists("partition", "a database in memory has no partitions")
        if not 0 <= partition < self.store.partitions:
            raise NoExists(f"partition {partition}")
        return self.store

    def applied(self, partition: int = 0) -> int:
        """Return the last durable sequence of a partition."""
        return self._store(partition).applied(partition)

    def state(self, table: Any) -> TableState:
        """Return the state of a table; NoExists when there is none."""
        if type(table) is Table:
            table = table.name  # a string's hash is at hand, a handle's is a call
        try:
            state = self._by_handle.get(table)
        except TypeError:  # what cannot be hashed
            raise NoExists(f"table {table!r}") from None
        if state is not None:
            return state
        return self._resolve(table)

    def _resolve(self, table: Any) -> TableState:
        if isinstance(table, Table):
            name = table.name
        elif isinstance(table, type):
            name = table.__name__
        else:
            name = table
        with self.mutex:  # so that what is kept here is never older than `forget_handles`
            self._check_open()
            state = self.states.get(name) if isinstance(name, str) else None
            if state is None:
                raise NoExists(f"table {name!r}")
            if len(self._by_handle) > 10 * (len(self.states) + 10):
                self._by_handle.clear()
            self._by_handle[table] = state
        return state

    def forget_handles(self) -> None:
        """Look every handle up again: a table has come, gone or changed."""
        self._by_handle.clear()

    def _partition_of(self, key: bytes) -> int:
        assert self.store is not None
        return self.store.partition_of(key)

    # -- life ------------------------------------------------------------------------------------

    def _damage_found(self, space: int, key: bytes) -> RecordDamaged:
        return note_damage(self, space, key)

    def _check_open(self) -> None:
        if self._closed:
            raise NotRunning

    def close(self) -> None:
        """Make durable what is on its way, and give the folder free; harmless when repeated.

        Activities are refused from the first moment on; one that runs raises NotRunning when it
        commits.
        """
        if self._is_free:
            return
        self._refuse()
        if self.store is not None:
            assert self.log is not None
            idle = threading.Event()
            self.pipeline.when_idle(idle.set)
            self.log.finish(idle)
            self.store.close_now()
        self._let_go()

    async def aclose(self) -> None:
        """Like `close`, under the loop that drives the store."""
        if self._is_free:
            return
        self._refuse()
        if self.store is not None:
            await self.aio.idle()
            await self.store.close()
        self._let_go()

    def _refuse(self) -> None:
        with self.mutex:
            self._closed = True
            self.pipeline.refuse()

    def _let_go(self) -> None:
        self._is_free = True  # not before: whoever was interrupted may close again
        self.subscriptions.deliver()
        self._by_handle.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        place = "in memory" if self.path is None else str(Path(self.path))
        return f"<Database {place}: {len(self.states)} tables>"


__all__ = [
    "AccessMode",
    "Activity",
    "Database",
    "StorageType",
    "TableType",
]
