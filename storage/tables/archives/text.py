"""Tables as text: JSON lines, for people, other programs, and small corrections by hand.

First a line `{"schema": {...}}` for each table, then a line `{"table": ..., "record": {...}}` for
each record, with its attributes. Arrays are JSON's; what JSON has not is an object with one of
these names::

    {"b64": "..."}               bytes
    {"map": [[key, value], ...]}  a dict
    {"set": [...]}               a set
    {"float": "inf"}             a float that JSON has not
    {"cbor": "...", "text": ...} anything else: Base64 of its CBOR, and what it looks like

So what is written comes back as it was.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cbor2

from palaver.storage.tables.errors import BadArgument, BadType
from palaver.storage.tables.records import RecordType

from .checkpoints import Checkpoint
from .items import Item, RecordItem, SchemaItem, TableCodec, schema_item

_PLAIN = (type(None), bool, int, str)
_WRONG = (BadType, ValueError, TypeError, KeyError, AttributeError)


def to_json(value: Any) -> Any:
    """Return a value of a record as JSON has it; see the module."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, bytes):
        return {"b64": b64encode(value).decode()}
    if isinstance(value, tuple | list):
        return [to_json(one) for one in value]
    if isinstance(value, Mapping):
        return {"map": [[to_json(key), to_json(one)] for key, one in value.items()]}
    if isinstance(value, AbstractSet):
        return {"set": [to_json(one) for one in value]}
    return {"cbor": b64encode(cbor2.dumps(value)).decode(), "text": str(value)}


def from_json(value: Any) -> Any:
    """Return what `to_json` was given; ValueError or TypeError for anything else."""
    if isinstance(value, list):
        return tuple(from_json(one) for one in value)
    if not isinstance(value, dict):
        return value
    (name, content), *_ = value.items()
    reading = _READING.get(name)
    if reading is None:
        raise ValueError(f"there is no {name!r}")
    return reading(content)


def _frozen_map(content: list[list[Any]]) -> Any:
    return cbor2.frozendict({from_json(key): from_json(one) for key, one in content})


_READING: dict[str, Callable[[Any], Any]] = {
    "b64": lambda content: b64decode(content, validate=True),
    "map": _frozen_map,
    "set": lambda content: frozenset(map(from_json, content)),
    "float": float,
    "cbor": lambda content: cbor2.loads(b64decode(content, validate=True), immutable=True),
}


def lines(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield what a checkpoint holds, line by line, without line ends."""
    retainers = list(checkpoint.retainers.values())
    for retainer in retainers:
        content = asdict(schema_item(retainer.definition))
        content["properties"] = to_json(content["properties"])
        yield json.dumps({"schema": content}, ensure_ascii=False)
    for retainer in retainers:
        codec = TableCodec(retainer.definition)
        for _, payload in retainer.rows():
            for encoded in codec.split(payload):
                yield _line(codec, encoded)


def _line(codec: TableCodec, encoded: bytes) -> str:
    values = map(to_json, codec.values(encoded))
    record = dict(zip(codec.record_type.attributes, values, strict=True))
    return json.dumps({"table": codec.definition.name, "record": record}, ensure_ascii=False)


def items(path: Path) -> Iterator[Item]:
    """Yield what a text file holds.

    Raises:
        BadArgument: a line is not what it should be; the text names it.
    """
    record_types: dict[str, RecordType[Any]] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield _item(json.loads(line), record_types)
            except (*_WRONG, cbor2.CBORDecodeError) as error:
                text = f"{path}, line {number}: {type(error).__name__}: {error}"
                raise BadArgument(text) from error


def _item(content: dict[str, Any], record_types: dict[str, RecordType[Any]]) -> Item:
    schema = content.get("schema")
    if schema is not None:
        schema["attributes"] = tuple(schema["attributes"])
        schema["index"] = tuple(schema.get("index", ()))
        schema["properties"] = dict(from_json(schema.get("properties", {"map": []})))
        item = SchemaItem(**schema)
        record_types[item.table] = RecordType.generic(item.record, item.attributes, key=item.key)
        return item
    table, record = content["table"], content["record"]
    if table not in record_types:
        raise ValueError(f"a record of the table {table} comes before its definition")
    attributes = record_types[table].attributes
    if set(record) != set(attributes):
        raise ValueError(f"a record of {table} has {list(attributes)}, not {list(record)}")
    return RecordItem(table, tuple(from_json(record[name]) for name in attributes))
