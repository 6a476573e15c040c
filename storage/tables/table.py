"""A table while the database runs: its definition, its records, its indexes, and its handle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Generic, TypeVar

import cbor2

from . import terms
from .copies import Copy, Key, Slot
from .errors import BadType, NoExists, RecordDamaged
from .indexes import Index, Value, value_of
from .records import RecordType
from .schema import Definition
from .spaces import prefix_of

R = TypeVar("R")


class Table(Generic[R]):
    """A handle to a table of records of the class `R`: wherever a table is named, it will do.

    A record class does as well (its table of the same name), and so does the name alone; only
    that then no type is known.

    Attributes:
        name: the table's name.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and other.name == self.name

    def __hash__(self) -> int:
        return hash((Table, self.name))


DAMAGED = b"\xff"
"""Stands in a copy for a record that cannot be read; nothing decodes from it."""


class TableState:
    """What the database keeps of a table.

    Attributes:
        alive: False when the table was deleted, or given another state by a change of the schema.
        definition: as it is now.
        record_type: the codec of its records.
        copy: its records.
        indexes: its indexes by attribute.
        size: how many records there are.
        damaged: what was found wrong with it, a sentence by encoded key.
        damaged_entries: entries of its indexes that were found wrong, and told.
        retainers: of the checkpoints that it is part of; they hear what is overwritten.
        watchers: subscribers, in the order of their subscription.
    """

    __slots__ = (
        "alive",
        "copy",
        "damaged",
        "damaged_entries",
        "definition",
        "indexes",
        "is_bag",
        "key_of",
        "name",
        "on_disc",
        "prefix",
        "record_type",
        "retainers",
        "size",
        "space",
        "watchers",
        "writable",
    )

    def __init__(self, definition: Definition, record_type: RecordType[Any]) -> None:
        self.alive = True
        self.copy: Copy
        self.indexes: dict[str, Index] = {}
        self.size = 0
        self.damaged: dict[Key, str] = {}
        self.damaged_entries: set[tuple[int, bytes]] = set()
        self.watchers: list[Any] = []
        self.retainers: tuple[Any, ...] = ()
        self.record_type = record_type
        self.define(definition)

    def define(self, definition: Definition) -> None:
        """Take over a definition."""
        self.definition = definition
        self.name = definition.name
        self.space = definition.space
        self.prefix = prefix_of(definition.space)
        self.is_bag = definition.type == "bag"
        self.on_disc = definition.on_disc
        self.writable = definition.access_mode == "read_write"
        self.key_of = self.record_type.key_of

    def redefine(self, **changes: Any) -> Definition:
        """Return the definition with these changes, as its next version."""
        return replace(self.definition, version=self.definition.version + 1, **changes)

    # -- slots -----------------------------------------------------------------------------------

    def encode(self, slot: Slot) -> bytes:
        """Return a slot as it is stored; BadType when a record cannot be."""
        if self.is_bag:
            return cbor2.dumps([self.record_type.encode(record) for record in slot])
        return self.record_type.encode(slot)

    def decode(self, stored: bytes) -> Slot:
        """Return the slot that was stored; RecordDamaged when it cannot be."""
        try:
            if self.is_bag:
                return tuple(self.record_type.decode(record) for record in cbor2.loads(stored))
            return self.record_type.decode(stored)
        except (BadType, cbor2.CBORDecodeError, TypeError, ValueError) as error:
            raise RecordDamaged(self.name, f"a record cannot be decoded: {error}") from error

    def records_of(self, slot: Slot | None) -> list[Any]:
        """Return the records of a slot, in a list of its own."""
        if slot is None:
            return []
        return list(slot) if self.is_bag else [slot]

    def count_of(self, slot: Slot | bytes | None) -> int:
        """Return how many records are in a slot, decoded or not."""
        if slot is None:
            return 0
        if not self.is_bag:
            return 1
        if slot == DAMAGED:
            return 0
        return len(cbor2.loads(slot) if type(slot) is bytes else slot)

    def awake(self, slot: Slot | bytes | None) -> Slot | None:
        """Return a slot decoded."""
        return self.decode(slot) if isinstance(slot, bytes) else slot

    def values_of(self, attribute: str, slot: Slot | None) -> set[Value]:
        """Return the encoded values that an index of `attribute` holds for a slot."""
        at = self.definition.attributes.index(attribute)
        values = self.record_type.values
        return {value_of(terms.encode(values(record)[at])) for record in self.records_of(slot)}

    def need_index(self, attribute: str) -> None:
        """Raise BadType where there is no such attribute, NoExists where it has no index."""
        if attribute not in self.definition.attributes:
            raise BadType(f"{self.name} has no attribute {attribute!r}")
        if attribute not in self.indexes:
            raise NoExists(
                attribute, f"{self.name} has no index of {attribute!r}; see add_table_index"
            )

    # -- damage ----------------------------------------------------------------------------------

    def missing(self) -> None:
        """Raise if what was not found may be a record that is damaged."""
        if self.damaged:
            raise RecordDamaged(
                self.name,
                f"{len(self.damaged)} damaged records: {next(iter(self.damaged.values()))}; "
                "what was asked for may be among them; write it again, or restore a backup",
            )
