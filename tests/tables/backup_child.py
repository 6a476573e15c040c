"""Writes backups, one after the other, until it is killed; tells each that is finished."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from tables_kit import Account

from palaver.storage.tables import Database

place = Path(sys.argv[1])
with Database.open(place / "db") as db:
    db.create_table(Account)
    db.sync_transaction(lambda tx: tx.write_all(Account(str(n), "x" * 50, n) for n in range(3000)))
    for number in count():
        db.backup(place / f"backup-{number}")
        print(number, flush=True)
