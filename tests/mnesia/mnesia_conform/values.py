"""Values, patterns and match specifications of programs as the tables take and give them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import fields, is_dataclass, make_dataclass
from typing import Any, Final

from mnesia_conform.language import Text, plain
from palaver.storage.tables import (
    ANY,
    BINDINGS,
    END,
    RECORD,
    Database,
    NoExists,
    V,
    expressions,
)

__all__ = ["UNKNOWN", "class_of", "fields_of", "match_spec", "pattern_of", "record_of", "shown"]


class _Unknown:
    """Stands for a result that is not determined."""


UNKNOWN: Final = _Unknown()


# -- what goes in ---------------------------------------------------------------------------------


def record_of(db: Database, table: str, given: list[Any]) -> Any:
    """A record with these fields; where they do not fit the table, their tuple."""
    values = [plain(field) for field in given]
    try:
        record_class = db.table_info(table, "record_class")
    except NoExists:
        return tuple(values)
    fits = len(values) == len(db.table_info(table, "attributes"))
    return record_class(*values) if fits else tuple(values)


def class_of(table: str, attributes: list[str]) -> type:
    """A class for the records of a table."""
    return make_dataclass(table, [(name, Any) for name in attributes], frozen=True, slots=True)


def fields_of(record: Any) -> tuple[Any, ...]:
    """The values of a record, of a class or without one."""
    if is_dataclass(record):
        return tuple(getattr(record, field.name) for field in fields(record))
    return tuple(record)


def pattern_of(db: Database, table: str, given: list[Any]) -> Any:
    """A pattern with these fields."""
    return record_of(db, table, [_field(field) for field in given])


def _field(field: Any) -> Any:
    if isinstance(field, tuple):
        return tuple(map(_field, field))
    if isinstance(field, Text) or not isinstance(field, str):
        return field
    return ANY if field == "_" else V(int(field[1:]))


def match_spec(db: Database, table: str, clauses: list[Any]) -> Any:
    """A match specification."""
    return [
        (
            pattern_of(db, table, head),
            [expression(g) for g in guards],
            [expression(b) for b in body],
        )
        for head, guards, body in clauses
    ]


WHOLE = {"$_": RECORD, "$$": BINDINGS}

OPERATORS: dict[str, Callable[..., Any]] = {
    "==": operator.eq,
    "/=": operator.ne,
    "=:=": expressions.same,
    "=/=": expressions.differs,
    "<": operator.lt,
    "=<": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "andalso": expressions.and_,
    "orelse": expressions.or_,
    "not": expressions.not_,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "element": expressions.element,
    "is_integer": expressions.is_int,
    "is_float": expressions.is_float,
    "is_number": expressions.is_number,
    "is_binary": expressions.is_str,
    "is_tuple": expressions.is_tuple,
}


def expression(term: Any) -> Any:
    """A guard or a result."""
    if isinstance(term, Text):
        return str(term)
    if isinstance(term, str):
        return WHOLE[term] if term in WHOLE else V(int(term[1:]))
    if isinstance(term, list):
        return [expression(each) for each in term]
    if isinstance(term, tuple):
        if len(term) == 1:  # as Erlang's {{A, B}}
            return tuple(expression(each) for each in term[0])
        name, *args = term
        if name == "const":
            return expressions.literal(plain(args[0]))
        return OPERATORS[name](*[expression(each) for each in args])
    return term


# -- what comes out -------------------------------------------------------------------------------


def shown(value: Any, table: str = "") -> Any:
    """A value as the Erlang interpreter shows it: records begin with the table's name."""
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
    if hasattr(value, "_fields") or is_dataclass(value):
        return ["tuple", table, *map(shown, fields_of(value))]
    return ["list" if isinstance(value, list) else "tuple", *[shown(each, table) for each in value]]
