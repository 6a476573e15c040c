"""What a backup consists of for a program: definitions and records, one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import cbor2

from palaver.storage.errors import BackupError
from palaver.storage.tables import terms
from palaver.storage.tables.errors import BadArgument, BadType
from palaver.storage.tables.records import RecordType
from palaver.storage.tables.schema import (
    AccessMode,
    Definition,
    StorageType,
    TableType,
    check_definition,
)

from .format import Contents, Writer, inspect, rows

Acc = TypeVar("Acc")


@dataclass(frozen=True, slots=True)
class SchemaItem:
    """A table's definition in a backup: Mnesia's `{schema, Tab, CreateList}`.

    Attributes:
        table: the table's name.
        record: the name of its records.
        attributes: their fields.
        key: which of them is the key.
        type: `set`, `ordered_set` or `bag`.
        storage: `ram_copies`, `disc_copies` or `disc_only_copies`.
        index: the indexed fields.
        load_order: higher ones are loaded first.
        access_mode: `read_write` or `read_only`.
        properties: the user's.
    """

    table: str
    record: str
    attributes: tuple[str, ...]
    key: str
    type: TableType = "set"
    storage: StorageType = "disc_copies"
    index: tuple[str, ...] = ()
    load_order: int = 0
    access_mode: AccessMode = "read_write"
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordItem:
    """A record in a backup.

    Attributes:
        table: the table's name.
        values: of its fields, in the order of the table's attributes.
    """

    table: str
    values: tuple[Any, ...]


Item: TypeAlias = SchemaItem | RecordItem


class TableCodec:
    """How a table's rows in a backup become records, whatever class they were of, and back."""

    __slots__ = ("definition", "is_bag", "record_type")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.is_bag = definition.type == "bag"
        self.record_type: RecordType[Any] = RecordType.generic(
            definition.record,
            definition.attributes,
            key=definition.attributes[definition.key_position],
        )

    def split(self, payload: bytes) -> list[bytes]:
        """Return the encoded records of a row."""
        return list(cbor2.loads(payload)) if self.is_bag else [payload]

    def values(self, encoded: bytes) -> tuple[Any, ...]:
        """Return a record's values."""
        return self.record_type.values(self.record_type.decode(encoded))

    def row(self, values: Iterable[Any], encoded: bytes | None) -> tuple[bytes, bytes]:
        """Return the row of one record.

        Args:
            values: its values.
            encoded: the record's bytes, where they are known.
        """
        record = self.record_type.make(tuple(values))
        stored = self.record_type.encode(record) if encoded is None else encoded
        key = terms.encode(self.record_type.key_of(record))
        return key, cbor2.dumps([stored]) if self.is_bag else stored


def traverse_backup(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None,
    function: Callable[[Item, Acc], tuple[Iterable[Item], Acc]],
    acc: Acc,
) -> Acc:
    """Go through a backup item by item, and perhaps write another one: mnesia:traverse_backup/4.

    Needs no database. Definitions come before the records.

    Args:
        source: a backup.
        target: the file to be written; None to read only.
        function: called with (item, acc); returns the items that take its place, and the next acc.
            In the new backup a table's definition has to come before its records.
        acc: the first one.

    Returns:
        the last acc.

    Raises:
        BackupError: `source` is no sound backup, or `target` cannot be written; there is no target
            then.
        BadType, BadArgument: an item makes no sense.
    """
    contents = inspect(Path(source))
    with ExitStack() as stack:
        writer = None if target is None else stack.enter_context(Writer(Path(target)))
        known: dict[str, TableCodec] = {}
        for item, encoded, signature in _items(contents):
            items, acc = function(item, acc)
            if writer is not None:
                for each in items:
                    same = encoded if each is item else None
                    put_item(writer, known, each, same, signature)
    return acc


def _items(contents: Contents) -> Iterator[tuple[Item, bytes | None, Definition | None]]:
    """Yield every item, with the bytes of a record, or with the definition as it was."""
    codecs = {}
    for name, definition in contents.definitions.items():
        codecs[name] = TableCodec(definition)
        yield schema_item(definition), None, definition
    for name, batch in rows(contents):
        codec = codecs[name]
        for _, payload in batch:
            for encoded in codec.split(payload):
                try:
                    values = codec.values(encoded)
                except BadType as error:
                    raise BackupError(f"{contents.path}: table {name}: {error}") from error
                yield RecordItem(name, values), encoded, None


def put_item(
    writer: Writer,
    known: dict[str, TableCodec],
    item: Item,
    encoded: bytes | None = None,
    origin: Definition | None = None,
) -> None:
    """Write an item into a backup.

    Args:
        writer: of the backup.
        known: the tables whose definitions are written already; added to.
        item: what to write.
        encoded: a record's bytes, where they are known.
        origin: the definition that an item was before somebody changed it.

    Raises:
        BadType, BadArgument: it makes no sense.
    """
    if isinstance(item, SchemaItem):
        if item.table in known:
            raise BadArgument(f"the definition of the table {item.table} comes twice")
        definition = _definition(item, origin)
        known[item.table] = TableCodec(definition)
        writer.table(definition)
    elif isinstance(item, RecordItem):
        codec = known.get(item.table)
        if codec is None:
            raise BadArgument(f"a record of the table {item.table} comes before its definition")
        key, payload = codec.row(item.values, encoded)
        writer.row(item.table, key, payload, 1)
    else:
        raise BadArgument(f"{item!r} is neither a SchemaItem nor a RecordItem")


def schema_item(definition: Definition) -> SchemaItem:
    """Return a definition as an item."""
    return SchemaItem(
        table=definition.name,
        record=definition.record,
        attributes=definition.attributes,
        key=definition.attributes[definition.key_position],
        type=definition.type,
        storage=definition.storage,
        index=tuple(definition.index),
        load_order=definition.load_order,
        access_mode=definition.access_mode,
        properties=dict(definition.properties),
    )


def _definition(item: SchemaItem, origin: Definition | None) -> Definition:
    """Return an item as a definition; the classes of unchanged attributes stay known."""
    if item.key not in item.attributes:
        raise BadType(f"{item.table} has no attribute {item.key!r} that could be its key")
    made = RecordType.generic(item.record, item.attributes, key=item.key)
    same = origin is not None and origin.attributes == tuple(item.attributes)
    definition = Definition(
        name=item.table,
        space=0,
        record=item.record,
        attributes=tuple(item.attributes),
        key_position=item.attributes.index(item.key),
        signature=origin.signature if same and origin is not None else made.signature,
        type=item.type,
        storage=item.storage,
        index=dict.fromkeys(item.index, 0),
        load_order=item.load_order,
        access_mode=item.access_mode,
        properties=dict(item.properties),
    )
    check_definition(definition, durable=True)
    return definition
