"""Opening a store's folder: locked, put right, compared with the settings, every partition open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import folder
from .creation import create
from .environment import Environment
from .errors import StoreMismatch
from .machine import Machine, kind_of


class Lock(Protocol):
    """What keeps other owners away."""

    def release(self) -> None:
        """Give the folder free; harmless when repeated."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder that is open.

    Attributes:
        lock: of the owner; None when it was opened for reading only.
    """

    machines: list[Machine]
    environments: list[Environment]
    lock: Lock | None

    def close(self) -> None:
        """Close the partitions, then give the folder free; harmless when repeated."""
        for environment in self.environments:
            environment.close()
        if self.lock is not None:
            self.lock.release()


def open_folder(
    root: Path,
    machine: Callable[[int], Machine],
    partitions: int | None,
    *,
    readonly: bool,
    environment: Callable[[Path, tuple[str, ...]], Environment],
) -> Opened:
    """Open the folder, making the store when there is none; see `Store.open`.

    Args:
        root: the store's folder.
        machine: makes the state machine of a partition.
        partitions: how many there should be, None: as many as there are.
        readonly: without the owner's lock; makes and mends nothing.
        environment: opens a partition's folder with the machine's tables.
    """
    opened = Opened([], [], None if readonly else folder.OwnerLock(root))
    try:
        if not readonly:
            folder.discard_half_made(root)
            if not folder.exists(root):
                create(root, machine, partitions or 1)
            folder.settle(root)
        tables = folder.require(root)
        if not readonly:
            folder.settle_replacements(tables)
        found = accept(folder.Format.read(tables), tables, machine(0), partitions)
        opened.machines.extend(machine(partition) for partition in range(found))
        opened.environments.extend(
            environment(folder.partition_folder(tables, partition), of_partition.tables)
            for partition, of_partition in enumerate(opened.machines)
        )
    except BaseException:
        opened.close()
        raise
    return opened


def accept(found: folder.Format, tables: Path, machine: Machine, partitions: int | None) -> int:
    """Compare what a folder was made with to what is wanted now; return the number of partitions.

    Raises:
        StoreMismatch: it is another program's, or has another number of partitions.
        StoreVersion: it is of another version.
    """
    found.require(tables, kind_of(machine), machine.version)
    if partitions is not None and partitions != found.partitions:
        raise StoreMismatch(
            f"{tables.parent} was created with {found.partitions} partitions, the settings say "
            f"{partitions}; the number is fixed at creation: correct the settings"
        )
    return found.partitions
