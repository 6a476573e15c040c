"""A partition leaves as one file and comes in as one file: how a replica that is behind catches up.

    <store>/tables/0003        the partition, in use
    <store>/tables/0003.new    what is being installed, until it is verified
    <store>/tables/0003.old    what it replaces, until the new one is durable in its place

The new folder is complete and synced before anything is touched. Then, with nothing open, the old
one is renamed away and the new one into its place. A crash between the two leaves no folder in the
place and the old one beside it: the next opening puts it back. So there is the one content or the
other at any moment, whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb

from . import folder
from .check import check_partition
from .creation import make_partition
from .disk import DATA_FILE
from .environment import Environment
from .errors import BackupError, StoreBusy, StoreError
from .machine import Machine, kind_of
from .snapshot import Counter, copy_image, pour


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What the file of a partition's snapshot is; it travels with the file.

    Attributes:
        partition: whose.
        applied: the last sequence that it holds.
        digest: of the history up to there.
        content: which program's content it is.
        machine_version: version of that content.
        folder_format: version of the files' format.
        size_bytes: of the file.
        sha256: of the file, hexadecimal.
    """

    partition: int
    applied: int
    digest: int
    content: str
    machine_version: int
    folder_format: int
    size_bytes: int
    sha256: str


def write_snapshot(
    environment: Environment,
    machine: Machine,
    dest: Path,
    stopped: Callable[[], bool],
) -> SnapshotInfo:
    """Copy one partition, as of now, into the new file `dest`; see `Store.snapshot`."""
    try:
        environment.make_room()
        with environment.raw_snapshot("a partition's snapshot") as raw:
            counter = Counter(environment.used_bytes(raw), None, stopped)
            try:
                identity, size_bytes, sha256 = copy_image(environment, raw, dest, counter)
            except FileExistsError:
                raise BackupError(f"{dest} is there: a snapshot overwrites nothing") from None
            except BaseException:
                dest.unlink(missing_ok=True)
                raise
        folder.sync_folder(dest.parent)
    except (OSError, lmdb.Error, StoreBusy) as error:
        raise BackupError(f"the snapshot into {dest} failed: {error}") from error
    return SnapshotInfo(
        identity.partition,
        identity.applied,
        identity.digest,
        kind_of(machine),
        machine.version,
        folder.FORMAT,
        size_bytes,
        sha256,
    )


class Installation:
    """One snapshot, or an empty partition, on its way into a partition's place.

    Args:
        place: the partition's folder.
        machine: a state machine of its own for verifying.
    """

    def __init__(self, place: Path, machine: Machine) -> None:
        self._place = place
        self._new = place.with_name(place.name + folder.NEW)
        self._old = place.with_name(place.name + folder.OLD)
        self._machine = machine

    def prepare(self, partition: int, source: Path, info: SnapshotInfo) -> None:
        """Copy the snapshot beside the partition and verify it; the partition is in use meanwhile.

        Raises:
            BackupError: it is not what `info` says, or does not pass the check.
            StoreMismatch, StoreVersion: it is another program's, or of another version.
        """
        if info.partition != partition:
            raise BackupError(f"{source} holds partition {info.partition}, not {partition}")
        folder.compare(
            source,
            (info.folder_format, info.content, info.machine_version),
            (folder.FORMAT, kind_of(self._machine), self._machine.version),
        )
        try:
            self._copy(source, info)
        except OSError as error:
            raise BackupError(f"copying {source} failed: {error}") from error
        report = check_partition(self._new, partition, self._machine)
        if report.problems:
            raise BackupError(f"{source} does not pass the check: {report.problems[0]}")
        if (report.applied, report.digest) != (info.applied, info.digest):
            raise BackupError(
                f"{source} is at sequence {report.applied} with digest {report.digest}, not at "
                f"{info.applied} with {info.digest}"
            )
        (self._new / "lock.mdb").unlink(missing_ok=True)
        folder.sync_tree(self._new)

    def prepare_empty(self, partition: int) -> None:
        """Make an empty partition beside this one, which is in use meanwhile.

        Raises:
            StoreError: the disk is full, or the system refuses.
        """
        try:
            self.discard()
            make_partition(self._new, partition, self._machine)
            (self._new / "lock.mdb").unlink(missing_ok=True)
            folder.sync_tree(self._new)
        except (OSError, lmdb.Error) as error:
            raise StoreError(f"{self._place} cannot be emptied: {error}") from error

    def _copy(self, source: Path, info: SnapshotInfo) -> None:
        self.discard()
        self._new.mkdir(mode=0o700)
        counter = Counter(info.size_bytes, None)
        with source.open("rb", buffering=0) as file:
            found = pour(file.read, self._new / DATA_FILE, counter)
        if found != (info.size_bytes, info.sha256):
            raise BackupError(
                f"{source} is not what was taken: {found[0]} bytes with SHA-256 {found[1]}, it "
                f"should have {info.size_bytes} and {info.sha256}"
            )

    def swap(self) -> None:
        """Put the new folder in place; nothing is open."""
        self._place.rename(self._old)
        self._new.rename(self._place)
        folder.sync_folder(self._place.parent)

    def undo(self) -> None:
        """Put the old folder back, wherever `swap` has stopped."""
        if self._old.exists():
            if self._place.exists():
                self._place.rename(self._new)
            self._old.rename(self._place)
            folder.sync_folder(self._place.parent)

    def discard(self) -> None:
        """Remove what is not in place."""
        if self._place.exists():  # if not, the old one is all there is
            for leftover in (self._new, self._old):
                if leftover.exists():
                    shutil.rmtree(leftover)
