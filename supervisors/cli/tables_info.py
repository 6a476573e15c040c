"""What `palaver tables info` tells of a database, a backup or a snapshot, gathered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palaver.supervisors.cli.output import CommandError

CONTENT = "tables"
"""What the folder of a database says that it holds."""


@dataclass(frozen=True, slots=True)
class TableLine:
    """What `info` tells of a table; `records` is None for one in memory only."""

    name: str
    type: str
    storage: str
    records: int | None
    key: str
    attributes: tuple[str, ...]
    index: tuple[str, ...]
    access_mode: str
    load_order: int


@dataclass(frozen=True, slots=True)
class PartitionLine:
    """What `info` tells of a partition; the digest is hexadecimal."""

    partition: int
    applied: int
    digest: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Info:
    """What `info` tells."""

    path: str
    kind: str
    partitions: tuple[PartitionLine, ...]
    tables: tuple[TableLine, ...]
    fallback_partitions: int | None = None


def other_content(path: Path) -> str | None:
    """Return whose content a store's folder, or a snapshot, holds; None when it is neither."""
    from palaver.storage import StoreError, folder
    from palaver.storage.snapshot import MANIFEST_FILE, Manifest

    try:
        if folder.exists(path):
            return folder.Format.read(folder.tables_of(path)).content
        if (path / MANIFEST_FILE).is_file():
            return Manifest.read(path).content
    except StoreError:
        pass  # whoever wants to use it is told
    return None


def require(path: Path) -> None:
    """Raise CommandError unless there is a database of tables."""
    content = other_content(path)
    if content not in (None, CONTENT):
        hint = f"palaver check {path}"
        raise CommandError(f"{path} is no database of tables: it holds {content!r}", hint)
    if not path.is_dir():
        raise CommandError(f"there is no database {path}")


def gather(path: Path) -> Info:
    """Look into a database, a backup or a snapshot; raises CommandError for anything else."""
    from palaver.storage.snapshot import MANIFEST_FILE
    from palaver.storage.tables.archives.format import inspect

    if path.is_file():
        contents = inspect(path)
        return Info(
            str(path),
            "backup",
            tuple(
                PartitionLine(at, applied, f"{digest:016x}", None)
                for at, (applied, digest) in enumerate(contents.partitions)
            ),
            tuple(
                _line(contents.definitions[name], records)
                for name, records in sorted(contents.records.items())
            ),
        )
    require(path)
    if (path / MANIFEST_FILE).is_file():
        return _snapshot_info(path)
    return _database_info(path)


def _snapshot_info(path: Path) -> Info:
    from palaver.storage.snapshot import Manifest

    copies = Manifest.read(path).copies
    lines = (PartitionLine(at, copy.applied, "", copy.size_bytes) for at, copy in enumerate(copies))
    return Info(str(path), "snapshot", tuple(lines), ())


def _database_info(path: Path) -> Info:
    from palaver.storage import Store, folder
    from palaver.storage.disk import DATA_FILE
    from palaver.storage.tables.archives.fallback import installed
    from palaver.storage.tables.machine import TableMachine, read_sizes
    from palaver.storage.tables.schema import read_schema

    store = Store.open(path, TableMachine, readonly=True)
    try:
        sizes: dict[int, int] = {}
        partitions = []
        tables = folder.tables_of(path)
        for partition in range(store.partitions):
            applied, digest = store.digest(partition)
            file = folder.partition_folder(tables, partition) / DATA_FILE
            size_bytes = file.stat().st_size
            partitions.append(PartitionLine(partition, applied, f"{digest:016x}", size_bytes))
            with store.look(partition) as txn:
                for space, records in read_sizes(txn).items():
                    sizes[space] = sizes.get(space, 0) + records
        with store.look(0) as txn:
            definitions, _ = read_schema(txn, path)
    finally:
        store.close_now()
    fallback = installed(path)
    return Info(
        str(path),
        "database",
        tuple(partitions),
        tuple(
            _line(one, sizes.get(one.space, 0) if one.on_disc else None)
            for _, one in sorted(definitions.items())
        ),
        None if fallback is None else fallback.partitions,
    )


def _line(definition: Any, records: int | None) -> TableLine:
    return TableLine(
        definition.name,
        definition.type,
        definition.storage,
        records,
        definition.attributes[definition.key_position],
        definition.attributes,
        tuple(definition.index),
        definition.access_mode,
        definition.load_order,
    )
