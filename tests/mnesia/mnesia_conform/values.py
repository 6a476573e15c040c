"""Values, patterns and match specifications of programs as the tables take and give them."""

from __future__ import annotations

from typing import Any

from mnesia_conform.language import plain
from palaver.storage.tables import END

__all__ = ["UNKNOWN", "match_spec", "pattern_of", "shown"]


class _Unknown:
    """Stands for a result that is not determined."""


UNKNOWN = _Unknown()


def pattern_of(table: str, fields: list[Any]) -> Any:
    return (table, *fields)


def match_spec(table: str, clauses: list[Any]) -> Any:
    return [((table, *head), guards, body) for head, guards, body in clauses]


def shown(value: Any, table: str = "") -> Any:
    """A value as the Erlang interpreter shows it."""
    if value is UNKNOWN:
        return "unknown"
    if value is END:
        return "$end_of_table"
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return ["float", value]
    if isinstance(value, str):
        return ["text", value]
    if isinstance(value, tuple):
        if table and value[:1] == (table,):
            return ["tuple", table, *[shown(each) for each in value[1:]]]
        return ["tuple", *[shown(each, table) for each in value]]
    return ["list", *[shown(each, table) for each in value]]
