"""The files under LMDB: made ready for it, and what its errors say of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import lmdb

from .errors import CommandError, StoreCorrupt, StoreError, StoreFailed, StoreFull
from .inspection import HEAD_BYTES, head_offsets

DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"
LOCK_FILE_BYTES = 8192
"""Size of LMDB's table of readers for MAX_READERS."""
MAX_READERS = 126

FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DAMAGE_ERRORS = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
)
READ_ERRORS = (*DAMAGE_ERRORS, lmdb.BadTxnError)
"""What a read transaction raises only over a damaged file."""

# A transaction is bad after it has failed once: what failed was the disk, or is told elsewhere.
_DISK = (
    *DAMAGE_ERRORS,
    lmdb.BadTxnError,
    lmdb.DiskError,
    lmdb.PanicError,
    lmdb.MemoryError,
    lmdb.MapResizedError,
)


def settle_heads(path: Path) -> None:
    """Make durable what the data file shows, before anybody sees it.

    After a kill the system's memory may hold a head, and with it a transaction, that has never been
    synchronised. After a failed write of a head it is the other way round: the disk may hold one
    that LMDB has taken back in memory; pages that it refers to would be overwritten under it. The
    heads are written again because the system may take pages for clean whose synchronisation has
    failed.

    Raises:
        StoreFull, StoreError: that cannot be done.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for offset in head_offsets(descriptor):
                os.pwrite(descriptor, os.pread(descriptor, HEAD_BYTES, offset), offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        kind = StoreFull if error.errno in FULL_ERRNOS else StoreError
        raise kind(f"{path} cannot be synchronised: {error}") from error


def reserve_lock_file(path: Path) -> None:
    """Give LMDB's table of readers its blocks on the disk.

    LMDB makes it a sparse file and writes to it through memory: on a full disk that is no error
    but a signal that ends the process.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, LOCK_FILE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        kind = StoreFull if error.errno in FULL_ERRNOS else StoreError
        raise kind(f"{path} cannot be made: {error}") from error


def errno_of(error: lmdb.Error) -> int:
    """Return the system's error number behind an LMDB error, 0 when there is none."""
    code = getattr(error, "code", 0)
    return code if isinstance(code, int) and code > 0 else 0


def is_disk_error(error: BaseException) -> bool:
    """Whether the disk (or the file on it) failed, rather than the one who called LMDB."""
    if isinstance(error, _DISK):
        return True
    return isinstance(error, lmdb.Error) and errno_of(error) in (
        *FULL_ERRNOS,
        errno.EIO,
        errno.EROFS,
    )


def command_error(error: BaseException, folder: Path) -> CommandError:
    """Say what a failed transaction means for each of its commands."""
    if isinstance(error, lmdb.Error):
        if isinstance(error, DAMAGE_ERRORS):
            return StoreFailed(str(StoreCorrupt(folder / DATA_FILE, str(error))))
        number = errno_of(error)
        # LMDB reports a short write, which is how a disk fills up, as EIO.
        if number in FULL_ERRNOS or (number == errno.EIO and _free_bytes(folder) < (1 << 20)):
            return StoreFull(f"no room on the disk of {folder}: {error}")
    return StoreFailed(f"writing {folder / DATA_FILE} failed: {type(error).__name__}: {error}")


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
