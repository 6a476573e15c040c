"""Verification of a store that nobody is using: from the pages of its files to its meaning.

Per partition: LMDB's structure is walked from the outside (every page reachable once, keys in
order, counters right, free and live pages apart), by a verifier that never hands the file to the
engine; then the applied sequence; then every record against its checksum; then what the machine
itself knows to be invariant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import lmdb

from . import folder
from .batch import Identity, read_identity
from .disk import DATA_FILE
from .environment import Environment
from .errors import BackupError, StoreError
from .inspection import MAX_PROBLEMS, structure_problems
from .machine import Machine, kind_of
from .snapshot import Manifest, Progress, fill_from_backup
from .transaction import ReadTxn


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """What was found in one partition.

    Attributes:
        partition: its number.
        applied: its last applied sequence, None when that cannot be read.
        digest: of the history up to there (`WriteTxn.digest`), None likewise.
        content_digest: of what the tables hold (`ReadTxn.content_digest`), None when they cannot
            be read; damaged records are left out.
        entries: number of keys by table.
        size_bytes: of the data file.
        problems: one sentence for each thing that is wrong; empty when all is well.
    """

    partition: int
    applied: int | None
    entries: dict[str, int]
    size_bytes: int
    problems: tuple[str, ...]
    digest: int | None = None
    content_digest: int | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found in a store."""

    path: Path
    partitions: tuple[PartitionReport, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, each with its partition."""
        return tuple(
            f"partition {report.partition}: {problem}"
            for report in self.partitions
            for problem in report.problems
        )

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(
    path: str | os.PathLike[str],
    machine: Callable[[int], Machine],
    *,
    on_partition: Callable[[PartitionReport], None] | None = None,
) -> CheckReport:
    """Verify the store in `path`; nothing in its tables is changed.

    Args:
        path: the store's folder.
        machine: makes the state machine of a partition.
        on_partition: called with each report as soon as it is there.

    Raises:
        StoreMissing, StoreLocked (stop the owner first), StoreVersion, StoreMismatch (the content
        is another program's), StoreCorrupt (the format file; damage of a partition is a problem in
        its report).
    """
    root = Path(path)
    tables = folder.require(root)
    lock = folder.OwnerLock(root)
    try:
        folder.settle_replacements(tables)
        return CheckReport(root, check_tables(tables, machine, on_partition))
    finally:
        lock.release()


def check_tables(
    tables: Path,
    machine: Callable[[int], Machine],
    on_partition: Callable[[PartitionReport], None] | None = None,
) -> tuple[PartitionReport, ...]:
    """Verify a folder of tables that the caller has for itself."""
    found = folder.Format.read(tables)
    first = machine(0)
    found.require(tables, kind_of(first), first.version)
    reports = []
    for partition in range(found.partitions):
        place = folder.partition_folder(tables, partition)
        report = check_partition(place, partition, machine(partition))
        if on_partition is not None:
            on_partition(report)
        reports.append(report)
    return tuple(reports)


def check_partition(place: Path, partition: int, machine: Machine) -> PartitionReport:
    """Verify the folder of one partition that the caller has for itself."""
    file = place / DATA_FILE
    problems = [f"{file}: {problem}" for problem in structure_problems(file)]
    size_bytes = file.stat().st_size if file.exists() else 0
    if problems:  # the engine is kept away from a file that it could fall over
        return PartitionReport(partition, None, {}, size_bytes, tuple(problems))
    identity: Identity | None = None
    entries: dict[str, int] = {}
    content_digest: int | None = None
    try:
        environment = Environment(place, machine.tables, readonly=True)
        try:
            with environment.snapshot() as txn:
                identity = read_identity(txn)
                if identity is None:
                    problems.append("its applied sequence is missing or damaged")
                elif identity.partition != partition:
                    problems.append(f"the file holds partition {identity.partition}")
                entries = {table: txn.count(table) for table in machine.tables}
                content_digest = _read_all(txn, machine.tables, problems)
                machine.open(txn, partition)
                problems.extend(islice(machine.check(txn, partition), MAX_PROBLEMS))
        finally:
            environment.close()
    except (StoreError, lmdb.Error) as error:
        problems.append(str(error))
    except Exception as error:  # noqa: BLE001 - tables that a machine falls over are the finding
        problems.append(f"reading the tables failed: {type(error).__name__}: {error}")
    return PartitionReport(
        partition,
        identity.applied if identity else None,
        entries,
        size_bytes,
        tuple(problems),
        identity.digest if identity else None,
        content_digest,
    )


def _read_all(txn: ReadTxn, tables: Sequence[str], problems: list[str]) -> int:
    """Compare every record with its checksum; return the digest of the content."""

    def damaged(table: str, key: bytes, _stored: bytes) -> None:
        if len(problems) < MAX_PROBLEMS:
            problems.append(f"in table {table!r} the record with key {key.hex()} (hex) is damaged")

    return txn.content_digest(tables, damaged)


def restore(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    machine: Callable[[int], Machine],
    *,
    progress: Progress | None = None,
) -> CheckReport:
    """Make the store `dest` from the backup `source`: hashes compared, checked, then in place.

    Args:
        source: the backup's folder.
        dest: the store's folder; it must not exist or be empty.
        machine: makes the state machine of a partition, for the check.
        progress: called with (bytes copied, bytes in total).

    Raises:
        BackupError: no complete backup, a file of it is not what was written, the content does not
            pass the check, or `dest` is not empty; `dest` is then as it was.
        StoreVersion: the backup is of another version.
        StoreMismatch: it is of another program.
    """
    origin, root = Path(source), Path(dest)
    manifest = Manifest.read(origin)
    ours = {folder.LOCK_FILE, folder.TABLES_NEW}  # what an interrupted restore leaves behind
    fresh = not root.exists()
    if not fresh and (not root.is_dir() or any(item.name not in ours for item in root.iterdir())):
        raise BackupError(f"{root} is not empty: a restore overwrites nothing")
    reports: list[PartitionReport] = []

    def fill(tables: Path) -> None:
        fill_from_backup(origin, manifest, tables, progress)
        reports.extend(check_tables(tables, machine))
        for report, copy in zip(reports, manifest.copies, strict=True):
            if report.applied is not None and report.applied != copy.applied:
                raise BackupError(
                    f"{copy.name} is at sequence {report.applied}, the manifest says {copy.applied}"
                )
        problems = CheckReport(root, tuple(reports)).problems
        if problems:
            raise BackupError(f"the backup {origin} does not pass the check: {problems[0]}")

    lock = folder.OwnerLock(root)
    try:
        folder.make(root, fill)
    except BaseException as error:
        with suppress(StoreError):  # the first error is the one that counts
            folder.discard_half_made(root)
        (root / folder.LOCK_FILE).unlink()
        if fresh:
            root.rmdir()
        if isinstance(error, OSError):
            raise BackupError(f"restoring into {root} failed: {error}") from error
        raise
    finally:
        lock.release()
    return CheckReport(root, tuple(reports))
