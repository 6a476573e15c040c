"""When two records are the same: Erlang's `=:=`, which tells 1 from 1.0 and from True.

A list and the tuple of its elements are the same, and so are sets and dicts with their frozen
kinds: these are what comes back when they are read from the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .records import RecordType

_PLAIN = frozenset((str, bytes, int, bool, float, type(None)))


def identical(record_type: RecordType[Any], one: Any, other: Any) -> bool:
    """Whether two records of a type are the same, value by value and kind by kind."""
    return one is other or all(map(same_term, record_type.values(one), record_type.values(other)))


def same_term(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same kinds throughout."""
    kind = type(one)
    if kind in _PLAIN:
        return kind is type(other) and bool(one == other)
    if isinstance(one, tuple | list):
        if not isinstance(other, tuple | list) or len(one) != len(other):
            return False
        if _named(one) or _named(other):  # a record within a record is of its class
            return kind is type(other) and all(map(same_term, one, other))
        return all(map(same_term, one, other))
    if isinstance(one, Mapping):
        if not isinstance(other, Mapping) or len(one) != len(other):
            return False
        return all(_same_item(item, other) for item in one.items())
    if isinstance(one, AbstractSet):
        if not isinstance(other, AbstractSet) or one != other:
            return False
        return all(any(same_term(each, its) for its in other if its == each) for each in one)
    return kind is type(other) and bool(one == other)


def _named(value: Any) -> bool:
    return hasattr(value, "_fields")


def _same_item(item: tuple[Any, Any], other: Mapping[Any, Any]) -> bool:
    key, value = item
    return any(same_term(key, its) and same_term(value, other[its]) for its in other if its == key)
