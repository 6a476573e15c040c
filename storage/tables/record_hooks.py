"""How the values of a type hint become CBOR, and come back equal and of the same types.

A hint has two hooks: one writes, one reads. They are strict and convert nothing that a hint does
not name: a list is no tuple, and "1" no number. (The hooks of cattrs convert such values, and call
the hook of a base class for what is of a subclass.) A value that does not fit raises TypeError or
ValueError. Sets and dicts are written in an order of their own, so that equal records are equal
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from reprlib import repr as short_repr
from types import NoneType
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

from cbor2 import dumps, frozendict

from .record_classes import field_hints, field_names, getter, maker
from .record_hints import (
    CONTAINERS,
    DIRECT,
    MAX_DEPTH,
    TAGGED,
    direct_types,
    is_union,
    unwrap,
)

Hook: TypeAlias = Callable[[Any], Any]
Pair: TypeAlias = tuple[Hook, Hook]
"""What writes a value, and what reads it."""


def plain(value: Any, depth: int = 1) -> Any:
    """Give a value of any CBOR-able kind as it comes back: arrays as tuples, the rest frozen too.

    Raises:
        TypeError: CBOR has no such kind, or it is nested too deep.
    """
    kind = type(value)
    if kind in DIRECT:
        return value
    if kind in _TAGGED_CHECKS:
        return _TAGGED_CHECKS[kind](value)
    if depth > MAX_DEPTH:
        raise TypeError(f"more than {MAX_DEPTH} containers in one another")
    if kind is tuple or kind is list:
        return tuple([plain(item, depth + 1) for item in value])
    if kind is dict or kind is frozendict:
        return frozendict({plain(k, depth + 1): plain(v, depth + 1) for k, v in value.items()})
    if kind is set or kind is frozenset:
        return frozenset([plain(item, depth + 1) for item in value])
    raise TypeError(f"CBOR has no {kind.__qualname__}; give the field a type hint for it")


def _check_datetime(value: Any) -> datetime:
    offset = value.utcoffset()
    if offset is None:
        raise TypeError("a datetime without a time zone; give it one")
    # CBOR's text form has no fractions of a second in an offset.
    return value.astimezone(UTC) if offset.microseconds else value  # type: ignore[no-any-return]


def _check_decimal(value: Any) -> Decimal:
    if not value.is_finite():
        raise TypeError("a Decimal that is not finite; use a float, or None")
    return value  # type: ignore[no-any-return]


_TAGGED_CHECKS: Final[dict[type, Hook]] = {datetime: _check_datetime, Decimal: _check_decimal}


def _wrong(value: Any, wanted: str) -> TypeError:
    return TypeError(f"{short_repr(value)} is {type(value).__name__}, not {wanted}")


def _exactly(kind: type, then: Hook) -> Hook:
    """Make a hook that takes values of exactly this type, and goes on with `then`."""

    def hook(value: Any) -> Any:
        if type(value) is not kind:
            raise _wrong(value, kind.__name__)
        return then(value)

    return hook


def _same(value: Any) -> Any:
    return value


def _one_of(types: frozenset[type], then: Hook = _same) -> Hook:
    """Make a hook for values of these types."""

    def hook(value: Any) -> Any:
        if type(value) not in types:
            raise _wrong(value, _names(types))
        return then(value)

    return hook


def _names(types: Iterable[type]) -> str:
    return " | ".join(sorted(kind.__name__ for kind in types))


def _union_types(hint: Any) -> frozenset[type] | None:
    """Give the types of a union whose values CBOR tells apart; None if it is no such union."""
    types: set[type] = set()
    for member in map(unwrap, get_args(hint)):
        direct = frozenset((member,)) if member in TAGGED else direct_types(member)
        if direct is None:
            return None
        types |= direct
    return frozenset(types)


class Hooks:
    """Makes the hooks of hints that `describe` has accepted."""

    __slots__ = ("_classes",)

    def __init__(self) -> None:
        self._classes: dict[type, Pair | None] = {}

    def of(self, hint: Any) -> Pair:
        """Make the hooks of a hint: to write, and to read."""
        hint = unwrap(hint)
        direct = direct_types(hint)
        if direct is not None:
            return _one_of(direct), _one_of(direct)
        if hint is Any:
            return plain, _same
        if hint in TAGGED:
            return _exactly(hint, _TAGGED_CHECKS[hint]), _exactly(hint, _same)
        if is_union(hint):
            return self._union(hint)
        if get_origin(hint) is Literal:
            return _literal(get_args(hint)), _literal(get_args(hint))
        kind = get_origin(hint) or hint
        if kind in CONTAINERS:
            return self._container(kind, hint)
        if issubclass(hint, Enum):
            return _exactly(hint, lambda member: member.value), _enum_member(hint)
        return self._class(hint)

    def _union(self, hint: Any) -> Pair:
        types = _union_types(hint)
        if types is not None:
            return _one_of(types, plain), _one_of(types)
        only = next(member for member in map(unwrap, get_args(hint)) if member is not NoneType)
        write, read = self.of(only)
        return (
            lambda value: None if value is None else write(value),
            lambda value: None if value is None else read(value),
        )

    def _container(self, kind: type, hint: Any) -> Pair:
        args = get_args(hint)
        if kind is dict:
            return self._dict(*(args or (Any, Any)))
        if kind is tuple and hint is not tuple and (not args or args[-1] is not ...):
            return _each(tuple, [self.of(arg) for arg in args], _same, tuple)
        item = args[0] if args else Any
        types = direct_types(item)
        if types is not None:
            return _direct_items(kind, types)
        return _items(kind, *self.of(item))

    def _dict(self, key: Any, value: Any) -> Pair:
        keys, values = direct_types(key), direct_types(value)
        if keys is not None and values is not None:
            return _direct_dict(keys, values)
        write, read = self.of(value)
        write_key, read_key = self.of(key)
        if keys is None:  # what such keys become may not be hashable
            return _pairs(write_key, read_key, write, read)
        return (
            _exactly(dict, lambda items: {write_key(k): write(v) for k, v in items.items()}),
            _exactly(frozendict, lambda items: {read_key(k): read(v) for k, v in items.items()}),
        )

    def _class(self, hint: Any) -> Pair:
        if hint not in self._classes:
            self._classes[hint] = None  # it may be within itself
            names, hints = field_names(hint), field_hints(hint)
            make = maker(hint, names)
            pair = _each(
                hint,
                [self.of(hints[name]) for name in names],
                getter(hint, names),
                lambda values: make(*values),
            )
            self._classes[hint] = pair
        made = self._classes[hint]
        return made if made is not None else self._later(hint)

    def _later(self, hint: Any) -> Pair:
        """Give hooks for a class whose hooks are still being made."""

        def hook(which: int) -> Hook:
            def later(value: Any) -> Any:
                made = self._classes[hint]
                assert made is not None, "values come after the hooks"
                return made[which](value)

            return later

        return hook(0), hook(1)


def _literal(values: tuple[Any, ...]) -> Hook:
    known = {(type(value), value) for value in values}

    def hook(value: Any) -> Any:
        if type(value) not in DIRECT or (type(value), value) not in known:
            raise ValueError(f"{short_repr(value)} is none of {values}")
        return value

    return hook


def _enum_member(hint: type[Enum]) -> Hook:
    members = {member.value: member for member in hint}
    types = frozenset(map(type, members))

    def hook(value: Any) -> Any:
        if type(value) not in types:
            raise _wrong(value, hint.__name__)
        return members.get(value) or hint(value)  # flags make members as they are needed

    return hook


def _checked(types: frozenset[type], items: Iterable[Any]) -> None:
    if not types.issuperset(map(type, items)):
        wrong = next(item for item in items if type(item) not in types)
        raise _wrong(wrong, _names(types))


def _direct_items(kind: type, types: frozenset[type]) -> Pair:
    def write(value: Any) -> Any:
        _checked(types, value)
        return value

    def write_sorted(value: Any) -> Any:
        _checked(types, value)
        return sorted(value, key=order)

    def read(value: Any) -> Any:
        _checked(types, value)
        return kind(value)

    if kind in (tuple, list):
        return _exactly(kind, write), _exactly(tuple, read)
    order = None if types in _ORDERED else _canonical
    return _exactly(kind, write_sorted), _exactly(tuple, read)


_ORDERED: Final = {frozenset((int, bool)), frozenset((str,)), frozenset((bytes,))}


def _direct_dict(keys: frozenset[type], values: frozenset[type]) -> Pair:
    def write(value: Any) -> Any:
        _checked(keys, value)
        _checked(values, value.values())
        return value

    return _exactly(dict, write), _exactly(frozendict, lambda value: dict(write(value)))


def _items(kind: type, write: Hook, read: Hook) -> Pair:
    def write_all(value: Any) -> Any:
        return tuple([write(item) for item in value])

    def write_sorted(value: Any) -> Any:
        return sorted([write(item) for item in value], key=_canonical)

    def read_all(value: Any) -> Any:
        return kind([read(item) for item in value])

    to_tuple = write_sorted if kind in (set, frozenset) else write_all
    return _exactly(kind, to_tuple), _exactly(tuple, read_all)


def _canonical(value: Any) -> bytes:
    return dumps(value, canonical=True)


def _each(kind: type, pairs: list[Pair], values: Hook, make: Hook) -> Pair:
    """Make the hooks of something with a hook for each of its values."""
    writers, readers = [write for write, _ in pairs], [read for _, read in pairs]

    def write(value: Any) -> Any:
        return tuple([hook(item) for hook, item in zip(writers, values(value), strict=True)])

    def read(value: Any) -> Any:
        return make([hook(item) for hook, item in zip(readers, value, strict=True)])

    return _exactly(kind, write), _exactly(tuple, read)


def _pairs(write_key: Hook, read_key: Hook, write: Hook, read: Hook) -> Pair:
    def write_pairs(value: Any) -> Any:
        return sorted([(write_key(k), write(v)) for k, v in value.items()], key=_canonical)

    def read_pairs(value: Any) -> Any:
        return {read_key(k): read(v) for k, v in value}

    return _exactly(dict, write_pairs), _exactly(tuple, read_pairs)
