"""Who hears of what, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tables_kit import Account, Visit

from palaver.storage.tables import Aborted, Database
from palaver.storage.tables.events import (
    Delete,
    DeleteObject,
    DetailedDelete,
    DetailedWrite,
    SchemaChanged,
    SubscriberFailed,
    UserEvent,
    Write,
)

A, A2 = Account("a", "x", 1), Account("a", "x", 2)


@pytest.fixture(params=["memory", "disc"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    where = Database.in_memory() if request.param == "memory" else Database.open(tmp_path)
    with where as database:
        yield database


def test_simple_and_detailed_events_of_a_set(db: Database) -> None:
    db.create_table(Account)
    simple: list[Any] = []
    detailed: list[Any] = []
    db.subscribe(Account, simple.append)
    db.subscribe(Account, detailed.append, "detailed")
    db.dirty_write(A)
    db.dirty_write(A2)
    db.dirty_delete_object(A2)
    db.dirty_delete(Account, "a")
    db.sync_log()
    assert [type(event) for event in simple] == [Write, Write, DeleteObject, Delete]
    assert simple[0].record == A
    assert simple[3].key == "a"
    assert [event.old_records for event in detailed] == [(), (A,), (A2,), ()]
    assert isinstance(detailed[0], DetailedWrite)
    assert detailed[3] == DetailedDelete("Account", "a", True, (), detailed[3].activity)
    assert {event.activity.kind for event in simple} == {"async_dirty"}


def test_one_operation_of_a_transaction_is_told_for_a_key_of_a_set(db: Database) -> None:
    db.create_table(Account)
    db.dirty_write(A)
    db.sync_log()
    detailed: list[Any] = []
    db.subscribe(Account, detailed.append, "detailed")

    def told(*operations: Any) -> list[Any]:
        detailed.clear()

        def work(tx: Any) -> None:
            for name, *args in operations:
                getattr(tx, name)(*args)

        with pytest.raises(Aborted):
            db.sync_transaction(lambda tx: (work(tx), tx.abort()))
        db.sync_transaction(work)
        found = list(detailed)
        db.dirty_write(A)
        db.sync_log()
        return found

    (event,) = told(("write", A2), ("write", A2))
    assert event == DetailedWrite("Account", A2, (A,), event.activity)
    (event,) = told(("write", A2), ("delete", Account, "a"))
    assert event == DetailedDelete("Account", "a", True, (A,), event.activity)
    (event,) = told(("write", A2), ("delete_object", A2))
    assert event == DetailedDelete("Account", "a", True, (A,), event.activity)
    (event,) = told(("write", A2), ("delete_object", A))
    assert event == DetailedWrite("Account", A2, (A,), event.activity)
    (event,) = told(("delete_object", A), ("write", A2))
    assert event == DetailedWrite("Account", A2, (A,), event.activity)
    one, other = told(("delete_object", A2), ("delete_object", A), ("delete_object", A2))
    assert (one.what, one.old_records) == (A, (A,))
    assert (other.what, other.old_records) == (A2, ())


def test_an_object_to_delete_that_is_not_there_is_told(db: Database) -> None:
    db.create_table(Account)
    db.create_table(Visit, type="bag")
    seen: list[Any] = []
    db.subscribe(Account, seen.append)
    db.subscribe(Visit, seen.append)
    db.dirty_delete_object(A)
    db.dirty_delete_object(Visit("p", 1))
    db.sync_transaction(lambda tx: tx.delete_object(A2))
    assert [event.record for event in seen] == [A, Visit("p", 1), A2]
    assert {type(event) for event in seen} == {DeleteObject}
    assert db.dirty_all_keys(Account) == db.dirty_all_keys(Visit) == []


def test_a_bag_tells_of_its_records(db: Database) -> None:
    db.create_table(Visit, type="bag")
    seen: list[Any] = []
    db.subscribe(Visit, seen.append, "detailed")
    db.dirty_write(Visit("p", 1))
    db.dirty_write(Visit("p", 2))
    db.dirty_delete_object(Visit("p", 2))
    db.dirty_write(Visit("p", True))
    db.dirty_delete(Visit, "p")
    db.sync_log()
    assert [len(event.old_records) for event in seen] == [0, 1, 1, 1, 2]


def test_a_bag_tells_what_a_transaction_leaves_to_be_done(db: Database) -> None:
    db.create_table(Visit, type="bag")
    seen: list[Any] = []
    db.subscribe(Visit, seen.append, "detailed")
    one, two = Visit("p", 1), Visit("p", 2)

    def work(tx: Any) -> None:
        tx.write(one)  # void: its key is deleted
        tx.delete(Visit, "p")
        tx.write(two)
        tx.write(one)  # void: it is deleted
        tx.write(Visit("p", True))
        tx.write(two)  # is there already
        tx.delete_object(one)
        tx.write(one)

    db.sync_transaction(work)
    assert [(type(event).__name__, len(event.old_records)) for event in seen] == [
        ("DetailedDelete", 0),
        ("DetailedWrite", 0),
        ("DetailedWrite", 1),
        ("DetailedDelete", 0),
        ("DetailedWrite", 2),
    ]
    assert [getattr(event, "record", None) for event in seen] == [
        None,
        two,
        Visit("p", True),
        None,
        one,
    ]


def test_what_was_undone_is_not_told(db: Database) -> None:
    db.create_table(Account)
    seen: list[Any] = []
    db.subscribe(Account, seen.append)

    def work(tx: Any) -> None:
        with pytest.raises(Aborted):
            tx.transaction(lambda inner: (inner.write(A), inner.abort()))
        tx.write(A2)

    db.sync_transaction(work)
    with pytest.raises(Aborted):
        db.transaction(lambda tx: (tx.write(A), tx.abort()))
    db.sync_log()
    assert [event.record for event in seen] == [A2]


def test_one_who_cancels_hears_no_more_and_one_who_fails_harms_nobody(db: Database) -> None:
    db.create_table(Account)
    seen: list[Any] = []
    told: list[Any] = []

    def fail(event: Any) -> None:
        raise LookupError(event.record.number)

    db.subscribe("system", told.append)
    db.subscribe(Account, fail)
    subscription = db.subscribe(Account, seen.append)
    db.dirty_write(A)
    db.sync_log()
    subscription.cancel()
    subscription.cancel()
    db.dirty_write(A2)
    db.sync_log()
    assert [event.record for event in seen] == [A]
    assert [type(event) for event in told] == [SubscriberFailed, SubscriberFailed]
    assert isinstance(told[0].error, LookupError)


def test_the_system_tells_of_the_schema_and_of_users(db: Database) -> None:
    told: list[Any] = []
    db.subscribe("system", told.append)
    db.create_table(Account)
    db.report_event(("mine", 1))
    db.delete_table(Account)
    assert told == [
        SchemaChanged("Account", "create_table"),
        UserEvent(("mine", 1)),
        SchemaChanged("Account", "delete_table"),
    ]


def test_a_subscription_survives_a_change_of_the_table(db: Database) -> None:
    db.create_table(Account)
    seen: list[Any] = []
    db.subscribe(Account, seen.append)
    db.add_table_index(Account, "owner")
    db.dirty_write(A)
    db.sync_log()
    assert len(seen) == 1
