"""SQLite as a program uses it that wants durable commits: WAL, `synchronous=FULL`.

Statements are prepared once (the module caches them); a commit is one transaction of the batch.
Commits that need not be durable yet go through the same connection with `synchronous=NORMAL`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.tables.adapter import Adapter, Job
from palaver.supervisors.cli.bench.tables.callers import from_threads
from palaver.supervisors.cli.bench.tables.records import (
    SELECTED_BELOW,
    Account,
    Message,
    fields_of,
)

_SCHEMA = """
PRAGMA journal_mode=WAL;
CREATE TABLE IF NOT EXISTS account (
    number INTEGER PRIMARY KEY, owner TEXT, city TEXT, balance INTEGER, opened INTEGER, note TEXT);
CREATE TABLE IF NOT EXISTS indexed (
    number INTEGER PRIMARY KEY, owner TEXT, city TEXT, balance INTEGER, opened INTEGER, note TEXT);
CREATE INDEX IF NOT EXISTS indexed_owner ON indexed (owner);
CREATE TABLE IF NOT EXISTS message (
    queue INTEGER, position INTEGER, sender TEXT, kind TEXT, size INTEGER, sent INTEGER, body TEXT,
    PRIMARY KEY (queue, position)) WITHOUT ROWID;
"""
_PUT = "INSERT OR REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?)"
_GET = "SELECT * FROM account WHERE number = ?"
_BY_OWNER = "SELECT * FROM indexed WHERE owner = ?"
_SELECT = "SELECT * FROM account WHERE number < ? AND balance < ?"
_RANGE = "SELECT * FROM account WHERE number >= ? ORDER BY number LIMIT ?"
_APPEND = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIRST = "SELECT * FROM message WHERE queue = ? ORDER BY position LIMIT ?"
_TAKEN = "DELETE FROM message WHERE queue = ? AND position <= ?"


class SqliteAdapter(Adapter):
    """One connection; threads take turns, because SQLite has one writer at a time."""

    def __init__(self, folder: Path, records: int) -> None:
        super().__init__(folder, records)
        self._file = folder / "bench.sqlite"
        self._turn = threading.Lock()
        self._sql: sqlite3.Connection | None = None
        self._level = ""

    @property
    def sql(self) -> sqlite3.Connection:
        """The open connection."""
        assert self._sql is not None
        return self._sql

    @override
    def open(self) -> int:
        self.folder.mkdir(exist_ok=True)
        self._sql = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        self._sql.executescript(_SCHEMA)
        self._synchronous("FULL")
        return int(self._sql.execute("SELECT count(*) FROM account").fetchone()[0])

    @override
    def close(self) -> None:
        if self._sql is not None:
            self._sql.close()
            self._sql = None

    def _synchronous(self, level: str) -> None:
        if self._level != level:
            self.sql.execute(f"PRAGMA synchronous={level}")
            self._level = level

    @override
    def fill(self, accounts: Sequence[Account]) -> None:
        self._synchronous("NORMAL")
        self._commit(_PUT, [fields_of(each) for each in accounts])

    @override
    def fill_for_reads(self) -> None:
        if not self.sql.execute("SELECT count(*) FROM indexed").fetchone()[0]:
            self.sql.execute(
                "INSERT INTO indexed SELECT * FROM account WHERE number < ?", (self.records,)
            )

    @override
    def settle(self) -> None:
        """Write the log into the tables' pages, with fsync."""
        self._synchronous("FULL")
        self.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    @override
    def ready(self, record: Account) -> Any:
        return fields_of(record)

    @override
    def put(self, items: Sequence[Any]) -> None:
        self._synchronous("FULL")
        self._commit(_PUT, items)

    def _commit(self, statement: str, rows: Sequence[Any]) -> None:
        sql = self.sql
        sql.execute("BEGIN IMMEDIATE")
        if len(rows) == 1:
            sql.execute(statement, rows[0])
        else:
            sql.executemany(statement, rows)
        sql.execute("COMMIT")

    @override
    def transact(self, items: Sequence[Any]) -> None:
        self._synchronous("NORMAL")
        execute = self.sql.execute
        for item in items:
            execute("BEGIN IMMEDIATE")
            execute(_GET, item[:1]).fetchone()
            execute(_PUT, item)
            execute("COMMIT")

    @override
    def dirty_write(self, items: Sequence[Any]) -> None:
        self._synchronous("NORMAL")
        execute = self.sql.execute
        for item in items:
            execute(_PUT, item)

    @override
    def get(self, numbers: Sequence[int]) -> Account:
        execute = self.sql.execute
        for number in numbers:
            found = Account(*execute(_GET, (number,)).fetchone())
        return found

    get_disc_only = get

    @override
    def transact_reads(self, numbers: Sequence[int]) -> Account:
        self.sql.execute("BEGIN")
        found = self.get(numbers)
        self.sql.execute("COMMIT")
        return found

    @override
    def index_read(self, owners: Sequence[str]) -> int:
        execute = self.sql.execute
        return sum(len(_accounts(execute(_BY_OWNER, (owner,)))) for owner in owners)

    @override
    def select(self) -> int:
        return len(_accounts(self.sql.execute(_SELECT, (self.records, SELECTED_BELOW))))

    @override
    def ranges(self, starts: Sequence[int], size: int) -> int:
        execute = self.sql.execute
        return sum(len(_accounts(execute(_RANGE, (start, size)))) for start in starts)

    @override
    def message(self, message: Message) -> Any:
        return (*message.place, *fields_of(message)[1:])

    @override
    def append(self, items: Sequence[Any]) -> None:
        self._synchronous("FULL")
        self._commit(_APPEND, items)

    @override
    def take(self, queue: int, count: int) -> int:
        execute = self.sql.execute
        execute("BEGIN IMMEDIATE")
        found = execute(_FIRST, (queue, count)).fetchall()
        if found:
            execute(_TAKEN, (queue, found[-1][1]))
        execute("COMMIT")
        return len(found)

    @override
    def disk_bytes(self) -> int:
        return self._file.stat().st_size

    @override
    def callers(self, items: Sequence[Any], job: Job) -> Result | None:
        def put(item: Any) -> None:
            with self._turn:
                self.put((item,))

        return from_threads(put, items, job)


def _accounts(cursor: sqlite3.Cursor) -> list[Account]:
    return [Account(*row) for row in cursor]
