"""When two records are the same: Erlang's `=:=`, which tells 1 from 1.0 and from True."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .records import RecordType

_PLAIN = frozenset((str, bytes, int, bool, float, type(None)))


def identical(record_type: RecordType[Any], one: Any, other: Any) -> bool:
    """Whether two records of a type are the same, value by value and kind by kind."""
    return one is other or same_term(record_type.values(one), record_type.values(other))


def same_term(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same kinds throughout."""
    kind = type(one)
    if kind is not type(other) or one != other:
        # Equality first: it is cheap, and unequal values are not the same whatever their kinds.
        return False
    if kind in _PLAIN:
        return True
    if isinstance(one, tuple | list):
        return all(map(same_term, one, other))
    if isinstance(one, Mapping):
        return all(_same_item(item, other) for item in one.items())
    return True


def _same_item(item: tuple[Any, Any], other: Mapping[Any, Any]) -> bool:
    key, value = item
    return any(same_term(key, its) and same_term(value, other[its]) for its in other if its == key)
