"""The conditions of a query, one by one: which tables each is about, and what it links."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from palaver.storage.tables.errors import BadArgument

from .access import EQUALITIES, Context, Link
from .analysis import COMPARED, FLIPPED, analyse, path_in
from .coding import Coder, make_function
from .domains import NOTHING_KNOWN, Known, Path
from .fields import Alias, Field, Slot
from .source import Facts
from .tree import Expression, Literal, Operation, walk


class Tables:
    """The tables of a query, with their facts, by number.

    Attributes:
        aliases: as they are named in the query.
        facts: of each.
    """

    __slots__ = ("_numbers", "aliases", "facts")

    def __init__(self, aliases: Sequence[Alias], facts: Sequence[Facts]) -> None:
        self.aliases = aliases
        self.facts = facts
        self._numbers = {alias: number for number, alias in enumerate(aliases)}

    def numbers(self, expression: Expression) -> frozenset[int]:
        """Return which tables an expression is about."""
        return frozenset(
            self._numbers[part.source] for part in walk(expression) if isinstance(part, Field)
        )

    def number(self, field: Field) -> int:
        """Return the number of a field's table."""
        return self._numbers[field.source]

    def check(self, expression: Expression) -> None:
        """Raise BadArgument where a field of an expression is not there."""
        for part in walk(expression):
            if isinstance(part, Field):
                self.position(part)

    def position(self, field: Field) -> int | None:
        """Return the place of a field in its record, None for the record itself."""
        if field.name is None:
            return None
        facts = self.facts[self._numbers[field.source]]
        try:
            return facts.attributes.index(field.name)
        except ValueError:
            raise BadArgument(
                f"{facts.name} has no field {field.name!r}; it has {facts.attributes}"
            ) from None

    def path_of(self, number: int) -> Callable[[Expression], Path | None]:
        """Return what finds the path of a field within the records of one table."""

        def path_of(expression: Expression) -> Path | None:
            if not isinstance(expression, Field) or self._numbers[expression.source] != number:
                return None
            position = self.position(expression)
            return () if position is None else (position,)

        return path_of

    def _leaf(self, expression: Expression) -> str | None:
        if isinstance(expression, Slot):
            return f"c[{expression.number}]"
        if not isinstance(expression, Field):
            return None
        number = self._numbers[expression.source]
        position = self.position(expression)
        if position is None:
            return f"c[{2 * number}]"
        return f"c[{2 * number + 1}][{position}]"

    def value(self, expression: Expression) -> Callable[[Any], Any]:
        """Return a function that computes an expression in a context; it raises Failed."""
        coder = Coder(self._leaf)
        source = f"def value(c):\n    return {coder.value(expression)}\n"
        return make_function(source, "value", coder.names)

    def test(self, conditions: Sequence[Expression]) -> Callable[[Any], bool] | None:
        """Return a function that tells whether conditions are True; None where there are none."""
        if not conditions:
            return None
        coder = Coder(self._leaf)
        code = " and ".join(coder.guard(one) for one in conditions)
        source = (
            "def test(c):\n    try:\n"
            f"        return {code}\n    except Failed:\n        return False\n"
        )
        return make_function(source, "test", coder.names)


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the conditions that all must be true.

    Attributes:
        shown: the condition.
        about: the numbers of its tables.
        sides: where it compares: each (name, the side that is the field, the other side).
    """

    shown: Expression
    about: frozenset[int]
    sides: tuple[tuple[str, Expression, Expression], ...] = ()


def conditions_of(condition: Expression, tables: Tables) -> list[Condition]:
    """Divide a query's condition."""
    is_all = isinstance(condition, Operation) and condition.name == "and"
    parts = condition.operands() if is_all else (condition,)
    found = []
    for part in parts:
        if isinstance(part, Operation) and part.name == "and":
            found.extend(conditions_of(part, tables))
        elif not (isinstance(part, Literal) and part.value is True):
            found.append(Condition(part, tables.numbers(part), _sides(part)))
    return found


def _sides(part: Expression) -> tuple[tuple[str, Expression, Expression], ...]:
    if not isinstance(part, Operation) or part.name not in COMPARED:
        return ()
    left, right = part.parts
    return (part.name, left, right), (FLIPPED[part.name], right, left)


def known_of(number: int, conditions: Sequence[Condition], tables: Tables) -> Known:
    """Return what is known of the records of a table from the conditions about it alone."""
    known = NOTHING_KNOWN
    for one in conditions:
        if one.about <= {number}:
            known = known.both(analyse(one.shown, tables.path_of(number)))
    return known


def links_of(
    number: int, bound: frozenset[int], conditions: Sequence[Condition], tables: Tables
) -> list[Link]:
    """Return the conditions that tell of a table by records of the tables that are bound."""
    path_of = tables.path_of(number)
    found = []
    for one in conditions:
        if number not in one.about or not one.about <= bound | {number}:
            continue
        for name, field, other in one.sides:
            path = path_in(field, path_of)
            about = tables.numbers(other)
            if path and about and about <= bound:
                found.append(Link(path, name, other, tables.value(other), one.shown))
    return found


@dataclass(frozen=True, slots=True)
class HashLink:
    """An equality between something of a table and records that were read before.

    Attributes:
        name: `==` or `same`.
        inner: computes the side of the table.
        outer: computes the other side.
        shown: the condition.
    """

    name: str
    inner: Callable[[Context], Any]
    outer: Callable[[Context], Any]
    shown: Expression


def hash_link_of(
    number: int, bound: frozenset[int], conditions: Sequence[Condition], tables: Tables
) -> HashLink | None:
    """Return an equality by which the records of a table can be put into a dict."""
    for one in conditions:
        for name, inner, outer in one.sides:
            if name not in EQUALITIES or tables.numbers(inner) != {number}:
                continue
            about = tables.numbers(outer)
            if about and about <= bound:
                return HashLink(name, tables.value(inner), tables.value(outer), one.shown)
    return None
