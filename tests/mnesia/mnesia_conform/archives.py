"""Backups, checkpoints and the fallback: the counterpart of `beam/palaver_backups.erl`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palaver.storage.tables import Database

__all__ = ["Archives"]


class Archives:
    """What a program does with a database's backups; the files are in a folder."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self.folder = folder

    def backup(self, name: str) -> None:
        self.db.backup(self.folder / name, ram_overrides_dump=False)

    def restore(self, name: str, default_op: Any, tables: list[Any]) -> Any:
        restored = self.db.restore(self.folder / name, default_op=default_op, **dict(tables))
        return ["list", *restored]

    def install_fallback(self, name: str) -> None:
        self.db.install_fallback(self.folder / name)

    def uninstall_fallback(self) -> None:
        self.db.uninstall_fallback()

    def activate_checkpoint(self, name: str, tables: list[str]) -> None:
        self.db.activate_checkpoint(name, tables, ram_overrides_dump=True)

    def backup_checkpoint(self, checkpoint: str, name: str) -> None:
        self.db.backup_checkpoint(checkpoint, self.folder / name)

    def deactivate_checkpoint(self, name: str) -> None:
        self.db.deactivate_checkpoint(name)
