"""A damaged record is mended by writing or deleting its key, whatever else is about its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backup_kit import spoil, tamper
from tables_kit import Account

from palaver.storage.tables import ANY, CommitFailed, Database, RecordDamaged, terms
from palaver.storage.tables.checking import check_database
from palaver.storage.tables.events import DamageFound
from palaver.storage.tables.spaces import prefix_of

EVERYTHING = Account(ANY, ANY, ANY)


def damaged(path: Path, storage: Any, index: tuple[str, ...]) -> None:
    """Make a table of three records, the second of which is damaged."""
    with Database.open(path) as db:
        db.create_table(Account, storage=storage, index=index)
        db.async_dirty(lambda tx: tx.write_all([Account(str(n), "ann", n) for n in range(3)]))
        db.sync_log()
        row = db.state(Account).prefix + terms.encode("1")
    tamper(path, lambda txn, _: spoil(txn, row))


@pytest.mark.parametrize("how", ["write", "delete"])
@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("index", [(), ("owner",)])
@pytest.mark.parametrize("storage", ["disc_copies", "disc_only_copies"])
def test_writing_or_deleting_mends(
    tmp_path: Path, storage: Any, index: tuple[str, ...], watched: bool, how: str
) -> None:
    path = tmp_path / "db"
    damaged(path, storage, index)
    events: list[Any] = []
    with Database.open(path, records=[Account]) as db:
        with pytest.raises(RecordDamaged):
            db.dirty_match_object(EVERYTHING)
        if watched:
            db.subscribe(Account, events.append, "detailed")
        if how == "write":
            db.dirty_write(Account("1", "bob", 7))
        else:
            db.dirty_delete(Account, "1")
        # At once, not only when it is on the disk.
        found = sorted(db.dirty_match_object(EVERYTHING), key=lambda record: record.number)
        expected = [Account("0", "ann", 0), Account("2", "ann", 2)]
        if how == "write":
            expected.insert(1, Account("1", "bob", 7))
        assert found == expected
        db.sync_log()
        assert db.table_info(Account, "size") == len(found)
    assert [event.old_records for event in events] == ([()] if watched else [])
    assert check_database(path).ok


def test_a_damaged_entry_of_an_index_is_mended_by_dropping_the_index(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with Database.open(path) as db:
        db.create_table(Account, storage="disc_only_copies", index=["owner"])
        db.dirty_write(Account("1", "ann", 1))
        space = db.state(Account).definition.index["owner"]
    row = prefix_of(space) + terms.encode("ann") + terms.encode("1")
    tamper(path, lambda txn, _: spoil(txn, row))
    told: list[Any] = []
    with Database.open(path, records=[Account]) as db:
        db.subscribe("system", told.append)
        for _ in range(2):
            with pytest.raises(RecordDamaged, match="drop the index"):
                db.dirty_index_read(Account, "ann", "owner")
        assert db.dirty_read(Account, "none") == []  # all records are there
        db.del_table_index(Account, "owner")
        db.add_table_index(Account, "owner")
        assert db.dirty_index_read(Account, "ann", "owner") == [Account("1", "ann", 1)]
    assert len([event for event in told if isinstance(event, DamageFound)]) == 1
    assert check_database(path).ok


def test_what_was_mended_by_a_lost_commit_is_damaged_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    damaged(path, "disc_copies", ("owner",))
    with Database.open(path, records=[Account], map_size_bytes=2**20, max_map_bytes=2**20) as db:
        with pytest.raises(CommitFailed):
            db.sync_transaction(lambda tx: tx.write(Account("1", "x" * 2**21, 0)))
        with pytest.raises(RecordDamaged):  # it may be the one that is damaged
            db.dirty_read(Account, "none")
