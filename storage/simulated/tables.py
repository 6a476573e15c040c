"""Tables in memory that answer as LMDB's do: sorted keys, transactions, snapshots, one thread.

What is here stands in for py-lmdb's transactions and cursors under `ReadTxn` and `WriteTxn`, which
are the real ones: checksums, ranges, digests and their errors are not simulated.

A writing transaction changes the tables in place and keeps a journal of what was there before, so
that giving up costs as much as was written, and a read inside it costs a look into a dict. Nobody
else reads meanwhile, because there is one thread. A snapshot copies nothing either: a commit hands
what it replaced to the snapshots that are open. Only one over which somebody iterates, and that
has outlived a commit, makes a copy of that table for itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import lmdb

from palaver.storage.transaction import MAX_KEY_BYTES

_FEW = 16
"""A new key is put into its place among so many, rather than all sorted again."""

Journal = list[tuple["Rows", bytes, bytes | None]]
"""What was there before, by table and key, in the order of the writes; None where nothing was."""


class Rows:
    """One table: what is stored under its keys.

    Attributes:
        values: by key, unsorted.
        changes: rises whenever a key comes or goes; cursors then find their place again.
    """

    __slots__ = ("_fresh", "_order", "changes", "values")

    def __init__(self, values: dict[bytes, bytes] | None = None) -> None:
        self.values = {} if values is None else values
        self.changes = 0
        self._order = sorted(self.values)
        self._fresh: list[bytes] = []  # keys that are not in `_order` yet

    def order(self) -> list[bytes]:
        """Return the keys in order; the list itself, for a look."""
        fresh, order = self._fresh, self._order
        if fresh:
            if len(fresh) * _FEW < len(order):
                for key in fresh:
                    insort(order, key)
            else:
                order += fresh
                order.sort()
            fresh.clear()
        return order

    def add(self, key: bytes, stored: bytes) -> None:
        """Store under a key that is not there."""
        self.values[key] = stored
        self._fresh.append(key)
        self.changes += 1

    def drop(self, key: bytes) -> None:
        """Remove a key that is there."""
        del self.values[key]
        order = self.order()
        del order[bisect_left(order, key)]
        self.changes += 1

    def put_back(self, key: bytes, stored: bytes | None) -> None:
        """Make what is under a key what it was."""
        if stored is None:
            if key in self.values:
                self.drop(key)
        elif key in self.values:
            self.values[key] = stored
        else:
            self.add(key, stored)


class Content:
    """What a partition holds: its tables by name, and who looks at them.

    Attributes:
        tables: by name.
        snapshots: that are open.
        size_bytes: of keys and values.
    """

    __slots__ = ("size_bytes", "snapshots", "tables")

    def __init__(self) -> None:
        self.tables: dict[str, Rows] = {}
        self.snapshots: list[Snapshot] = []
        self.size_bytes = 0

    def rows(self, table: str) -> Rows:
        """Return a table, an empty one when there was none."""
        return self.tables.setdefault(table, Rows())


def _check_key(key: bytes, what: str) -> None:
    if not 0 < len(key) <= MAX_KEY_BYTES:
        raise lmdb.BadValsizeError(f"{what}: a key has 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")


class _Reading:
    """What snapshots and writing transactions have in common, under py-lmdb's names."""

    __slots__ = ()

    def rows(self, db: Rows) -> Rows:
        """Return the table as this transaction sees it."""
        raise lmdb.Error(f"{self!r} shows no table")

    def cursor(self, db: Rows) -> Cursor:
        """Return a cursor over a table."""
        return Cursor(self, db)

    def stat(self, db: Rows) -> dict[str, int]:
        """Return how many keys there are, as "entries"."""
        return {"entries": len(self.rows(db).values)}


class Snapshot(_Reading):
    """A transaction that reads: the content as it was when it began."""

    __slots__ = ("_before", "_content", "_frozen", "_over", "commits", "since_s", "what")

    def __init__(self, content: Content, what: str, since_s: float) -> None:
        self._content = content
        self._before: dict[Rows, dict[bytes, bytes | None]] = {}
        self._frozen: dict[Rows, Rows] = {}
        self._over = False
        self.commits = 0
        self.what = what
        self.since_s = since_s
        content.snapshots.append(self)

    def keep(self, journal: Journal) -> None:
        """Hear what a commit has replaced."""
        self.commits += 1
        for db, key, stored in journal:
            if db not in self._frozen:
                self._before.setdefault(db, {}).setdefault(key, stored)

    def rows(self, db: Rows) -> Rows:
        """Return the table as it was."""
        if self._over:
            raise lmdb.Error("the snapshot has ended; what it showed is to be used inside it")
        frozen = self._frozen.get(db)
        if frozen is not None:
            return frozen
        before = self._before.get(db)
        if before is None:
            return db
        values: dict[bytes, Any] = {**db.values, **before}
        frozen = Rows({key: value for key, value in values.items() if value is not None})
        self._frozen[db] = frozen
        return frozen

    def get(self, key: bytes, default: bytes | None, db: Rows) -> bytes | None:
        """Return what was stored under a key."""
        if not key or self._over:
            _check_key(key, "get")
            self.rows(db)
        if self._before:
            before = self._before.get(db)
            if before is not None and key in before:
                stored = before[key]
                return default if stored is None else stored
            if db in self._frozen:
                return self._frozen[db].values.get(key, default)
        return db.values.get(key, default)

    def abort(self) -> None:
        """End it; harmless when repeated."""
        if not self._over:
            self._over = True
            self._content.snapshots.remove(self)


