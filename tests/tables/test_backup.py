"""Backups: whole or not at all, as of one moment, and good for any database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from backup_kit import (
    LONG,
    everything,
    make,
    quick_place,
    records,
    sound,
    spoil,
    tables,
    tamper,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_kit import STORAGES, Account

from palaver.storage.errors import BackupError, StoreMismatch, StoreVersion
from palaver.storage.tables import (
    Activity,
    BadArgument,
    BadType,
    CombineError,
    Conflict,
    Database,
    NoExists,
    ReadOnly,
    RecordDamaged,
    SchemaMismatch,
    SystemLimit,
    spaces,
    terms,
)
from palaver.storage.tables.archives import format as archive
from palaver.storage.tables.archives import restoring
from palaver.storage.tables.archives.building import restore_database
from palaver.storage.tables.archives.items import Item, RecordItem, SchemaItem, traverse_backup
from palaver.storage.tables.events import SchemaChanged
from palaver.storage.tables.schema import Definition, table_key
from palaver.storage.tables.spaces import prefix_of
from palaver.storage.transaction import WriteTxn

HERE = Path(__file__).parent
FEW = settings(max_examples=20, deadline=None)


@FEW
@given(
    specs=tables(),
    more=tables(),
    partitions=st.sampled_from([1, 2, 4]),
    into=st.sampled_from([None, 1, 2, 8]),
)
def test_what_is_backed_up_comes_back(
    specs: Any,
    more: Any,
    partitions: int,
    into: int | None,
) -> None:
    """Into a folder with any number of partitions, and into a database that holds other things."""
    with quick_place() as place:
        with Database.open(place / "db", partitions=partitions) as db:
            make(db, specs)
            written = db.backup(place / "backup")
            before = everything(db)
            after_start = everything(db, after_start=True)
            assert written.records == {name: len(found[2]) for name, found in before.items()}
            assert written == archive.inspect(place / "backup")
        restore_database(place / "backup", place / "copy", partitions=into)
        sound(place / "copy")
        with Database.open(place / "copy") as db:
            assert db.partitions == (into or partitions)
            assert everything(db) == after_start
        with Database.open(place / "other", partitions=2) as db:
            make(db, more)
            there = everything(db)
            restored = db.restore(place / "backup", default_op="recreate_tables")
            assert restored == sorted(before)
            assert everything(db) == there | before
        sound(place / "other")
        with Database.open(place / "other") as db:
            assert {name: found for name, found in everything(db).items() if name in before} == (
                after_start
            )


def test_backups_of_the_same_content_are_the_same_but_for_where_it_was(tmp_path: Path) -> None:
    with Database.in_memory() as db:
        db.create_table(Account)
        for number in "cab":
            db.dirty_write(Account(number, "x", 1))
        db.backup(tmp_path / "one")
        db.backup(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with Database.in_memory(records=[Account]) as db:
        assert db.restore(tmp_path / "one", default_op="recreate_tables") == ["Account"]
        assert db.dirty_read(Account, "b") == [Account("b", "x", 1)]
        with pytest.raises(CombineError):
            db.install_fallback(tmp_path / "one")
        with pytest.raises(CombineError):
            db.snapshot(tmp_path / "folder")


# -- damage ----------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A backup of little: a set, a bag, long keys."""
    with Database.open(tmp_path / "origin", partitions=2) as db:
        db.create_table(Account, index=["owner"])
        db.create_table(name="bag", attributes=["k", "v"], type="bag", storage="disc_only_copies")
        bag = db.table_info("bag", "record_class")

        def work(tx: Activity) -> None:
            for number in range(5):
                tx.write(Account(str(number), "x", number))
                tx.write(bag(number % 2, number), "bag")
            tx.write(bag(LONG, 1), "bag")

        db.sync_transaction(work)
        db.backup(tmp_path / "small")
    return tmp_path / "small"


def test_every_flipped_byte_and_every_truncation_is_told(small: Path) -> None:
    with quick_place() as place:
        damage_everywhere(small, place / "bad")


