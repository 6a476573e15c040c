"""Backups: a consistent, verified copy of a store that is in use, and the way back.

    <backup>/0000/data.mdb   one compact LMDB image per partition
    <backup>/manifest.json   what belongs to it, with sizes and SHA-256; written last

A folder without a manifest is no backup: the copying was cut short.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import lmdb

from . import folder
from .batch import Identity, read_identity
from .disk import DATA_FILE
from .environment import Environment
from .errors import BackupError, StoreBusy, StoreVersion
from .machine import CutAware
from .partitioning import check_partitions
from .transaction import ReadTxn

FORMAT = 2
KIND = "palaver-backup"
MANIFEST_FILE = "manifest.json"
CUT_ATTEMPTS = 50
CHUNK_BYTES = 1 << 20

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total)."""


@dataclass(frozen=True, slots=True)
class PartitionCopy:
    """One partition in a backup.

    Attributes:
        name: path of the image within the backup.
        applied: the last sequence that it holds.
        size_bytes: of the image.
        sha256: of the image, hexadecimal.
    """

    name: str
    applied: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup consists of; `copies` in the order of the partitions.

    Attributes:
        content: which program's content it is.
        machine_version: version of that content.
    """

    content: str
    machine_version: int
    copies: tuple[PartitionCopy, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all images."""
        return sum(copy.size_bytes for copy in self.copies)

    def write(self, path: Path) -> None:
        """Write it durably into the backup's folder."""
        content = {
            "kind": KIND,
            "format": FORMAT,
            "content": self.content,
            "machine_version": self.machine_version,
            "partitions": [asdict(copy) for copy in self.copies],
        }
        folder.write_durably(path / MANIFEST_FILE, json.dumps(content, indent=1).encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read it from a backup's folder; BackupError or StoreVersion when that cannot be."""
        file = path / MANIFEST_FILE
        try:
            content = json.loads(file.read_bytes())
            if content["kind"] != KIND:
                raise ValueError(f"it is a {content['kind']!r}")
            if content["format"] != FORMAT:
                raise StoreVersion(file, "the backup's format", int(content["format"]), FORMAT)
            copies = tuple(_copy_of(part) for part in content["partitions"])
            check_partitions(len(copies))
            return cls(str(content["content"]), int(content["machine_version"]), copies)
        except FileNotFoundError:
            raise BackupError(
                f"{path} is no complete backup: {MANIFEST_FILE}, which is written last, is missing"
            ) from None
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise BackupError(f"{file} is damaged: {error}") from error


def _copy_of(part: dict[str, Any]) -> PartitionCopy:
    name = str(part["name"])
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"it names a file outside the backup: {name}")
    return PartitionCopy(name, int(part["applied"]), int(part["size_bytes"]), str(part["sha256"]))


def write_backup(
    environments: Sequence[Environment],
    content: str,
    machine_version: int,
    dest: Path,
    *,
    progress: Progress | None,
    cut_aware: CutAware | None,
    stopped: Callable[[], bool],
    moment: AbstractContextManager[Any],
) -> Manifest:
    """Copy the environments as of one cut into `dest`; see `Store.backup`."""
    fresh = _claim(dest)
    try:
        # A map cannot grow while a snapshot is open; so there is room for the writers beforehand.
        for environment in environments:
            environment.make_room()
        with _cut(environments, cut_aware, stopped, moment) as snapshots:
            total = sum(environment.used_bytes(raw) for environment, raw in snapshots)
            copied = Counter(total, progress, stopped)
            copies = tuple(
                _copy(environment, raw, dest, partition, copied)
                for partition, (environment, raw) in enumerate(snapshots)
            )
        manifest = Manifest(content, machine_version, copies)
        folder.sync_tree(dest)
        manifest.write(dest)
        folder.sync_upwards(dest)
        if progress is not None:
            progress(manifest.size_bytes, manifest.size_bytes)
    except BaseException as error:
        shutil.rmtree(dest)
        if not fresh:
            dest.mkdir(mode=0o700)
        if isinstance(error, OSError | lmdb.Error | StoreBusy):
            raise BackupError(f"the backup into {dest} failed: {error}") from error
        raise
    return manifest


def _claim(dest: Path) -> bool:
    """Make the folder, or take an empty one; return whether it was made."""
    try:
        dest.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not dest.is_dir() or any(dest.iterdir()):
            raise BackupError(f"{dest} is not empty: a backup overwrites nothing") from None
        return False
    except OSError as error:
        raise BackupError(f"{dest} cannot be made: {error}") from error
    return True


