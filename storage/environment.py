"""One LMDB environment: opening it, growing its map, and what its errors mean.

Threads: one write transaction at a time (LMDB's rule), any number of snapshots from any thread.
Growing and reopening need the environment without any transaction; the gate sees to that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import lmdb

from .disk import (
    DAMAGE_ERRORS,
    DATA_FILE,
    FULL_ERRNOS,
    LOCK_FILE,
    MAX_READERS,
    READ_ERRORS,
    errno_of,
    reserve_lock_file,
    settle_heads,
    size_of,
)
from .errors import StoreCorrupt, StoreError, StoreFailed, StoreFull
from .gate import Gate
from .inspection import inspect
from .transaction import META_TABLE, ReadTxn, Tables

DEFAULT_MAP_BYTES = 1 << 30
"""Address space, not disk: the file grows with what is written."""
DEFAULT_MAX_MAP_BYTES = 1 << 40
DEFAULT_MAX_SNAPSHOT_S = 30.0
SPARE_TABLES = 8
SPARE_TXNS = 8
"""Read transactions that have ended and are kept for the next ones; each keeps a reader's slot."""


class OpenSnapshot(NamedTuple):
    """A snapshot that is open now.

    Attributes:
        what: what it is for, and in which thread.
        age_s: for how long it is open.
        commits: transactions since, whose freed pages cannot be used again yet.
    """

    what: str
    age_s: float
    commits: int


