"""What a chat has shown, kept on this device: the server forgets messages once delivered."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    conv BLOB NOT NULL, seq INTEGER NOT NULL, sender TEXT NOT NULL, sent_ms INTEGER NOT NULL,
    type TEXT NOT NULL, text TEXT NOT NULL, file BLOB, PRIMARY KEY (conv, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    conv BLOB NOT NULL, account TEXT NOT NULL, delivered INTEGER NOT NULL, read INTEGER NOT NULL,
    PRIMARY KEY (conv, account)) WITHOUT ROWID;
"""


class Shown(NamedTuple):
    """A message that was shown."""

    conv: bytes
    seq: int
    sender: str
    sent_ms: int
    type: str
    text: str
    file: bytes | None


class History:
    """The shown messages of one account in a SQLite file of mode 0600; close it after use.

    It is a convenience: what must not be lost is kept by the client library's state. Writes are
    small and rare, so they are done where they happen.
    """

    def __init__(self, path: Path | str) -> None:
        if path != ":memory:":
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def add(self, shown: Shown) -> None:
        """Keep a message; the same one again changes nothing."""
        self._db.execute("INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", shown)

    def mark(self, conv: bytes, account: str, delivered: int, read: int) -> None:
        """Keep a receipt; marks only rise."""
        self._db.execute(
            "INSERT INTO marks VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)",
            (conv, account, delivered, read),
        )

    def last(self, conv: bytes, limit: int = 50) -> list[Shown]:
        """The newest messages of a conversation, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM messages WHERE conv = ? ORDER BY seq DESC LIMIT ?", (conv, limit)
        )
        return [Shown(*row) for row in rows][::-1]

    def marks(self, conv: bytes) -> Iterator[tuple[str, int, int]]:
        """The receipts of a conversation."""
        yield from self._db.execute(
            "SELECT account, delivered, read FROM marks WHERE conv = ?", (conv,)
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()