class Writing(_Reading):
    """The one writing transaction of a partition.

    Attributes:
        journal: what to put back when it is given up.
        grown_bytes: by how much the content has grown.
    """

    __slots__ = ("_content", "_number", "grown_bytes", "journal")

    def __init__(self, content: Content, number: int) -> None:
        self._content = content
        self._number = number
        self.journal: Journal = []
        self.grown_bytes = 0

    def id(self) -> int:
        """Return its number."""
        return self._number

    def rows(self, db: Rows) -> Rows:
        """Return the table."""
        return db

    def get(self, key: bytes, default: bytes | None, db: Rows) -> bytes | None:
        """Return what is stored under a key."""
        if not key:
            _check_key(key, "get")
        return db.values.get(key, default)

    def put(
        self, key: bytes, stored: bytes, _dup: bool, _over: bool, _append: bool, db: Rows
    ) -> bool:
        """Store under a key, over whatever was there."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            _check_key(key, "put")
        values = db.values
        old = values.get(key)
        self.journal.append((db, key, old))
        if old is None:
            self.grown_bytes += len(key) + len(stored)
            db.add(key, stored)
        else:
            self.grown_bytes += len(stored) - len(old)
            values[key] = stored
        return True

    def delete(self, key: bytes, _value: bytes, db: Rows) -> bool:
        """Remove a key; return whether it was there."""
        if not key:
            _check_key(key, "delete")
        old = db.values.get(key)
        if old is None:
            return False
        self.journal.append((db, key, old))
        self.grown_bytes -= len(key) + len(old)
        db.drop(key)
        return True

    def back_to(self, mark: int, grown_bytes: int) -> None:
        """Undo everything since the journal had the length `mark`."""
        journal = self.journal
        for db, key, old in reversed(journal[mark:]):
            db.put_back(key, old)
        del journal[mark:]
        self.grown_bytes = grown_bytes

    def abort(self) -> None:
        """Undo everything."""
        self.back_to(0, 0)

    def commit(self) -> None:
        """Let it stand, and keep what it replaced for those who still look at it."""
        self._content.size_bytes += self.grown_bytes
        for snapshot in self._content.snapshots:
            snapshot.keep(self.journal)


class Nested(Writing):
    """A transaction within another one, which ends before that goes on."""

    __slots__ = ("_mark", "_outer")

    def __init__(self, outer: Writing) -> None:
        super().__init__(outer._content, outer._number)  # noqa: SLF001 - of the same kind
        self._outer = outer
        self._mark = len(outer.journal)
        self.journal = outer.journal

    def abort(self) -> None:
        """Undo what was done in it."""
        self.back_to(self._mark, 0)

    def commit(self) -> None:
        """Leave it to the outer one."""
        self._outer.grown_bytes += self.grown_bytes


class Cursor:
    """A place in a table; a context manager."""

    __slots__ = ("_at", "_changes", "_db", "_key", "_rows", "_txn")

    def __init__(self, txn: _Reading, db: Rows) -> None:
        self._txn = txn
        self._db = db
        self._rows = txn.rows(db)
        self._changes = -1
        self._at = 0
        self._key = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def _ordered(self) -> list[bytes]:
        rows = self._rows = self._txn.rows(self._db)
        self._changes = rows.changes
        return rows.order()

    def _go(self, order: list[bytes], at: int) -> bool:
        if 0 <= at < len(order):
            self._at = at
            self._key = order[at]
            return True
        self._key = b""
        return False

    def first(self) -> bool:
        """Go to the lowest key."""
        return self._go(self._ordered(), 0)

    def last(self) -> bool:
        """Go to the highest key."""
        order = self._ordered()
        return self._go(order, len(order) - 1)

    def set_range(self, key: bytes) -> bool:
        """Go to the lowest key that is not below `key`."""
        order = self._ordered()
        return self._go(order, bisect_left(order, key))

    def next(self) -> bool:
        """Go on by one; to the first one from nowhere."""
        if not self._key:
            return self.first()
        rows = self._txn.rows(self._db)
        if rows is self._rows and rows.changes == self._changes:
            return self._go(rows.order(), self._at + 1)
        order = self._ordered()
        return self._go(order, bisect_right(order, self._key))

    def prev(self) -> bool:
        """Go back by one; to the last one from nowhere."""
        if not self._key:
            return self.last()
        order = self._ordered()
        return self._go(order, bisect_left(order, self._key) - 1)

    def key(self) -> bytes:
        """Return where it is, or b"" where it is nowhere."""
        return self._key

    def item(self) -> tuple[bytes, bytes]:
        """Return key and what is stored."""
        key = self._key
        if not key:
            return b"", b""
        return key, self._txn.rows(self._db).values[key]

    def delete(self) -> bool:
        """Remove what is here and go to the next one."""
        txn, key = self._txn, self._key
        assert isinstance(txn, Writing)
        removed = txn.delete(key, b"", self._db)
        self.set_range(key)
        return removed

    def putmulti(
        self, items: Sequence[tuple[bytes, bytes]], *, dupdata: bool, overwrite: bool
    ) -> None:
        """Store all of them, in order."""
        txn = self._txn
        assert isinstance(txn, Writing)
        for key, stored in items:
            txn.put(key, stored, dupdata, overwrite, False, self._db)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        found = self.first()
        while found:
            yield self.item()
            found = self.next()
