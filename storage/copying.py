"""Whole partitions out of a store and into it: backups, snapshots, digests of the content.

The part of `Store` that any thread may call while others work.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from .batch import Applier, read_identity
from .environment import Environment
from .errors import BackupError, StoreClosed, StoreCorrupt
from .installing import Installation, SnapshotInfo, write_snapshot
from .machine import CutAware, Machine, kind_of
from .snapshot import Manifest, Progress, write_backup


class Copying:
    """What a store copies, replaces and compares as a whole; see `Store`."""

    readonly: bool
    _appliers: Sequence[Applier]

    def __init__(
        self,
        machine: Callable[[int], Machine],
        machines: Sequence[Machine],
        environments: Sequence[Environment],
    ) -> None:
        self._machine = machine
        self._machines = machines
        self._environments = environments
        self._closed = False
        self._closing = False
        self._closing_down = threading.RLock()
        self._backing_up = threading.Lock()
        self._installing = threading.Lock()
        self._viewing: set[tuple[int, int]] = set()

    def _assert_no_view(self) -> None:
        # Growing the map waits for snapshots; one held by the waiting thread would never end.
        if self._viewing:
            me = threading.get_ident()
            assert all(thread != me for thread, _ in tuple(self._viewing)), (
                "waiting for a writer inside a view would never end"
            )

    def content_digest(self, partition: int) -> tuple[int, int]:
        """Return (last applied sequence, 64-bit digest of what the tables hold at it).

        Reads the whole partition over one snapshot, here and now, and blocks until done; for
        comparing what replicas really hold. May be called from any thread.

        Raises:
            RecordCorrupt: a record is damaged.
        """
        if self._closed:
            raise StoreClosed
        environment = self._environments[partition]
        environment.make_room()  # the map cannot grow while a snapshot is open
        with environment.snapshot("a digest of the content") as txn:
            identity = read_identity(txn)
            if identity is None:
                raise StoreCorrupt(environment.folder, "its applied sequence is missing or damaged")
            return identity.applied, txn.content_digest(self._machines[partition].tables)

    def backup(
        self,
        dest: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        moment: AbstractContextManager[Any] | None = None,
    ) -> Manifest:
        """Copy all partitions as of one moment into the new folder `dest`, while work goes on.

        Blocks until done, so a program with a loop calls it in a thread; it may be called from any.
        With a machine that is CutAware the cut is taken again (a bounded number of times) until
        the machine agrees. While a backup runs, freed pages are not reused: the files grow more.

        Args:
            dest: the backup's folder; it must not exist or be empty.
            progress: called with (bytes done, bytes in total); what it raises ends the backup.
            moment: entered while the snapshots of the partitions are opened, for each attempt: for
                an owner who can keep everybody from appending meanwhile.

        Raises:
            BackupError: `dest` is taken, its disk is full, another backup runs, the store closes,
                or no consistent cut was found.
        """
        if not self._backing_up.acquire(blocking=False):
            raise BackupError("another backup of this store is running")
        try:
            machine = self._machines[0]
            return write_backup(
                self._environments,
                kind_of(machine),
                machine.version,
                Path(dest),
                progress=progress,
                cut_aware=machine if isinstance(machine, CutAware) else None,
                stopped=lambda: self._closing,
                moment=nullcontext() if moment is None else moment,
            )
        finally:
            self._backing_up.release()

    def snapshot(self, partition: int, dest: str | os.PathLike[str]) -> SnapshotInfo:
        """Copy one partition as of now into the new file `dest`, while work goes on.

        The file is a compact image, whole and durable when this returns; `install` takes it in
        elsewhere. Blocks until done; may be called from any thread.

        Raises:
            BackupError: `dest` is there, its disk is full, or the store closes.
        """
        if self._closed:
            raise StoreClosed
        environment, machine = self._environments[partition], self._machines[partition]
        return write_snapshot(environment, machine, Path(dest), lambda: self._closing)

    def install(self, partition: int, source: str | os.PathLike[str], info: SnapshotInfo) -> None:
        """Replace the content of a partition by a snapshot: for a replica that is too far behind.

        The snapshot is copied beside the partition and verified first: size and SHA-256, LMDB's
        structure, every record, the machine's own check, sequence and digest as `info` names them.
        Only the change itself holds up the partition: it waits for the batch under way and for the
        end of the open snapshots. What was appended before and is not applied gets WrongSequence.
        A crash at any moment leaves the old content or the new one. The sequence may go either way.
        Blocks until done; may be called from any thread, but not inside `view`.

        Raises:
            BackupError: the snapshot is not what `info` says, or does not pass the check.
            StoreMismatch, StoreVersion: it is another program's, or of another version.
            StoreBusy: a snapshot (a backup's, say) was held open for longer than `max_snapshot_s`.
            StoreClosed: the store is closing or readonly.
        """
        self._put_in_place(partition, lambda new: new.prepare(partition, Path(source), info))

    def clear(self, partition: int) -> None:
        """Replace the content of a partition by nothing: for a replica that is not needed any more.

        Its files are removed; sequence and digest begin anew. As with `install`, what was appended
        before and is not applied gets WrongSequence, and a crash at any moment leaves the old
        content or none. Blocks until done; may be called from any thread, but not inside `view`.

        Raises:
            StoreError: the disk is full, or the system refuses.
            StoreBusy: a snapshot (a backup's, say) was held open for longer than `max_snapshot_s`.
            StoreClosed: the store is closing or readonly.
        """
        self._put_in_place(partition, lambda new: new.prepare_empty(partition))

    def _put_in_place(self, partition: int, prepare: Callable[[Installation], None]) -> None:
        self._assert_no_view()
        place = self._environments[partition].folder
        installation = Installation(place, self._machine(partition))
        with self._installing:
            self._assert_open()
            try:
                prepare(installation)
                with self._closing_down:
                    self._assert_open()
                    self._appliers[partition].replace(installation.swap, installation.undo)
            finally:
                installation.discard()

    def _assert_open(self) -> None:
        if self._closing or self.readonly:
            raise StoreClosed