def damage_everywhere(small: Path, bad: Path) -> None:
    sound_bytes = small.read_bytes()
    for at in range(len(sound_bytes)):
        flipped = bytearray(sound_bytes)
        flipped[at] ^= 1 << at % 8
        bad.write_bytes(flipped)
        with pytest.raises(BackupError):
            archive.inspect(bad)
        bad.write_bytes(sound_bytes[:at])
        with pytest.raises(BackupError):
            archive.inspect(bad)
    bad.write_bytes(sound_bytes + b"\x00")
    with pytest.raises(BackupError, match="something follows its end"):
        archive.inspect(bad)
    bad.write_bytes(sound_bytes + sound_bytes)
    with pytest.raises(BackupError):
        archive.inspect(bad)
    archive.inspect(small)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_damage_is_found_before_anything_changes(data: st.DataObject) -> None:
    with quick_place() as place:
        with Database.open(place / "db") as db:
            db.create_table(Account)
            db.dirty_write(Account("a", "x", 1))
            db.backup(place / "good")
            content = bytearray((place / "good").read_bytes())
            at = data.draw(st.integers(0, len(content) - 1))
            if data.draw(st.booleans()):
                content[at] ^= data.draw(st.integers(1, 255))
            else:
                del content[at:]
            (place / "bad").write_bytes(content)
            db.dirty_write(Account("b", "x", 1))
            before = everything(db)
            for way in (
                lambda: db.restore(place / "bad"),
                lambda: db.install_fallback(place / "bad"),
                lambda: restore_database(place / "bad", place / "copy"),
                lambda: traverse_backup(place / "bad", place / "next", lambda i, a: ([i], a), 0),
            ):
                with pytest.raises((BackupError, StoreVersion)):
                    way()
            assert everything(db) == before
            assert not db.fallback_activated
        with Database.open(place / "db", records=[Account]) as db:
            assert everything(db) == before
        assert {item.name for item in place.iterdir()} == {"db", "good", "bad"}
        assert {item.name for item in (place / "db").iterdir()} == {"owner.lock", "tables"}


def test_what_is_no_backup_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("text", "ends within an item"),
        ("empty", "it is empty"),
        ("folder", "cannot be read"),
        ("nothing", "cannot be read"),
    ):
        with pytest.raises(BackupError, match=words):
            archive.inspect(tmp_path / name)
    item = archive.frame(["header", {"kind": "other", "format": 1, "schema_version": 1}])
    (tmp_path / "other").write_bytes(item)
    with pytest.raises(BackupError, match="it is a 'other'"):
        archive.inspect(tmp_path / "other")
    newer = {"kind": archive.KIND, "format": 2, "schema_version": 1, "partitions": []}
    (tmp_path / "newer").write_bytes(archive.frame(["header", newer]))
    with pytest.raises(StoreVersion, match="upgrade"):
        archive.inspect(tmp_path / "newer")


ITEMS: list[tuple[str, list[list[Any]]]] = [
    ("not in order", [["table", b""]]),
    ("not understood", [["header", {}]]),
    ("not understood", [["good"], ["table", b"\x00"]]),
    ("not understood", [["good"], ["records", "nobody", [[b"", b""]]]]),
    ("has an item 'what'", [["good"], ["what"]]),
    ("no item", [["good"], []]),
    ("not what its end says", [["good"], ["trailer", {"items": 1}]]),
    ("not understood", [["good"], ["trailer", 7]]),
    ("not in order", [["good"], ["good"]]),
    ("end is missing", [["good"]]),
    ("not in order", [["trailer", {}]]),
    ("follows its end", [["good"], ["trailer", {}], ["good"]]),
]


@pytest.mark.parametrize(("words", "items"), ITEMS)
def test_a_file_with_right_checksums_and_wrong_items_is_told(
    tmp_path: Path, words: str, items: list[list[Any]]
) -> None:
    header = {"kind": archive.KIND, "format": 1, "schema_version": 1, "partitions": []}
    good = ["header", header]
    content = b"".join(archive.frame(good if item == ["good"] else item) for item in items)
    (tmp_path / "made").write_bytes(content)
    with pytest.raises(BackupError, match=words):
        archive.inspect(tmp_path / "made")


