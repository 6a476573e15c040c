"""Tables inside a transaction: get, put, delete, ranges over byte keys in byte order.

A thin layer over py-lmdb: it names tables by strings, turns cursors into iterators with bounds,
and counts writes, so that a command that promised to write nothing can be held to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import lmdb

MAX_KEY_BYTES = 511
"""LMDB's limit on a key; a longer one raises `lmdb.BadValsizeError`."""

META_TABLE = "_store"
"""Storage's own table: the applied sequence and the identity of the partition."""


def successor(prefix: bytes) -> bytes | None:
    """Return the smallest key above every key that starts with `prefix`; None if none exists."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


class ReadTxn:
    """A snapshot of one partition's tables.

    Valid only inside the call that it is given to. Values are copies (bytes).
    """

    __slots__ = ("_dbs", "_get", "_txn", "writes")

    def __init__(self, txn: lmdb.Transaction[bytes], dbs: Mapping[str, lmdb._Database]) -> None:
        self._txn = txn
        self._dbs = dbs
        self._get = txn.get
        self.writes = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of `key`, None when it is absent."""
        return self._get(key, None, self._dbs[table])

    def range(
        self,
        table: str,
        start: bytes,
        stop: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for start <= key < stop, ascending, or descending with `reverse`.

        Args:
            table: the table's name.
            start: the lowest key; b"" for the first.
            stop: the first key that is not part of the range; None for no bound.
            limit: at most so many pairs.
            reverse: the same range from its end.

        Within a write transaction the iteration sees what the transaction has written so far, also
        after it began, ahead of its position.
        """
        with self._txn.cursor(self._dbs[table]) as cursor:
            found = self._seek_end(cursor, stop) if reverse else _seek(cursor, start)
            step = cursor.prev if reverse else cursor.next
            left = -1 if limit is None else limit
            while found and left != 0:
                key, value = cursor.item()
                if key < start if reverse else (stop is not None and key >= stop):
                    return
                writes = self.writes
                yield key, value
                left -= 1
                if self.writes == writes:
                    found = step()
                elif reverse:
                    found = self._seek_end(cursor, key)
                else:
                    found = _seek_after(cursor, key)

    def prefix(
        self, table: str, prefix: bytes, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for every key that starts with `prefix`, in order; see `range`."""
        return self.range(table, prefix, successor(prefix), limit=limit, reverse=reverse)

    def first(self, table: str, prefix: bytes = b"") -> tuple[bytes, bytes] | None:
        """Return the lowest pair whose key starts with `prefix`, None when there is none."""
        return next(self.range(table, prefix, successor(prefix), limit=1), None)

    def last(self, table: str, prefix: bytes = b"") -> tuple[bytes, bytes] | None:
        """Return the highest pair whose key starts with `prefix`, None when there is none."""
        return next(self.range(table, prefix, successor(prefix), limit=1, reverse=True), None)

    def count(self, table: str) -> int:
        """Return the number of keys in the table (kept by LMDB, so cheap)."""
        return self._txn.stat(self._dbs[table])["entries"]

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

    __slots__ = ("_delete", "_put")

    def __init__(self, txn: lmdb.Transaction[bytes], dbs: Mapping[str, lmdb._Database]) -> None:
        super().__init__(txn, dbs)
        self._put = txn.put
        self._delete = txn.delete

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Write `value` under `key`, over whatever was there."""
        self.writes += 1
        self._put(key, value, True, True, False, self._dbs[table])

    def delete(self, table: str, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""
        self.writes += 1
        return self._delete(key, b"", self._dbs[table])

    def delete_range(self, table: str, start: bytes, stop: bytes | None = None) -> int:
        """Remove every key with start <= key < stop; return how many there were."""
        removed = 0
        self.writes += 1
        with self._txn.cursor(self._dbs[table]) as cursor:
            found = _seek(cursor, start)
            while found and (stop is None or cursor.key() < stop):
                cursor.delete()  # leaves the cursor on the next key
                removed += 1
                found = bool(cursor.key())
        return removed
