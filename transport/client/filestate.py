"""Client state in one SQLite file, every commit on the disk before it counts."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from palaver.transport.client.errors import StateError, StateMismatch
from palaver.transport.client.state import OutboxItem, Snapshot, StateChange

__all__ = ["FileState"]

_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox
    (cid INTEGER PRIMARY KEY, op INTEGER NOT NULL, args BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS seen (conv BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS awaited (conv BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""


class FileState:
    """State in the SQLite file at ``path``, made where it is missing (mode 0600).

    The file is locked while it is open: a second client on it gets a StateError, for two would
    use the same message ids twice. The journal files that SQLite keeps beside it belong to it.
    """

    __slots__ = ("_database", "blocking", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.blocking = True
        self.path = Path(path)
        self._database: sqlite3.Connection | None = None

    def open(self, account: str, device: int) -> Snapshot:
        """Open the file and return what it holds; see :class:`ClientState`."""
        if self._database is not None:
            raise StateError(f"{self.path} is already open in this program")
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            # Its calls come from one worker thread at a time, not always the same one.
            database = sqlite3.connect(
                self.path, timeout=0.0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"cannot open {self.path}: {error}") from error
        try:
            snapshot = self._load(database, account, device)
        except sqlite3.Error as error:
            database.close()
            reason = "another program uses it" if "locked" in str(error) else str(error)
            raise StateError(f"cannot use {self.path}: {reason}") from error
        except BaseException:
            database.close()
            raise
        self._database = database
        return snapshot

    def _load(self, database: sqlite3.Connection, account: str, device: int) -> Snapshot:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("BEGIN EXCLUSIVE")
        for statement in _SCHEMA.strip().split(";\n"):
            database.execute(statement)
        facts = dict(database.execute("SELECT name, value FROM facts").fetchall())
        if facts.setdefault("format", _FORMAT) != _FORMAT:
            raise StateError(f"{self.path} has format {facts['format']}, not {_FORMAT}")
        owner = (facts.setdefault("account", account), facts.setdefault("device", device))
        if owner != (account, device):
            raise StateMismatch(f"{self.path} belongs to {owner[0]}, device {owner[1]}")
        database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())
        database.execute("COMMIT")
        outbox = database.execute("SELECT cid, op, args FROM outbox ORDER BY cid")
        return Snapshot(
            facts.get("position", 0),
            facts.get("next_cid", 0),
            facts.get("after", 0),
            {row[0]: OutboxItem(*row) for row in outbox},
            dict(database.execute("SELECT conv, seq FROM seen").fetchall()),
            dict(database.execute("SELECT conv, seq FROM awaited").fetchall()),
        )

    def commit(self, change: StateChange) -> None:
        """Keep a step in one transaction, on the disk when this returns."""
        database = self._database
        if database is None:
            raise StateError(f"{self.path} is not open")
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                self._write(database, change)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StateError(f"cannot write {self.path}: {error}") from error

    @staticmethod
    def _write(database: sqlite3.Connection, change: StateChange) -> None:
        facts = [
            (name, value)
            for name, value in (
                ("position", change.position),
                ("next_cid", change.next_cid),
                ("after", change.after),
            )
            if value is not None
        ]
        database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts)
        database.executemany("INSERT OR REPLACE INTO outbox VALUES (?, ?, ?)", change.added)
        database.executemany("DELETE FROM outbox WHERE cid = ?", [(cid,) for cid in change.removed])
        for table, changed in (("seen", change.seen), ("awaited", change.awaited)):
            kept = [(conv, seq) for conv, seq in changed.items() if seq is not None]
            database.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", kept)  # noqa: S608
            gone = [(conv,) for conv, seq in changed.items() if seq is None]
            database.executemany(f"DELETE FROM {table} WHERE conv = ?", gone)  # noqa: S608

    def close(self) -> None:
        """Close the file and free its lock."""
        database, self._database = self._database, None
        if database is not None:
            database.close()