def test_records_under_wrong_keys_do_not_come_back(tmp_path: Path, small: Path) -> None:
    """Right checksums, and yet not what a table may hold."""
    definition = archive.inspect(small).definitions["Account"]
    with archive.Writer(tmp_path / "wrong") as writer:
        writer.table(definition)
        writer.row("Account", b"\x00", b"\x83aaaaaaa\x01", 1)
    with pytest.raises(BackupError, match="Account"):
        restore_database(tmp_path / "wrong", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def damaged(path: Path) -> None:
    """Make two tables, "a" of which is sound, and "d" has a damaged record and a sound one."""
    with Database.open(path) as db:
        for name, storage in (("a", "disc_copies"), ("d", "disc_only_copies")):
            db.create_table(Account, name=name, storage=storage)  # type: ignore[call-overload]
            for number in "xy":
                db.dirty_write(Account(number, "x", 1), name)

    def hurt(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
        spoil(txn, prefix_of(definitions["d"].space) + terms.encode("x"))

    tamper(path, hurt)


@pytest.mark.parametrize("storage", ["disc_only_copies", "disc_copies"])
def test_a_damaged_record_is_in_no_backup(tmp_path: Path, storage: Any) -> None:
    damaged(tmp_path / "db")
    if storage == "disc_copies":  # from the disk into the memory, at the next opening
        tamper(tmp_path / "db", in_memory)
    with Database.open(tmp_path / "db", records=[Account]) as db:
        with pytest.raises(RecordDamaged, match="table d"):
            db.backup(tmp_path / "backup")
        assert not (tmp_path / "backup").exists()
        with db.activate_checkpoint(tables=["d"]) as checkpoint:
            db.dirty_write(Account("x", "new", 1), "d")  # mends it; the moment was before
            with pytest.raises(RecordDamaged):
                list(checkpoint.records("d"))
        assert db.backup(tmp_path / "backup").records == {"a": 2, "d": 2}


def in_memory(txn: WriteTxn, definitions: dict[str, Definition]) -> None:
    definition = replace(definitions["d"], storage="disc_copies")
    spaces.put_row(txn, spaces.SCHEMA_SPACE, table_key("d"), definition.dump())


def test_a_restore_that_fails_half_way_is_taken_back(tmp_path: Path) -> None:
    damaged(tmp_path / "db")
    with Database.open(tmp_path / "origin") as db:
        for name in "ad":
            db.create_table(Account, name=name)
            db.dirty_write(Account("new", "x", 1), name)
        db.backup(tmp_path / "backup")
    with Database.open(tmp_path / "db", records=[Account]) as db:
        with pytest.raises(RecordDamaged):  # what is to be kept cannot be read
            db.restore(tmp_path / "backup", keep_tables=["d"])
        assert db.dirty_read("a", "x") == [Account("x", "x", 1)]
        assert db.dirty_read("a", "new") == []
        assert db.dirty_read("d", "y") == [Account("y", "x", 1)]
        db.sync_dirty(lambda activity: activity.write(Account("z", "x", 1), "a"))
        assert db.restore(tmp_path / "backup") == ["a", "d"]  # a cleared table is whole again
        assert db.dirty_all_keys("d") == ["new"]
    sound(tmp_path / "db")


def test_a_schema_that_changes_while_a_backup_is_read(tmp_path: Path) -> None:
    """Then it is read again; not for ever."""
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
        db.dirty_write(Account("a", "x", 1))
        db.backup(tmp_path / "backup")
        changes = [1]

        def change(done: int, total: int) -> None:
            if changes[0]:
                changes[0] -= 1
                db.clear_table(Account)

        assert db.restore(tmp_path / "backup", progress=change) == ["Account"]
        assert db.dirty_read(Account, "a") == [Account("a", "x", 1)]
        changes[0] = 99
        with pytest.raises(Conflict):
            db.restore(tmp_path / "backup", progress=change)
        assert db.dirty_read(Account, "a") == []


# -- writing ---------------------------------------------------------------------------------------


def test_nothing_is_overwritten_and_nothing_left_behind(tmp_path: Path) -> None:
    with Database.in_memory() as db:
        db.create_table(Account)
        db.dirty_write(Account("a", "x", 1))
        place = tmp_path / "place"
        place.mkdir()
        (place / "there").write_text("precious")
        (place / "link").symlink_to("nowhere")
        for name in ("there", "link"):
            with pytest.raises(BackupError, match="overwrites nothing"):
                db.backup(place / name)
        with pytest.raises(BackupError, match="cannot be written"):
            db.backup(tmp_path / "missing" / "file")

        def stop(done: int, total: int) -> None:
            assert (done, total) == (1, 1)
            (place / "late").write_text("precious")

        def give_up(done: int, total: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(BackupError, match="overwrites nothing"):
            db.backup(place / "late", progress=stop)
        with pytest.raises(ZeroDivisionError):
            db.backup(place / "never", progress=give_up)
        assert db.checkpoints() == []
    assert {item.name for item in place.iterdir()} == {"there", "link", "late"}
    assert (place / "late").read_text() == "precious"


def test_a_full_disk_leaves_no_backup(small_disk: Path) -> None:
    with Database.in_memory() as db:
        db.create_table(Account)
        for number in range(12):
            db.dirty_write(Account(str(number), "x" * (1 << 20), 1))
        with pytest.raises(BackupError, match="No space left"):
            db.backup(small_disk / "backup")
    assert list(small_disk.iterdir()) == []


def test_nothing_at_all_is_a_backup_too(tmp_path: Path) -> None:
    with Database.in_memory() as db:
        assert db.backup(tmp_path / "nothing").records == {}
        assert db.restore(tmp_path / "nothing") == []
    restore_database(tmp_path / "nothing", tmp_path / "db")
    with Database.open(tmp_path / "db") as db:
        assert db.tables() == []


def test_some_tables_and_those_in_memory(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        for name, storage in zip("rab", STORAGES, strict=True):
            db.create_table(Account, name=name, storage=storage)
            db.dirty_write(Account("1", "x", 1), name)
        assert db.backup(tmp_path / "ab", ["a", "b"]).records == {"a": 1, "b": 1}
        assert db.backup(tmp_path / "r", ["r"]).records == {"r": 1}
        without = db.backup(tmp_path / "without", ram_overrides_dump=False)
        assert without.records == {"a": 1, "b": 1, "r": 0}
        with pytest.raises(NoExists):
            db.backup(tmp_path / "none", ["nobody"])
        assert db.restore(tmp_path / "without") == ["a", "b", "r"]
        assert db.dirty_read("r", "1") == []


def test_a_backup_is_one_moment_beside_commits() -> None:
    """Money moves between two partitions and between all storages; its sum never changes."""
    with quick_place() as place, Database.open(place / "db", partitions=2, max_backlog=50) as db:
        for storage in STORAGES:
            db.create_table(Account, name=storage, storage=storage)

        def endow(tx: Activity) -> None:
            for storage in STORAGES:
                for number in range(400):
                    tx.write(Account(str(number), "x", 100), storage)

        db.sync_transaction(endow)

        def move(tx: Activity, step: int) -> None:
            source, target = STORAGES[step % 3], STORAGES[step * 7 % 3]
            here = tx.wread(source, str(step * 31 % 400))[0]
            tx.write(Account(here.number, here.owner, here.balance - 1), source)
            there = tx.wread(target, str(step * 17 % 400))[0]
            tx.write(Account(there.number, there.owner, there.balance + 1), target)

        stop = threading.Event()
        moves = [0]

        def work() -> None:
            while not stop.is_set():
                db.transaction(move, moves[0])
                moves[0] += 1

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for attempt in range(4):
                goal = [0]

                def busy(done: int, total: int, goal: list[int] = goal) -> None:
                    assert total == 1200
                    goal[0] = goal[0] or moves[0] + 30
                    while done == 600 and moves[0] < goal[0] and worker.is_alive():
                        os.sched_yield()  # commits go on in the middle of the backup

                db.backup(place / str(attempt), progress=busy)
                assert moves[0] >= goal[0] > 0
        finally:
            stop.set()
            worker.join()

        def add(item: Item, total: int) -> tuple[list[Item], int]:
            return [], total + (item.values[2] if isinstance(item, RecordItem) else 0)

        for attempt in range(4):
            assert traverse_backup(place / str(attempt), None, add, 0) == 120_000


def test_a_kill_leaves_whole_backups_only(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "backup_child.py", str(tmp_path)], cwd=HERE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child:
        for _ in range(3):
            assert child.stdout.readline()
        while not list(tmp_path.glob("backup-*.part")):  # in the middle of the next one
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    finished = [path for path in tmp_path.glob("backup-*") if path.suffix != ".part"]
    assert len(finished) >= 3
    for path in finished:
        assert archive.inspect(path).total == 3000
    with Database.open(tmp_path / "db", records=[Account]) as db:
        db.restore(finished[0])
        assert db.table_info(Account, "size") == 3000


def test_a_kill_while_restoring_leaves_all_or_nothing(tmp_path: Path) -> None:
    with Database.open(tmp_path / "origin") as db:
        db.create_table(Account)
        db.sync_transaction(lambda tx: tx.write_all(Account(str(n), "x", n) for n in range(3000)))
        db.backup(tmp_path / "backup")
    command = [
        sys.executable,
        "-m",
        "restore_child",
        str(tmp_path / "backup"),
        str(tmp_path / "to"),
    ]
    child = subprocess.Popen(command, cwd=HERE)
    with child:
        while not (tmp_path / "to" / "tables.new").exists() and child.poll() is None:
            os.sched_yield()
        child.send_signal(signal.SIGKILL)
    if not (tmp_path / "to" / "tables").exists():
        restore_database(tmp_path / "backup", tmp_path / "to")
    with Database.open(tmp_path / "to") as db:
        assert db.table_info("Account", "size") == 3000


# -- restoring -------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Any:
    """A set and a bag, backed up and then changed: what Mnesia was asked, too."""
    with Database.open(tmp_path / "db", records=[Account]) as db:
        db.create_table(name="d", attributes=["k", "v"])
        db.create_table(name="b", attributes=["k", "v"], type="bag", index=["v"])
        d, b = (db.table_info(name, "record_class") for name in "db")
        for record, table in ((d(1, 1), "d"), (d(2, 2), "d"), (b(1, 1), "b"), (b(1, 2), "b")):
            db.dirty_write(record, table)
        db.backup(tmp_path / "bup")
        for record, table in ((d(2, 22), "d"), (d(3, 3), "d"), (b(1, 3), "b")):
            db.dirty_write(record, table)
        yield db, tmp_path / "bup"


def test_clear_keep_skip_and_recreate(two: tuple[Database, Path]) -> None:
    db, bup = two
    assert db.restore(bup, keep_tables=["d", "b"], default_op="skip_tables") == ["b", "d"]
    assert records(db, "d") == ["(1, 1)", "(2, 2)", "(3, 3)"]
    assert records(db, "b") == ["(1, 1)", "(1, 2)", "(1, 3)"]
    assert db.restore(bup) == ["b", "d"]
    assert records(db, "d") == ["(1, 1)", "(2, 2)"]
    assert records(db, "b") == ["(1, 1)", "(1, 2)"]
    db.delete_table("d")
    for options in ({}, {"keep_tables": ["d"], "default_op": "skip_tables"}):
        with pytest.raises(NoExists):
            db.restore(bup, **options)  # type: ignore[arg-type]
    assert db.restore(bup, recreate_tables=["d"], skip_tables=["b"]) == ["d"]
    assert records(db, "d") == ["(1, 1)", "(2, 2)"]
    db.delete_table("d")
    db.create_table(name="d", attributes=["k", "v", "w"])
    with pytest.raises(SchemaMismatch, match="traverse_backup"):
        db.restore(bup)
    assert db.restore(bup, default_op="recreate_tables") == ["b", "d"]
    assert db.table_info("d", "attributes") == ["k", "v"]
    assert records(db, "d") == ["(1, 1)", "(2, 2)"]
    assert [tuple(record) for record in db.dirty_index_read("b", 2, "v")] == [(1, 2)]
    assert db.restore(bup, default_op="skip_tables") == []


def test_a_restore_that_makes_no_sense_changes_nothing(
    two: tuple[Database, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, bup = two
    before = everything(db)
    with pytest.raises(BadArgument, match="schema"):
        db.restore(bup, clear_tables=["schema"])
    with pytest.raises(NoExists, match="zz"):
        db.restore(bup, keep_tables=["zz"])
    with pytest.raises(BadArgument, match="skip_tables"):
        db.restore(bup, keep_tables=["d"], skip_tables=["d"])
    with pytest.raises(BadArgument, match="default_op"):
        db.restore(bup, default_op="other")  # type: ignore[arg-type]
    monkeypatch.setattr(restoring, "MAX_RESTORE_BYTES", 10)
    with pytest.raises(SystemLimit, match="install_fallback"):
        db.restore(bup)
    monkeypatch.undo()
    assert everything(db) == before
    db.change_table_access_mode("b", "read_only")
    before = everything(db)
    with pytest.raises(ReadOnly):
        db.restore(bup)
    assert everything(db) == before


def test_records_of_another_class_are_refused_before_anything_changes(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(name="Account", attributes=["number", "owner", "balance"])
        account = db.table_info("Account", "record_class")
        db.dirty_write(account("a", "x", "no number"), "Account")
        db.backup(tmp_path / "backup")
        db.delete_table("Account")
        db.create_table(Account)
        db.dirty_write(Account("b", "y", 1))
        with pytest.raises(SchemaMismatch, match=r"Account\.balance"):
            db.restore(tmp_path / "backup")
        with pytest.raises(SchemaMismatch):
            db.restore(tmp_path / "backup", default_op="recreate_tables")
        assert db.dirty_read(Account, "b") == [Account("b", "y", 1)]


def test_a_restored_table_keeps_its_class_and_its_subscribers(tmp_path: Path) -> None:
    heard: list[Any] = []
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account, index=["owner"])
        db.dirty_write(Account("a", "x", 1))
        db.backup(tmp_path / "backup")
        db.dirty_delete(Account, "a")
        db.subscribe(Account, heard.append)
        db.subscribe("system", heard.append)
        told: list[tuple[int, int]] = []
        db.restore(tmp_path / "backup", progress=lambda *step: told.append(step))
        assert told == [(1, 1)]
        assert db.dirty_read(Account, "a") == [Account("a", "x", 1)]
        assert db.dirty_index_read(Account, "x", "owner") == [Account("a", "x", 1)]
        assert heard == [SchemaChanged("Account", "restore")]
        db.sync_dirty(lambda activity: activity.write(Account("b", "x", 1)))
        assert len(heard) == 2
    with Database.open(tmp_path / "db", records=[Account]) as db:
        assert db.dirty_read(Account, "a") == [Account("a", "x", 1)]


def test_a_running_transaction_begins_again_after_a_restore(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
        db.dirty_write(Account("a", "x", 1))
        db.backup(tmp_path / "backup")
        db.dirty_write(Account("a", "x", 2))
        seen = []

        def work(tx: Activity) -> None:
            (account,) = tx.read(Account, "a")
            seen.append(account.balance)
            if len(seen) == 1:
                thread = threading.Thread(target=db.restore, args=[tmp_path / "backup"])
                thread.start()
                thread.join()
            tx.write(Account("a", "x", account.balance + 10))

        db.sync_transaction(work)
        assert seen == [2, 1]
        assert db.dirty_read(Account, "a") == [Account("a", "x", 11)]


def test_a_restore_into_a_folder_that_is_taken_changes_nothing(tmp_path: Path, small: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(BackupError, match="not empty"):
        restore_database(small, tmp_path / "taken")
    with pytest.raises(ValueError, match="power of two"):
        restore_database(small, tmp_path / "three", partitions=3)
    assert not (tmp_path / "three").exists()
    (tmp_path / "empty").mkdir()
    assert restore_database(small, tmp_path / "empty").total == 11
    with pytest.raises(StoreMismatch):
        Database.open(tmp_path / "empty", partitions=8)


# -- traversal -------------------------------------------------------------------------------------

Function = Callable[[Item, int], tuple[Iterable[Item], int]]


def test_a_traversal_sees_definitions_first_and_changes_nothing(
    small: Path, tmp_path: Path
) -> None:
    seen: list[Item] = []

    def look(item: Item, count: int) -> tuple[list[Item], int]:
        seen.append(item)
        return [item], count + 1

    assert traverse_backup(small, None, look, 0) == 13
    assert [type(item) for item in seen] == [SchemaItem] * 2 + [RecordItem] * 11
    first = seen[0]
    assert first == SchemaItem(
        "Account", "Account", ("number", "owner", "balance"), "number", index=("owner",)
    )
    assert RecordItem("bag", (1, 3)) in seen
    assert traverse_backup(small, tmp_path / "same", look, 0) == 13
    one, two = archive.inspect(small), archive.inspect(tmp_path / "same")
    assert one.records == two.records
    for name, definition in one.definitions.items():
        assert definition.signature == two.definitions[name].signature
    restore_database(small, tmp_path / "one", partitions=2)
    restore_database(tmp_path / "same", tmp_path / "two", partitions=2)
    with Database.open(tmp_path / "one") as db, Database.open(tmp_path / "two") as other:
        assert everything(db) == everything(other)


@FEW
@given(specs=tables(("disc_copies", "disc_only_copies")), partitions=st.sampled_from([1, 2]))
def test_records_may_come_in_any_order_and_more_than_once(specs: Any, partitions: int) -> None:
    with quick_place() as place:
        with Database.open(place / "db") as db:
            make(db, specs)
            db.backup(place / "backup")
            before = everything(db)

            def collect(item: Item, held: list[Item]) -> tuple[list[Item], list[Item]]:
                return [], [*held, item]

            items = traverse_backup(place / "backup", None, collect, list[Item]())
            definitions = [item for item in items if isinstance(item, SchemaItem)]
            rows = [item for item in items if isinstance(item, RecordItem)]

            def all_at_once(item: Item, first: bool) -> tuple[list[Item], bool]:
                return [*definitions, *reversed(rows), *rows] if first else [], False

            traverse_backup(place / "backup", place / "twice", all_at_once, True)
            restore_database(place / "twice", place / "copy", partitions=partitions)
            sound(place / "copy")
            db.restore(place / "twice")
            assert everything(db) == before
        with Database.open(place / "copy") as db:
            assert everything(db) == before


def test_a_traversal_transforms(small: Path, tmp_path: Path) -> None:
    def change(item: Item, _: None) -> tuple[list[Item], None]:
        if item.table == "bag":
            return [], None
        if isinstance(item, SchemaItem):
            attributes = ("number", "balance", "vip")
            made = SchemaItem(
                "vips", "Vip", attributes, "balance", type="ordered_set", index=("vip",)
            )
            return [made], None
        number, _owner, balance = item.values
        return [RecordItem("vips", (number, balance, balance > 2))], None

    traverse_backup(small, tmp_path / "next", change, None)
    restore_database(tmp_path / "next", tmp_path / "copy")
    with Database.open(tmp_path / "copy") as db:
        assert db.tables() == ["vips"]
        assert [db.dirty_first("vips"), db.dirty_last("vips")] == [0, 4]
        assert sorted(tuple(each) for each in db.dirty_index_read("vips", True, "vip")) == [
            ("3", 3, True),
            ("4", 4, True),
        ]


def test_a_traversal_that_makes_no_sense_leaves_no_file(small: Path, tmp_path: Path) -> None:
    def orphan(item: Item, _: None) -> tuple[list[Item], None]:
        return [] if isinstance(item, SchemaItem) else [item], None

    def twice(item: Item, _: None) -> tuple[list[Item], None]:
        return [item, item], None

    def other(_item: Item, _: None) -> tuple[list[Any], None]:
        return [3], None

    def short(item: Item, _: None) -> tuple[list[Item], None]:
        return [item if isinstance(item, SchemaItem) else RecordItem(item.table, (1,))], None

    def keyless(_item: Item, _: None) -> tuple[list[Item], None]:
        return [SchemaItem("t", "t", ("a", "b"), "c")], None

    for function, error in (
        (orphan, BadArgument),
        (twice, BadArgument),
        (other, BadArgument),
        (short, BadType),
        (keyless, BadType),
    ):
        with pytest.raises(error):
            traverse_backup(small, tmp_path / "next", function, None)
        assert not list(tmp_path.glob("next*"))


def test_under_a_loop_everything_goes_on_beside_it(tmp_path: Path) -> None:
    """What blocks is called in a thread; the loop goes on committing meanwhile."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        db = Database.open(
            tmp_path / "db", partitions=2, post=loop.call_soon_threadsafe, defer=loop.call_soon
        )
        await db.aio.create_table(Account)
        moves = 0
        over = asyncio.Event()

        async def work() -> None:
            nonlocal moves
            while not over.is_set():
                record = Account(str(moves % 50), "x", moves)
                await db.aio.transaction(lambda tx, record=record: tx.write(record))
                moves += 1
                await asyncio.sleep(0)

        def busy(done: int, total: int) -> None:
            goal = moves + 10
            while moves < goal:
                os.sched_yield()

        task = asyncio.create_task(work())
        while moves < 60:
            await asyncio.sleep(0)
        contents = await asyncio.to_thread(db.backup, tmp_path / "backup", progress=busy)
        assert contents.records == {"Account": 50}
        assert await asyncio.to_thread(db.restore, tmp_path / "backup") == ["Account"]
        checkpoint = await asyncio.to_thread(db.activate_checkpoint)
        assert len(list(checkpoint.records("Account"))) == 50
        checkpoint.deactivate()
        await asyncio.to_thread(db.snapshot, tmp_path / "snapshot")
        assert await db.aio.schema(db.restore, tmp_path / "backup") == ["Account"]
        over.set()
        await task
        assert db.checkpoints() == []
        await db.aclose()

    asyncio.run(main())
    sound(tmp_path / "db")