@contextmanager
def _cut(
    environments: Sequence[Environment],
    cut_aware: CutAware | None,
    stopped: Callable[[], bool],
    moment: AbstractContextManager[Any],
) -> Iterator[list[tuple[Environment, lmdb.Transaction[bytes]]]]:
    """Open a snapshot of every partition so that they fit together."""
    pause = threading.Event()
    for attempt in range(CUT_ATTEMPTS):
        with ExitStack() as stack:
            with moment:
                raws = [stack.enter_context(env.raw_snapshot("a backup")) for env in environments]
            pairs = list(zip(environments, raws, strict=True))
            if cut_aware is None or cut_aware.consistent(
                [ReadTxn(raw, environment.dbs) for environment, raw in pairs]
            ):
                yield pairs
                return
        if stopped():
            break
        pause.wait(0.001 * attempt)  # work in flight between partitions gets on meanwhile
    raise BackupError(f"no consistent cut through the partitions in {CUT_ATTEMPTS} attempts")


class Counter:
    """Counts bytes, reports them, and ends the work when the store closes."""

    def __init__(
        self, total: int, progress: Progress | None, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._done = 0
        self._total = total
        self._progress = progress
        self._stopped = stopped

    def add(self, size_bytes: int) -> None:
        """Count so many bytes more; BackupError when the store closes."""
        self._done += size_bytes
        if self._stopped():
            raise BackupError("the store is closing")
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)


def _copy(
    environment: Environment,
    raw: lmdb.Transaction[bytes],
    dest: Path,
    partition: int,
    copied: Counter,
) -> PartitionCopy:
    place = folder.partition_folder(dest, partition)
    place.mkdir(mode=0o700)
    target = place / DATA_FILE
    identity, size_bytes, digest = copy_image(environment, raw, target, copied)
    return PartitionCopy(str(target.relative_to(dest)), identity.applied, size_bytes, digest)


def copy_image(
    environment: Environment, raw: lmdb.Transaction[bytes], target: Path, copied: Counter
) -> tuple[Identity, int, str]:
    """Stream a compact image of a snapshot through the hash into a new file, durably.

    Returns:
        What it holds, its size in bytes and its SHA-256.

    Raises:
        FileExistsError: the file is there.
        BackupError: the partition is damaged, or the store closes.
    """
    identity = read_identity(ReadTxn(raw, environment.dbs))
    if identity is None:
        raise BackupError(f"{environment.folder} holds no applied sequence; run a check")
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    failure: list[BaseException] = []

    def produce() -> None:
        try:
            environment.copy_to(writing, raw)
        except lmdb.Error as error:
            failure.append(error)
        finally:
            os.close(writing)

    name = f"palaver-backup-{identity.partition}"
    thread = threading.Thread(target=produce, name=name, daemon=True)
    thread.start()
    try:
        with os.fdopen(reading, "rb", buffering=0) as source:
            size_bytes, digest = pour(source.read, target, copied)
    finally:
        thread.join()  # the pipe is closed at this end: the producer comes to its end too
    if failure:
        raise failure[0]
    return identity, size_bytes, digest


def pour(read: Callable[[int], bytes | None], target: Path, copied: Counter) -> tuple[int, str]:
    """Write what `read` gives into a new file, durably; return its size and SHA-256."""
    digest = sha256()
    size_bytes = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as out:
        while chunk := read(CHUNK_BYTES):
            view = memoryview(chunk)
            while view:
                view = view[out.write(view) or 0 :]
            digest.update(chunk)
            size_bytes += len(chunk)
            copied.add(len(chunk))
        os.fsync(out.fileno())
    return size_bytes, digest.hexdigest()


def fill_from_backup(
    source: Path, manifest: Manifest, tables: Path, progress: Progress | None
) -> None:
    """Copy a backup's images into the folder of tables, comparing every size and hash."""
    copied = Counter(manifest.size_bytes, progress)
    for partition, copy in enumerate(manifest.copies):
        place = folder.partition_folder(tables, partition)
        place.mkdir(mode=0o700)
        try:
            with (source / copy.name).open("rb", buffering=0) as file:
                size_bytes, digest = pour(file.read, place / DATA_FILE, copied)
        except FileNotFoundError:
            raise BackupError(f"{source / copy.name} is missing from the backup") from None
        if (size_bytes, digest) != (copy.size_bytes, copy.sha256):
            raise BackupError(
                f"{source / copy.name} is not what was backed up: {size_bytes} bytes with SHA-256 "
                f"{digest}, the manifest says {copy.size_bytes} and {copy.sha256}"
            )
    folder.Format(len(manifest.copies), manifest.content, manifest.machine_version).write(tables)
