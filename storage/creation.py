"""Making an empty store: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lmdb

from . import folder
from .batch import Identity, write_identity
from .disk import FULL_ERRNOS, command_error
from .environment import Environment
from .errors import StoreError, StoreFull
from .machine import Machine, kind_of
from .transaction import WriteTxn


def create(root: Path, machine: Callable[[int], Machine], partitions: int) -> None:
    """Make an empty store in `root`; the caller owns the lock.

    Raises:
        StoreFull: no room on the disk.
        StoreError: the system refuses.
    """
    try:
        folder.make(root, lambda tables: _fill(tables, machine, partitions))
    except (OSError, lmdb.Error, StoreError) as error:
        with suppress(StoreError):  # the first error is the one that counts
            folder.discard_half_made(root)
        if isinstance(error, StoreError):
            raise
        if isinstance(error, lmdb.Error):
            raise command_error(error, root) from error
        kind = StoreFull if error.errno in FULL_ERRNOS else StoreError
        raise kind(f"no store can be made in {root}: {error}") from error


def make_partition(place: Path, partition: int, machine: Machine) -> None:
    """Make the new folder `place` with an empty partition in it."""
    place.mkdir(mode=0o700)
    environment = Environment(place, machine.tables, create=True)
    try:
        raw = environment.begin()
        write_identity(WriteTxn(raw, environment.dbs), Identity(0, partition))
        environment.commit(raw)
    finally:
        environment.close()


def _fill(tables: Path, machine: Callable[[int], Machine], partitions: int) -> None:
    for partition in range(partitions):
        place = folder.partition_folder(tables, partition)
        make_partition(place, partition, machine(partition))
    first = machine(0)
    folder.Format(partitions, kind_of(first), first.version).write(tables)
