"""In the middle of a transaction: others are nested in it, and the schema stays as it is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tables_kit import Account

from palaver.storage.tables import Aborted, Database, NestedTransaction, NoExists

A, B = Account("a", "x", 1), Account("b", "y", 2)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "db") as database:
        database.create_table(Account)
        yield database


CHANGES: list[Callable[[Database], object]] = [
    lambda db: db.create_table(name="other", attributes=["k", "v"]),
    lambda db: db.delete_table(Account),
    lambda db: db.clear_table(Account),
    lambda db: db.add_table_index(Account, "owner"),
    lambda db: db.transform_table(Account, lambda record: record, record=Account),
    lambda db: db.change_table_copy_type(Account, "ram_copies"),
    lambda db: db.change_table_access_mode(Account, "read_only"),
    lambda db: db.change_table_load_order(Account, 1),
    lambda db: db.write_table_property(Account, "name", 1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_schema_is_not_changed_in_the_middle_of_a_transaction(
    db: Database, change: Callable[[Database], object]
) -> None:
    def work(tx: Any) -> None:
        tx.write(A)
        with pytest.raises(NestedTransaction) as refusal:
            change(db)
        assert refusal.value.code == "nested_transaction"
        with pytest.raises(NestedTransaction), tx.nested():
            change(db)

    db.transaction(work)
    assert db.dirty_read(Account, "a") == [A]
    change(db)


def test_a_transaction_within_another_is_nested_in_it(db: Database) -> None:
    def inner(tx: Any, record: Account) -> int:
        assert tx.read(Account, "a") == [A]  # what the outer one has written
        tx.write(record)
        return len(tx.all_keys(Account))

    def outer(tx: Any, run: Any) -> None:
        tx.write(A)
        assert run(inner, B) == 2
        with pytest.raises(Aborted):
            run(lambda one: (one.delete(Account, "a"), one.abort()))
        assert tx.read(Account, "a") == [A]
        tx.abort("all of it")

    for run in (db.transaction, db.sync_transaction):
        with pytest.raises(Aborted):
            db.transaction(outer, run)
        assert db.dirty_all_keys(Account) == []


def test_what_another_thread_does_is_not_within(db: Database) -> None:
    def work(tx: Any) -> None:
        tx.table_info(Account, "size")
        thread = threading.Thread(target=lambda: db.transaction(lambda other: other.write(B)))
        thread.start()
        thread.join()
        tx.abort()

    with pytest.raises(Aborted):
        db.transaction(work)
    assert db.dirty_read(Account, "b") == [B]


def test_of_two_databases_each_has_its_own_transaction(db: Database) -> None:
    with Database.in_memory() as other:
        other.create_table(Account)

        def work(tx: Any) -> None:
            tx.write(A)
            other.transaction(lambda mine: (mine.write(B), db.transaction(more)))
            other.create_table(name="third", attributes=["k", "v"])
            tx.abort()

        def more(tx: Any) -> None:
            assert tx.read(Account, "a") == [A]

        with pytest.raises(Aborted):
            db.transaction(work)
        assert other.dirty_read(Account, "b") == [B]
        assert db.dirty_all_keys(Account) == []


async def _beside(db: Database) -> None:
    async def child() -> None:
        await db.aio.transaction(lambda tx: tx.write(B))
        await db.aio.create_table(name="other", attributes=["k", "v"])

    async def work(tx: Any) -> None:
        tx.write(A)
        await db.aio.transaction(lambda inner: inner.write(Account("c", "z", 3)))
        assert tx.read(Account, "c") != []
        with pytest.raises(NestedTransaction):
            await db.aio.create_table(name="another", attributes=["k", "v"])

        async def aborted(inner: Any) -> None:
            inner.delete(Account, "a")
            await asyncio.sleep(0)
            inner.abort()

        with pytest.raises(Aborted):
            await db.aio.transaction(aborted)
        assert tx.read(Account, "a") == [A]
        await asyncio.create_task(child())
        tx.abort()

    with pytest.raises(Aborted):
        await db.aio.transaction(work)


def test_a_coroutines_tasks_are_not_within_and_what_it_awaits_itself_is(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        db = Database.open(tmp_path, post=loop.call_soon_threadsafe, defer=loop.call_soon)
        try:
            await db.aio.create_table(Account)
            await _beside(db)
            assert db.dirty_all_keys(Account) == ["b"]
            assert db.tables() == ["Account", "other"]
        finally:
            await db.aclose()

    asyncio.run(main())


def test_tables_are_there_when_the_database_is_open(db: Database) -> None:
    db.wait_for_tables([Account, "Account"])
    with pytest.raises(NoExists, match="other"):
        db.wait_for_tables(["other"])
