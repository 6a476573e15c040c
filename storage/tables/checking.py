"""What must hold between the rows of a partition, for a check of a database that nobody uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import cbor2

from palaver.storage.errors import StoreError
from palaver.storage.transaction import ReadTxn

from . import machine, spaces, terms
from .errors import BadType, RecordDamaged
from .records import RecordType
from .schema import Definition, read_schema
from .table import TableState

_OWN = {
    spaces.SCHEMA_SPACE,
    spaces.PREPARED_SPACE,
    spaces.DECIDED_SPACE,
    spaces.FINISHED_SPACE,
    spaces.SIZES_SPACE,
}


def violations(txn: ReadTxn, partition: int) -> Iterator[str]:
    """Yield one sentence for everything that contradicts the rest.

    Every record decodes and stands under its own key; sizes are right; every index of a table on
    the disk only holds an entry for each record and none besides; every row belongs to somebody.
    """
    try:
        definitions, _ = read_schema(txn, "the partition")
    except (StoreError, cbor2.CBORDecodeError, TypeError, ValueError) as error:
        yield f"the schema cannot be read: {error}"
        return
    sizes = machine.read_sizes(txn)
    known = set(_OWN)
    for definition in definitions.values():
        known.add(definition.space)
        if not definition.on_disc:
            continue
        yield from _table(txn, definition, sizes.pop(definition.space, 0))
        if definition.storage == "disc_only_copies":
            known.update(definition.index.values())
    for space, size in sizes.items():
        yield f"{size} records are counted in space {space}, which belongs to no table"
    for space, count in _strangers(txn, known).items():
        yield f"{count} rows in space {space}, which belongs to no table"


def _strangers(txn: ReadTxn, known: set[int]) -> Counter[int]:
    """Count rows in spaces that nobody knows, without looking at those of the others."""
    found: Counter[int] = Counter()
    at = b""
    while True:
        row = next(txn.range(spaces.ROWS, at, limit=1, damaged=_pass_over), None)
        if row is None:
            return found
        space = int.from_bytes(row[0][:4], "big")
        if space not in known:
            found[space] = sum(1 for _ in spaces.rows(txn, space, damaged=_unheard))
        at = spaces.prefix_of(space + 1)


def _pass_over(_table: str, _key: bytes, _stored: bytes) -> None:
    """Damage is told where the rows of a table are read."""


def _unheard(_key: bytes) -> None:
    """Damage in rows that belong to nobody adds nothing to that."""


def _table(txn: ReadTxn, definition: Definition, size: int) -> Iterator[str]:
    record_type: RecordType[Any] = RecordType.generic(
        definition.record,
        definition.attributes,
        key=definition.attributes[definition.key_position],
    )
    state = TableState(definition, record_type)
    damaged: list[bytes] = []
    entries: dict[str, set[bytes]] = {name: set() for name in definition.index}
    indexed = definition.storage == "disc_only_copies"
    count = 0
    for key, payload in spaces.rows(txn, definition.space, damaged=damaged.append):
        try:
            slot = state.decode(payload)
            records = state.records_of(slot)
            count += len(records)
            for record in records:
                if terms.encode(record_type.key_of(record)) != key:
                    yield f"table {definition.name}: {record} stands under another key"
            if indexed:
                for attribute, found in entries.items():
                    found.update(value + key for value in state.values_of(attribute, slot))
        except (RecordDamaged, BadType) as error:
            yield f"table {definition.name}: {error}"
    for key in damaged:
        yield f"table {definition.name}: the record under the key {key[:40]!r} is damaged"
    if count != size and not damaged:
        yield f"table {definition.name}: {count} records, {size} are counted"
    if indexed:
        for attribute, wanted in entries.items():
            yield from _index(txn, definition, attribute, wanted)


def _index(
    txn: ReadTxn, definition: Definition, attribute: str, wanted: set[bytes]
) -> Iterator[str]:
    name = f"table {definition.name}, index of {attribute}"
    damaged: list[bytes] = []
    there = {
        entry for entry, _ in spaces.rows(txn, definition.index[attribute], damaged=damaged.append)
    }
    if damaged:
        yield f"{name}: {len(damaged)} damaged entries"
    elif there != wanted:
        yield f"{name}: {len(wanted - there)} entries are missing, {len(there - wanted)} too many"
