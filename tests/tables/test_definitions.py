"""Changing the schema while the database runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tables_kit import STORAGES, TYPES, Account, Visit

from palaver.storage.tables import (
    IGNORE,
    AlreadyExists,
    BadType,
    Database,
    NoExists,
    SchemaMismatch,
    TableError,
    pattern,
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "db") as database:
        yield database


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> Any:
    return request.param


def accounts(db: Database) -> list[Account]:
    return sorted(db.dirty_match_object(pattern(Account)), key=lambda one: one.number)


RECORDS = [Account(str(n), "xyz"[n % 3], n) for n in range(9)]


def filled(db: Database, **options: Any) -> None:
    db.create_table(Account, **options)
    db.sync_transaction(lambda tx: tx.write_all(RECORDS))


def elsewhere(function: Callable[[], object]) -> None:
    """Run something in another thread, and wait for it."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@dataclass(frozen=True)
class Renamed:
    number: str
    cents: int


def test_a_table_that_is_deleted_is_gone_with_everything(tmp_path: Path, storage: Any) -> None:
    with Database.open(tmp_path) as db:
        filled(db, storage=storage, index=["owner"])
        db.delete_table(Account)
        assert db.tables() == []
        with pytest.raises(NoExists):
            db.dirty_read(Account, "1")
        filled(db, storage=storage)
        assert accounts(db) == RECORDS
        db.clear_table(Account)
        assert accounts(db) == []
        db.dirty_write(RECORDS[0])
        assert db.table_info(Account, "size") == 1
    with Database.open(tmp_path, records=[Account]) as db:
        assert accounts(db) == (RECORDS[:1] if storage != "ram_copies" else [])


@pytest.mark.parametrize("target", STORAGES)
def test_a_table_changes_its_storage(tmp_path: Path, storage: Any, target: Any) -> None:
    with Database.open(tmp_path) as db:
        filled(db, storage=storage, index=["owner"])
        if storage == target:
            with pytest.raises(AlreadyExists):
                db.change_table_copy_type(Account, target)
            return
        db.change_table_copy_type(Account, target)
        assert accounts(db) == RECORDS
        assert len(db.dirty_index_read(Account, "x", "owner")) == 3
        db.dirty_delete(Account, "0")
        assert len(db.dirty_index_read(Account, "x", "owner")) == 2
    with Database.open(tmp_path, records=[Account]) as db:
        assert accounts(db) == ([] if target == "ram_copies" else RECORDS[1:])
        assert db.table_info(Account, "storage_type") == target


def test_an_index_comes_and_goes(tmp_path: Path, storage: Any) -> None:
    with Database.open(tmp_path) as db:
        filled(db, storage=storage)
        db.add_table_index(Account, "balance")
        assert db.dirty_index_read(Account, 4, "balance") == [RECORDS[4]]
        with pytest.raises(AlreadyExists):
            db.add_table_index(Account, "balance")
        with pytest.raises(BadType):
            db.add_table_index(Account, "none")
    with Database.open(tmp_path, records=[Account]) as db:
        if storage != "ram_copies":
            assert db.dirty_index_read(Account, 4, "balance") == [RECORDS[4]]
        db.del_table_index(Account, "balance")
        with pytest.raises(NoExists):
            db.dirty_index_read(Account, 4, "balance")
        with pytest.raises(NoExists):
            db.del_table_index(Account, "balance")


def test_a_transformation_migrates_every_record(tmp_path: Path, storage: Any) -> None:
    with Database.open(tmp_path) as db:
        filled(db, storage=storage, index=["owner"])
        with pytest.raises(BadType):  # the index of owner would have nothing to stand on
            db.transform_table(Account, lambda old: Renamed(old.number, 1), record=Renamed)
        db.del_table_index(Account, "owner")
        db.transform_table(
            Account, lambda old: Renamed(old.number, old.balance * 100), record=Renamed
        )
        assert db.dirty_get("Account", "3") == Renamed("3", 300)
        assert db.table_info("Account", "attributes") == ["number", "cents"]
        assert db.table_info("Account", "size") == 9
    if storage == "ram_copies":
        return
    with pytest.raises(SchemaMismatch):
        Database.open(tmp_path, records=[type("Renamed", (Visit,), {})])
    with Database.open(tmp_path, records=[Renamed]) as db:
        assert db.dirty_get("Account", "3") == Renamed("3", 300)


def test_a_transformation_that_fails_changes_nothing(db: Database, storage: Any) -> None:
    filled(db, storage=storage)
    with pytest.raises(BadType):
        db.transform_table(Account, lambda old: Renamed("same", 1), record=Renamed)
    with pytest.raises(ZeroDivisionError):
        db.transform_table(Account, lambda old: 1 // 0, record=Renamed)
    assert accounts(db) == RECORDS
    db.transform_table(Account, IGNORE, attributes=["number", "holder", "cents"])
    assert db.dirty_get("Account", "3").holder == "x"


def test_a_table_is_ensured(tmp_path: Path) -> None:
    for _ in range(2):
        with Database.open(tmp_path) as db:
            db.ensure_table(Account, storage="disc_only_copies")
            db.dirty_write(RECORDS[0])
            db.ensure_table(Account, index=["owner"])
            assert db.dirty_index_read(Account, "x", "owner") == [RECORDS[0]]
            with pytest.raises(SchemaMismatch):
                db.ensure_table(Account, type="bag")
            with pytest.raises(SchemaMismatch):
                db.ensure_table(Visit, name="Account")


@pytest.mark.parametrize("kind", TYPES)
def test_a_table_without_a_class(db: Database, kind: Any) -> None:
    table = db.create_table(name="things", attributes=["id", "what"], type=kind)
    made = db.table_info(table, "record_class")
    db.dirty_write(made((1, "a"), ["x"]), table)
    (record,) = db.dirty_read("things", (1, "a"))
    assert tuple(record) == ((1, "a"), ("x",))


def test_properties_and_order(tmp_path: Path) -> None:
    with Database.open(tmp_path) as db:
        filled(db)
        db.change_table_load_order(Account, 7)
        db.write_table_property(Account, "about", {"who": 1})
        assert db.read_table_property(Account, "about") == {"who": 1}
        with pytest.raises(TableError):
            db.change_table_load_order(Account, "high")  # type: ignore[arg-type]
    with Database.open(tmp_path) as db:
        assert db.table_info("Account", "load_order") == 7
        db.delete_table_property("Account", "about")
        with pytest.raises(NoExists):
            db.read_table_property("Account", "about")


def test_tables_are_loaded_in_their_order(tmp_path: Path) -> None:
    with Database.open(tmp_path) as db:
        for name, order in (("low", 1), ("high", 9), ("middle", 5)):
            db.create_table(name=name, attributes=["a", "b"], load_order=order)
    seen: list[str] = []
    with Database.open(tmp_path, progress=lambda table, _: seen.append(table)):
        assert seen == ["high", "middle", "low"]


def test_a_change_of_the_schema_has_running_transactions_begin_again(db: Database) -> None:
    filled(db)
    calls: list[int] = []

    def work(tx: Any) -> int:
        calls.append(1)
        before = tx.table_info(Account, "storage_type")
        if len(calls) == 1:
            elsewhere(lambda: db.change_table_copy_type(Account, "ram_copies"))
        tx.write(Account("n", "n", len(calls)))
        return before

    assert db.transaction(work) == "ram_copies"
    assert db.dirty_get(Account, "n") == Account("n", "n", 2)
