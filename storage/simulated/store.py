"""The log engine `simulated`: a `Store` over a simulated disk, in one thread and in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from palaver.storage import folder as real_folder
from palaver.storage.batch import Applier, Identity, write_identity
from palaver.storage.driving import Driver, Settings
from palaver.storage.environment import Environment
from palaver.storage.errors import (
    BackupError,
    StoreClosed,
    StoreLocked,
    StoreMissing,
)
from palaver.storage.installing import SnapshotInfo
from palaver.storage.machine import Machine, kind_of
from palaver.storage.opening import Opened, accept
from palaver.storage.partitioning import check_partitions
from palaver.storage.snapshot import Manifest, Progress
from palaver.storage.stats import StoreStats
from palaver.storage.store import DEFAULT_MAX_BACKLOG, DEFAULT_MAX_BATCH, Store
from palaver.storage.transaction import WriteTxn

from .disk import Folder, Plate, SimulatedDisk
from .driving import Reading, SimulatedDriver, Writing
from .environment import SimulatedEnvironment
from .faults import CallLater
from .images import read_image, verify_content, verify_label, write_image

DEFAULT_MAX_BYTES = 1 << 40


class SimulatedStore(Store):
    """A store on a simulated disk; see `SimulatedStore.open`.

    Everything that `Store` promises with a loop holds. What only threads and files could do is
    refused: `wait` (an append returns no ticket), `backup` (there are no files to copy).
    """

    def __init__(
        self,
        disk: SimulatedDisk,
        place: Folder,
        machine: Callable[[int], Machine],
        opened: Opened,
        settings: Settings,
        call_later: CallLater,
    ) -> None:
        self._disk = disk
        self._place = place
        drivers: list[SimulatedDriver] = []

        def drive(
            appliers: Sequence[Applier],
            environments: Sequence[Environment],
            settings: Settings,
            stats: StoreStats,
        ) -> Driver:
            writing = [
                Writing(
                    applier,
                    plate,
                    call_later,
                    max_batch=settings.max_batch,
                    max_backlog=settings.max_backlog,
                    stats=stats,
                )
                for applier, plate in zip(appliers, place.plates, strict=False)
            ]
            reading = Reading(
                environments, disk, call_later, max_backlog=settings.max_backlog, stats=stats
            )
            drivers.append(SimulatedDriver(writing, reading))
            return drivers[0]

        super().__init__(Path(place.name), machine, opened, settings, drive)
        self._lanes = drivers[0]

    @classmethod
    def open(  # type: ignore[override]  # a disk instead of a path, and nothing about threads
        cls,
        disk: SimulatedDisk,
        machine: Callable[[int], Machine],
        *,
        folder: str = "store",
        partitions: int | None = None,
        call_later: CallLater | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_backlog: int = DEFAULT_MAX_BACKLOG,
        readonly: bool = False,
    ) -> SimulatedStore:
        """Open the store in a folder of `disk`, creating it when there is none.

        Args:
            disk: where it is kept; it outlives the store.
            machine: makes the state machine of a partition.
            folder: its name on the disk.
            partitions: a power of two, needed at creation (default 1) and compared afterwards;
                None accepts what the folder has.
            call_later: calls a function after so many seconds; by default the disk's.
            max_bytes: how large a partition may become; beyond, commands fail with StoreFull.
            max_batch: commands in one transaction (one append is never divided).
            max_backlog: commands that may wait in one partition, and reads in the store; beyond,
                Overloaded.
            readonly: open beside a running owner; no appends.

        Raises:
            StoreLocked, StoreMissing (readonly only), StoreVersion, StoreMismatch; StoreCorrupt
            where the machine cannot read its tables.
        """
        if partitions is not None:
            check_partitions(partitions)
        place = disk.folder(folder)
        opened = _open_folder(place, machine, partitions, max_bytes, readonly=readonly)
        clock = disk.faults.now_s
        later = disk.faults.call_later if call_later is None else call_later
        settings = Settings(
            post=_call_soon(later),
            defer=_call_soon(later),
            clock=clock,
            stall_s=0.0,
            max_batch=max_batch,
            max_backlog=max_backlog,
            flush_s=None,
        )
        store = cls(disk, place, machine, opened, settings, later)
        if readonly:
            place.readers.append(store)
        else:
            place.owner = store
        return store

    def perish(self, *, power: bool) -> None:
        """End with the process: nothing is answered any more, and every call is refused.

        For the disk, which decides what is there afterwards (`SimulatedDisk.power_off`, `killed`).
        """
        if not self._closed:
            self._closed = self._closing = True
            self._lanes.perish()

    def close_now(self) -> None:
        """Bring everything to its end now, and give the folder free; harmless when repeated."""
        super().close_now()
        if self in self._place.readers:
            self._place.readers.remove(self)

    def backup(
        self,
        dest: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        moment: AbstractContextManager[Any] | None = None,
    ) -> Manifest:
        """Refuse: there are no files to copy; see `snapshot`.

        Raises:
            BackupError: always.
        """
        raise BackupError(
            "a simulated store has no files that a backup could copy; take a snapshot of each "
            "partition"
        )

    def snapshot(self, partition: int, dest: str | os.PathLike[str]) -> SnapshotInfo:
        """Write one partition as of now into the new file `dest` of the disk's `files`.

        Raises:
            BackupError: `dest` is there, or the disk is full.
            StoreClosed: the store is closed.
        """
        if self._closed:
            raise StoreClosed
        path = os.fspath(dest)
        if path in self._disk.files:
            raise BackupError(f"{path} is there: a snapshot overwrites nothing")
        if self._disk.is_full:
            raise BackupError(f"the snapshot into {path} failed: no space left on device")
        environment = self._environment(partition)
        image, info = write_image(environment, self._machines[partition])
        self._disk.files[path] = image
        return info

    def install(self, partition: int, source: str | os.PathLike[str], info: SnapshotInfo) -> None:
        """Replace the content of a partition by a snapshot in the disk's `files`.

        It is verified first: size and SHA-256, every record, the machine's own check, sequence and
        digest as `info` names them. What was appended before and is not applied gets WrongSequence.

        Raises:
            BackupError: the snapshot is not what `info` says, or does not pass the check.
            StoreMismatch, StoreVersion: it is another program's, or of another version.
            StoreBusy: a snapshot is open.
            StoreClosed: the store is closing or readonly.
        """
        self._assert_no_view()
        self._assert_open()
        path = Path(source)
        image = self._disk.files.get(os.fspath(source))
        if image is None:
            raise BackupError(f"copying {path} failed: there is no such file")
        machine = self._machine(partition)
        verify_label(partition, path, image, info, machine)
        aside = Plate(self._disk, "")
        aside.content = read_image(path, image)
        verify_content(
            SimulatedEnvironment(aside, path, machine.tables, max_bytes=0), path, info, machine
        )
        self._put_content(partition, aside)

    def clear(self, partition: int) -> None:
        """Replace the content of a partition by nothing; see `Store.clear`.

        Raises:
            StoreBusy: a snapshot is open.
            StoreClosed: the store is closing or readonly.
        """
        self._assert_no_view()
        self._assert_open()
        aside = Plate(self._disk, "")
        _empty(aside, partition, self._machine(partition))
        self._put_content(partition, aside)

    def _put_content(self, partition: int, aside: Plate) -> None:
        plate = self._environment(partition).plate
        before = plate.content

        def put(content: Any) -> None:
            plate.content = content

        self._appliers[partition].replace(lambda: put(aside.content), lambda: put(before))

    def _environment(self, partition: int) -> SimulatedEnvironment:
        environment = self._environments[partition]
        assert isinstance(environment, SimulatedEnvironment)
        return environment


class _Lock:
    """The folder belongs to one store; see `opening.Opened`."""

    __slots__ = ("_place",)

    def __init__(self, place: Folder) -> None:
        self._place = place

    def release(self) -> None:
        """Give it free."""
        self._place.owner = None


def _call_soon(later: CallLater) -> Callable[[Callable[[], None]], object]:
    return lambda fn: later(0.0, fn)


def _open_folder(
    place: Folder,
    machine: Callable[[int], Machine],
    partitions: int | None,
    max_bytes: int,
    *,
    readonly: bool,
) -> Opened:
    path = Path(place.name)
    if not readonly and place.owner is not None:
        raise StoreLocked(path, None)
    first = machine(0)
    if not place.plates:
        if readonly:
            raise StoreMissing(path)
        _make(place, machine, partitions or 1)
    made = real_folder.Format(len(place.plates), place.kind, place.version)
    found = accept(made, real_folder.tables_of(path), first, partitions)
    machines = [machine(partition) for partition in range(found)]
    environments: list[Environment] = [
        SimulatedEnvironment(
            plate,
            real_folder.partition_folder(real_folder.tables_of(path), partition),
            own.tables,
            max_bytes=max_bytes,
            readonly=readonly,
        )
        for partition, (plate, own) in enumerate(zip(place.plates, machines, strict=True))
    ]
    return Opened(machines, environments, None if readonly else _Lock(place))


def _make(place: Folder, machine: Callable[[int], Machine], partitions: int) -> None:
    first = machine(0)
    place.make(partitions, kind_of(first), first.version)
    for partition, plate in enumerate(place.plates):
        _empty(plate, partition, first)


def _empty(plate: Plate, partition: int, machine: Machine) -> None:
    environment = SimulatedEnvironment(
        plate, Path("partition"), machine.tables, max_bytes=DEFAULT_MAX_BYTES
    )
    raw = environment.begin()
    write_identity(WriteTxn(raw, environment.dbs), Identity(0, partition))
    raw.commit()  # not the environment's: the disk does not choose here
