"""What a table is: its definition, as it is stored and as it is compared.

A definition is one row of the schema space, under the table's name, in every partition: so a
partition (and a snapshot of it) can be understood by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

import cbor2

from palaver.storage.errors import StoreVersion
from palaver.storage.transaction import ReadTxn

from . import spaces
from .errors import BadType, CombineError

TableType: TypeAlias = Literal["set", "ordered_set", "bag"]
StorageType: TypeAlias = Literal["ram_copies", "disc_copies", "disc_only_copies"]
AccessMode: TypeAlias = Literal["read_write", "read_only"]

SCHEMA_VERSION: Final = 1
"""Version of what the definitions mean; a folder with a newer one is not opened."""

MAX_TABLES = 10_000
MAX_ATTRIBUTES = 1_000
MAX_NAME_BYTES = 255

_NAME = re.compile(r"[^\x00-\x1f\x7f]+")
_VERSION_KEY = b"version"
_NEXT_KEY = b"next"
_TABLE_PREFIX = b"t"


@dataclass(frozen=True, slots=True)
class Definition:
    """A table's definition.

    Attributes:
        name: the table's name.
        space: the number of its rows' space; never used again after the table's end.
        record: the record's name; several tables may hold records of one.
        attributes: the names of a record's fields.
        key_position: which attribute is the key.
        signature: the record type's stable description; see `records`.
        type: `set`, `ordered_set` or `bag`.
        storage: `ram_copies`, `disc_copies` or `disc_only_copies`.
        index: indexed attributes, each with the space of its index.
        load_order: higher ones are loaded first.
        access_mode: `read_write` or `read_only`.
        version: counts the changes of the definition.
        properties: what `write_table_property` has put there.
    """

    name: str
    space: int
    record: str
    attributes: tuple[str, ...]
    key_position: int
    signature: Any
    type: TableType = "set"
    storage: StorageType = "disc_copies"
    index: Mapping[str, int] = field(default_factory=dict)
    load_order: int = 0
    access_mode: AccessMode = "read_write"
    version: int = 1
    properties: Mapping[str, Any] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Encode it as a row."""
        return cbor2.dumps(asdict(self))

    @classmethod
    def load(cls, value: bytes) -> Definition:
        """Decode a row."""
        content = cbor2.loads(value)
        content["attributes"] = tuple(content["attributes"])
        return cls(**content)

    @property
    def on_disc(self) -> bool:
        """Whether its records outlive the process."""
        return self.storage != "ram_copies"


def table_key(name: str) -> bytes:
    """Return the key of a definition in the schema space."""
    return _TABLE_PREFIX + name.encode()


OWN_KEYS = (_VERSION_KEY, _NEXT_KEY)
"""Keys in the schema space that are of no table."""

VERSION_ROW = (_VERSION_KEY, spaces.dump(SCHEMA_VERSION))


def next_space_row(number: int) -> tuple[bytes, bytes]:
    """Return the row that remembers the next space that is free."""
    return _NEXT_KEY, spaces.dump(number)


def read_schema(txn: ReadTxn, path: Any) -> tuple[dict[str, Definition], int]:
    """Return the definitions by name, and the next free space.

    Raises:
        StoreVersion: written by a newer version of this program.
    """
    stored = spaces.get_row(txn, spaces.SCHEMA_SPACE, _VERSION_KEY)
    version = SCHEMA_VERSION if stored is None else cbor2.loads(stored)
    if version != SCHEMA_VERSION:
        raise StoreVersion(path, "the schema", version, SCHEMA_VERSION)
    found = {}
    prefix = _TABLE_PREFIX
    for _, value in spaces.rows(txn, spaces.SCHEMA_SPACE, prefix, spaces.end_of(prefix)):
        definition = Definition.load(value)
        found[definition.name] = definition
    stored = spaces.get_row(txn, spaces.SCHEMA_SPACE, _NEXT_KEY)
    return found, spaces.FIRST_TABLE_SPACE if stored is None else int(cbor2.loads(stored))


def check_definition(definition: Definition, durable: bool) -> None:
    """Raise BadType or CombineError unless the definition makes sense.

    Args:
        definition: what is wanted.
        durable: whether the database has a folder.
    """
    _check_name(definition.name)
    if definition.type not in get_args(TableType):
        raise BadType(f"a table's type is one of {get_args(TableType)}, not {definition.type!r}")
    if definition.storage not in get_args(StorageType):
        raise BadType(f"the storage is one of {get_args(StorageType)}, not {definition.storage!r}")
    if definition.access_mode not in get_args(AccessMode):
        raise BadType(f"the access mode is one of {get_args(AccessMode)}")
    if type(definition.load_order) is not int:
        raise BadType("load_order is a whole number")
    if definition.on_disc and not durable:
        raise CombineError(
            f"{definition.name}: a database in memory has ram_copies only; open one with a folder"
        )
    check_attributes(definition.attributes)
    for attribute in definition.index:
        check_index(definition, attribute)


def check_index(definition: Definition, attribute: str) -> None:
    """Raise BadType unless the attribute can be indexed."""
    if attribute not in definition.attributes:
        raise BadType(f"{definition.name} has no attribute {attribute!r} to index")
    if definition.attributes.index(attribute) == definition.key_position:
        raise BadType(f"{attribute} is the key of {definition.name}: it needs no index")


def check_attributes(attributes: Sequence[str]) -> None:
    """Raise BadType unless these can be the attributes of a record."""
    if not 2 <= len(attributes) <= MAX_ATTRIBUTES:
        raise BadType(
            f"a record has a key and at least one more attribute, {MAX_ATTRIBUTES} at most"
        )
    if len(set(attributes)) != len(attributes):
        raise CombineError(f"an attribute is there twice: {list(attributes)}")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadType(f"a table's name is text without control characters, not {name!r}")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise BadType(f"a table's name has {MAX_NAME_BYTES} bytes at most")
    if name == "schema":
        raise BadType("schema is the name of the schema itself")
