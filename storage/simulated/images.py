"""A partition of a simulated store as one file, and back: for replicas that are too far behind.

The file is CBOR: every table of the partition by its name, with keys and what is stored under them
(value and checksum), in order. It is no LMDB image, and no real store takes it in.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

import cbor2

from palaver.storage import folder
from palaver.storage.batch import read_identity
from palaver.storage.errors import BackupError, StoreError
from palaver.storage.installing import SnapshotInfo
from palaver.storage.machine import Machine, kind_of
from palaver.storage.transaction import ReadTxn

from .environment import SimulatedEnvironment
from .tables import Content, Rows

FORMAT = 1
"""Version of the file and of what is on a simulated disk."""


def write_image(environment: SimulatedEnvironment, machine: Machine) -> tuple[bytes, SnapshotInfo]:
    """Return the file of a partition as of now, and what it is."""
    with environment.snapshot("a partition's snapshot") as txn:
        identity = read_identity(txn)
        if identity is None:
            raise BackupError(f"{environment.folder}: its applied sequence is missing or damaged")
    tables = environment.content.tables
    image = cbor2.dumps(
        {
            name: [[key, rows.values[key]] for key in rows.order()]
            for name, rows in sorted(tables.items())
        }
    )
    return image, SnapshotInfo(
        identity.partition,
        identity.applied,
        identity.digest,
        kind_of(machine),
        machine.version,
        FORMAT,
        len(image),
        sha256(image).hexdigest(),
    )


def verify_label(
    partition: int, source: Path, image: bytes, info: SnapshotInfo, machine: Machine
) -> None:
    """Compare a file with what it is said to be.

    Raises:
        BackupError: it is another partition's, or not what was taken.
        StoreMismatch, StoreVersion: it is another program's, or of another version.
    """
    if info.partition != partition:
        raise BackupError(f"{source} holds partition {info.partition}, not {partition}")
    folder.compare(
        source,
        (info.folder_format, info.content, info.machine_version),
        (FORMAT, kind_of(machine), machine.version),
    )
    if (len(image), sha256(image).hexdigest()) != (info.size_bytes, info.sha256):
        raise BackupError(f"{source} is not what was taken: its size or its SHA-256 differ")


def read_image(source: Path, image: bytes) -> Content:
    """Return the content that a file holds."""
    content = Content()
    try:
        for name, pairs in cbor2.loads(image).items():
            content.tables[name] = Rows(dict(pairs))
    except (cbor2.CBORDecodeError, AttributeError, TypeError, ValueError) as error:
        raise BackupError(f"{source} cannot be read: {error}") from error
    content.size_bytes = sum(
        len(key) + len(stored)
        for rows in content.tables.values()
        for key, stored in rows.values.items()
    )
    return content


def verify_content(
    environment: SimulatedEnvironment, source: Path, info: SnapshotInfo, machine: Machine
) -> None:
    """Check every record and what the machine says of them; BackupError when something is wrong."""
    with environment.snapshot() as txn:
        try:
            problem = next(islice(_problems(txn, info, machine), 1), None)
        except StoreError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - tables that a machine falls over are the finding
            problem = f"reading the tables failed: {type(error).__name__}: {error}"
    if problem is not None:
        raise BackupError(f"{source} does not pass the check: {problem}")


def _problems(txn: ReadTxn, info: SnapshotInfo, machine: Machine) -> Iterator[str]:
    identity = read_identity(txn)
    if identity is None:
        yield "its applied sequence is missing or damaged"
    elif tuple(identity) != (info.applied, info.partition, info.digest):
        yield (
            f"it is partition {identity.partition} at sequence {identity.applied} with digest "
            f"{identity.digest}, not {info.partition} at {info.applied} with {info.digest}"
        )
    txn.content_digest(machine.tables)
    machine.open(txn, info.partition)
    yield from machine.check(txn, info.partition)
