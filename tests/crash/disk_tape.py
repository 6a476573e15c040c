"""The tape that `disk_tape.c` writes: making the recorder, running under it, reading it."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("disk_tape.c")

_HEAD = struct.Struct("<IIQqqIIQ")


class Kind(IntEnum):
    """What a record tells of; the numbers are those of `disk_tape.c`."""

    CREATE = 1
    WRITE = 2
    LENGTH = 3
    SYNC = 4
    SYNCED = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9
    MARK = 10
    MAPPED = 11
    FAULT = 12
    LINK = 13
    OPENED = 14


DURABLE, FAILED, GROWS_ONLY = 1, 2, 4


class Op(IntFlag):
    """Operations that a fault can be put on."""

    WRITE = 1
    DURABLE_WRITE = 2
    SYNC = 4
    LENGTH = 8
    NAME = 16
    ANY = 31


class Mode(IntEnum):
    """What happens to the operation: an error (nothing done, or all done), half of it, or death."""

    NONE = 0
    ERROR_BEFORE = 1
    ERROR_AFTER = 2
    SHORT = 3
    DIE_BEFORE = 4
    DIE_AFTER = 5


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    inode: int
    offset: int
    flags: int
    path: str
    other: str
    data: bytes


def compiler() -> str | None:
    """Return the C compiler's path, None where there is none."""
    return shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")


def build(folder: Path) -> Path:
    """Compile the recorder into `folder`; return the library's path."""
    library = folder / "disk_tape.so"
    command = [compiler() or "cc", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE"]
    subprocess.run([*command, "-o", str(library), str(SOURCE), "-lpthread"], check=True)
    return library


def environment(
    library: Path, root: Path, tape: Path, *, sync_us: int = 0, drop_sync: bool = False
) -> Mapping[str, str]:
    """Return the environment variables under which a program is recorded."""
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "TAPE_ROOT": str(root.resolve()),
        "TAPE_FILE": str(tape),
        "TAPE_SYNC_US": str(sync_us),
        "TAPE_DROP_SYNC": "1" if drop_sync else "0",
    }


class Recorder:
    """The recorder as the recorded program sees it; without one, notes go to stdout."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None) if "TAPE_FILE" in os.environ else None

    def mark(self, note: str) -> None:
        """Note what was promised to somebody at this moment."""
        data = note.encode()
        if self._library is None:
            os.write(1, data + b"\n")
        else:
            self._library.tape_mark(data, ctypes.c_size_t(len(data)))

    def fault(self, ops: Op, nth: int, mode: Mode, error: int = 5, repeat: int = 0) -> None:
        """Let the nth operation of these kinds, and `repeat` more, meet `mode`."""
        if self._library is not None:
            self._library.tape_fault(int(ops), ctypes.c_long(nth), error, int(mode), repeat)

    def seen(self) -> int:
        """Return how many operations of the fault's kinds there were since it was set."""
        return 0 if self._library is None else int(self._library.tape_seen())


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a tape; a last one that is cut short (by a kill) is left out."""
    content = memoryview(path.read_bytes())
    at = 0
    while at + _HEAD.size <= len(content):
        kind, _, inode, offset, flags, path_bytes, other_bytes, data_bytes = _HEAD.unpack_from(
            content, at
        )
        at += _HEAD.size
        end = at + path_bytes + other_bytes + data_bytes
        if end > len(content):
            return
        first, second = at + path_bytes, at + path_bytes + other_bytes
        yield Record(
            Kind(kind),
            inode,
            offset,
            flags,
            bytes(content[at:first]).decode(),
            bytes(content[first:second]).decode(),
            bytes(content[second:end]),
        )
        at = end
