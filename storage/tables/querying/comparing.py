"""When terms are equal, the same, or in order: Erlang's comparisons over Python's values.

`==` and `<` compare numbers by value, whatever their types; the order of keys (`terms.encode`) also
puts 1 before 1.0. So there are several keys that are `==`, side by side; `lowest` and `highest` are
the ends of such a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact
from enum import Enum
from fractions import Fraction
from typing import Any, Final

from palaver.storage.tables.errors import BadType
from palaver.storage.tables.terms import encode


class Failed(Exception):
    """An operation did not fit its operands: Erlang's `badarg` and `badarith`."""


def plain(term: object) -> Any:
    """Return what counts of a term: of an enum its value, of a subclass of a number the number."""
    while isinstance(term, Enum):
        term = term.value
    kind = type(term)
    if kind in _NATIVE:
        return term
    for native in _NATIVE_ORDER:
        if isinstance(term, native):
            return native(term)
    return term


_NATIVE_ORDER: Final[tuple[Any, ...]] = (
    int, float, str, bytes, tuple, list, Decimal, Fraction
)  # fmt: skip
_NATIVE: Final = frozenset((*_NATIVE_ORDER, bool, type(None), dict, frozenset))
NUMBERS: Final = frozenset((int, float, Decimal, Fraction))
_ORDERED: Final = frozenset((int, float))


def loosen(term: Any) -> Any:
    """Return the one term that stands for all that are `==` to this: 1 for 1.0 and Decimal(1).

    As in Erlang, this goes through tuples, lists and the values of dicts, not through their keys.
    """
    term = plain(term)
    kind = type(term)
    if kind is int or kind is str or kind is bytes:
        return term
    if kind in NUMBERS:
        return loosen_number(term)
    if kind is tuple or kind is list:
        return tuple([loosen(item) for item in term])
    if isinstance(term, Mapping):
        return {name: loosen(value) for name, value in term.items()}
    return term


def loosen_number(number: Any) -> Any:
    """Return the integer of this value, else the fraction; infinities and NaN as floats."""
    if type(number) is int:
        return number
    if type(number) is float and number.is_integer():
        return int(number)
    if not finite(number):
        return float(number)
    if type(number) is Decimal:
        encode(number)  # refuses one whose exact value would fill the memory
    exact = Fraction(number)
    return exact.numerator if exact.denominator == 1 else exact


def finite(number: Any) -> bool:
    """Whether a number is neither infinite nor NaN."""
    if type(number) is float:
        return math.isfinite(number)
    return not isinstance(number, Decimal) or number.is_finite()


def _canonical(term: object) -> bytes:
    try:
        return encode(loosen(term))
    except BadType as error:
        raise Failed(str(error)) from error


def lowest(term: Any) -> Any:
    """Return a term that no term which is `==` to this one comes before, in the order of keys."""
    return _bound(term, _lowest_number)


def highest(term: Any) -> Any:
    """Return a term that no term which is `==` to this one comes after, in the order of keys."""
    return _bound(term, _highest_number)


def _bound(term: Any, bound: Callable[[Any], Any]) -> Any:
    term = plain(term)
    kind = type(term)
    if kind in NUMBERS:
        return bound(loosen_number(term))
    if kind is tuple or kind is list:
        return tuple([_bound(item, bound) for item in term])
    if isinstance(term, Mapping):
        return {name: _bound(value, bound) for name, value in term.items()}
    return term


def _lowest_number(number: Any) -> Any:
    if type(number) is Fraction:
        near = number.numerator / number.denominator if abs(number) < _FLOATS else None
        # No float is exactly this number: then the next smaller one is before all of them.
        if near is not None:
            return near if Fraction(near) == number else math.nextafter(near, -math.inf)
        return number.numerator // number.denominator
    return number


def _highest_number(number: Any) -> Any:
    return Fraction(number) if finite(number) else Decimal(number)


_FLOATS: Final = 10**300


_WHOLE_FLOATS: Final = 1 << 53


def ties(number: Any) -> tuple[Any, ...]:
    """Return all terms that are `==` to this number: of each type of numbers one."""
    exact = loosen_number(number)
    if type(exact) is int and abs(exact) < _WHOLE_FLOATS:
        return (exact, float(exact), Decimal(exact), Fraction(exact))
    if not finite(exact):
        return (exact, Decimal(exact))
    found: list[Any] = [exact] if type(exact) is int else []
    try:
        near = exact.numerator / exact.denominator
        if Fraction(near) == exact:
            found.append(near)
    except OverflowError:
        pass  # beyond the floats
    decimal = exact_decimal(exact)
    if decimal is not None:
        found.append(decimal)
    found.append(Fraction(exact))
    return tuple(found)


def exact_decimal(exact: Any) -> Decimal | None:
    """Return the Decimal of this value, None where it has no end."""
    try:
        return _EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
    except Inexact:
        return None


_EXACT: Final = Context(prec=5_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])


def equal(left: object, right: object) -> bool:
    """Erlang's `==`; values that can be no key are equal if they are for Python, in one type."""
    kind = type(left)
    if kind is type(right) and kind in _SIMPLE and left == right:
        return True
    try:
        return encode(loosen(left)) == encode(loosen(right))
    except BadType:
        return kind is type(right) and bool(left == right)


_SIMPLE: Final = frozenset((int, float, str, bytes, bool, type(None)))


def same(left: object, right: object) -> bool:
    """Erlang's `=:=`: they have one encoding."""
    kind = type(left)
    if kind is type(right) and kind in _SIMPLE:
        if left == right:
            return True
        if kind is not float:
            return False
    try:
        return encode(left) == encode(right)
    except BadType:
        return kind is type(right) and bool(left == right)


def differs(left: object, right: object) -> bool:
    """Erlang's `=/=`."""
    return not same(left, right)


def unequal(left: object, right: object) -> bool:
    """Erlang's `/=`."""
    return not equal(left, right)


def _direct(left: object, right: object) -> bool:
    """Whether Python's order of these two is that of the terms."""
    kind = type(left)
    if kind in _ORDERED:
        return type(right) in _ORDERED and left == left and right == right
    return kind is type(right) and (kind is str or kind is bytes)


def less(left: Any, right: Any) -> bool:
    """Erlang's `<`."""
    if _direct(left, right):
        return bool(left < right)
    return _canonical(left) < _canonical(right)


def at_most(left: Any, right: Any) -> bool:
    """Erlang's `=<`."""
    if _direct(left, right):
        return bool(left <= right)
    return _canonical(left) <= _canonical(right)


def greater(left: Any, right: Any) -> bool:
    """Erlang's `>`."""
    return less(right, left)


def at_least(left: Any, right: Any) -> bool:
    """Erlang's `>=`."""
    return at_most(right, left)
