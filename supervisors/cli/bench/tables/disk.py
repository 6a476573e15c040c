"""The disk that a run uses: which file system, and what it takes to be sure of a write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import perf_counter

from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.stats import percentile

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mounts")
_WRITES = 64
_PAGE = bytes(4096)


def file_system(folder: Path, mounts: str | None = None) -> str:
    """Return the type of the file system that a folder is on; "unknown" where nothing tells.

    Args:
        folder: any path.
        mounts: the text of /proc/self/mounts; read where it is not given.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text()
        except OSError:
            return "unknown"
    place = folder.resolve()
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        # The kernel writes blanks and the like in octal.
        point = Path(words[1].encode().decode("unicode_escape"))
        # Of two mounts on one point the later one is seen.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), words[2]
    return kind


def in_memory(folder: Path) -> bool:
    """Whether a folder is on no disk at all."""
    return file_system(folder) in _IN_MEMORY


def choose() -> Path:
    """Return a folder for temporary files that is on a disk.

    Raises:
        BenchFailed: there is none.
    """
    candidates = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd())  # noqa: S108
    for folder in candidates:
        if folder.is_dir() and os.access(folder, os.W_OK) and not in_memory(folder):
            return folder
    raise BenchFailed("the folders for temporary files are in memory; give one on a disk by --dir")


def sync_us(folder: Path) -> float:
    """Return the microseconds that one written page and its fdatasync take, the median."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, _WRITES * len(_PAGE))
        os.fsync(file.fileno())
        for number in range(_WRITES):
            began = perf_counter()
            os.pwrite(file.fileno(), _PAGE, number * len(_PAGE))
            os.fdatasync(file.fileno())
            times.append(perf_counter() - began)
    return percentile(times, 0.5) * 1e6
