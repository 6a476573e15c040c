"""Expressions over the fields of records, for guards, results and queries.

An expression is an immutable tree that says what to compute; it computes nothing by itself. It is
made with Python's operators from variables (`V(1)`), from fields (`each(Account).balance`) and from
plain values. What the operators mean is Erlang's guards (ets(3), "Match Specifications"):

- `==`, `!=`, `<`, `<=`, `>`, `>=` compare any two terms and never fail. 1 == 1.0; 1 != True.
  `same` and `differs` are Erlang's `=:=` and `=/=`: 1 and 1.0 are not the same.
- `&`, `|` and `~` are `andalso`, `orelse` and `not`. They want booleans.
- `+ - * / // %` want numbers. `//` and `%` are Python's; `div` and `rem` are Erlang's. `+` also
  joins two strings, byte strings, tuples or lists.
- `x[i]` is an element of a tuple or list (counted from 0, negative from the end) or what a dict
  holds under `i`.

An operation that does not fit its operands fails: in a guard the record does not match, in a result
the whole query is refused with `BadArgument`.

Expressions hold no function of yours: what is written is all that runs.
"""

from __future__ import annotations

from typing import Any, Final

from .querying.tree import Expression, Literal, Operation, Whole, lift


def literal(value: object) -> Any:
    """Return a value that is taken as it is, whatever it contains: Mnesia's `{const, Value}`."""
    return Literal(value)


def same(left: object, right: object) -> Any:
    """Whether two terms are the same: Erlang's `=:=`. 1 is not the same as 1.0."""
    return Operation("same", left, right)


def differs(left: object, right: object) -> Any:
    """Whether two terms are not the same: Erlang's `=/=`."""
    return Operation("differs", left, right)


def and_(*conditions: object) -> Any:
    """Whether all are true: `andalso`; what follows a false one is not computed."""
    return _chain("and", conditions, True)


def or_(*conditions: object) -> Any:
    """Whether one is true: `orelse`; what follows a true one is not computed."""
    return _chain("or", conditions, False)


def _chain(name: str, conditions: tuple[object, ...], empty: bool) -> Expression:
    if not conditions:
        return Literal(empty)
    if len(conditions) == 1:
        return lift(conditions[0])
    return Operation(name, *conditions)


def not_(condition: object) -> Any:
    """The other boolean: `not`."""
    return Operation("not", condition)


def div(left: object, right: object) -> Any:
    """Divide integers, cutting towards zero: Erlang's `div`."""
    return Operation("div", left, right)


def rem(left: object, right: object) -> Any:
    """Return what `div` leaves, with the sign of `left`: Erlang's `rem`."""
    return Operation("rem", left, right)


def band(left: object, right: object) -> Any:
    """The bits that both integers have: Erlang's `band`."""
    return Operation("band", left, right)


def bor(left: object, right: object) -> Any:
    """The bits that one of two integers has: Erlang's `bor`."""
    return Operation("bor", left, right)


def bxor(left: object, right: object) -> Any:
    """The bits in which two integers differ: Erlang's `bxor`."""
    return Operation("bxor", left, right)


def size(value: object) -> Any:
    """The number of elements of a tuple, list or dict, or of characters or bytes."""
    return Operation("size", value)


def item(value: object, index: object) -> Any:
    """The same as `value[index]`, also for a plain `value`; counted from 0."""
    return Operation("item", value, index)


def element(number: int, value: object) -> Any:
    """The element of a tuple, counted from 1: Erlang's `element`."""
    return Operation("element", number, value)


def contains(value: object, part: object) -> Any:
    """Whether an element (a key of a dict, a part of a string) is there, compared as by `same`."""
    return Operation("contains", value, part)


def starts_with(value: object, prefix: object) -> Any:
    """Whether a string or byte string begins with another; a range, where a key is asked."""
    return Operation("starts_with", value, prefix)


def ends_with(value: object, suffix: object) -> Any:
    """Whether a string or byte string ends with another."""
    return Operation("ends_with", value, suffix)


def choose(condition: object, then: object, otherwise: object) -> Any:
    """One of two values: Python's `then if condition else otherwise`."""
    return Operation("if", condition, then, otherwise)


def is_none(value: object) -> Any:
    """Whether a term is None."""
    return Operation("is_none", value)


def is_bool(value: object) -> Any:
    """Whether a term is True or False: `is_boolean`."""
    return Operation("is_bool", value)


def is_int(value: object) -> Any:
    """Whether a term is an integer: `is_integer`; True is none."""
    return Operation("is_int", value)


def is_float(value: object) -> Any:
    """Whether a term is a float: `is_float`."""
    return Operation("is_float", value)


def is_number(value: object) -> Any:
    """Whether a term is an integer or a float: `is_number`."""
    return Operation("is_number", value)


def is_str(value: object) -> Any:
    """Whether a term is a string."""
    return Operation("is_str", value)


def is_bytes(value: object) -> Any:
    """Whether a term is a byte string: `is_binary`."""
    return Operation("is_bytes", value)


def is_tuple(value: object) -> Any:
    """Whether a term is a tuple: `is_tuple`."""
    return Operation("is_tuple", value)


def is_list(value: object) -> Any:
    """Whether a term is a list: `is_list`."""
    return Operation("is_list", value)


def is_dict(value: object) -> Any:
    """Whether a term is a dict: `is_map`."""
    return Operation("is_dict", value)


RECORD: Final[Any] = Whole("RECORD")
"""In a result: the record itself. Mnesia's `'$_'`."""

BINDINGS: Final[Any] = Whole("BINDINGS")
"""In a result: the list of what all variables are bound to, by number. Mnesia's `'$$'`."""
