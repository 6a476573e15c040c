"""One LMDB environment: opening it, growing its map, and what its errors mean.

Threads: one write transaction at a time (LMDB's rule), any number of snapshots from any thread.
Growing and reopening need the environment without any transaction; the gate sees to that.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb

from .errors import CommandError, StoreCorrupt, StoreError, StoreFailed, StoreFull
from .inspection import inspect
from .transaction import META_TABLE, ReadTxn, Tables

DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"
LOCK_FILE_BYTES = 8192
"""Size of LMDB's table of readers for MAX_READERS."""
DEFAULT_MAP_BYTES = 1 << 30
"""Address space, not disk: the file grows with what is written."""
DEFAULT_MAX_MAP_BYTES = 1 << 40
SPARE_TABLES = 8
MAX_READERS = 126
SPARE_TXNS = 8
"""Read transactions that have ended and are kept for the next ones; each keeps a reader's slot."""

FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DAMAGE_ERRORS = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
)
READ_ERRORS = (*DAMAGE_ERRORS, lmdb.BadTxnError)
"""What a read transaction raises only over a damaged file."""

# A transaction is bad after it has failed once: what failed was the disk, or is told elsewhere.
_DISK = (
    *DAMAGE_ERRORS,
    lmdb.BadTxnError,
    lmdb.DiskError,
    lmdb.PanicError,
    lmdb.MemoryError,
    lmdb.MapResizedError,
)


class Gate:
    """Lets many pass together or one alone; whoever waits to be alone holds up new arrivals."""

    __slots__ = ("_alone", "_condition", "_inside", "_mutex")

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._condition = threading.Condition(self._mutex)
        self._inside = 0
        self._alone = False

    def enter(self) -> None:
        """Go in; waits while somebody is, or waits to be, alone."""
        with self._mutex:
            while self._alone:
                self._condition.wait()
            self._inside += 1

    def leave(self) -> None:
        """Go out again; once for every `enter`."""
        with self._mutex:
            self._inside -= 1
            if self._alone and not self._inside:
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one inside for the length of the block."""
        with self._condition:
            while self._alone:
                self._condition.wait()
            self._alone = True
            while self._inside:
                self._condition.wait()
        try:
            yield
        finally:
            with self._condition:
                self._alone = False
                self._condition.notify_all()


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
        "_readonly",
        "_sizes",
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
        readonly: bool = False,
        create: bool = False,
    ) -> None:
        self.folder = folder
        self.tables = (META_TABLE, *tables)
        self.growths = 0
        self._readonly = readonly
        self._max_map_bytes = max_map_bytes
        self._gate = Gate()
        self._broken = False
        self._closed = False
        if not create:
            inspect(folder / DATA_FILE, live=readonly)
        size = _size_of(folder / DATA_FILE)
        self._map_bytes = min(max(map_size_bytes, size + size // 2), max(max_map_bytes, size))
        self._env, self._dbs = self._open(create)
        self._sizes = (self._map_bytes, 0)

    def _open(self, create: bool) -> tuple[lmdb.Environment, Tables]:
        path = self.folder / DATA_FILE
        if not self._readonly:
            _reserve_lock_file(self.folder / LOCK_FILE)
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
        except DAMAGE_ERRORS as error:
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
        try:
            raw.commit()
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
    def snapshot(self) -> Iterator[ReadTxn]:
        """Open a read transaction for the length of the block; while it is open nothing grows."""
        with self.raw_snapshot() as raw:
            try:
                yield ReadTxn(raw, self._dbs)
            except READ_ERRORS as error:
                raise self.damaged(error) from error

    def damaged(self, error: Exception) -> StoreCorrupt:
        """Say which file LMDB found damaged."""
        return StoreCorrupt(self.folder / DATA_FILE, str(error))

    @contextmanager
    def raw_snapshot(self) -> Iterator[lmdb.Transaction[bytes]]:
        """Like `snapshot`, with py-lmdb's own transaction."""
        raw = self._begin_read()
        try:
            yield raw
        finally:
            raw.abort()
            self._gate.leave()

    def _begin_read(self) -> lmdb.Transaction[bytes]:
        while True:
            self._gate.enter()
            try:
                return self._env.begin()
            except lmdb.MapResizedError:  # another process, the owner, has grown the map
                self._gate.leave()
            except BaseException:
                self._gate.leave()
                raise
            with self._gate.alone():
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

    def grow(self, at_least_bytes: int = 0) -> bool:
        """Double the map (or more); False when it is at its limit.

        Waits until every transaction in this process has ended; the caller holds none.
        """
        if at_least_bytes and at_least_bytes <= self._map_bytes:
            return True
        with self._gate.alone():
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

    def reopen(self) -> None:
        """Close and open again: the only way on after LMDB has declared the environment broken."""
        with self._gate.alone():
            self._env.close()
            self._broken = True
            inspect(self.folder / DATA_FILE)
            self._env, self._dbs = self._open(create=False)
            self._broken = False

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


def _reserve_lock_file(path: Path) -> None:
    """Give LMDB's table of readers its blocks on the disk.

    LMDB makes it a sparse file and writes to it through memory: on a full disk that is no error
    but a signal that ends the process.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, LOCK_FILE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        kind = StoreFull if error.errno in FULL_ERRNOS else StoreError
        raise kind(f"{path} cannot be made: {error}") from error


def errno_of(error: lmdb.Error) -> int:
    """Return the system's error number behind an LMDB error, 0 when there is none."""
    code = getattr(error, "code", 0)
    return code if isinstance(code, int) and code > 0 else 0


def is_disk_error(error: BaseException) -> bool:
    """Whether the disk (or the file on it) failed, rather than the one who called LMDB."""
    if isinstance(error, _DISK):
        return True
    return isinstance(error, lmdb.Error) and errno_of(error) in (
        *FULL_ERRNOS,
        errno.EIO,
        errno.EROFS,
    )


def command_error(error: BaseException, folder: Path) -> CommandError:
    """Say what a failed transaction means for each of its commands."""
    if isinstance(error, lmdb.Error):
        if isinstance(error, DAMAGE_ERRORS):
            return StoreFailed(str(StoreCorrupt(folder / DATA_FILE, str(error))))
        number = errno_of(error)
        # LMDB reports a short write, which is how a disk fills up, as EIO.
        if number in FULL_ERRNOS or (number == errno.EIO and _free_bytes(folder) < (1 << 20)):
            return StoreFull(f"no room on the disk of {folder}: {error}")
    return StoreFailed(f"writing {folder / DATA_FILE} failed: {type(error).__name__}: {error}")


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
