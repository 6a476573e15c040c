"""A backup of a whole data folder: the tables at one moment, the media, the signing key.

.. code-block:: text

    DEST/tables/     what the storage wrote, with a manifest of hashes (written last)
    DEST/blobs/      the media, each under its SHA-256
    DEST/keys/       the key that signs media tokens

The tables are copied first. Media never change and are stored before the tables speak of them, so
whatever the tables of the backup name is there by the time the media are copied. Media that lie in
an object store are that store's to back up; they are not copied.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from palaver.actors.chat.state import ChatMachine
from palaver.actors.chat.state.tables import load
from palaver.storage import BackupError, ReadTxn, Store, StoreError, StoreMissing
from palaver.storage import folder as store_folder
from palaver.storage.blob_local import blob_path
from palaver.storage.check import restore as restore_store
from palaver.storage.snapshot import MANIFEST_FILE, Manifest
from palaver.transport.http.admin_port import AdminRefused, BackupRecord, Progress

__all__ = ["back_up", "is_backup", "machines", "missing_blobs", "partitions_of", "put_back"]

_TABLES = "tables"
_BLOBS = "blobs"
_KEYS = "keys"
_CHUNK_BYTES = 1 << 20


def machines(partitions: int) -> Callable[[int], ChatMachine]:
    """What makes the state machine of each of so many partitions."""
    return lambda number: ChatMachine(number, partitions)


def partitions_of(data_dir: Path) -> int:
    """How many partitions a data folder has.

    Raises:
        StoreMissing: there is no data in it.
    """
    if not store_folder.exists(data_dir):
        raise StoreMissing(data_dir)
    return store_folder.Format.read(store_folder.tables_of(data_dir)).partitions


def is_backup(folder: Path) -> bool:
    """Whether a folder is what `palaver backup` makes."""
    return (folder / _TABLES / MANIFEST_FILE).is_file()


async def back_up(
    store: Store, data_dir: Path, dest: Path, progress: Progress | None
) -> BackupRecord:
    """Copy a data folder whose store is open, also while it is written to.

    Raises:
        AdminRefused: the destination exists, or something could not be copied.
    """
    loop = asyncio.get_running_loop()

    def tell(done: int, total: int) -> None:
        if progress is not None:
            loop.call_soon_threadsafe(progress, done, total)

    try:
        return await asyncio.to_thread(_back_up, store, data_dir, dest, tell)
    except FileExistsError as error:
        raise AdminRefused("destination_exists", f"{dest} exists; name a new folder") from error
    except (StoreError, OSError) as error:
        raise AdminRefused("storage_failed", str(error)) from error


def _back_up(store: Store, data_dir: Path, dest: Path, progress: Progress) -> BackupRecord:
    dest.mkdir(parents=False, mode=0o700)
    manifest = store.backup(dest / _TABLES, progress)
    files = [
        path
        for part in (_BLOBS, _KEYS)
        for path in sorted((data_dir / part).rglob("*"))
        if path.is_file()
    ]
    total = manifest.size_bytes + sum(path.stat().st_size for path in files)
    done = manifest.size_bytes
    for path in files:
        done += _copy(path, dest / path.relative_to(data_dir))
        progress(done, total)
    store_folder.sync_tree(dest)
    return BackupRecord(str(dest), total, store.partitions)


def _copy(source: Path, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copy2(source, target)
    return target.stat().st_size


def put_back(source: Path, data_dir: Path, progress: Progress | None) -> list[str]:
    """Make `data_dir` from the backup `source`; what is wrong, if anything: then it is not made.

    Raises:
        StoreError: the backup is not complete or not of this version, or `data_dir` is taken.
    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise BackupError(f"{data_dir} is not empty; name a new folder")
    manifest = Manifest.read(source / _TABLES)
    new = data_dir.with_name(data_dir.name + ".restoring")
    if new.exists():
        shutil.rmtree(new)  # an earlier restore was interrupted
    try:
        restore_store(source / _TABLES, new, machines(len(manifest.copies)), progress=progress)
        for part in (_BLOBS, _KEYS):
            if (source / part).is_dir():
                shutil.copytree(source / part, new / part)
        findings = [*_wrong_hashes(new), *missing_blobs(new)]
        if findings:
            return findings
        store_folder.sync_tree(new)
        if data_dir.exists():
            data_dir.rmdir()
        os.rename(new, data_dir)  # noqa: PTH104 - the name stands for the system call
        store_folder.sync_folder(data_dir.parent)
        return []
    finally:
        if new.exists():
            shutil.rmtree(new)


def _wrong_hashes(data_dir: Path) -> Iterator[str]:
    for path in sorted((data_dir / _BLOBS).rglob("*")):
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
            if digest.hexdigest() != path.name:
                yield f"media file {path.name} does not have the content of its name"


def missing_blobs(data_dir: Path) -> Iterator[str]:
    """Media that the tables name and the folder lacks; nothing where no folder of media is."""
    if not (data_dir / _BLOBS).is_dir():
        return
    partitions = partitions_of(data_dir)
    store = Store.open(data_dir, machines(partitions), readonly=True)
    try:
        for number in range(partitions):
            yield from store.view(number, lambda txn: list(_missing(txn, data_dir / _BLOBS)))
    finally:
        store.close_now()


def _missing(txn: ReadTxn, blobs: Path) -> Iterator[str]:
    for key, raw in txn.range("files", b""):
        account, file_id = key[:-33], key[-32:]
        if load(raw)[2] and not (blobs / blob_path(file_id)).is_file():
            yield f"media file {file_id.hex()} of {account.decode()} is missing"
