"""Groups of rows, and the values that are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from palaver.storage.tables.errors import BadArgument, BadType
from palaver.storage.tables.terms import encode

from .access import Context
from .comparing import Failed, exact_decimal, finite
from .conditions import Tables
from .fields import Aggregate, Slot, replaced
from .joining import check_held
from .operations import positive
from .tree import Expression, Key, walk

if TYPE_CHECKING:
    from palaver.storage.tables.queries import Description


class _Count:
    """Counts rows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = 0

    def add(self, _: Any) -> None:
        self.value += 1


class _Sum:
    """Adds numbers exactly, so that their order does not matter; floats are rounded at the end."""

    __slots__ = ("_exact", "_floats", "_rank")

    def __init__(self) -> None:
        self._exact: int | Fraction = 0
        self._floats = 0  # in units of the smallest float
        self._rank = 0

    def add(self, value: Any) -> None:
        value = positive(value)
        if not finite(value):
            raise Failed(f"{value} in a sum")
        kind = type(value)
        self._rank = max(self._rank, _RANKS.index(kind))
        if kind is float:
            part, exponent = math.frexp(value)
            self._floats += int(math.ldexp(part, 53)) << (exponent - 53 + _FLOAT_BITS)
        else:
            self._exact += value if kind is int else Fraction(value)

    @property
    def value(self) -> Any:
        total = self._exact + Fraction(self._floats, 1 << _FLOAT_BITS)
        kind = _RANKS[self._rank]
        try:
            if kind is float:
                return total.numerator / total.denominator
            return exact_decimal(total) if kind is Decimal else kind(total)
        except OverflowError as error:
            raise Failed(f"a sum: {error}") from error


_RANKS: Final[tuple[Any, ...]] = (int, Decimal, Fraction, float)
"""A sum is of the last of these types that is among its numbers."""

_FLOAT_BITS: Final = 1_200
"""Every float is a whole number of 2 ** -_FLOAT_BITS."""


class _Least:
    """Keeps the least value."""

    __slots__ = ("_code", "value")

    def __init__(self) -> None:
        self._code: bytes | None = None
        self.value: Any = None

    def add(self, value: Any) -> None:
        code = encode(value)
        if self._code is None or self._before(code, self._code):
            self._code, self.value = code, value

    @staticmethod
    def _before(code: bytes, other: bytes) -> bool:
        return code < other


class _Greatest(_Least):
    """Keeps the greatest value."""

    __slots__ = ()

    @staticmethod
    def _before(code: bytes, other: bytes) -> bool:
        return code > other


_STATES: dict[str, Callable[[], Any]] = {
    "count": _Count,
    "sum": _Sum,
    "min": _Least,
    "max": _Greatest,
}


class Groups:
    """The groups of a query while its rows come in."""

    __slots__ = ("_aggregates", "_by", "_found", "_numbers", "_values")

    def __init__(self, asked: Description, tables: Tables) -> None:
        self._by = asked.group or ()
        wanted = (asked.result, asked.having, *(by for by, _ in asked.order))
        aggregates: dict[Key, Aggregate] = {}
        for one in wanted:
            for part in walk(one):
                if isinstance(part, Aggregate):
                    aggregates.setdefault(part.key, part)
        self._aggregates = list(aggregates.values())
        shown: list[Expression] = [*self._by, *self._aggregates]
        self._numbers = {one.key: number for number, one in reversed(list(enumerate(shown)))}
        self._values = [
            tables.value(one) if one is not None else _nothing
            for one in (*self._by, *(aggregate.part for aggregate in self._aggregates))
        ]
        self._found: dict[bytes, tuple[list[Any], list[Any]]] = {}
        if asked.group is None:
            self._found[b""] = ([], self._states())

    def _states(self) -> list[Any]:
        return [_STATES[one.name]() for one in self._aggregates]

    def slotted(self, expression: Expression) -> Expression:
        """Return an expression over the values of a complete group."""

        def slot(part: Expression) -> Expression | None:
            number = self._numbers.get(part.key)
            return None if number is None else Slot(number, part)

        return replaced(expression, slot)

    def add(self, context: Context) -> None:
        """Put a row into its group."""
        count = len(self._by)
        try:
            by = [value(context) for value in self._values[:count]]
            code = b"".join([encode(one) for one in by])
            group = self._found.get(code)
            if group is None:
                group = self._found[code] = (by, self._states())
                check_held(len(self._found), "group them")
            for state, value in zip(group[1], self._values[count:], strict=True):
                state.add(value(context))
        except (Failed, BadType) as error:
            raise BadArgument(f"rows cannot be grouped: {error}") from error

    def complete(self) -> Iterator[tuple[bytes, list[Any]]]:
        """Yield the groups in the order of what they are grouped by, each with its values."""
        for code, (by, states) in sorted(self._found.items(), key=lambda group: group[0]):
            try:
                yield code, [*by, *(state.value for state in states)]
            except Failed as error:
                raise BadArgument(f"rows cannot be grouped: {error}") from error


def _nothing(_: Context) -> None:
    return None
