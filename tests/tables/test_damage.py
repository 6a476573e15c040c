"""A record that is not what was written is reported, contained, and never served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest
from tables_kit import Account

from palaver.storage.tables import Database, RecordDamaged, each, pattern, query, terms
from palaver.storage.tables.events import DamageFound

RECORDS = [Account(name, "ann", n) for n, name in enumerate("abc")]


def damage(place: Path, key: str) -> None:
    """Change one byte of a record on the disk, as the disk might."""
    with lmdb.open(str(place / "tables" / "0000"), max_dbs=8) as env:
        rows = env.open_db(b"rows", create=False)
        with env.begin(write=True) as txn:
            (found,) = [
                (name, value)
                for name, value in txn.cursor(rows)
                if name.endswith(terms.encode(key)) and b"ann" in value
            ]
            name, value = found
            txn.put(name, value.replace(b"ann", b"anm"), db=rows)


@pytest.fixture(params=["disc_copies", "disc_only_copies"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with Database.open(tmp_path) as made:
        made.create_table(Account, storage=request.param, index=["owner"])
        made.sync_transaction(lambda tx: tx.write_all(RECORDS))
    damage(tmp_path, "b")
    with Database.open(tmp_path, records=[Account]) as opened:
        yield opened


LOOKS: list[Callable[[Database], Any]] = [
    lambda db: db.dirty_read(Account, "b"),
    lambda db: db.transaction(lambda tx: tx.get(Account, "b")),
    lambda db: db.dirty_match_object(pattern(Account)),
    lambda db: db.dirty_match_object(pattern(Account, owner="ann")),
    lambda db: db.dirty_index_read(Account, "ann", "owner"),
    lambda db: db.dirty_all_keys(Account),
    lambda db: db.transaction(lambda tx: tx.foldl(lambda record, n: n + 1, 0, Account)),
    lambda db: db.transaction(lambda tx: tx.query(query(each(Account).owner))),
]


@pytest.mark.parametrize("look", LOOKS)
def test_every_answer_that_might_hold_it_is_refused(
    db: Database, look: Callable[[Database], Any]
) -> None:
    with pytest.raises(RecordDamaged, match="Account"):
        look(db)


def test_the_others_are_served_and_what_is_missing_is_in_doubt(db: Database) -> None:
    told: list[Any] = []
    db.subscribe("system", told.append)
    assert db.dirty_get(Account, "a") == RECORDS[0]
    assert db.transaction(lambda tx: tx.get(Account, "c")) == RECORDS[2]
    with pytest.raises(RecordDamaged):
        db.dirty_get(Account, "b")
    with pytest.raises(RecordDamaged):
        db.dirty_get(Account, "nobody")
    db.dirty_write(RECORDS[0])
    if db.table_info(Account, "storage_type") == "disc_only_copies":
        assert [type(event) for event in told] == [DamageFound]


@pytest.mark.parametrize("how", ["write", "delete"])
def test_writing_or_deleting_it_mends_the_table(db: Database, tmp_path: Path, how: str) -> None:
    if how == "write":
        db.sync_transaction(lambda tx: tx.write(RECORDS[1]))
    else:
        db.sync_transaction(lambda tx: tx.delete(Account, "b"))
    left = [record for record in RECORDS if how == "write" or record.number != "b"]
    for _ in range(2):
        found = sorted(db.dirty_match_object(pattern(Account)), key=lambda one: one.number)
        assert found == left
        assert db.table_info(Account, "size") == len(left)
        assert len(db.dirty_index_read(Account, "ann", "owner")) == len(left)
        db.close()
        db = Database.open(tmp_path, records=[Account])
    db.close()
