"""A partition on a simulated disk: what `Environment` is over LMDB, with its faults.

A commit becomes durable and visible in one moment, as LMDB's does: its head is written through to
the disk before any reader uses it. How long that takes, and what happens when power goes meanwhile,
is decided by whoever runs the batch; see `driving`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lmdb

from palaver.storage.environment import Environment, OpenSnapshot
from palaver.storage.errors import StoreBusy, StoreCorrupt, StoreError, StoreFailed
from palaver.storage.transaction import META_TABLE, ReadTxn, Tables

from .tables import Content, Journal, Nested, Rows, Snapshot, Writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .disk import Plate

PAGE_BYTES = 4096

# The ways in which the disk fails a commit; see `disk.FAILURES`.
_FLUSH, _HEAD, _HEAD_KEPT, _HEAD_FOR_LONG = range(1, 5)


def _no_room() -> lmdb.Error:
    error = lmdb.DiskError("no space left on device")
    vars(error)["code"] = errno.ENOSPC  # where py-lmdb has it
    return error


class SimulatedEnvironment(Environment):
    """The tables of one partition; takes the place of an LMDB environment.

    Args:
        plate: where the content is kept, which outlives this object.
        folder: what errors call it.
        tables: the machine's tables.
        max_bytes: how large the content may become; beyond, the map is full.
        readonly: opened beside the owner.
    """

    __slots__ = ("_failing_until_s", "_head_lost", "_max_bytes", "plate")

    def __init__(
        self,
        plate: Plate,
        folder: Path,
        tables: Sequence[str],
        *,
        max_bytes: int,
        readonly: bool = False,
    ) -> None:
        self.plate = plate
        self.folder = folder
        self.tables = (META_TABLE, *tables)
        self.growths = 0
        self._readonly = readonly
        self._max_bytes = max_bytes
        self._broken = False
        self._closed = False
        self._head_lost = False
        self._failing_until_s = 0.0
        self._txn_id = 0
        self._connect()

    @property
    def content(self) -> Content:
        """What the partition holds now."""
        return self.plate.content

    def _connect(self) -> None:
        missing = [table for table in self.tables if table not in self.content.tables]
        if missing and self._readonly:
            raise StoreCorrupt(self.folder, f"a table is missing ({missing[0]})")
        rows: dict[str, Any] = {table: self.content.rows(table) for table in self.tables}
        self._dbs = Tables(self.folder, rows)

    def begin(self) -> lmdb.Transaction[bytes]:
        """Begin the write transaction; it ends by this object's `commit` or `abort`."""
        if self._broken or self._head_lost:
            raise lmdb.PanicError("the environment could not be opened again")
        self._txn_id += 1
        return cast("lmdb.Transaction[bytes]", Writing(self.content, self._txn_id))

    def commit(self, raw: lmdb.Transaction[bytes]) -> None:
        """Make the write transaction durable; when that fails it is over."""
        txn = cast("Writing", raw)
        if txn.grown_bytes > 0 and self.content.size_bytes + txn.grown_bytes > self._max_bytes:
            txn.abort()
            raise lmdb.MapFullError("the content has its greatest size")
        if self.plate.full(txn.grown_bytes):
            txn.abort()
            raise _no_room()
        failure = self.plate.failure()
        if failure:
            self._fail(txn, failure)
        self.plate.limbo = None  # whatever it was, a sound head is written over it
        txn.commit()

    def _fail(self, txn: Writing, failure: int) -> None:
        if failure == _FLUSH:
            txn.abort()
            raise lmdb.DiskError("the flush failed")
        self._head_lost = True
        if failure == _HEAD_KEPT:
            txn.commit()
        else:
            self.plate.limbo = _redo(txn.journal)
            txn.abort()
        if failure == _HEAD_FOR_LONG:
            self._failing_until_s = self.plate.trouble_until_s()
        raise lmdb.DiskError("the write of the head failed")

    def abort(self, raw: lmdb.Transaction[bytes]) -> None:
        """Give the write transaction up."""
        raw.abort()

    def begin_nested(self, parent: lmdb.Transaction[bytes]) -> lmdb.Transaction[bytes]:
        """Begin a transaction inside the write transaction; it ends by its own methods."""
        return cast("lmdb.Transaction[bytes]", Nested(cast("Writing", parent)))

    @contextmanager
    def snapshot(self, what: str = "a read") -> Iterator[ReadTxn]:
        """Open a read transaction for the length of the block."""
        with self.raw_snapshot(what) as raw:
            yield ReadTxn(raw, self._dbs)

    @contextmanager
    def raw_snapshot(self, what: str = "a read") -> Iterator[lmdb.Transaction[bytes]]:
        """Like `snapshot`, without the names."""
        self._require_sound()
        raw = Snapshot(self.content, what, self.plate.now_s())
        try:
            yield cast("lmdb.Transaction[bytes]", raw)
        finally:
            raw.abort()

    def _require_sound(self) -> None:
        if self._broken:
            raise StoreFailed(f"{self.folder} failed and could not be opened again")
        if self._head_lost:
            raise StoreFailed(f"writing in {self.folder} failed just now")

    def peek(self, table: str, key: bytes) -> bytes | None:
        """Return one value as of now, None when it is absent."""
        with self.snapshot() as txn:
            return txn.get(table, key)

    def grow(self, at_least_bytes: int = 0, *, patience_s: float | None = None) -> bool:
        """Return whether there is so much room: what is in memory needs no map."""
        return 0 < at_least_bytes <= self._max_bytes

    def make_room(self) -> None:
        """Do nothing: a snapshot holds nothing up."""

    def used_bytes(self, raw: lmdb.Transaction[bytes]) -> int:
        """Return the size of the content."""
        return self.sizes[1]

    def panicked(self) -> bool:
        """Whether it is refused until it is opened again: a head was not written."""
        return self._head_lost

    def reopen(self) -> None:
        """Close and open again: the only way on after the write of a head has failed."""
        self._head_lost = False
        self._broken = True
        if self.plate.now_s() < self._failing_until_s:
            raise StoreError(f"{self.folder} cannot be synchronised")
        self.plate.limbo = None  # what the memory shows has been written again
        self._connect()
        self._broken = False

    def replace(self, swap: Callable[[], None], undo: Callable[[], None]) -> None:
        """Go on with other content in place of this, or with this again when that fails."""
        if self.content.snapshots:
            raise StoreBusy(f"{self.content.snapshots[0].what}, which lasts")
        self.plate.limbo = None
        try:
            swap()
            self._connect()
        except BaseException:
            undo()
            self._connect()
            raise

    @property
    def oldest_snapshot(self) -> OpenSnapshot | None:
        """The oldest open snapshot, None when there is none."""
        if not self.content.snapshots:
            return None
        oldest = self.content.snapshots[0]
        return OpenSnapshot(oldest.what, self.plate.now_s() - oldest.since_s, oldest.commits)

    @property
    def growth_blocked(self) -> bool:
        """Whether something waits for the end of the open snapshots: never."""
        return False

    def measure(self) -> None:
        """Do nothing: the sizes are at hand."""

    @property
    def sizes(self) -> tuple[int, int]:
        """(the greatest size, the size) of the content, in whole pages."""
        pages = -(-self.content.size_bytes // PAGE_BYTES)
        return self._max_bytes, pages * PAGE_BYTES

    def close(self) -> None:
        """Close; harmless when repeated."""
        self._closed = True


def _redo(journal: Journal) -> list[tuple[Rows, bytes, bytes | None]]:
    """Return what a transaction has written, by the journal of what was there before."""
    written = {(db, key): db.values.get(key) for db, key, _ in journal}
    return [(db, key, stored) for (db, key), stored in written.items()]
