"""Tables inside a transaction: get, put, delete, ranges over byte keys in byte order.

A thin layer over py-lmdb: it names tables by strings, turns cursors into iterators with bounds,
and counts writes, so that a command that promised to write nothing can be held to it.

Behind every value stands a CRC-32 over the table's name, the key and the value (4 bytes, little
endian), which every read compares. A value that changed on the disk, or that came to stand under
another key or table, is `RecordCorrupt` for whoever reads it, and for nobody else.

The same checksums, one after the other, are the history of a partition: see `WriteTxn.digest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from zlib import crc32

import lmdb

from .errors import RecordCorrupt

CHECK_BYTES = 4
"""Length of the checksum behind a value."""

MAX_KEY_BYTES = 511
"""LMDB's limit on a key; a longer one raises `lmdb.BadValsizeError`."""

META_TABLE = "_store"
"""Storage's own table: the applied sequence and the identity of the partition."""

DIGEST_MODULUS = (1 << 64) - 59
"""The largest prime below 2**64."""

Damaged = Callable[[str, bytes, bytes], None]
"""Told of a damaged record: (table, key, what is stored under it, checksum included)."""

# A CRC-32 that is continued over its own little-endian bytes always ends at this value: so one
# pass over what is stored compares it.
_SOUND = 0x2144DF1C
_VALUE = slice(None, -CHECK_BYTES)

# The checksums of deletions begin elsewhere than those of values, so that none passes for another.
_DELETE = 0x64656C65
_DELETE_RANGE = 0x72616E67

_FOLD_COUNT = 4096


class Tables(dict[str, "tuple[lmdb._Database, int]"]):  # noqa: SLF001 - the name of its type
    """The open tables of a partition by name, each with the seed of its checksums.

    Attributes:
        folder: the partition's folder, for errors.
    """

    __slots__ = ("folder",)

    def __init__(self, folder: Path, dbs: Mapping[str, lmdb._Database]) -> None:
        super().__init__({name: (db, crc32(name.encode())) for name, db in dbs.items()})
        self.folder = folder


def fold(digest: int, checks: Iterable[bytes]) -> int:
    """Continue a digest over checksums: for each, multiply by 2**32 and add, modulo a prime.

    The order counts, how the checksums are divided into calls does not.
    """
    return int.from_bytes(digest.to_bytes(8, "big") + b"".join(checks), "big") % DIGEST_MODULUS


