"""Palaver's tables, by their public face, as a program uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from palaver.storage.tables import ANY, Activity, Database, Selection, Table, V, match
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.tables.adapter import Adapter, Job
from palaver.supervisors.cli.bench.tables.callers import from_tasks, from_threads
from palaver.supervisors.cli.bench.tables.records import (
    SELECTED_BELOW,
    Account,
    Message,
    account,
    chunks,
)

_FILL = 1_000


class TablesAdapter(Adapter):
    """A database with one partition and no loop; only coroutines have one, for their time."""

    def __init__(self, folder: Path, records: int) -> None:
        super().__init__(folder, records)
        self._db: Database | None = None
        self._warm = False

    @property
    def db(self) -> Database:
        """The open database."""
        assert self._db is not None
        return self._db

    @override
    def open(self) -> int:
        db = self._db = Database.open(self.folder, records=[Account, Message])
        self._warm = False
        self._accounts: Table[Account] = db.ensure_table(Account)
        self._disc_only = db.ensure_table(Account, name="DiscOnly", storage="disc_only_copies")
        self._indexed = db.ensure_table(Account, name="Indexed", index=["owner"])
        self._ordered = db.ensure_table(Account, name="Ordered", type="ordered_set")
        self._messages: Table[Message] = db.ensure_table(Message, type="ordered_set")
        return int(db.table_info(Account, "size"))

    @override
    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @override
    def fill(self, accounts: Sequence[Account]) -> None:
        self.db.transaction(_write_all, accounts)

    @override
    def fill_for_reads(self) -> None:
        tables = (self._disc_only, self._indexed, self._ordered)
        for table in tables:
            if self.db.table_info(table, "size"):
                continue
            for numbers in chunks(range(self.records), min(_FILL, self.records)):
                accounts = [account(number) for number in numbers]
                self.db.transaction(_write_all_to, accounts, table)
        self.settle()

    @override
    def settle(self) -> None:
        self.db.sync_log()

    @override
    def warm_up(self) -> int:
        # Records stay as they were stored until they are first read; that is not measured here.
        if self._warm:
            return 0
        self._warm = True
        return sum(
            self.db.dirty_get(self._accounts, number) is not None for number in range(self.records)
        )

    @override
    def ready(self, record: Account) -> Any:
        return record

    @override
    def put(self, items: Sequence[Any]) -> None:
        if len(items) == 1:
            self.db.sync_transaction(_write, items[0])
        else:
            self.db.sync_transaction(_write_all, items)

    @override
    def transact(self, items: Sequence[Any]) -> None:
        transaction = self.db.transaction
        for item in items:
            transaction(_read_and_write, item)

    @override
    def dirty_write(self, items: Sequence[Any]) -> None:
        write = self.db.dirty_write
        for item in items:
            write(item)

    @override
    def get(self, numbers: Sequence[int]) -> Account:
        return self._get(self._accounts, numbers)

    @override
    def get_disc_only(self, numbers: Sequence[int]) -> Account:
        return self._get(self._disc_only, numbers)

    def _get(self, table: Table[Account], numbers: Sequence[int]) -> Account:
        get = self.db.dirty_get
        found = None
        for number in numbers:
            found = get(table, number)
        assert found is not None
        return found

    @override
    def transact_reads(self, numbers: Sequence[int]) -> Account:
        return self.db.transaction(_read_all, self._accounts, numbers)

    @override
    def index_read(self, owners: Sequence[str]) -> int:
        read = self.db.dirty_index_read
        table = self._indexed
        return sum(len(read(table, owner, "owner")) for owner in owners)

    @override
    def select(self) -> int:
        looked_for = match(Account, number=V(1), balance=V(2)).where(
            V(1) < self.records, V(2) < SELECTED_BELOW
        )
        return len(self.db.dirty_select(self._accounts, looked_for))

    @override
    def ranges(self, starts: Sequence[int], size: int) -> int:
        found = 0
        for start in starts:
            wanted = match(Account, number=V(1)).where(V(1) >= start, V(1) < start + size)
            found += len(self.db.dirty_select(self._ordered, wanted))
        return found

    @override
    def message(self, message: Message) -> Any:
        return message

    @override
    def append(self, items: Sequence[Any]) -> None:
        self.db.sync_transaction(_write_all, items)

    @override
    def take(self, queue: int, count: int) -> int:
        return self.db.sync_transaction(_take, self._messages, queue, count)

    @override
    def disk_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("data.mdb"))

    @override
    def callers(self, items: Sequence[Any], job: Job) -> Result | None:
        def put(item: Account) -> None:
            self.db.sync_transaction(_write, item)

        begun = _commits(self.db)
        result = from_threads(put, items, job)
        return result | {"batch": _batch(begun, _commits(self.db))}

    @override
    def tasks(self, items: Sequence[Any], job: Job) -> Result | None:
        self.close()
        result = asyncio.run(self._tasks(items, job))
        self.open()
        return result

    async def _tasks(self, items: Sequence[Any], job: Job) -> Result:
        loop = asyncio.get_running_loop()
        db = Database.open(
            self.folder,
            records=[Account, Message],
            post=loop.call_soon_threadsafe,
            defer=loop.call_soon,
        )
        try:
            put: Callable[[Account], Awaitable[None]] = lambda item: (  # noqa: E731
                db.aio.sync_transaction(_write, item)
            )
            begun = _commits(db)
            result = await from_tasks(put, items, job)
            return result | {"batch": _batch(begun, _commits(db))}
        finally:
            await db.aclose()


def _write(activity: Activity, item: Account) -> None:
    activity.write(item)


def _write_all(activity: Activity, items: Sequence[Account | Message]) -> None:
    activity.write_all(items)


def _write_all_to(activity: Activity, items: Sequence[Account], table: Table[Account]) -> None:
    activity.write_all(items, table)


def _read_and_write(activity: Activity, item: Account) -> None:
    activity.read(Account, item.number)
    activity.write(item)


def _read_all(activity: Activity, table: Table[Account], numbers: Sequence[int]) -> Account:
    get = activity.get
    found = None
    for number in numbers:
        found = get(table, number)
    assert found is not None
    return found


def _take(activity: Activity, table: Table[Message], queue: int, count: int) -> int:
    selection = activity.select(table, match(Message, place=(queue, ANY)), limit=count)
    if not isinstance(selection, Selection):
        return 0
    for message in selection.items:
        activity.delete(table, message.place)
    return len(selection.items)


def _commits(db: Database) -> tuple[int, int]:
    assert db.store is not None
    stats = db.store.stats()
    return stats.commits, stats.commands


def _batch(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Return how many transactions shared a commit."""
    return (after[1] - before[1]) / max(1, after[0] - before[0])
