"""A simulated disk beside its store: files of snapshots, and looks past the store that uses it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from palaver.storage.batch import read_identity, write_identity
from palaver.storage.machine import Machine
from palaver.storage.replicated.machine import read_standing
from palaver.storage.simulated import SimulatedDisk
from palaver.storage.simulated.environment import SimulatedEnvironment
from palaver.storage.transaction import WriteTxn

__all__ = ["DiskFiles", "position_on", "spoil"]


class DiskFiles:
    """The `SnapshotFiles` of a folder of a simulated disk; a full disk takes nothing more.

    Args:
        disk: whose `files` they are among.
        folder: what their names begin with.
    """

    __slots__ = ("_disk", "_folder")

    def __init__(self, disk: SimulatedDisk, folder: str) -> None:
        self._disk = disk
        self._folder = folder

    def clear(self) -> None:
        """Remove what an earlier user has left."""
        files = self._disk.files
        for name in [name for name in files if name.startswith(f"{self._folder}/")]:
            del files[name]

    def place(self, name: str) -> str:
        """Where the file of that name is."""
        return f"{self._folder}/{name}"

    def remove(self, name: str) -> None:
        """Remove a file; harmless when there is none."""
        self._disk.files.pop(self.place(name), None)

    def empty(self, name: str) -> None:
        """Make an empty file in the place of whatever there was."""
        self._disk.files[self.place(name)] = b""

    def append(self, name: str, piece: bytes) -> None:
        """Write behind what the file has."""
        if self._disk.is_full:
            raise OSError(errno.ENOSPC, "No space left on device", self.place(name))
        self._disk.files[self.place(name)] = self._found(name) + piece

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return at most so many bytes from an offset on."""
        return self._found(name)[offset : offset + size]

    def _found(self, name: str) -> bytes:
        found = self._disk.files.get(self.place(name))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", self.place(name))
        return found


def position_on(disk: SimulatedDisk | None, partition: int) -> int:
    """Up to where in its journal a partition is on a disk, whether its node runs or not."""
    environment = _environment(disk, partition, ())
    if environment is None:
        return 0
    with environment.snapshot() as txn:
        return read_standing(txn).position


def spoil(disk: SimulatedDisk | None, partition: int, machine: Machine) -> bool:
    """Write a row of a partition that no journal knows of; whether there was one to write.

    No store is open on the disk. The row is written over with what it holds already: so nobody who
    reads it is told anything wrong, and the history is another one than that of the other copies.
    """
    environment = _environment(disk, partition, machine.tables)
    if environment is None:
        return False
    raw: Any = environment.begin()
    txn = WriteTxn(raw, environment.dbs)
    identity = read_identity(txn)
    found = next(
        ((table, *row) for table in machine.tables if (row := txn.first(table)) is not None), None
    )
    if identity is None or found is None:
        environment.abort(raw)
        return False
    writing = WriteTxn(raw, environment.dbs, identity.digest)
    writing.put(*found)
    write_identity(writing, identity._replace(digest=writing.digest))
    raw.commit()  # past the disk's habits: nobody waits for it
    return True


def _environment(
    disk: SimulatedDisk | None, partition: int, tables: tuple[str, ...]
) -> SimulatedEnvironment | None:
    plates = [] if disk is None else disk.folder("store").plates
    if partition >= len(plates):
        return None
    return SimulatedEnvironment(plates[partition], Path("store"), tables, max_bytes=1 << 40)
