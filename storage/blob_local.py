"""The local blob engine's writer: a finished file becomes a durable blob without a copy.

`obstore.store.LocalStore` publishes by temporary file and rename and syncs neither the data nor
the folder (its Rust core has an option for it, which the Python package does not pass on): after
a power cut an announced blob could be empty or gone. So the local engine is written here:

1. fsync the source file,
2. hard-link it to its final name (a link is atomic, refuses to replace, costs no copy, and
   leaves the source for whoever still has to note that it is done),
3. fsync the folder, and each parent that was just made.

Where the file system cannot link (another device, no links), the content is copied to a
temporary name beside the target, synced and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Final

_HASH_BYTES: Final = 32
_COPY_BYTES: Final = 1024 * 1024
_NO_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES}
)


def blob_path(sha256: bytes) -> str:
    """The blob's path within its store: `aa/bb/<64 hex digits>`.

    Raises:
        ValueError: `sha256` is not 32 bytes long.
    """
    if len(sha256) != _HASH_BYTES:
        raise ValueError(f"a SHA-256 has 32 bytes, not {len(sha256)}")
    name = sha256.hex()
    return f"{name[:2]}/{name[2:4]}/{name}"


def put_durably(source: Path, root: Path, key: str) -> None:
    """Makes the content of `source` durable at `root/key`; blocks until it is.

    Raises:
        OSError: the file system refused; `root/key` is absent or whole, never in between.
    """
    target = root / key
    sync_path(source)
    _make_folders(root, target.parent)
    try:
        os.link(source, target)
    except FileExistsError:
        # Stored before, by this content's earlier upload or by a run that was killed right here:
        # its entry may not have been synced yet, so the folder is synced in any case.
        if target.stat().st_size != source.stat().st_size:
            _replace(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _replace(source, target)
    sync_path(target.parent)


def sync_path(path: Path) -> None:
    """Blocks until a file's data, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(root: Path, folder: Path) -> None:
    """Makes `folder` below `root`; a folder counts as made when its parent is synced."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_path(each.parent)


def _replace(source: Path, target: Path) -> None:
    """Copies `source` over `target` atomically, for file systems without links."""
    # Two writers of one blob copy the same content, but each needs a name of its own: the
    # source's name is unique among the uploads.
    temporary = target.with_name(f"{target.name}.{source.name}.tmp")
    try:
        with source.open("rb") as reader, temporary.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)
            writer.flush()
            os.fsync(writer.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
