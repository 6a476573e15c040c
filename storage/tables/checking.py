"""What must hold between the rows of a partition, for a check of a database that nobody uses."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cbor2

from palaver.storage import folder
from palaver.storage.check import CheckReport, PartitionReport, check
from palaver.storage.errors import StoreError
from palaver.storage.partitioning import MAX_PARTITIONS, partition_of
from palaver.storage.store import Store
from palaver.storage.transaction import ReadTxn

from . import machine, spaces, terms
from .errors import BadType, CombineError, RecordDamaged
from .identity import identical
from .machine import TableMachine
from .records import RecordType
from .schema import OWN_KEYS, Definition, check_definition, read_schema, table_key
from .table import TableState

_OWN = {
    spaces.SCHEMA_SPACE,
    spaces.PREPARED_SPACE,
    spaces.DECIDED_SPACE,
    spaces.FINISHED_SPACE,
    spaces.SIZES_SPACE,
}
_UNREADABLE = (StoreError, cbor2.CBORDecodeError, BadType, TypeError, ValueError, KeyError)
"""What comes of rows that are not what they should be."""


def check_database(
    path: str | os.PathLike[str],
    *,
    on_partition: Callable[[PartitionReport], None] | None = None,
) -> CheckReport:
    """Verify a database at rest: every partition for itself, and what they say of one another.

    Args:
        path: the database's folder; nothing in it is changed.
        on_partition: called with each partition's report as soon as it is there.

    Returns:
        the report; what concerns several partitions is among the problems of the first.

    Raises:
        StoreMissing, StoreLocked, StoreVersion, StoreMismatch, StoreCorrupt: see `storage.check`.
    """
    root = Path(path)
    partitions = folder.Format.read(folder.require(root)).partitions
    report = check(root, lambda at: TableMachine(at, partitions), on_partition=on_partition)
    if not report.ok:
        return report
    found = tuple(_between(root))
    if not found:
        return report
    first, *others = report.partitions
    told = PartitionReport(
        first.partition,
        first.applied,
        first.entries,
        first.size_bytes,
        found,
        first.digest,
        first.content_digest,
    )
    return CheckReport(root, (told, *others))


def _between(root: Path) -> Iterator[str]:
    """Yield what partitions that are sound, each for itself, say against one another."""
    store = Store.open(root, TableMachine, readonly=True)
    try:
        schemas, decided, waiting, done = [], [], [], []
        for partition in range(store.partitions):
            with store.look(partition) as txn:
                schemas.append(read_schema(txn, root))
                decided.append(machine.last_decided(txn))
                waiting.append(machine.prepared(txn))
                done.append(machine.finished(txn))
    finally:
        store.close_now()
    for partition, finished in enumerate(done):
        for coordinator, number in finished.items():
            if number > decided[coordinator]:
                yield (
                    f"partition {partition} has finished commit {number}, which partition "
                    f"{coordinator} has not decided"
                )
    if any(waiting):
        return  # a change of the schema may be among what a crash has left half-way
    for partition, schema in enumerate(schemas):
        if schema != schemas[0]:
            yield f"partition {partition} has another schema than partition 0"


def violations(txn: ReadTxn, partition: int, partitions: int | None = None) -> Iterator[str]:
    """Yield one sentence for everything that contradicts the rest.

    Definitions make sense, and no two have a space in common; every record decodes, stands under
    its own key and in its own partition, and in a bag only once; sizes are right; every index of a
    table on the disk only holds an entry for each record and none besides; every row belongs to
    somebody; what a crash left between partitions can be brought to its end.

    Args:
        txn: the partition's rows.
        partition: its number.
        partitions: how many there are; None where that is not known.
    """
    try:
        definitions, next_space = read_schema(txn, "the partition")
    except _UNREADABLE as error:
        yield f"the schema cannot be read: {_words(error)}"
        return
    yield from _schema(txn, definitions, next_space)
    try:
        sizes = machine.read_sizes(txn)
    except _UNREADABLE as error:
        yield f"the tables' sizes cannot be read: {_words(error)}"
        sizes = None
    known = set(_OWN)
    for definition in definitions.values():
        if definition.on_disc:
            known.add(definition.space)
            size = None if sizes is None else sizes.pop(definition.space, 0)
            yield from _guarded(
                f"table {definition.name}", _table(txn, definition, size, partition, partitions)
            )
        if definition.storage == "disc_only_copies":
            known.update(definition.index.values())
    for space, size in (sizes or {}).items():
        yield f"{size} records are counted in space {space}, which belongs to no table"
    for space, count in _strangers(txn, known).items():
        yield f"{count} rows in space {space}, which belongs to no table"
    yield from _guarded("commits over partitions", _left(txn, partition, partitions))


def _words(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, StoreError) else f"{type(error).__name__}: {text}"


def _guarded(what: str, found: Iterator[str]) -> Iterator[str]:
    """Pass sentences on, and make one of rows that they cannot be made of."""
    try:
        yield from found
    except _UNREADABLE as error:
        yield f"{what}: cannot be read: {_words(error)}"


# -- the schema ------------------------------------------------------------------------------------


def _schema(txn: ReadTxn, definitions: dict[str, Definition], next_space: int) -> Iterator[str]:
    rows = {key for key, _ in spaces.rows(txn, spaces.SCHEMA_SPACE)}
    for key in rows.difference(map(table_key, definitions), OWN_KEYS):
        yield f"the schema has a row {key!r}, which is of no table of that name"
    taken: dict[int, str] = {}
    for name, definition in definitions.items():
        try:
            check_definition(definition, durable=True)
        except (BadType, CombineError) as error:
            yield f"table {name}: {error}"
        for space in (definition.space, *definition.index.values()):
            if space in taken:
                yield f"table {name}: shares space {space} with table {taken[space]}"
            taken[space] = name
            if not spaces.FIRST_TABLE_SPACE <= space < next_space:
                yield f"table {name}: space {space} was never given away"


def _strangers(txn: ReadTxn, known: set[int]) -> Counter[int]:
    """Count rows in spaces that nobody knows, without looking at those of the others."""
    found: Counter[int] = Counter()
    at = b""
    while True:
        damaged: list[bytes] = []
        row = next(txn.range(spaces.ROWS, at, limit=1, damaged=_note(damaged)), None)
        if row is None and not damaged:
            return found
        key = min([*damaged, *([] if row is None else [row[0]])])
        space = int.from_bytes(key[:4], "big")
        if space not in known:
            start, stop = spaces.prefix_of(space), spaces.prefix_of(space + 1)
            found[space] = _rows_between(txn, start, stop)
        at = spaces.prefix_of(space + 1)


def _note(keys: list[bytes]) -> Callable[[str, bytes, bytes], None]:
    def note(_table: str, key: bytes, _stored: bytes) -> None:
        keys.append(key)

    return note


def _rows_between(txn: ReadTxn, start: bytes, stop: bytes) -> int:
    damaged: list[bytes] = []
    sound = sum(1 for _ in txn.range(spaces.ROWS, start, stop, damaged=_note(damaged)))
    return sound + len(damaged)


# -- tables ----------------------------------------------------------------------------------------


def _table(
    txn: ReadTxn,
    definition: Definition,
    size: int | None,
    partition: int,
    partitions: int | None,
) -> Iterator[str]:
    name = f"table {definition.name}"
    state = _state_of(definition)
    damaged: list[bytes] = []
    entries: dict[str, dict[bytes, int]] = {attribute: {} for attribute in definition.index}
    indexed = definition.storage == "disc_only_copies"
    count = 0
    yield from _buckets(txn, name, definition.space)
    for key, payload in spaces.rows(txn, definition.space, damaged=damaged.append):
        if partitions is not None and partition_of(key, partitions) != partition:
            yield f"{name}: the key {key[:40]!r} belongs to another partition"
        try:
            slot = state.decode(payload)
            count += len(state.records_of(slot))
            yield from _slot(state, name, key, slot)
            if indexed:
                for attribute, found in entries.items():
                    for value in state.values_of(attribute, slot):
                        found[value + key] = len(value)
        except (RecordDamaged, BadType) as error:
            damaged.append(key)
            yield f"{name}: under the key {key[:40]!r}: {error}"
            continue
    if size is not None and count != size and not damaged:
        yield f"{name}: {count} records, {size} are counted"
    if indexed:
        for attribute, wanted in entries.items():
            index = f"{name}, index of {attribute}"
            space = definition.index[attribute]
            yield from _buckets(txn, index, space)
            yield from _index(txn, index, space, wanted, incomplete=bool(damaged))


def _state_of(definition: Definition) -> TableState:
    record_type: RecordType[Any] = RecordType.generic(
        definition.record,
        definition.attributes,
        key=definition.attributes[definition.key_position],
    )
    return TableState(definition, record_type)


def _slot(state: TableState, name: str, key: bytes, slot: Any) -> Iterator[str]:
    records = state.records_of(slot)
    if not records:
        yield f"{name}: nothing is under the key {key[:40]!r}"
    for at, record in enumerate(records):
        if terms.encode(state.key_of(record)) != key:
            yield f"{name}: {record} stands under another key"
        if any(identical(state.record_type, record, other) for other in records[:at]):
            yield f"{name}: {record} is there twice"


def _buckets(txn: ReadTxn, name: str, space: int) -> Iterator[str]:
    """Yield what is wrong with the rows that long keys share."""
    start, stop = spaces.prefix_of(space), spaces.prefix_of(space + 1)
    skip = len(start)
    for row_key, value in txn.range(spaces.ROWS, start, stop, damaged=_pass_over):
        beginning = row_key[skip:]
        if len(beginning) < spaces.LONG_KEY_BYTES:
            continue
        keys = [key for key, _ in spaces.load_bucket(value)]
        if not keys:
            yield f"{name}: an empty row is shared by long keys"
        if not all(key.startswith(beginning) for key in keys):
            yield f"{name}: a long key is in the row of others"
        if any(key >= other for key, other in pairwise(keys)):
            yield f"{name}: long keys are out of order"


def _pass_over(_table: str, _key: bytes, _stored: bytes) -> None:
    """Damage of single rows is told by whoever looks at all of them."""


def _index(
    txn: ReadTxn, name: str, space: int, wanted: dict[bytes, int], *, incomplete: bool
) -> Iterator[str]:
    damaged: list[bytes] = []
    there = {
        entry: int.from_bytes(length, "big")
        for entry, length in spaces.rows(txn, space, damaged=damaged.append)
    }
    if damaged:
        yield f"{name}: {len(damaged)} damaged entries"
    missing = [entry for entry in wanted if entry not in there]
    if missing and not damaged:
        yield f"{name}: {len(missing)} entries are missing"
    more = [entry for entry in there if entry not in wanted]
    if more and not incomplete:  # they may be of a record that is damaged
        yield f"{name}: {len(more)} entries of no record"
    wrong = [entry for entry, length in wanted.items() if there.get(entry, length) != length]
    if wrong:
        yield f"{name}: {len(wrong)} entries with a wrong length"


# -- commits over partitions -----------------------------------------------------------------------


def _left(txn: ReadTxn, partition: int, partitions: int | None) -> Iterator[str]:
    limit = MAX_PARTITIONS if partitions is None else partitions
    for number, (coordinator, ops) in machine.prepared(txn).items():
        if number % MAX_PARTITIONS != coordinator or not coordinator < min(limit, partition):
            yield f"commit {number} is prepared for partition {coordinator}, which is not its own"
        clears, puts, deletes, longs, sizes = ops
        if not all(isinstance(part, list) for part in (clears, puts, deletes, longs)):
            yield f"commit {number} is prepared with something else than rows"
        if not isinstance(sizes, dict):
            yield f"commit {number} is prepared with something else than sizes"
    last = machine.last_decided(txn)
    for number, participants in machine.decisions(txn).items():
        if number % MAX_PARTITIONS != partition or number > last:
            yield f"commit {number} is decided here, which is not its coordinator"
        if not all(partition < other < limit for other in participants):
            yield f"commit {number} is decided for partitions {participants}"
    for coordinator, number in machine.finished(txn).items():
        if number % MAX_PARTITIONS != coordinator or not coordinator < min(limit, partition):
            yield f"commit {number} of partition {coordinator} is finished, which is not its own"
