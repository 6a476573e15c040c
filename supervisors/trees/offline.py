"""A data folder without a node: the operator's requests, the check, the restore."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from palaver.actors.chat.access import StoreTables
from palaver.actors.chat.names import Places
from palaver.storage import Command, Store, StoreError, StoreMissing
from palaver.storage import folder as store_folder
from palaver.storage.check import check as check_store
from palaver.supervisors.trees.archive import (
    back_up,
    is_backup,
    machines,
    missing_blobs,
    partitions_of,
    put_back,
)
from palaver.supervisors.trees.operator import TableAdmin, plain
from palaver.transport.http.admin_port import (
    AddedDevice,
    AdminRefused,
    BackupRecord,
    CodeRecord,
    NewDevice,
    Progress,
    UserRecord,
)

__all__ = ["OfflineAdmin", "check", "restore"]


def _time_ms() -> int:
    return time.time_ns() // 1_000_000


class _NoTables:
    """A folder that holds nothing yet: whatever is asked of it, there is no store."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @property
    def places(self) -> Places:
        raise StoreMissing(self._data_dir)

    async def append(self, key: str | bytes, command: Command) -> Any:
        raise StoreMissing(self._data_dir)

    async def query(self, key: str | bytes, name: str, *args: Any) -> Any:
        raise StoreMissing(self._data_dir)

    async def query_partition(self, number: int, name: str, *args: Any) -> Any:
        raise StoreMissing(self._data_dir)


class OfflineAdmin(TableAdmin):
    """The same requests to a data folder that no node uses now; close it at the end.

    Raises:
        StoreUnusable: the folder is in use, missing or damaged; the text says what to do.
    """

    def __init__(self, data_dir: Path, *, partitions: int = 1) -> None:
        self._data_dir = data_dir
        self._store: Store | None = None
        self._partitions = partitions
        if store_folder.exists(data_dir):
            self._open(partitions_of(data_dir))
        else:
            super().__init__(_NoTables(data_dir), _time_ms)

    def _open(self, partitions: int) -> None:
        self._store = Store.open(self._data_dir, machines(partitions), partitions=partitions)
        super().__init__(StoreTables(self._store), _time_ms)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._store is not None:
            self._store.close_now()

    async def add_user(self, phone: str) -> UserRecord:
        """Make an account without a device, and the data folder if there is none."""
        self._make()
        return await super().add_user(phone)

    async def add_devices(self, new: Sequence[NewDevice]) -> Sequence[AddedDevice]:
        """Register devices by their keys, and make the data folder if there is none."""
        self._make()
        return await super().add_devices(new)

    def _make(self) -> None:
        """Only what adds something makes a folder: a misspelled name should not."""
        if self._store is None:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            self._open(self._partitions)

    async def issue_code(self, phone: str) -> CodeRecord:
        """Not without a node: codes live in its memory."""
        raise AdminRefused("unavailable", "codes are issued by a running node; start it first")

    def _opened(self) -> Store:
        if self._store is None:
            raise StoreMissing(self._data_dir)
        return self._store

    async def stats(self) -> dict[str, Any]:
        """The storage's counters."""
        return {"storage": plain(self._opened().stats())}

    async def backup(self, dest: str, progress: Progress | None = None) -> BackupRecord:
        """Copy the data to a new folder."""
        return await back_up(self._opened(), self._data_dir, Path(dest), progress)


def check(data_dir: Path) -> Iterator[str]:
    """What is wrong with a data folder at rest, or with a backup; a sentence each.

    Raises:
        StoreUnusable: the folder is in use, missing, or of another version.
    """
    if is_backup(data_dir):
        with tempfile.TemporaryDirectory(prefix="palaver-check-") as scratch:
            yield from restore(data_dir, Path(scratch) / "data", None)
        return
    report = check_store(data_dir, machines(partitions_of(data_dir)))
    yield from report.problems
    if report.ok:
        yield from missing_blobs(data_dir)


def restore(source: Path, data_dir: Path, progress: Progress | None) -> list[str]:
    """Make a data folder from a backup and verify it; what is wrong with the backup, if anything.

    With findings nothing is put in place.
    """
    try:
        return put_back(source, data_dir, progress)
    except StoreError as error:
        return [str(error)]
