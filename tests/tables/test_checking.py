"""The check of a database at rest: what is wrong is told, each thing by name."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from backup_kit import LONG, Tamper, everything, make, quick_place, sound, spoil, tables, tamper
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_kit import Account

from palaver.storage import Store, StoreMissing
from palaver.storage.check import restore as restore_folder
from palaver.storage.environment import Environment
from palaver.storage.errors import BackupError, StoreMismatch
from palaver.storage.machine import Outcome
from palaver.storage.partitioning import MAX_PARTITIONS, partition_of
from palaver.storage.tables import Activity, Database, spaces, terms
from palaver.storage.tables.checking import check_database
from palaver.storage.tables.machine import TableMachine
from palaver.storage.tables.schema import Definition, read_schema, table_key
from palaver.storage.tables.spaces import ROWS, prefix_of
from palaver.storage.transaction import WriteTxn


def problems(path: Path) -> list[str]:
    return list(check_database(path).problems)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """One table of each kind."""
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account, index=["owner"])
        for name, storage in (("bag", "disc_only_copies"), ("ram", "ram_copies")):
            kind = "bag" if name == "bag" else "set"
            db.create_table(
                name=name, attributes=["k", "v"], type=kind, storage=storage, index=["v"]
            )

        def work(tx: Activity) -> None:
            bag, ram = (db.table_info(name, "record_class") for name in ("bag", "ram"))
            tx.write(Account("a", "x", 1))
            for value in (1, 2):
                tx.write(bag("k", value), "bag")
            tx.write(bag(LONG, 1), "bag")
            tx.write(bag(LONG + "x", 1), "bag")
            tx.write(ram("k", 1), "ram")

        db.sync_transaction(work)
    return tmp_path / "db"


@settings(max_examples=20, deadline=None)
@given(specs=tables(), partitions=st.sampled_from([1, 2, 8]))
def test_a_sound_database_passes(specs: Any, partitions: int) -> None:
    with quick_place() as place:
        with Database.open(place / "db", partitions=partitions) as db:
            make(db, specs)
            for name in db.tables():
                for key in db.dirty_all_keys(name)[::2]:
                    db.dirty_delete(name, key)
            db.sync_log()
        sound(place / "db")


def key_of(term: Any) -> bytes:
    return terms.encode(term)


def row(record: tuple[Any, ...]) -> bytes:
    return cbor2.dumps(record)


def put(table: str, key: Any, payload: bytes) -> Tamper:
    """Write a row of a table."""

    def change(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
        spaces.put_row(txn, definitions[table].space, key_of(key), payload)

    return change


def index_put(entry: bytes, payload: bytes) -> Tamper:
    def change(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
        spaces.put_row(txn, definitions["bag"].index["v"], entry, payload)

    return change


def redefine(table: str, name: str | None = None, **changes: Any) -> Tamper:
    """Change a definition, perhaps under another name's key."""

    def change(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
        definition = replace(definitions[table], **changes)
        key = table_key(name or table)
        spaces.put_row(txn, spaces.SCHEMA_SPACE, key, definition.dump())

    return change


def own(space: int, key: bytes, term: Any) -> Tamper:
    """Write one of storage's own rows."""

    def change(txn: WriteTxn, _: dict[str, Definition]) -> None:
        spaces.put_row(txn, space, key, cbor2.dumps(term))

    return change


def bucket(*pairs: tuple[str, int], beginning: str = LONG) -> Tamper:
    """Write the row that long keys share."""

    def change(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
        row_key = key_of(beginning)[: spaces.LONG_KEY_BYTES]
        content = [[key_of(key), cbor2.dumps([row((key, value))])] for key, value in pairs]
        txn.put(ROWS, prefix_of(definitions["bag"].space) + row_key, cbor2.dumps(content))

    return change


def delete_index_entry(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    spaces.delete_row(txn, definitions["bag"].index["v"], key_of(1) + key_of("k"))


def spoil_account(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    spoil(txn, prefix_of(definitions["Account"].space) + key_of("a"))


def spoil_entry(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    spoil(txn, prefix_of(definitions["bag"].index["v"]) + key_of(1) + key_of("k"))


def spoil_schema(txn: WriteTxn, _: dict[str, Definition]) -> None:
    spoil(txn, prefix_of(spaces.SCHEMA_SPACE) + table_key("bag"))


def spoil_size(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    spoil(txn, prefix_of(spaces.SIZES_SPACE) + definitions["bag"].space.to_bytes(4, "big"))


def spoiled_stranger(txn: WriteTxn, _: dict[str, Definition]) -> None:
    spaces.put_row(txn, 99, b"key", b"payload")
    spoil(txn, prefix_of(99) + b"key")


def empty_bucket(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    bucket(beginning="y" * 700)(txn, definitions)


def size_of_account(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    own(spaces.SIZES_SPACE, definitions["Account"].space.to_bytes(4, "big"), 7)(txn, definitions)


def ram_row(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    spaces.put_row(txn, definitions["ram"].space, key_of("k"), row(("k", 1)))


def memory_index_row(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    spaces.put_row(txn, definitions["Account"].index["owner"], b"entry", b"")


NUMBER = 7 * MAX_PARTITIONS
KEY_8 = NUMBER.to_bytes(8, "big")

VIOLATIONS: dict[str, tuple[Tamper, str]] = {
    "a record under another key": (
        put("Account", "b", row(("c", "x", 1))),
        "stands under another key",
    ),
    "a record that is none": (put("Account", "a", b"\xff"), "cannot be decoded"),
    "a record that is too short": (put("Account", "a", row(("a",))), "not 3 values"),
    "a record too many": (put("Account", "b", row(("b", "x", 1))), "2 records, 1 are counted"),
    "a wrong size": (size_of_account, "1 records, 7 are counted"),
    "a damaged record": (spoil_account, "is damaged"),
    "a record that is twice in a bag": (
        put("bag", "k", cbor2.dumps([row(("k", 1)), row(("k", 1))])),
        "is there twice",
    ),
    "nothing in a bag": (put("bag", "z", cbor2.dumps([])), "nothing is under the key"),
    "no list in a bag": (put("bag", "k", row(("k", 1))), "under the key"),
    "an index entry that is missing": (delete_index_entry, "1 entries are missing"),
    "an index entry of no record": (
        index_put(key_of(9) + key_of("k"), len(key_of(9)).to_bytes(4, "big")),
        "1 entries of no record",
    ),
    "an index entry with a wrong length": (
        index_put(key_of(1) + key_of("k"), b"\x00\x00\x00\x09"),
        "1 entries with a wrong length",
    ),
    "a damaged index entry": (spoil_entry, "1 damaged entries"),
    "a damaged definition": (spoil_schema, "is damaged"),
    "a definition that is none": (
        own(spaces.SCHEMA_SPACE, table_key("x"), {"attributes": []}),
        "the schema cannot be read",
    ),
    "a schema of a newer version": (own(spaces.SCHEMA_SPACE, b"version", 9), "version 9"),
    "a definition under another name": (
        redefine("ram", "other"),
        "which is of no table of that name",
    ),
    "a definition without sense": (redefine("ram", type="heap"), "a table's type"),
    "an index of nothing": (redefine("ram", index={"zz": 19}), "no attribute 'zz'"),
    "tables that share a space": (redefine("ram", space=16), "shares space 16"),
    "a space that was never given": (redefine("ram", space=70), "was never given away"),
    "a damaged size": (spoil_size, "is damaged"),
    "a size that is none": (own(spaces.SIZES_SPACE, b"\x00\x00\x00\x63", 3), "in space 99"),
    "rows of nobody": (own(99, b"key", 1), "1 rows in space 99"),
    "damaged rows of nobody": (spoiled_stranger, "1 rows in space 99"),
    "rows of a table in memory": (ram_row, "belongs to no table"),
    "rows of an index in memory": (memory_index_row, "belongs to no table"),
    "an empty bucket": (empty_bucket, "an empty row is shared"),
    "long keys out of order": (bucket((LONG + "x", 1), (LONG, 1)), "out of order"),
    "a long key in the wrong bucket": (
        bucket((LONG, 1), (LONG + "x", 1), ("z" * 700, 1)),
        "in the row of others",
    ),
    "a prepared commit of a stranger": (
        own(spaces.PREPARED_SPACE, KEY_8, [0, [[], [], [], [], {}]]),
        "is prepared for partition 0",
    ),
    "a prepared commit that is none": (
        own(spaces.PREPARED_SPACE, KEY_8, 3),
        "commits over partitions: cannot be read",
    ),
    "a prepared commit without rows": (
        own(spaces.PREPARED_SPACE, KEY_8, [0, [1, 2, 3, 4, 5]]),
        "something else than rows",
    ),
    "a decision of another partition": (
        own(spaces.DECIDED_SPACE, (NUMBER + 1).to_bytes(8, "big"), [1]),
        "is decided here",
    ),
    "a decision for nobody": (
        own(spaces.DECIDED_SPACE, KEY_8, [5]),
        "is decided for partitions",
    ),
    "a finished commit of itself": (
        own(spaces.FINISHED_SPACE, b"\x00\x00\x00\x00", NUMBER),
        "is finished, which is not its own",
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_every_violation_is_told(path: Path, name: str) -> None:
    change, words = VIOLATIONS[name]
    assert problems(path) == []
    tamper(path, change)
    found = problems(path)
    assert any(words in problem for problem in found), found


def test_all_of_several_are_told(path: Path) -> None:
    for name in ("a record under another key", "an index entry of no record", "rows of nobody"):
        tamper(path, VIOLATIONS[name][0])
    found = problems(path)
    for words in ("stands under another key", "entries of no record", "rows in space 99"):
        assert any(words in problem for problem in found)


def test_a_key_in_the_wrong_partition_is_told(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db", partitions=2) as db:
        db.create_table(Account)
        db.sync_transaction(lambda tx: tx.write(Account("a", "x", 1)))
    key = key_of("b")
    wrong = 1 - partition_of(key, 2)
    tamper(tmp_path / "db", put("Account", "b", row(("b", "x", 1))), wrong)
    assert any("belongs to another partition" in each for each in problems(tmp_path / "db"))


def test_partitions_that_contradict_one_another_are_told(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db", partitions=2) as db:
        db.create_table(Account)
        db.sync_log()
    place = tmp_path / "db"
    tamper(place, redefine("Account", load_order=3), 1)
    assert any("another schema than partition 0" in each for each in problems(place))
    tamper(place, redefine("Account", load_order=0), 1)
    assert problems(place) == []
    late = own(spaces.FINISHED_SPACE, b"\x00\x00\x00\x00", 1_000 * MAX_PARTITIONS)
    tamper(place, late, 1)
    assert any("has not decided" in each for each in problems(place))


def number_of(store: Store) -> int:
    return (store.applied(0) + 1) * MAX_PARTITIONS


@pytest.mark.parametrize("decided", [False, True])
def test_what_a_crash_leaves_between_partitions_is_sound(tmp_path: Path, decided: bool) -> None:
    """Prepared and not decided, or decided and not finished: the next opening ends it."""
    place = tmp_path / "db"
    with Database.open(place, partitions=2) as db:
        db.create_table(Account)
        db.sync_log()
        before = everything(db)
    key, other = (
        next(name for name in map(str, range(99)) if partition_of(key_of(name), 2) == wanted)
        for wanted in (0, 1)
    )
    store = Store.open(place, TableMachine)
    space = store.view(0, lambda txn: read_schema(txn, place))[0]["Account"].space

    def ops(name: str) -> tuple[Any, ...]:
        puts = [(prefix_of(space) + key_of(name), row((name, "x", 1)))]
        return [], puts, [], [], {space: 1}

    number = number_of(store)
    (result,) = store.apply_now(1, [("prepare", number, 0, ops(other))])
    assert isinstance(result, Outcome)
    if decided:
        (result,) = store.apply_now(0, [("decide", number, [1], ops(key))])
        assert isinstance(result, Outcome)
    store.close_now()
    assert problems(place) == []
    with Database.open(place, records=[Account]) as db:
        if decided:
            assert db.dirty_read(Account, key) == [Account(key, "x", 1)]
            assert db.dirty_read(Account, other) == [Account(other, "x", 1)]
        else:
            assert everything(db) == before
    assert problems(place) == []


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        check_database(tmp_path / "nothing")

    class Other:
        tables = ("rows",)
        version = 1
        kind = "other"

        def __init__(self, _partition: int) -> None:
            pass

        def open(self, txn: Any, partition: int) -> None:
            pass

        def apply(self, txn: Any, seq: int, command: Any) -> Outcome:
            return Outcome()

        def check(self, txn: Any, partition: int) -> Any:
            return iter(())

    Store.open(tmp_path / "other", Other).close_now()
    with pytest.raises(StoreMismatch, match="'other'"):
        check_database(tmp_path / "other")


@settings(max_examples=10, deadline=None)
@given(specs=tables(), partitions=st.sampled_from([1, 2]))
def test_a_snapshot_is_the_same_database_at_the_same_sequences(specs: Any, partitions: int) -> None:
    """The store's own backup, partition by partition."""
    with quick_place() as place:
        with Database.open(place / "db", partitions=partitions) as db:
            make(db, specs)
            db.sync_log()
            manifest = db.snapshot(place / "snapshot")
            if partitions == 1:  # with more, what was decided is forgotten a little later
                assert manifest.copies[0].applied == db.applied()
                digests = [db.digest(), db.content_digest()]
            wanted = everything(db, after_start=True)
        restore_folder(place / "snapshot", place / "copy", TableMachine)
        sound(place / "copy")
        with Database.open(place / "copy") as db:
            if partitions == 1:
                assert [db.digest(), db.content_digest()] == digests
            assert everything(db) == wanted


def test_a_snapshot_is_one_moment_beside_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rests on a commit in another partition is not there without it.

    Commits take turns in two partitions, each resting on the one before. They are given the chance
    to go on between the views of the first partition and of the second, which they must not take.
    """
    with quick_place() as place:
        with Database.open(place / "db", partitions=2) as db:
            db.create_table(Account)
            ours = [
                next(name for name in map(str, range(99)) if partition_of(key_of(name), 2) == at)
                for at in (0, 1)
            ]
            db.sync_transaction(lambda tx: tx.write_all(Account(name, "x", 0) for name in ours))
            db.sync_log()

            def go_on() -> None:
                for turn in (0, 1, 0, 1):

                    def work(tx: Activity, turn: int = turn) -> None:
                        (there,) = tx.read(Account, ours[1 - turn])
                        tx.write(Account(ours[turn], "x", there.balance + 1))

                    db.sync_transaction(work)

            raw_snapshot = Environment.raw_snapshot
            threads = []

            def with_a_chance(environment: Environment, what: str = "") -> Any:
                if what == "a backup" and environment.folder.name == "0001":
                    thread = threading.Thread(target=go_on)
                    threads.append(thread)
                    thread.start()
                    thread.join(0.3)
                return raw_snapshot(environment, what)

            monkeypatch.setattr(Environment, "raw_snapshot", with_a_chance)
            db.snapshot(place / "snapshot")
            monkeypatch.undo()
            (thread,) = threads
            thread.join()
            assert db.dirty_read(Account, ours[1]) == [Account(ours[1], "x", 4)]
        restore_folder(place / "snapshot", place / "copy", TableMachine)
        with Database.open(place / "copy", records=[Account]) as db:
            one, two = (db.dirty_read(Account, name)[0].balance for name in ours)
            assert 0 <= two - one <= 1 or (one, two) == (1, 0)


def test_a_snapshot_with_a_violation_is_not_put_in_place(path: Path, tmp_path: Path) -> None:
    tamper(path, VIOLATIONS["a record under another key"][0])
    store = Store.open(path, TableMachine)
    store.backup(tmp_path / "snapshot")
    store.close_now()
    with pytest.raises(BackupError, match="under another key"):
        restore_folder(tmp_path / "snapshot", tmp_path / "copy", TableMachine)
    assert not (tmp_path / "copy").exists()
