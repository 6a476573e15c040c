"""What the tests of the tables share: records, databases, and a model of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from palaver.storage.tables.schema import StorageType, TableType


@dataclass(frozen=True, slots=True)
class Account:
    number: str
    owner: str
    balance: int


@dataclass(frozen=True, slots=True)
class Visit:
    place: Any
    who: Any


class Counter(NamedTuple):
    name: str
    count: int


STORAGES: tuple[StorageType, ...] = ("ram_copies", "disc_copies", "disc_only_copies")
TYPES: tuple[TableType, ...] = ("set", "ordered_set", "bag")
