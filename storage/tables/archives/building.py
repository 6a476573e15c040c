"""Making the folder of a database from a backup file, whole or not at all.

The number of partitions may be another one than the backup was made of.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cbor2

from palaver.storage import folder
from palaver.storage.check import CheckReport, check_tables
from palaver.storage.errors import BackupError, StoreError
from palaver.storage.partitioning import check_partitions
from palaver.storage.store import Store
from palaver.storage.tables import spaces, terms
from palaver.storage.tables.commit import write_row
from palaver.storage.tables.errors import BadType, RecordDamaged
from palaver.storage.tables.indexes import index_row
from palaver.storage.tables.machine import Ops, TableMachine
from palaver.storage.tables.records import RecordType
from palaver.storage.tables.schema import VERSION_ROW, Definition, next_space_row, table_key
from palaver.storage.tables.spaces import FIRST_TABLE_SPACE, SCHEMA_SPACE, prefix_of
from palaver.storage.tables.table import TableState

from .format import Contents, Progress, Row, inspect, rows

BUILD = "build"
FLUSH_BYTES = 8 << 20
FLUSH_ROWS = 20_000


def restore_database(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    partitions: int | None = None,
    progress: Progress | None = None,
) -> Contents:
    """Make the folder of a database from a backup file, and verify it before it is in place.

    The records go to the partitions that their keys belong to, whatever number of partitions the
    backup was made of. The new database's sequences and digests begin anew. Tables that are
    ram_copies come back empty, as after any start.

    Args:
        source: what `Database.backup` has written.
        dest: the folder; it must not exist or be empty.
        partitions: how many to make, a power of two; None for as many as the backup was made of.
        progress: called with (records so far, records in total).

    Returns:
        what was in the backup.

    Raises:
        BackupError: the backup is not sound, or `dest` is not empty; it is then as it was.
        StoreVersion: the backup is of another version.
    """
    contents = inspect(Path(source))
    wanted = check_partitions(partitions or partitions_of(contents))
    root = Path(dest)
    fresh = not root.exists()
    ours = {folder.LOCK_FILE, folder.TABLES_NEW}  # what an interrupted restore leaves behind
    if not fresh and (not root.is_dir() or any(item.name not in ours for item in root.iterdir())):
        raise BackupError(f"{root} is not empty: a restore overwrites nothing")
    lock = folder.OwnerLock(root)
    try:
        folder.make(root, lambda tables: fill(tables, contents, wanted, progress))
    except BaseException as error:
        folder.discard_half_made(root)
        (root / folder.LOCK_FILE).unlink()
        if fresh:
            root.rmdir()
        if isinstance(error, OSError):
            raise BackupError(f"restoring into {root} failed: {error}") from error
        raise
    finally:
        lock.release()
    return contents


def partitions_of(contents: Contents) -> int:
    """Return how many partitions a backup was made of, 1 where it does not say."""
    return max(1, len(contents.partitions))


def fill(
    tables: Path, contents: Contents, partitions: int, progress: Progress | None = None
) -> None:
    """Write what a backup holds into the empty folder `tables`, and verify it.

    Raises:
        BackupError: a record is not what its table says, or the result does not pass the check.
    """
    build = tables / BUILD
    try:
        store = Store.open(build, TableMachine, partitions=partitions)
        try:
            _Builder(store, contents, progress).run()
        finally:
            store.close_now()
    except StoreError as error:
        if isinstance(error, BackupError):
            raise
        raise BackupError(f"restoring {contents.path} failed: {error}") from error
    for item in list(folder.tables_of(build).iterdir()):
        item.rename(tables / item.name)
    shutil.rmtree(build)
    reports = check_tables(tables, lambda at: TableMachine(at, partitions))
    problems = CheckReport(tables, reports).problems
    if problems:
        raise BackupError(f"what {contents.path} holds does not pass the check: {problems[0]}")


class _Target:
    """A table that is being filled."""

    __slots__ = ("indexed", "last", "state")

    def __init__(self, definition: Definition) -> None:
        record_type = RecordType.generic(
            definition.record,
            definition.attributes,
            key=definition.attributes[definition.key_position],
        )
        self.state = TableState(definition, record_type)
        self.indexed = definition.index if definition.storage == "disc_only_copies" else {}
        self.last = b""


class _Builder:
    """Fills an empty store with commits of many rows each."""

    def __init__(self, store: Store, contents: Contents, progress: Progress | None) -> None:
        self._store = store
        self._contents = contents
        self._progress = progress
        self._parts: dict[int, Ops] = {}
        self._rows = 0
        self._bytes = 0
        self._done = 0

    def run(self) -> None:
        targets = {}
        space = FIRST_TABLE_SPACE
        for name, definition in self._contents.definitions.items():
            index = {attribute: space + 1 + at for at, attribute in enumerate(definition.index)}
            placed = replace(definition, space=space, index=index)
            space += 1 + len(index)
            targets[name] = _Target(placed)
            self._schema_row(table_key(name), placed.dump())
        for key, payload in (VERSION_ROW, next_space_row(space)):
            self._schema_row(key, payload)
        for name, batch in rows(self._contents):
            target = targets[name]
            if target.state.on_disc:
                for row in self._merged(target, batch):
                    self._put(target, *row)
            self._tell(target.state, batch)
        self._flush()

    def _schema_row(self, key: bytes, payload: bytes) -> None:
        for partition in range(self._store.partitions):
            self._part(partition).puts.append((prefix_of(SCHEMA_SPACE) + key, payload))

    def _part(self, partition: int) -> Ops:
        ops = self._parts.get(partition)
        if ops is None:
            ops = self._parts[partition] = Ops()
        return ops

    def _tell(self, state: TableState, batch: list[Row]) -> None:
        if self._progress is not None:
            self._done += sum(state.count_of(payload) for _, payload in batch)
            self._progress(self._done, self._contents.total)

    def _merged(
        self, target: _Target, batch: Iterable[Row]
    ) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Yield (key, payload, what is there already); in a bag the payload is both together."""
        for key, payload in batch:
            before = None
            if key > target.last:  # as `backup` writes them
                target.last = key
            else:
                self._flush()
                before = self._there(target.state.space, key)
                if before is not None and target.state.is_bag:
                    there = list(cbor2.loads(before))
                    more = [one for one in cbor2.loads(payload) if one not in there]
                    payload = cbor2.dumps(there + more)
            yield key, payload, before

    def _there(self, space: int, key: bytes) -> bytes | None:
        with self._store.look(self._store.partition_of(key)) as txn:
            return spaces.get_row(txn, space, key)

    def _put(self, target: _Target, key: bytes, payload: bytes, before: bytes | None) -> None:
        state = target.state
        ops = self._part(self._store.partition_of(key))
        try:
            slot = state.decode(payload)
            for record in state.records_of(slot):
                if terms.encode(state.key_of(record)) != key:
                    raise BadType(f"{record} stands under another key")
            old = None if before is None else state.decode(before)
            for attribute, space in target.indexed.items():
                was, now = state.values_of(attribute, old), state.values_of(attribute, slot)
                for value in was ^ now:
                    entry, content = index_row(value, key, value in now)
                    write_row(ops, space, prefix_of(space), entry, content)
        except (BadType, RecordDamaged) as error:
            raise BackupError(f"{self._contents.path}, table {state.name}: {error}") from error
        write_row(ops, state.space, state.prefix, key, payload)
        change = state.count_of(payload) - state.count_of(before)
        ops.sizes[state.space] = ops.sizes.get(state.space, 0) + change
        self._rows += 1
        self._bytes += len(key) + len(payload)
        if self._rows >= FLUSH_ROWS or self._bytes >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        parts, self._parts = self._parts, {}
        self._rows = self._bytes = 0
        for partition, ops in parts.items():
            (result,) = self._store.apply_now(partition, [("write", ops.plain())])
            if isinstance(result, Exception):
                raise result
