"""Checkpoints: what was there at one moment, whatever is done afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from backup_kit import make, quick_place, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_kit import STORAGES, Account

from palaver.storage.errors import BackupError
from palaver.storage.tables import (
    Activity,
    AlreadyExists,
    CombineError,
    CommitFailed,
    Database,
    NoExists,
    SystemLimit,
)
from palaver.storage.tables.archives.checkpoints import Checkpoint
from palaver.storage.tables.events import CheckpointActivated, CheckpointDeactivated

SMALL_KEYS = st.integers(0, 3) | st.sampled_from(["p", "q", (1, 2)])


def held(checkpoint: Checkpoint) -> dict[str, list[str]]:
    """What a checkpoint holds."""
    return {
        table: sorted(repr(tuple(record)) for record in checkpoint.records(table))
        for table in checkpoint.tables
    }


def present(db: Database) -> dict[str, list[str]]:
    """What the tables hold."""

    def read(tx: Activity, table: str) -> list[str]:
        found = [record for key in tx.all_keys(table) for record in tx.read(table, key)]
        return sorted(repr(tuple(record)) for record in found)

    return {table: db.transaction(read, table) for table in db.tables()}


steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "delete", "delete_object", "clear", "index"])
        | st.sampled_from(["copy_type", "delete_table", "transform", "restore", "failed"]),
        st.integers(0, 2),
        SMALL_KEYS,
        SMALL_KEYS,
    ),
    max_size=10,
)


class Stop(Exception):
    pass


@dataclass(frozen=True)
class Step:
    """Something that is done to a table."""

    db: Database
    backup: Path
    table: str
    key: Any
    value: Any

    @property
    def record(self) -> Any:
        cls: Any = self.db.table_info(self.table, "record_class")
        return cls(self.key, self.value, None)

    def write(self) -> None:
        record = self.record
        self.db.transaction(lambda tx: tx.write(record, self.table))

    def delete(self) -> None:
        self.db.transaction(lambda tx: tx.delete(self.table, self.key))

    def delete_object(self) -> None:
        self.db.dirty_delete_object(self.record, self.table)

    def clear(self) -> None:
        self.db.clear_table(self.table)

    def index(self) -> None:
        if "v" in self.db.table_info(self.table, "index"):
            self.db.del_table_index(self.table, "v")
        else:
            self.db.add_table_index(self.table, "v")

    def copy_type(self) -> None:
        wanted = STORAGES[len(repr(self.key)) % 3]
        if wanted != self.db.table_info(self.table, "storage_type"):
            self.db.change_table_copy_type(self.table, wanted)

    def delete_table(self) -> None:
        self.db.delete_table(self.table)

    def transform(self) -> None:
        self.db.transform_table(
            self.table, lambda old: (old[0], self.value, old[2]), attributes=["k", "v", "w"]
        )

    def restore(self) -> None:
        self.db.restore(self.backup, default_op="recreate_tables")

    def failed(self) -> None:
        record = self.record

        def give_up(tx: Activity) -> None:
            tx.write(record, self.table)
            raise Stop

        with pytest.raises(Stop):
            self.db.transaction(give_up)


def step(db: Database, backup: Path, what: str, table: str, key: Any, value: Any) -> None:
    """Do something to a table, unless it was deleted."""
    if table in db.tables():
        getattr(Step(db, backup, table, key, value), what)()


@settings(max_examples=60, deadline=None)
@given(specs=tables(), before=steps, after=steps, partitions=st.sampled_from([1, 2]))
def test_it_holds_what_was_there(specs: Any, before: Any, after: Any, partitions: int) -> None:
    """Whatever is written, cleared, transformed or deleted, before or after."""
    with quick_place() as place, Database.open(place / "db", partitions=partitions) as db:
        make(db, specs)
        names = db.tables()
        db.backup(place / "backup")
        for what, at, key, value in before:
            step(db, place / "backup", what, names[at % len(names)], key, value)
        expected = present(db)
        with db.activate_checkpoint(ram_overrides_dump=True) as checkpoint:
            assert held(checkpoint) == expected
            reading = {table: checkpoint.records(table) for table in checkpoint.tables}
            early = {table: next(records, None) for table, records in reading.items()}
            for what, at, key, value in after:
                step(db, place / "backup", what, names[at % len(names)], key, value)
                assert held(checkpoint) == expected
            for table, records in reading.items():
                found = [] if early[table] is None else [early[table], *records]
                assert sorted(repr(tuple(each)) for each in found) == expected[table]
            written = db.backup_checkpoint(checkpoint.name, place / "late")
            assert written.records == {table: len(found) for table, found in expected.items()}
        db.sync_log()


@pytest.mark.parametrize("storage", STORAGES)
def test_many_rows_are_read_in_pieces_while_all_of_them_change(
    tmp_path: Path, storage: Any
) -> None:
    with Database.open(tmp_path / "db", partitions=2) as db:
        db.create_table(Account, storage=storage)
        db.sync_transaction(
            lambda tx: tx.write_all(Account(f"{n:04}", "x", n) for n in range(1500))
        )
        with db.activate_checkpoint(tables=[Account], ram_overrides_dump=True) as checkpoint:
            found = []
            for record in checkpoint.records("Account"):
                if record.balance % 300 == 0:
                    turn = record.balance // 300

                    def change(tx: Activity, turn: int = turn) -> None:
                        for number in range(turn, 1600, 5):
                            tx.delete(Account, f"{number:04}")
                        for number in range(turn, 1600, 7):
                            tx.write(Account(f"{number:04}", "new", -1))

                    db.transaction(change)
                found.append(record)
            assert found == [Account(f"{n:04}", "x", n) for n in range(1500)]
        db.sync_log()


def test_a_table_that_gets_its_class_meanwhile(tmp_path: Path) -> None:
    """What was kept as a record of the made-up class is still read."""
    for storage in ("disc_copies", "disc_only_copies"):
        path = tmp_path / storage
        with Database.open(path) as db:
            db.create_table(Account, storage=storage)  # type: ignore[call-overload]
            db.sync_transaction(lambda tx: tx.write_all(Account(n, "x", 1) for n in "abc"))
        with Database.open(path) as db:
            made_up = db.table_info("Account", "record_class")
            with db.activate_checkpoint() as checkpoint:
                db.sync_transaction(lambda tx, cls=made_up: tx.write(cls("a", "y", 2), "Account"))
                db.ensure_table(Account)
                db.sync_transaction(lambda tx: tx.write(Account("b", "z", 3)))
                found = sorted(checkpoint.records("Account"), key=lambda one: one.number)
                assert found == [Account(n, "x", 1) for n in "abc"]


# -- life ------------------------------------------------------------------------------------------


def test_names_and_events(tmp_path: Path) -> None:
    heard: list[Any] = []
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
        db.create_table(Account, name="other")
        db.subscribe("system", heard.append)
        one = db.activate_checkpoint("one", [Account])
        two = db.activate_checkpoint()
        assert db.checkpoints() == db.system_info("checkpoints") == sorted(["one", two.name])
        assert db.table_info(Account, "checkpoints") == sorted(["one", two.name])
        assert db.table_info("other", "checkpoints") == [two.name]
        assert db.checkpoint("one") is one
        with pytest.raises(AlreadyExists):
            db.activate_checkpoint("one")
        with pytest.raises(CombineError):
            db.activate_checkpoint("none", [])
        with pytest.raises(NoExists):
            db.activate_checkpoint("none", ["nobody"])
        with pytest.raises(NoExists, match="does not include"):
            next(one.records("other"))
        db.deactivate_checkpoint("one")
        two.deactivate()
        two.deactivate()
        with pytest.raises(NoExists):
            db.deactivate_checkpoint("one")
        with pytest.raises(NoExists):
            db.backup_checkpoint("one", tmp_path / "backup")
        with pytest.raises(NoExists, match="not active"):
            next(one.records("Account"))
        assert db.checkpoints() == db.table_info(Account, "checkpoints") == []
        db.backup(tmp_path / "backup")
    names = ["one", two.name, "backup-2"]
    assert [each for each in heard if isinstance(each, CheckpointActivated)] == [
        CheckpointActivated(name) for name in names
    ]
    assert [each for each in heard if isinstance(each, CheckpointDeactivated)] == [
        CheckpointDeactivated(name) for name in names
    ]


def test_tables_in_memory_are_empty_unless_they_are_asked_for(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account, storage="ram_copies")
        db.dirty_write(Account("a", "x", 1))
        with db.activate_checkpoint() as checkpoint:
            assert list(checkpoint.records("Account")) == []
        with db.activate_checkpoint(ram_overrides_dump=True) as checkpoint:
            db.dirty_delete(Account, "a")
            assert list(checkpoint.records("Account")) == [Account("a", "x", 1)]


def test_there_are_so_many_at_most() -> None:
    with Database.in_memory() as db:
        db.create_table(Account)
        for _ in range(16):
            db.activate_checkpoint()
        with pytest.raises(SystemLimit, match="16 checkpoints"):
            db.activate_checkpoint()
        db.deactivate_checkpoint(db.checkpoints()[0])
        db.activate_checkpoint()


def test_it_is_given_up_when_too_much_changes(tmp_path: Path) -> None:
    heard: list[Any] = []
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
        db.subscribe("system", heard.append)
        checkpoint = db.activate_checkpoint(max_retained=3)
        for number in "aaabbbccc":
            db.dirty_write(Account(number, "x", 1))
        assert checkpoint.active
        reading = checkpoint.records("Account")
        db.sync_dirty(lambda activity: activity.write(Account("d", "x", 1)))
        assert not checkpoint.active
        assert "more than 3 records" in checkpoint.reason
        assert CheckpointDeactivated(checkpoint.name) in heard
        assert db.table_info(Account, "checkpoints") == []
        with pytest.raises(NoExists, match="more than 3 records"):
            next(reading)
        db.create_table(Account, name="big", storage="disc_only_copies")
        db.sync_transaction(lambda tx: tx.write_all([Account(n, "x", 1) for n in "abcdef"], "big"))
        checkpoint = db.activate_checkpoint(tables=["big"], max_retained=3)
        db.clear_table("big")
        assert not checkpoint.active
        assert db.dirty_all_keys("big") == []


def test_it_is_given_up_when_its_time_is_over(tmp_path: Path) -> None:
    now = [0.0]
    with Database.open(tmp_path / "db", clock=lambda: now[0]) as db:
        db.create_table(Account)
        checkpoint = db.activate_checkpoint(lifetime_s=10)
        reading = checkpoint.records("Account")
        other = db.activate_checkpoint(lifetime_s=20)
        third = db.activate_checkpoint(lifetime_s=10)
        now[0] = 9.0
        assert db.checkpoints() == sorted([checkpoint.name, other.name, third.name])
        now[0] = 10.0
        with pytest.raises(NoExists, match="time was over"):
            next(reading)
        assert db.checkpoints() == [other.name]
        assert not third.active
        now[0] = 20.0
        with pytest.raises(NoExists):
            db.checkpoint(other.name)
        busy = db.activate_checkpoint(lifetime_s=5)
        now[0] = 30.0
        db.transaction(lambda tx: tx.write_all(Account(str(n), "x", n) for n in range(1100)))
        assert not busy.active  # though nobody asked


def test_a_backup_fails_with_its_checkpoint(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
        db.transaction(lambda tx: tx.write_all(Account(str(n), "x", n) for n in range(600)))
        checkpoint = db.activate_checkpoint()

        def end(done: int, total: int) -> None:
            checkpoint.deactivate()

        with pytest.raises(BackupError, match="not active any more"):
            db.backup_checkpoint(checkpoint.name, tmp_path / "backup", progress=end)
        assert [item.name for item in tmp_path.iterdir()] == ["db"]


def test_a_commit_that_fails_takes_the_checkpoint_along(tmp_path: Path) -> None:
    """What is not durable yet is part of the moment; undone, there was no such moment."""
    armed = [False]

    def clock() -> float:
        """Commit when the moment is about to be chosen, so that it is not durable by then."""
        if armed.pop():
            db.transaction(lambda tx: tx.write(Account("b", "x" * (2 << 20), 1)))
        armed.append(False)
        return 0.0

    with Database.open(
        tmp_path / "db", map_size_bytes=1 << 20, max_map_bytes=1 << 20, clock=clock
    ) as db:
        db.create_table(Account)
        db.sync_transaction(lambda tx: tx.write(Account("a", "x", 1)))
        armed[0] = True
        with pytest.raises(CommitFailed):
            db.activate_checkpoint()
        assert db.checkpoints() == []
        with db.activate_checkpoint() as checkpoint:
            assert list(checkpoint.records("Account")) == [Account("a", "x", 1)]
