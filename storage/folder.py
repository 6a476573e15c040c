"""The store's folder: its layout, its format file, its owner.

    <store>/owner.lock             locked (flock) by the one process that writes; holds its pid
    <store>/tables/format.json     format version, partitions, content and its version
    <store>/tables/0000/data.mdb   one LMDB environment per partition (and LMDB's lock.mdb)
    <store>/tables/0000.new, .old  only while a partition is being replaced (`installing`)
    <store>/tables.new/            only while a store is being made: not yet a store

`tables` appears by one rename, after everything in it is durable. So a crash while a store is
created leaves at most `tables.new`, which holds nothing that anybody was promised and is removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import (
    StoreCorrupt,
    StoreError,
    StoreLocked,
    StoreMismatch,
    StoreMissing,
    StoreVersion,
)
from .partitioning import check_partitions

FORMAT = 2
KIND = "palaver-store"
LOCK_FILE = "owner.lock"
FORMAT_FILE = "format.json"
TABLES = "tables"
TABLES_NEW = "tables.new"
NEW = ".new"
OLD = ".old"


@dataclass(frozen=True, slots=True)
class Format:
    """What `format.json` says.

    Attributes:
        partitions: how many there are.
        content: which program's content it is (`machine.kind_of`).
        machine_version: version of that content.
    """

    partitions: int
    content: str
    machine_version: int

    def require(self, folder: Path, content: str, machine_version: int) -> None:
        """Compare with the machine that wants to open it.

        Raises:
            StoreMismatch: it belongs to another program.
            StoreVersion: it has another version of the content.
        """
        found = (FORMAT, self.content, self.machine_version)
        compare(folder / FORMAT_FILE, found, (FORMAT, content, machine_version))

    def write(self, folder: Path) -> None:
        """Write it durably into `folder`."""
        content = {
            "kind": KIND,
            "format": FORMAT,
            "partitions": self.partitions,
            "content": self.content,
            "machine_version": self.machine_version,
        }
        write_durably(folder / FORMAT_FILE, json.dumps(content, indent=1).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> Format:
        """Read it from `folder`; StoreCorrupt or StoreVersion when that cannot be."""
        path = folder / FORMAT_FILE
        try:
            content = json.loads(path.read_bytes())
            kind, version = content["kind"], content["format"]
            if kind != KIND or not isinstance(version, int):
                raise ValueError(f"it is a {kind!r}")
            if version != FORMAT:
                raise StoreVersion(path, "the folder's format", version, FORMAT)
            return cls(
                check_partitions(int(content["partitions"])),
                str(content["content"]),
                int(content["machine_version"]),
            )
        except FileNotFoundError:
            raise StoreCorrupt(path, "the file is missing") from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(path, f"not a format file ({error})") from error


def compare(path: Path, found: tuple[int, str, int], wanted: tuple[int, str, int]) -> None:
    """Compare (format, content, version of the content) of what is in `path` with ours.

    Raises:
        StoreMismatch: it is the content of another program.
        StoreVersion: it has another format, or another version of the content.
    """
    if found[0] != wanted[0]:
        raise StoreVersion(path, "the folder's format", found[0], wanted[0])
    if found[1] != wanted[1]:
        raise StoreMismatch(
            f"{path} says the content is that of {found[1]!r}, not of {wanted[1]!r}: it belongs to "
            "another program"
        )
    if found[2] != wanted[2]:
        raise StoreVersion(path, "the content of the tables", found[2], wanted[2])


def tables_of(path: Path) -> Path:
    """Return the folder of the finished tables."""
    return path / TABLES


def partition_folder(tables: Path, partition: int) -> Path:
    """Return the folder of one partition's environment."""
    return tables / f"{partition:04d}"


def exists(path: Path) -> bool:
    """Whether there is a finished store in `path`."""
    return (path / TABLES).is_dir()


def require(path: Path) -> Path:
    """Return the tables' folder; StoreMissing when there is no finished store."""
    if not exists(path):
        raise StoreMissing(path)
    return path / TABLES


def make(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a store: `fill` writes and syncs the files into a new folder, which is renamed.

    The caller holds the owner's lock.
    """
    fresh = path / TABLES_NEW
    discard_half_made(path)
    fresh.mkdir(mode=0o700)
    fill(fresh)
    sync_tree(fresh)
    fresh.rename(path / TABLES)
    sync_upwards(path)


def discard_half_made(path: Path) -> None:
    """Remove what a crash during `make` has left; StoreError when that cannot be."""
    fresh = path / TABLES_NEW
    if fresh.exists():
        try:
            shutil.rmtree(fresh)
        except OSError as error:
            raise StoreError(f"{fresh}, half made, cannot be removed: {error}") from error


def settle_replacements(tables: Path) -> None:
    """Put right what a crash during the replacement of a partition has left (`installing`).

    The caller holds the owner's lock.
    """
    for old in tables.glob(f"*{OLD}"):
        place = old.with_name(old.name.removesuffix(OLD))
        if not place.exists():
            old.rename(place)
            sync_folder(tables)
    for suffix in (NEW, OLD):
        for leftover in tables.glob(f"*{suffix}"):
            shutil.rmtree(leftover)


class OwnerLock:
    """Exclusive ownership of a store's folder, for as long as the process lives or until `release`.

    Raises (from the constructor):
        StoreLocked: another process (or another store object) owns it.
        StoreError: the folder cannot be made or written.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be used as a store's folder: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            raise StoreLocked(path, int(written) if written.isdigit() else None) from None
        # Written in place, in one length: a full disk has room for it. The lock is what counts.
        with suppress(OSError):
            os.pwrite(descriptor, f"{os.getpid():<20}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder free; harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Write a whole file so that it is there, complete, after a power cut."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_upwards(path: Path) -> None:
    """Make the names in a folder durable, and its own name, and those of the folders above it.

    Any of these may have been made shortly before, also by a process that was killed then. Folders
    that may not be read are passed over (who may not read them has made nothing in them), and so is
    what lies above the file system's root.
    """
    device = path.stat().st_dev
    for place in (path, *path.absolute().parents):
        try:
            if place.stat().st_dev != device:
                return
            sync_folder(place)
        except PermissionError:
            continue


def settle(path: Path) -> None:
    """Make durable that there is a store in `path`; StoreError when that cannot be.

    Who was killed while making it may have left names that are only in the system's memory. What is
    promised from now on must not be lost together with them.
    """
    try:
        sync_upwards(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be synchronised: {error}") from error


def sync_tree(path: Path) -> None:
    """Make every file and name below `path` durable."""
    for folder, _, files in os.walk(path):
        for name in files:
            descriptor = os.open(Path(folder) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))
