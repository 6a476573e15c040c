"""Giving a stored table its class while commits are on their way, and changes of kept forms."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tables_invariants import check
from tables_kit import Account

from palaver.storage.tables import CommitFailed, Database

TOO_MUCH = "x" * 2**21


@pytest.mark.parametrize("storage", ["disc_copies", "disc_only_copies"])
def test_a_class_that_comes_while_a_commit_is_lost(tmp_path: Path, storage: Any) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account, storage=storage, index=["owner"])
        db.dirty_write(Account("1", "ann", 1))
    with Database.open(tmp_path / "db", map_size_bytes=2**20, max_map_bytes=2**20) as db:
        made_up: Any = db.table_info("Account", "record_class")
        db.dirty_write(made_up("2", "bob", 2))
        db.dirty_write(made_up("1", TOO_MUCH, 3))
        db.dirty_write(made_up("1", "cid", 4))
        db.ensure_table(Account)
        with suppress(CommitFailed):  # or it has been lost already
            db.sync_log()
        check(db)
        assert db.dirty_get(Account, "1") == Account("1", "ann", 1)
        assert db.table_info(Account, "size") == len(db.dirty_all_keys(Account))


def test_what_a_lost_commit_had_covered_is_read_from_the_disk_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with Database.open(path, map_size_bytes=2**20, max_map_bytes=2**20) as db:
        db.create_table(Account, storage="disc_only_copies")
        db.dirty_write(Account("1", "ann", 1))
        db.dirty_write(Account("1", TOO_MUCH, 2))
        with suppress(CommitFailed):  # or it has been lost already
            db.sync_log()
        check(db)
        assert db.dirty_get(Account, "1") == Account("1", "ann", 1)


def test_records_that_become_one_are_one(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account, type="bag")
        for balance in range(3):
            db.dirty_write(Account("1", "ann", balance))
        db.transform_table(Account, lambda old: Account(old.number, old.owner, 0), record=Account)
        assert db.dirty_read(Account, "1") == [Account("1", "ann", 0)]
        assert db.table_info(Account, "size") == 1


def test_properties_are_at_once_what_they_are_after_the_next_opening(tmp_path: Path) -> None:
    properties: dict[str, Any] = {"a": (1, (2,))}
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account, properties=properties)
        db.write_table_property(Account, "b", (3,))
        kept = db.table_info(Account, "user_properties")
    with Database.open(tmp_path / "db") as db:
        assert db.table_info("Account", "user_properties") == kept
