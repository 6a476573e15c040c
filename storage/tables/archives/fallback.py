"""The fallback: a backup that takes the place of everything when the database is opened next.

    <folder>/fallback.json        a fallback is installed; into how many partitions it goes
    <folder>/fallback.backup      a verified copy of the backup
    <folder>/tables.fallback.new/ only while the new tables are made
    <folder>/tables.fallback/     new tables, whole, about to take their place
    <folder>/tables.replaced/     the old ones, about to be removed

The new tables are made and verified beside the old ones, and then two renames put them in place. A
crash at any moment leaves the old content or the new one, and the next opening goes on from there.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from palaver.storage import folder
from palaver.storage.errors import BackupError, StoreCorrupt
from palaver.storage.partitioning import check_partitions
from palaver.storage.tables.errors import AlreadyExists, NoExists

from . import building
from .format import Contents, Progress, inspect

MARKER = "fallback.json"
COPY = "fallback.backup"
NEW = "tables.fallback.new"
READY = "tables.fallback"
REPLACED = "tables.replaced"
FILES = (MARKER, MARKER + ".part", COPY, COPY + ".part")
KIND = "palaver-tables-fallback"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fallback:
    """An installed fallback.

    Attributes:
        partitions: how many the database will have.
        size_bytes: of the backup.
    """

    partitions: int
    size_bytes: int


def installed(root: Path) -> Fallback | None:
    """Return the fallback of a database's folder, None when there is none.

    Raises:
        StoreCorrupt: its file is damaged.
    """
    marker = root / MARKER
    try:
        content = json.loads(marker.read_bytes())
        if content["kind"] != KIND or content["format"] != FORMAT:
            raise ValueError(f"it is a {content['kind']!r} of format {content['format']}")
        return Fallback(check_partitions(int(content["partitions"])), int(content["size_bytes"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        advice = f"delete {MARKER} to open the database as it is, without the fallback"
        raise StoreCorrupt(marker, f"no description of a fallback ({error})", advice) from error


def install(root: Path, source: Path, partitions: int | None, present: int) -> Contents:
    """Keep a verified copy of a backup in the folder; see `Database.install_fallback`."""
    if installed(root) is not None:
        raise AlreadyExists("a fallback", f"{root} has a fallback already; uninstall it first")
    if partitions is not None:
        check_partitions(partitions)
    part = root / (COPY + ".part")
    try:
        with source.open("rb") as file, part.open("wb") as out:
            shutil.copyfileobj(file, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        contents = inspect(part)
        part.rename(root / COPY)
        folder.sync_folder(root)
        content = {
            "kind": KIND,
            "format": FORMAT,
            "partitions": partitions or present,
            "size_bytes": contents.size_bytes,
        }
        folder.write_durably(root / MARKER, json.dumps(content, indent=1).encode() + b"\n")
    except OSError as error:
        raise BackupError(f"{source} cannot be kept in {root}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return contents


def uninstall(root: Path) -> None:
    """Forget the fallback; NoExists when there is none."""
    if not (root / MARKER).exists():
        raise NoExists("fallback", f"{root} has no fallback")
    _forget(root)


def _forget(root: Path) -> None:
    (root / MARKER).unlink(missing_ok=True)
    folder.sync_folder(root)  # before anything that is written afterwards can be durable
    (root / COPY).unlink(missing_ok=True)


def bring_in(root: Path, progress: Progress | None = None) -> bool:
    """Put the fallback in the place of the tables, if there is one; return whether there was.

    Goes on with what a crash has left. Called before the store is opened.

    Raises:
        StoreLocked: another process has the folder open.
        BackupError: the copy of the backup is damaged; nothing has changed.
    """
    if not any((root / name).exists() for name in (*FILES, NEW, READY, REPLACED)):
        return False
    lock = folder.OwnerLock(root)
    try:
        _remove(root / NEW)
        fallback = installed(root)
        if fallback is None:  # it is in place already, or was uninstalled meanwhile
            _remove(root / READY)
            _remove(root / REPLACED)
            for name in FILES:
                (root / name).unlink(missing_ok=True)
            return False
        if not (root / READY).exists() and not (root / REPLACED).exists():
            _make(root, fallback, progress)
        _exchange(root)
        _forget(root)
        _remove(root / REPLACED)
        return True
    finally:
        lock.release()


def _make(root: Path, fallback: Fallback, progress: Progress | None) -> None:
    try:
        contents = inspect(root / COPY)
        new = root / NEW
        new.mkdir(mode=0o700)
        building.fill(new, contents, fallback.partitions, progress)
        folder.sync_tree(new)
        new.rename(root / READY)
        folder.sync_folder(root)
    except (BackupError, OSError) as error:
        advice = f"free some room, or delete {root / MARKER} to open the database as it is"
        raise BackupError(f"the fallback cannot be brought in: {error}; {advice}") from error


def _exchange(root: Path) -> None:
    """Rename; what is done already, before a crash, is not done again."""
    tables, ready, replaced = folder.tables_of(root), root / READY, root / REPLACED
    if not ready.exists():
        return
    if tables.exists():
        if replaced.exists():
            raise StoreCorrupt(
                tables,
                "it was made while a fallback was being brought in",
                f"move it away, and {ready} becomes the database at the next opening",
            )
        tables.rename(replaced)
        folder.sync_folder(root)
    ready.rename(tables)
    folder.sync_folder(root)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
