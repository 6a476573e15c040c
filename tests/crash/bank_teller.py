"""Tells the story of `bank_story` to a database, deed by deed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bank_story import DISC, OWNERS, RECORDS, Account, Content, Deed, Entry, Seat, Tag, key_of

from palaver.storage.tables import Aborted, Database

MAP_BYTES = 1 << 17


def open_bank(path: Path, partitions: int) -> Database:
    """Open the database with its tables; they are there from the first deed on."""
    db = Database.open(path, records=RECORDS, partitions=partitions, map_size_bytes=MAP_BYTES)
    db.ensure_table(Account, index=["owner"])
    db.ensure_table(Entry, type="ordered_set", storage="disc_only_copies")
    db.ensure_table(Tag, type="bag")
    db.ensure_table(Seat, storage="ram_copies")
    return db


def tell(db: Database, deed: Deed) -> None:
    """Do one deed; a deed that aborts has no effect."""
    if deed.kind == "clear_table":
        db.clear_table(deed.steps[0][1])
        return
    run: Callable[..., Any] = getattr(db, deed.kind)
    try:
        run(perform, deed)
    except Aborted:
        assert deed.aborts


def perform(activity: Any, deed: Deed) -> None:
    """Be the function of a deed's transaction."""
    for table, key in deed.reads:
        activity.read(table, key)
    for what, table, argument in deed.steps:
        if what == "delete":
            activity.delete(table, argument)
        else:
            getattr(activity, what)(argument)
    if deed.aborts:
        activity.abort("told so")


def content_of(db: Database) -> Content:
    """Read everything that the disc tables hold."""
    content: dict[Any, set[Any]] = {}

    def collect(record: Any, table: str) -> str:
        content.setdefault((table, key_of(record)), set()).add(record)
        return table

    for table in DISC:
        db.async_dirty(lambda activity, table=table: activity.foldl(collect, table, table))
    return {place: frozenset(records) for place, records in content.items()}


def index_problems(db: Database, content: Content) -> list[str]:
    """Say where the index of accounts by owner is not what the records are."""
    problems = []
    for number in range(OWNERS):
        owner = f"owner {number}"
        found = {account.number for account in db.dirty_index_read(Account, owner, "owner")}
        expected = {
            account.number
            for place, accounts in content.items()
            if place[0] == "Account"
            for account in accounts
            if account.owner == owner
        }
        if found != expected:
            problems.append(f"index of {owner}: {found} instead of {expected}")
    return problems
