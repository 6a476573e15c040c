"""Bare py-lmdb: the floor. With ready-made bytes, or with cbor2 of the records as the second one.

What a program would write that uses LMDB directly and well: one environment with `sync=True`,
values in named databases, an index as a database with sorted duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cbor2
import lmdb
from typing_extensions import override

from palaver.supervisors.cli.bench.tables.adapter import Adapter
from palaver.supervisors.cli.bench.tables.records import (
    SELECTED_BELOW,
    Account,
    Message,
    account,
    fields_of,
)

_MAP_BYTES = 1 << 34
"""Address space, not disk."""

Pair = tuple[bytes, bytes]


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _queue_key(queue: int, position: int) -> bytes:
    return queue.to_bytes(2, "big") + position.to_bytes(8, "big")


class LmdbAdapter(Adapter):
    """LMDB with keys and values that are bytes already; what is read stays bytes, too.

    Reads go through one snapshot that is kept; `transact_reads` opens one for each transaction.
    """

    def __init__(self, folder: Path, records: int) -> None:
        super().__init__(folder, records)
        self._env: lmdb.Environment | None = None
        self._snapshot: lmdb.Transaction[bytes] | None = None

    @property
    def env(self) -> lmdb.Environment:
        """The open environment."""
        assert self._env is not None
        return self._env

    @override
    def open(self) -> int:
        self.folder.mkdir(exist_ok=True)
        self._env = lmdb.open(str(self.folder), map_size=_MAP_BYTES, max_dbs=4)
        self._accounts = self._env.open_db(b"accounts")
        self._owners = self._env.open_db(b"owners", dupsort=True)
        self._queues = self._env.open_db(b"queues")
        found = 0
        with self._env.begin() as txn, txn.cursor(self._accounts) as cursor:
            for value in cursor.iternext(keys=False, values=True):
                self._opened(value)
                found += 1
        return found

    @override
    def close(self) -> None:
        self._forget_snapshot()
        if self._env is not None:
            self._env.close()
            self._env = None

    @override
    def fill(self, accounts: Sequence[Account]) -> None:
        self.put([self.ready(each) for each in accounts])

    @override
    def fill_for_reads(self) -> None:
        with self.env.begin(write=True) as txn:
            if txn.stat(self._owners)["entries"]:
                return
            for number in range(self.records):
                owner = account(number).owner.encode()
                txn.put(owner, _key(number), db=self._owners)

    @override
    def settle(self) -> None:
        """Do nothing: every commit is durable."""

    @override
    def put(self, items: Sequence[Any]) -> None:
        self._forget_snapshot()
        with self.env.begin(write=True, db=self._accounts) as txn:
            self._put_all(txn, items)

    @override
    def transact(self, items: Sequence[Any]) -> None:
        raise AssertionError("every transaction of LMDB is durable")

    dirty_write = transact

    @override
    def get(self, numbers: Sequence[int]) -> Account:
        if self._snapshot is None:
            self._snapshot = self.env.begin(db=self._accounts)
        return self._get_all(self._snapshot, numbers)

    get_disc_only = get

    @override
    def transact_reads(self, numbers: Sequence[int]) -> Account:
        with self.env.begin(db=self._accounts) as txn:
            return self._get_all(txn, numbers)

    @override
    def index_read(self, owners: Sequence[str]) -> int:
        found = 0
        with self.env.begin(db=self._accounts) as txn, txn.cursor(self._owners) as cursor:
            for owner in owners:
                if cursor.set_key(owner.encode()):
                    for number in cursor.iternext_dup():
                        self._opened(txn.get(number))
                        found += 1
        return found

    @override
    def select(self) -> int:
        found = 0
        with self.env.begin() as txn, txn.cursor(self._accounts) as cursor:
            # Those that were put after the first ones are not looked for.
            for key, value in cursor:
                if int.from_bytes(key, "big") >= self.records:
                    break
                found += cbor2.loads(value)[3] < SELECTED_BELOW
        return found

    @override
    def ranges(self, starts: Sequence[int], size: int) -> int:
        found = 0
        with self.env.begin() as txn, txn.cursor(self._accounts) as cursor:
            for start in starts:
                stop = _key(start + size)
                cursor.set_range(_key(start))
                for key, value in cursor:
                    if key >= stop:
                        break
                    self._opened(value)
                    found += 1
        return found

    @override
    def append(self, items: Sequence[Any]) -> None:
        self._forget_snapshot()
        with self.env.begin(write=True, db=self._queues) as txn:
            self._put_all(txn, items)

    @override
    def take(self, queue: int, count: int) -> int:
        found = 0
        prefix = queue.to_bytes(2, "big")
        with self.env.begin(write=True) as txn, txn.cursor(self._queues) as cursor:
            there = cursor.set_range(prefix)
            while there and found < count and cursor.key().startswith(prefix):
                self._opened(cursor.value())
                found += 1
                there = cursor.delete() and bool(cursor.key())
        return found

    @override
    def disk_bytes(self) -> int:
        page_bytes = self.env.stat()["psize"]
        return int((self.env.info()["last_pgno"] + 1) * page_bytes)

    @override
    def ready(self, record: Account) -> Any:
        return _key(record.number), cbor2.dumps(fields_of(record))

    @override
    def message(self, message: Message) -> Any:
        return _queue_key(*message.place), cbor2.dumps(fields_of(message))

    def _put_all(self, txn: lmdb.Transaction[bytes], items: Sequence[Pair]) -> None:
        put = txn.put
        for key, value in items:
            put(key, value)

    def _get_all(self, txn: lmdb.Transaction[bytes], numbers: Sequence[int]) -> Account:
        get = txn.get
        value = None
        for number in numbers:
            value = get(number.to_bytes(8, "big"))
        return Account(*cbor2.loads(value or b""))

    def _opened(self, value: bytes | None) -> object:
        """Turn what was read into what the program works with."""
        return value

    def _forget_snapshot(self) -> None:
        # A kept snapshot would make the file grow: the pages that it sees cannot be used again.
        if self._snapshot is not None:
            self._snapshot.abort()
            self._snapshot = None


class LmdbCborAdapter(LmdbAdapter):
    """LMDB and a program that encodes its records and makes them again from what it reads."""

    @override
    def ready(self, record: Account) -> Any:
        return record

    @override
    def message(self, message: Message) -> Any:
        return message

    def _put_all(self, txn: lmdb.Transaction[bytes], items: Sequence[Any]) -> None:
        put = txn.put
        dumps = cbor2.dumps
        if items and isinstance(items[0], Account):
            for one in items:
                fields = (one.number, one.owner, one.city, one.balance, one.opened, one.note)
                put(_key(one.number), dumps(fields))
            return
        for one in items:
            fields = (one.place, one.sender, one.kind, one.size, one.sent, one.body)
            put(_queue_key(*one.place), dumps(fields))

    def _get_all(self, txn: lmdb.Transaction[bytes], numbers: Sequence[int]) -> Account:
        get = txn.get
        loads = cbor2.loads
        for number in numbers:
            found = Account(*loads(get(number.to_bytes(8, "big")) or b""))
        return found

    def _opened(self, value: bytes | None) -> object:
        return Account(*cbor2.loads(value or b""))