class Environment:
    """The LMDB environment in `folder`, with the named tables open.

    Raises (from the constructor):
        StoreCorrupt: the data file is missing, cut short or not LMDB's.
        StoreError: the system refuses to open it.
    """

    __slots__ = (
        "_broken",
        "_closed",
        "_dbs",
        "_env",
        "_gate",
        "_map_bytes",
        "_max_map_bytes",
        "_max_snapshot_s",
        "_readonly",
        "_sizes",
        "_txn_id",
        "folder",
        "growths",
        "tables",
    )

    def __init__(
        self,
        folder: Path,
        tables: Sequence[str],
        *,
        map_size_bytes: int = DEFAULT_MAP_BYTES,
        max_map_bytes: int = DEFAULT_MAX_MAP_BYTES,
        max_snapshot_s: float = DEFAULT_MAX_SNAPSHOT_S,
        readonly: bool = False,
        create: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.folder = folder
        self.tables = (META_TABLE, *tables)
        self.growths = 0
        self._readonly = readonly
        self._max_map_bytes = max_map_bytes
        self._max_snapshot_s = max_snapshot_s
        self._gate = Gate(clock)
        self._broken = False
        self._closed = False
        if not create:
            inspect(folder / DATA_FILE, live=readonly)
            if not readonly:
                settle_heads(folder / DATA_FILE)
        self._map_bytes = map_size_bytes
        self._fit_map()
        self._env, self._dbs = self._open(create)
        self._sizes = (self._map_bytes, 0)
        self._txn_id = self._env.info()["last_txnid"]

    def _fit_map(self) -> None:
        size = size_of(self.folder / DATA_FILE)
        limit = max(self._max_map_bytes, size)
        self._map_bytes = min(max(self._map_bytes, size + size // 2), limit)

    def _open(self, create: bool) -> tuple[lmdb.Environment, Tables]:
        path = self.folder / DATA_FILE
        if not self._readonly:
            reserve_lock_file(self.folder / LOCK_FILE)
        try:
            env = lmdb.open(
                str(self.folder),
                map_size=self._map_bytes,
                readonly=self._readonly,
                create=create,
                mode=0o600,
                max_dbs=len(self.tables) + SPARE_TABLES,
                max_readers=MAX_READERS,
                max_spare_txns=SPARE_TXNS,
            )
            try:
                return env, Tables(self.folder, self._open_tables(env))
            except BaseException:
                env.close()
                raise
        except lmdb.NotFoundError as error:
            raise StoreCorrupt(path, f"a table is missing ({error})") from error
        except (*DAMAGE_ERRORS, lmdb.IncompatibleError) as error:
            raise StoreCorrupt(path, str(error)) from error
        except lmdb.Error as error:
            if errno_of(error) in FULL_ERRNOS:
                raise StoreFull(f"no room to open {path}: {error}") from error
            raise StoreError(f"{path} cannot be opened: {error}") from error

    def _open_tables(self, env: lmdb.Environment) -> dict[str, lmdb._Database]:
        if self._readonly:
            return {name: env.open_db(name.encode(), create=False) for name in self.tables}
        env.reader_check()  # slots left behind by readers that were killed
        with env.begin() as txn:
            known = set(env.dbs(txn))
        if known.issuperset(name.encode() for name in self.tables):
            return {name: env.open_db(name.encode(), create=False) for name in self.tables}
        with env.begin(write=True) as txn:
            return {name: env.open_db(name.encode(), txn=txn) for name in self.tables}

    @property
    def dbs(self) -> Tables:
        """The open tables by name, for building transactions."""
        return self._dbs

    def begin(self) -> lmdb.Transaction[bytes]:
        """Begin the write transaction; it ends by this object's `commit` or `abort`."""
        self._gate.enter()
        try:
            if self._broken:
                raise lmdb.PanicError("the environment could not be opened again")
            return self._env.begin(write=True)
        except BaseException:
            self._gate.leave()
            raise

    def commit(self, raw: lmdb.Transaction[bytes]) -> None:
        """Make the write transaction durable; when that fails it has had no effect and is over."""
        number = raw.id()
        try:
            raw.commit()
            self._txn_id = number
        finally:
            self._gate.leave()

    def abort(self, raw: lmdb.Transaction[bytes]) -> None:
        """Give the write transaction up."""
        try:
            raw.abort()
        finally:
            self._gate.leave()

    def begin_nested(self, parent: lmdb.Transaction[bytes]) -> lmdb.Transaction[bytes]:
        """Begin a transaction inside the write transaction; it ends by its own methods."""
        return self._env.begin(write=True, parent=parent)

    @contextmanager
    def snapshot(self, what: str = "a read") -> Iterator[ReadTxn]:
        """Open a read transaction for the length of the block; while it is open nothing grows.

        Args:
            what: what it is for, told to those who wait for its end.
        """
        with self.raw_snapshot(what) as raw:
            try:
                yield ReadTxn(raw, self._dbs)
            except READ_ERRORS as error:
                raise self.damaged(error) from error

    def damaged(self, error: Exception) -> StoreCorrupt:
        """Say which file LMDB found damaged."""
        return StoreCorrupt(self.folder / DATA_FILE, str(error))

    @contextmanager
    def raw_snapshot(self, what: str = "a read") -> Iterator[lmdb.Transaction[bytes]]:
        """Like `snapshot`, with py-lmdb's own transaction."""
        raw = self._begin_read()
        try:
            with self._gate.named(what, raw.id()):
                yield raw
        finally:
            raw.abort()
            self._gate.leave()

    def _begin_read(self) -> lmdb.Transaction[bytes]:
        while True:
            self._gate.enter()
            try:
                if self._broken:
                    raise StoreFailed(f"{self.folder} failed and could not be opened again")
                return self._env.begin()
            except lmdb.PanicError as error:
                self._gate.leave()
                raise StoreFailed(f"writing in {self.folder} failed just now: {error}") from error
            except lmdb.MapResizedError:  # another process, the owner, has grown the map
                self._gate.leave()
            except BaseException:
                self._gate.leave()
                raise
            with self._gate.alone(self._max_snapshot_s):
                self._env.set_mapsize(0)

    def peek(self, table: str, key: bytes) -> bytes | None:
        """Return one value as of now, None when it is absent; see `snapshot`, for one read.

        py-lmdb keeps the read transactions that have ended and takes them up again, so this costs
        little more than the read in an open one.
        """
        raw = self._begin_read()
        try:
            return ReadTxn(raw, self._dbs).get(table, key)
        except READ_ERRORS as error:
            raise self.damaged(error) from error
        finally:
            raw.abort()
            self._gate.leave()

    def copy_to(self, descriptor: int, raw: lmdb.Transaction[bytes]) -> None:
        """Write a compact image of the snapshot `raw` to a file descriptor (may be a pipe)."""
        self._env.copyfd(descriptor, compact=True, txn=raw)

    def grow(self, at_least_bytes: int = 0, *, patience_s: float | None = None) -> bool:
        """Double the map (or more); False when it is at its limit.

        Waits until every transaction in this process has ended; the caller holds none.

        Args:
            at_least_bytes: do nothing if it has that many.
            patience_s: how long to wait; by default `max_snapshot_s`.

        Raises:
            StoreBusy: a snapshot was held open for longer than that.
        """
        if at_least_bytes and at_least_bytes <= self._map_bytes:
            return True
        with self._gate.alone(self._max_snapshot_s if patience_s is None else patience_s):
            self._env.reader_check()  # what a killed reader of another process pins is free again
            wanted = min(max(self._map_bytes * 2, at_least_bytes), self._max_map_bytes)
            if wanted <= self._map_bytes:
                return False
            self._env.set_mapsize(wanted)
            self._map_bytes = wanted
            self.growths += 1
            return True

    def make_room(self) -> None:
        """See to it that the map has room for as much again as is in use, where it may grow."""
        if not self._readonly:
            with self.raw_snapshot() as raw:
                used = self.used_bytes(raw)
            self.grow(used * 2)

    def used_bytes(self, raw: lmdb.Transaction[bytes]) -> int:
        """Return the bytes up to the highest page in use."""
        return (self._env.info()["last_pgno"] + 1) * raw.stat(self._dbs[META_TABLE][0])["psize"]

    def panicked(self) -> bool:
        """Whether LMDB refuses the environment until it is opened again: a head was not written."""
        try:
            self._env.begin().abort()
        except lmdb.PanicError:
            return True
        except lmdb.Error:
            return False
        return False

    def reopen(self) -> None:
        """Close and open again: the only way on after LMDB has declared the environment broken."""
        with self._gate.alone(self._max_snapshot_s):
            self._env.close()
            self._broken = True
            inspect(self.folder / DATA_FILE)
            settle_heads(self.folder / DATA_FILE)
            self._env, self._dbs = self._open(create=False)
            self._broken = False

    def replace(self, swap: Callable[[], None], undo: Callable[[], None]) -> None:
        """Open other files in place of these, or these again when that fails.

        Args:
            swap: puts the others in place, while nothing is open.
            undo: puts back what was there, wherever `swap` has stopped.

        Raises:
            StoreBusy: a snapshot was held open for longer than `max_snapshot_s`; nothing was done.
        """
        with self._gate.alone(self._max_snapshot_s):
            self._env.close()
            self._broken = True
            try:
                swap()
                self._fit_map()
                self._env, self._dbs = self._open(create=False)
            except BaseException:
                undo()
                self._env, self._dbs = self._open(create=False)
                self._broken = False
                raise
            self._sizes = (self._map_bytes, 0)
            self._broken = False

    @property
    def oldest_snapshot(self) -> OpenSnapshot | None:
        """The oldest open snapshot of this process, None when there is none; from any thread."""
        visit = self._gate.oldest
        if visit is None:
            return None
        what = f"{visit.what} in thread {visit.thread!r}"
        return OpenSnapshot(what, self._gate.age_s(visit), max(0, self._txn_id - visit.txn_id))

    @property
    def growth_blocked(self) -> bool:
        """Whether something waits for the end of the open snapshots now."""
        return self._gate.awaited

    def measure(self) -> None:
        """Note the sizes that `sizes` reports; for the thread that owns the write transaction."""
        info = self._env.info()
        used = (info["last_pgno"] + 1) * self._env.stat()["psize"]
        if used != self._sizes[1]:
            self._sizes = (info["map_size"], used)
            self._cover(used)

    def _cover(self, used: int) -> None:
        """Make the file as long as its head says.

        LMDB does not write a page that was taken and given back within one transaction; when it
        was the last, the file ends before it. That is sound, but looks like a file that was cut
        short, and telling them apart at the next opening means to walk through all of it.
        """
        path = self.folder / DATA_FILE
        with suppress(OSError):  # only that the next opening may take longer
            if path.stat().st_size < used:
                os.truncate(path, used)

    @property
    def sizes(self) -> tuple[int, int]:
        """(bytes of map, bytes of it in use up to the highest page) when last measured."""
        return self._sizes

    def close(self) -> None:
        """Close, after every snapshot has ended; harmless when repeated."""
        with self._gate.alone():
            if not (self._readonly or self._closed or self._broken):
                self.measure()
            self._closed = True
            self._env.close()