def successor(prefix: bytes) -> bytes | None:
    """Return the smallest key above every key that starts with `prefix`; None if none exists."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


class ReadTxn:
    """A snapshot of one partition's tables.

    Valid only inside the call that it is given to. Values are copies (bytes). Whatever reads a
    record raises RecordCorrupt when it is not what was written; others can be read as before.
    """

    __slots__ = ("_get", "_tables", "_txn", "writes")

    def __init__(self, txn: lmdb.Transaction[bytes], tables: Tables) -> None:
        self._txn = txn
        self._tables = tables
        self._get = txn.get
        self.writes = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of `key`, None when it is absent."""
        db, seed = self._tables[table]
        stored = self._get(key, None, db)
        if stored is None:
            return None
        if crc32(stored, crc32(key, seed)) != _SOUND:
            raise RecordCorrupt(self._tables.folder, table, key)
        return stored[_VALUE]

    def range(
        self,
        table: str,
        start: bytes,
        stop: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
        damaged: Damaged | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for start <= key < stop, ascending, or descending with `reverse`.

        Args:
            table: the table's name.
            start: the lowest key; b"" for the first.
            stop: the first key that is not part of the range; None for no bound.
            limit: at most so many pairs.
            reverse: the same range from its end.
            damaged: called for each damaged record, which is then passed over; without it the
                iteration ends there with RecordCorrupt.

        Within a write transaction the iteration sees what the transaction has written so far, also
        after it began, ahead of its position.
        """
        db, seed = self._tables[table]
        with self._txn.cursor(db) as cursor:
            found = self._seek_end(cursor, stop) if reverse else _seek(cursor, start)
            step = cursor.prev if reverse else cursor.next
            left = -1 if limit is None else limit
            while found and left != 0:
                key, stored = cursor.item()
                if key < start if reverse else (stop is not None and key >= stop):
                    return
                writes = self.writes
                if crc32(stored, crc32(key, seed)) == _SOUND:
                    yield key, stored[_VALUE]
                    left -= 1
                else:
                    self._tell(damaged, table, key, stored)
                if self.writes == writes:
                    found = step()
                elif reverse:
                    found = self._seek_end(cursor, key)
                else:
                    found = _seek_after(cursor, key)

    def _tell(self, damaged: Damaged | None, table: str, key: bytes, stored: bytes) -> None:
        if damaged is None:
            raise RecordCorrupt(self._tables.folder, table, key)
        damaged(table, key, stored)

    def prefix(
        self,
        table: str,
        prefix: bytes,
        *,
        limit: int | None = None,
        reverse: bool = False,
        damaged: Damaged | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for every key that starts with `prefix`, in order; see `range`."""
        stop = successor(prefix)
        return self.range(table, prefix, stop, limit=limit, reverse=reverse, damaged=damaged)

    def first(self, table: str, prefix: bytes = b"") -> tuple[bytes, bytes] | None:
        """Return the lowest pair whose key starts with `prefix`, None when there is none."""
        return next(self.range(table, prefix, successor(prefix), limit=1), None)

    def last(self, table: str, prefix: bytes = b"") -> tuple[bytes, bytes] | None:
        """Return the highest pair whose key starts with `prefix`, None when there is none."""
        return next(self.range(table, prefix, successor(prefix), limit=1, reverse=True), None)

    def count(self, table: str) -> int:
        """Return the number of keys in the table (kept by LMDB, so cheap)."""
        return self._txn.stat(self._tables[table][0])["entries"]

    def content_digest(self, tables: Iterable[str], damaged: Damaged | None = None) -> int:
        """Fold every record of `tables` into 64 bits, in the order of names and keys.

        Reads everything. Equal content gives an equal digest, whatever history led to it.

        Args:
            tables: names, in any order.
            damaged: called for each damaged record, which is left out; without it the first one
                raises RecordCorrupt.
        """
        digest = 0
        for table in sorted(tables):
            _, seed = self._tables[table]
            digest = fold(digest, [seed.to_bytes(CHECK_BYTES, "little")])
            checks = self._checks(table, damaged)
            while some := list(islice(checks, _FOLD_COUNT)):
                digest = fold(digest, some)
        return digest

    def _checks(self, table: str, damaged: Damaged | None) -> Iterator[bytes]:
        db, seed = self._tables[table]
        with self._txn.cursor(db) as cursor:
            for key, stored in cursor:
                if crc32(stored, crc32(key, seed)) == _SOUND:
                    yield stored[-CHECK_BYTES:]
                else:
                    self._tell(damaged, table, key, stored)

    @staticmethod
    def _seek_end(cursor: lmdb.Cursor[bytes], stop: bytes | None) -> bool:
        """Move to the highest key below `stop`; False when there is none."""
        if stop is None:
            return cursor.last()
        if not stop:
            return False
        return cursor.prev() if cursor.set_range(stop) else cursor.last()


def _seek(cursor: lmdb.Cursor[bytes], start: bytes) -> bool:
    return cursor.set_range(start) if start else cursor.first()


def _seek_after(cursor: lmdb.Cursor[bytes], key: bytes) -> bool:
    """Move behind `key`, which may be gone: seek rather than step from where it was."""
    return cursor.set_range(key) and (cursor.key() != key or cursor.next())


class WriteTxn(ReadTxn):
    """The one writing transaction of a partition; what it wrote is visible to its own reads.

    Attributes:
        writes: how many writes were made through it.
    """

    __slots__ = ("_checks_written", "_delete", "_digest", "_put")

    def __init__(self, txn: lmdb.Transaction[bytes], tables: Tables, digest: int = 0) -> None:
        super().__init__(txn, tables)
        self._put = txn.put
        self._delete = txn.delete
        self._digest = digest
        self._checks_written: list[bytes] = []

    @property
    def digest(self) -> int:
        """The 64-bit digest of the partition's history, this transaction's writes included.

        Every write is folded in, in order: a put by the checksum of its record, a deletion by one
        of its key, the deletion of a range by one of its bounds and its count. So two partitions
        with the same digest at the same sequence had the same writes, and batches do not matter.
        Kept against damage and errors, not against forgery: CRC-32 is no cryptographic hash.
        """
        if self._checks_written:
            self._digest = fold(self._digest, self._checks_written)
            self._checks_written.clear()
        return self._digest

    def nested(self, child: lmdb.Transaction[bytes]) -> WriteTxn:
        """Return the tables inside `child`, a transaction within this one; see `absorb`."""
        return WriteTxn(child, self._tables, self.digest)

    def absorb(self, inner: WriteTxn) -> None:
        """Take over the history of a nested transaction that has been committed."""
        self.writes += inner.writes
        self._digest = inner.digest

    def aside(self) -> WriteTxn:
        """Return the same transaction for writes that are no part of the history."""
        return WriteTxn(self._txn, self._tables)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Write `value` under `key`, over whatever was there."""
        self.writes += 1
        db, seed = self._tables[table]
        check = crc32(value, crc32(key, seed)).to_bytes(CHECK_BYTES, "little")
        self._put(key, value + check, True, True, False, db)
        self._checks_written.append(check)

    def put_many(self, table: str, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Write every (key, value) in order: what `put` does for each, in one call into LMDB.

        Alone that is a third faster. Beside a busy thread it is so by a factor: each `put` gives up
        Python's global lock and has to wait until it gets it back.
        """
        self.writes += len(items)
        db, seed = self._tables[table]
        checks = [
            crc32(value, crc32(key, seed)).to_bytes(CHECK_BYTES, "little") for key, value in items
        ]
        with self._txn.cursor(db) as cursor:
            cursor.putmulti(
                [(key, value + check) for (key, value), check in zip(items, checks, strict=True)],
                dupdata=True,
                overwrite=True,
            )
        self._checks_written += checks

    def delete(self, table: str, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        self.writes += 1
        db, seed = self._tables[table]
        removed = self._delete(key, b"", db)
        self._checks_written.append(crc32(key, seed ^ _DELETE).to_bytes(CHECK_BYTES, "little"))
        return removed

    def delete_range(self, table: str, start: bytes, stop: bytes | None = None) -> int:
        """Remove every key with start <= key < stop; return how many there were."""
        removed = 0
        self.writes += 1
        db, seed = self._tables[table]
        with self._txn.cursor(db) as cursor:
            found = _seek(cursor, start)
            while found and (stop is None or cursor.key() < stop):
                cursor.delete()  # leaves the cursor on the next key
                removed += 1
                found = bool(cursor.key())
        what = repr((start, stop, removed)).encode()
        self._checks_written.append(
            crc32(what, seed ^ _DELETE_RANGE).to_bytes(CHECK_BYTES, "little")
        )
        return removed
