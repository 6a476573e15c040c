"""Activities: reading one's own writes, whole or not at all, nested, told by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tables_kit import STORAGES, Account, Counter, Visit

from palaver.storage.check import check
from palaver.storage.tables import (
    ANY,
    END,
    RECORD,
    Aborted,
    Activity,
    AlreadyExists,
    BadArgument,
    BadType,
    CombineError,
    Conflict,
    Database,
    NoExists,
    NoTransaction,
    NotRunning,
    ReadOnly,
    V,
    each,
    match,
    pattern,
    query,
)
from palaver.storage.tables.machine import TableMachine


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "db") as database:
        yield database


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> Any:
    return request.param


A, B, C = Account("a", "x", 1), Account("b", "x", 2), Account("c", "y", 3)


def test_a_transaction_reads_what_it_has_written(db: Database, storage: Any) -> None:
    db.create_table(Account, storage=storage)

    def work(tx: Activity) -> None:
        assert tx.read(Account, "a") == []
        assert tx.get(Account, "a") is None
        tx.write(A)
        assert tx.read(Account, "a") == [A]
        assert db.dirty_read(Account, "a") == []
        tx.delete(Account, "a")
        assert tx.read(Account, "a") == []
        tx.write(A)

    db.transaction(work)
    assert db.dirty_get(Account, "a") == A
    assert db.table_info(Account, "size") == 1


def test_an_exception_undoes_everything_and_is_raised(db: Database, storage: Any) -> None:
    db.create_table(Account, storage=storage)
    db.dirty_write(A)

    def work(tx: Activity) -> None:
        tx.write(Account("a", "z", 9))
        tx.write(B)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        db.transaction(work)
    assert db.dirty_match_object(pattern(Account)) == [A]


def test_abort_tells_its_reason(db: Database) -> None:
    with pytest.raises(Aborted) as failure:
        db.transaction(lambda tx: tx.abort(("no", 1)))
    assert failure.value.reason == ("no", 1)
    assert failure.value.code == "aborted"


def test_a_nested_transaction_is_undone_alone(db: Database, storage: Any) -> None:
    db.create_table(Account, storage=storage)

    def inner(tx: Activity) -> None:
        assert tx.get(Account, "a") == A
        tx.delete(Account, "a")
        tx.write(B)
        tx.abort("inner")

    def outer(tx: Activity) -> str:
        tx.write(A)
        with pytest.raises(Aborted):
            tx.transaction(inner)
        assert tx.get(Account, "a") == A
        assert tx.get(Account, "b") is None
        tx.transaction(lambda inner: inner.write(C))
        return "done"

    assert db.transaction(outer) == "done"
    assert sorted(db.dirty_all_keys(Account)) == ["a", "c"]


def test_an_activity_ends_with_its_function(db: Database) -> None:
    db.create_table(Account)
    kept = db.transaction(lambda tx: tx)
    with pytest.raises(NoTransaction):
        kept.read(Account, "a")


def test_what_is_durable_is_there_after_opening_again(tmp_path: Path, storage: Any) -> None:
    with Database.open(tmp_path) as db:
        db.create_table(Account, storage=storage, index=["owner"])
        db.sync_transaction(lambda tx: tx.write_all([A, B, C]))
        db.transaction(lambda tx: tx.delete(Account, "c"))
    with Database.open(tmp_path, records=[Account]) as db:
        found = sorted(db.dirty_match_object(pattern(Account)), key=lambda one: one.number)
        assert found == ([] if storage == "ram_copies" else [A, B])
        assert db.table_info(Account, "size") == len(found)
        assert db.table_info(Account, "index") == ["owner"]
        assert len(db.dirty_index_read(Account, "x", "owner")) == len(found)
    with Database.open(tmp_path) as db:
        records = db.transaction(lambda tx: tx.match_object(pattern_any(db), "Account"))
        assert len(records) == len(found)


def pattern_any(db: Database) -> Any:
    return pattern(db.table_info("Account", "record_class"))


def test_an_ordered_set_answers_in_order_also_by_an_index(db: Database, storage: Any) -> None:
    db.create_table(Account, type="ordered_set", storage=storage, index=["owner"])
    for number in "dbeac":
        db.dirty_write(Account(number, "x", 0))
    wanted = pattern(Account, owner="x")

    def work(tx: Any) -> list[list[str]]:
        tx.write(Account("aa", "x", 0))
        found = [tx.match_object(wanted), tx.select(Account, [(wanted, [], [RECORD])])]
        return [[one.number for one in records] for records in found]

    assert db.transaction(work) == [["a", "aa", "b", "c", "d", "e"]] * 2
    assert [one.number for one in db.dirty_match_object(wanted)] == ["a", "aa", "b", "c", "d", "e"]


def test_equal_numbers_are_found_by_key_and_by_index(db: Database, storage: Any) -> None:
    db.create_table(name="t", attributes=["k", "v"], storage=storage, index=["v"])
    record = db.table_info("t", "record_class")
    for value in (1, 1.0, True, 2):
        db.dirty_write(record(value, value), "t")
    for head in (record(V(1), ANY), record(ANY, V(1))):
        found = db.dirty_select("t", [(head, [V(1) == 1.0], [V(1)])])
        assert sorted(map(repr, found)) == ["1", "1.0"]


def test_a_bag_keeps_the_order_of_insertion(db: Database, storage: Any) -> None:
    db.create_table(Visit, type="bag", storage=storage)
    first, second = Visit("p", 1), Visit("p", 2)

    def work(tx: Activity) -> None:
        tx.write(second)
        tx.write(first)
        tx.write(second)

    db.transaction(work)
    assert db.dirty_read(Visit, "p") == [second, first]
    assert db.table_info(Visit, "size") == 2
    db.dirty_delete_object(second)
    assert db.dirty_read(Visit, "p") == [first]
    db.dirty_write(Visit("p", 1.0))
    assert db.dirty_read(Visit, "p") == [first, Visit("p", 1.0)]
    db.dirty_delete(Visit, "p")
    assert db.dirty_read(Visit, "p") == []


def test_stepping_sees_own_writes_and_deletions(db: Database, storage: Any) -> None:
    db.create_table(Visit, type="ordered_set", storage=storage)
    for place in (1, 3, 5, 7):
        db.dirty_write(Visit(place, "x"))

    def work(tx: Activity) -> None:
        tx.write(Visit(4, "x"))
        tx.delete(Visit, 5)
        assert [tx.first(Visit), tx.last(Visit)] == [1, 7]
        assert [tx.next(Visit, key) for key in (1, 3, 4, 6)] == [3, 4, 7, 7]
        assert [tx.prev(Visit, key) for key in (7, 4, 3, 2)] == [4, 3, 1, 1]
        assert tx.next(Visit, 7) is END
        assert tx.prev(Visit, 1) is END
        assert tx.all_keys(Visit) == [1, 3, 4, 7]
        assert tx.foldl(lambda record, keys: [*keys, record.place], [], Visit) == [1, 3, 4, 7]
        assert tx.foldr(lambda record, keys: [*keys, record.place], [], Visit) == [7, 4, 3, 1]

    db.transaction(work)


def test_an_index_sees_own_writes(db: Database, storage: Any) -> None:
    db.create_table(Account, storage=storage, index=["owner"])
    db.dirty_write(A)
    db.dirty_write(B)

    def work(tx: Activity) -> None:
        tx.write(C)
        tx.write(Account("a", "y", 1))
        assert tx.index_read(Account, "x", "owner") == [B]
        assert len(tx.index_read(Account, "y", "owner")) == 2
        tx.delete(Account, "b")
        assert tx.index_read(Account, "x", "owner") == []
        with pytest.raises(NoExists):
            tx.index_read(Account, 1, "balance")

    db.transaction(work)
    assert db.dirty_index_read(Account, "x", "owner") == []
    assert len(db.dirty_index_read(Account, "y", "owner")) == 2


def test_select_in_parts(db: Database, storage: Any) -> None:
    db.create_table(Visit, type="ordered_set", storage=storage)
    for place in range(10):
        db.dirty_write(Visit(place, place % 2))
    spec = match(Visit, place=V(1), who=1).where(V(1) > 2).select(V(1))

    def work(tx: Activity) -> list[list[Any]]:
        parts = []
        found = tx.select(Visit, spec, 2)
        while found is not END:
            parts.append(found.items)
            found = tx.select_more(found.continuation)
        return parts

    assert db.transaction(work) == [[3, 5], [7, 9]]
    assert db.dirty_select(Visit, spec) == [3, 5, 7, 9]


def test_patterns_find_by_key_by_index_and_by_looking(db: Database, storage: Any) -> None:
    db.create_table(Account, storage=storage, index=["owner"])
    db.transaction(lambda tx: tx.write_all([A, B, C]))
    assert db.dirty_match_object(pattern(Account, number="a")) == [A]
    assert db.dirty_match_object(Account("a", "y", ANY)) == []
    assert db.dirty_match_object(pattern(Account, balance=3)) == [C]
    assert len(db.dirty_match_object(pattern(Account, owner="x"))) == 2
    assert len(db.dirty_index_match_object(pattern(Account, owner="x"), "owner")) == 2
    with pytest.raises(BadType):
        db.dirty_index_match_object(pattern(Account, balance=1), "owner")


def test_counters(db: Database, storage: Any) -> None:
    db.create_table(Counter, storage=storage)
    assert db.dirty_update_counter(Counter, "a", 5) == 5
    assert db.dirty_update_counter(Counter, "a", -7) == 0
    assert db.transaction(lambda tx: tx.update_counter(Counter, "a", 2)) == 2
    assert db.dirty_get(Counter, "a") == Counter("a", 2)
    db.create_table(Account)
    with pytest.raises(CombineError):
        db.dirty_update_counter(Account, "a", 1)
    db.create_table(Counter, name="bag", type="bag")
    with pytest.raises(CombineError):
        db.dirty_update_counter("bag", "a", 1)


def test_what_a_read_only_table_refuses(db: Database) -> None:
    db.create_table(Account, access_mode="read_only")
    with pytest.raises(AlreadyExists):
        db.change_table_access_mode(Account, "read_only")
    for refused in (
        lambda tx: tx.wread(Account, "a"),
        lambda tx: tx.lock(("table", Account), "write"),
        lambda tx: tx.lock((Account, "a"), "write"),
    ):
        with pytest.raises(ReadOnly):
            db.transaction(refused)
    db.transaction(lambda tx: tx.lock(("table", Account), "read"))
    for change in (
        lambda: db.clear_table(Account),
        lambda: db.delete_table(Account),
        lambda: db.change_table_copy_type(Account, "ram_copies"),
        lambda: db.transform_table(Account, lambda record: record, record=Account),
    ):
        with pytest.raises(ReadOnly):
            change()
    db.add_table_index(Account, "owner")
    db.change_table_access_mode(Account, "read_write")
    db.dirty_write(A)


def test_what_is_refused(db: Database) -> None:
    accounts = db.create_table(Account)
    with pytest.raises(AlreadyExists):
        db.create_table(Account)
    with pytest.raises(NoExists, match="other"):
        db.dirty_read("other", 1)
    with pytest.raises(BadType):
        db.dirty_write(("a", "b", 1), accounts)
    with pytest.raises(BadType):
        db.create_table(Visit, index=["nothing"])
    with pytest.raises(BadType):
        db.create_table(Visit, index=["place"])
    with pytest.raises(BadArgument):
        db.transaction(lambda tx: tx.next(Account, "none"))
    db.change_table_access_mode(Account, "read_only")
    with pytest.raises(ReadOnly):
        db.dirty_write(A)
    with pytest.raises(CombineError), Database.in_memory() as memory:
        memory.create_table(Account, storage="disc_copies")
    db.close()
    with pytest.raises(NotRunning):
        db.transaction(lambda tx: None)
    db.close()


def test_a_conflict_begins_again_and_ends_at_the_limit(db: Database, storage: Any) -> None:
    db.create_table(Counter, storage=storage)
    seen: list[Any] = []

    def work(tx: Activity) -> None:
        seen.append(tx.get(Counter, "a"))
        if len(seen) < 3:
            db.dirty_update_counter(Counter, "a", 1)
        tx.write(Counter("a", 100))

    db.transaction(work)
    assert seen == [None, Counter("a", 1), Counter("a", 2)]
    assert db.dirty_get(Counter, "a") == Counter("a", 100)
    seen.clear()
    with pytest.raises(Conflict):
        db.transaction(work, retries=1)


def test_long_keys_are_keys_like_others(tmp_path: Path, storage: Any) -> None:
    long = ["k" * 600 + end for end in ("", "a", "b")] + ["k" * 470, "k"]
    with Database.open(tmp_path) as db:
        db.create_table(Visit, type="ordered_set", storage=storage)
        db.sync_transaction(lambda tx: tx.write_all(Visit(key, "x") for key in long))
        assert db.dirty_all_keys(Visit) == sorted(long)
        db.dirty_delete(Visit, long[1])
        assert db.transaction(lambda tx: tx.next(Visit, long[0])) == long[2]
    if storage != "ram_copies":
        with Database.open(tmp_path, records=[Visit]) as db:
            assert db.dirty_all_keys(Visit) == sorted({*long} - {long[1]})
            assert db.table_info(Visit, "size") == 4


@pytest.mark.parametrize("partitions", [1, 4])
def test_several_partitions_are_one_database(tmp_path: Path, storage: Any, partitions: int) -> None:
    with Database.open(tmp_path, partitions=partitions) as db:
        db.create_table(Visit, type="ordered_set", storage=storage, index=["who"])
        db.transaction(lambda tx: tx.write_all(Visit(n, n % 3) for n in range(100)))
        db.sync_transaction(lambda tx: tx.write(Visit(100, 1)))
        assert db.dirty_all_keys(Visit) == list(range(101))
        assert sorted(r.place for r in db.dirty_index_read(Visit, 1, "who")) == [
            *range(1, 100, 3),
            100,
        ]
    with Database.open(tmp_path, records=[Visit]) as db:
        kept = [] if storage == "ram_copies" else list(range(101))
        assert db.dirty_all_keys(Visit) == kept
        assert db.table_info(Visit, "size") == len(kept)
        assert db.table_info(Visit, "n_fragments") == partitions


def test_long_values_are_indexed_like_others(tmp_path: Path, storage: Any) -> None:
    values = ["v" * 1000 + str(n % 3) for n in range(30)] + ["v", "v" * 239, "v" * 300]
    with Database.open(tmp_path) as db:
        db.create_table(Visit, storage=storage, index=["who"])
        db.sync_transaction(lambda tx: tx.write_all(Visit(n, v) for n, v in enumerate(values)))
        visit = each(Visit)
        for value in set(values):
            wanted = [n for n, other in enumerate(values) if other == value]
            assert sorted(one.place for one in db.dirty_index_read(Visit, value, "who")) == wanted
            for below in (True, False):
                found = query(visit.place).where(visit.who < value if below else visit.who >= value)
                assert sorted(db.transaction(lambda tx, found=found: tx.query(found))) == [
                    n for n, other in enumerate(values) if (other < value) == below
                ]
        db.sync_transaction(lambda tx: [tx.delete(Visit, n) for n in range(30)])
        assert db.dirty_index_read(Visit, values[0], "who") == []
    assert check(tmp_path, TableMachine).ok
