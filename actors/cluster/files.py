"""The files of snapshots that come and go, in a folder of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["FolderFiles", "folder_files"]


class FolderFiles:
    """The `SnapshotFiles` of a folder that nobody else uses.

    Args:
        folder: is made when it is first needed.
        suffix: of the names, such as ".sending"; what else is in the folder is left alone.
    """

    __slots__ = ("_folder", "_suffix")

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix

    def clear(self) -> None:
        """Remove what an earlier user has left; make the folder if there is none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in sorted(self._folder.glob(f"*{self._suffix}")):
            left.unlink()

    def place(self, name: str) -> Path:
        """Where the file of that name is."""
        return self._folder / f"{name}{self._suffix}"

    def remove(self, name: str) -> None:
        """Remove a file; harmless when there is none."""
        self.place(name).unlink(missing_ok=True)

    def empty(self, name: str) -> None:
        """Make an empty file in the place of whatever there was."""
        self.place(name).write_bytes(b"")

    def append(self, name: str, piece: bytes) -> None:
        """Write behind what the file has."""
        with self.place(name).open("ab") as file:
            file.write(piece)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return at most so many bytes from an offset on."""
        with self.place(name).open("rb") as file:
            file.seek(offset, os.SEEK_SET)
            return file.read(size)


def folder_files(folder: Path) -> Callable[[str], FolderFiles]:
    """What `ClusterParts` takes as `files`: one folder for each kind, in this one."""
    return lambda kind: FolderFiles(folder / kind, f".{kind}")
