"""Which type hints the fields of a record may have, and how a table's schema describes them.

CBOR has a place for numbers, strings, bytes, dates, UUIDs and IP addresses: such values are
*direct*, they are only checked. What else a hint can say is turned into these (`record_hooks`).
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from .errors import BadType
from .record_classes import check_class, field_hints, field_names, is_record_class

MAX_DEPTH: Final = 32
"""How many containers of a field's value (or of its type hint) may lie in one another."""

DIRECT: Final[frozenset[type]] = frozenset(
    (
        *(int, str, bytes, bool, float, NoneType, date, UUID, Fraction),
        *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
    )
)
"""Types whose values CBOR carries as they are."""

_ADVICE: Final = (
    "use int, str, bytes, bool, float, None, datetime, date, UUID, Decimal, Fraction, "
    "IPv4Address and its like, Enum, Literal, record classes, tuple, list, set, frozenset, "
    "dict of these, X | None, or Any"
)
# CBOR has tags for these too, but not for all of their values.
TAGGED: Final = (datetime, Decimal)
CONTAINERS: Final = (tuple, list, set, frozenset, dict)


def unwrap(hint: Any) -> Any:
    """Take names and remarks off a hint: NewType, Annotated, `type X = ...`."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif type(hint).__name__ in ("_SpecialGenericAlias", "_TupleType"):
            hint = hint.__origin__  # typing.List and its like, without arguments
        elif hint is None:
            return NoneType
        else:
            return Any if hint is object else hint


def direct_types(hint: Any) -> frozenset[type] | None:
    """Give the types that values of a hint have, if all of them are direct; None if not."""
    hint = unwrap(hint)
    if hint is int:
        return frozenset((int, bool))
    if hint is float:
        return frozenset((float, int))
    if isinstance(hint, type) and hint in DIRECT:
        return frozenset((hint,))
    if is_union(hint):
        parts = [direct_types(member) for member in get_args(hint)]
        known = [part for part in parts if part is not None]
        return frozenset().union(*known) if len(known) == len(parts) else None
    return None


def direct_part(hint: Any) -> frozenset[type]:
    """Give the types of those values of a hint that are direct: None in `list[int] | None`."""
    hint = unwrap(hint)
    if hint is Any:
        return DIRECT
    if is_union(hint):
        return frozenset().union(*map(direct_part, get_args(hint)))
    return direct_types(hint) or frozenset()


def describe(hint: Any, inside: tuple[Any, ...] = ()) -> str:
    """Describe a hint in words that stay the same, and make sure that it is supported.

    Raises:
        BadType: it is not; the text says what to use instead.
    """
    hint = unwrap(hint)
    if len(inside) > MAX_DEPTH:
        raise BadType(f"more than {MAX_DEPTH} type hints in one another")
    inner = (*inside, hint)
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return "Any"
    if hint is NoneType:
        return "None"
    if is_union(hint):
        return _describe_union(hint, inner)
    if origin is Literal:
        if all(type(arg) in DIRECT for arg in args):
            return f"Literal[{', '.join(sorted(map(repr, args)))}]"
    elif origin in CONTAINERS:
        if args:
            return f"{origin.__name__}[{', '.join(_describe_item(arg, inner) for arg in args)}]"
        if origin is tuple:
            return "tuple[()]"
    elif hint in CONTAINERS:
        return str(hint.__name__)
    elif isinstance(hint, type):
        return _describe_class(hint, inside)
    raise BadType(f"{hint!r} cannot be stored: {_ADVICE}")


def _describe_item(hint: Any, inside: tuple[Any, ...]) -> str:
    return "..." if hint is ... else describe(hint, inside)


def _describe_union(hint: Any, inside: tuple[Any, ...]) -> str:
    members = [unwrap(member) for member in get_args(hint)]
    texts = sorted({describe(member, inside) for member in members})
    others = [m for m in members if m not in DIRECT and m not in TAGGED and not is_union(m)]
    if len(others) > 1 or (others and any(m is not NoneType for m in members if m not in others)):
        raise BadType(
            f"{' | '.join(texts)} cannot be stored: of which type a value is could not be told "
            "when it is read; use a record class with a field for each, or Any"
        )
    return " | ".join(texts)


def _describe_class(hint: Any, inside: tuple[Any, ...]) -> str:
    if hint in DIRECT or hint in TAGGED:
        return str(hint.__name__)
    if issubclass(hint, Enum):
        if all(type(member.value) in DIRECT for member in hint):
            return f"Enum {hint.__name__}"
        raise BadType(f"the Enum {hint.__name__} has values that are not plain: {_ADVICE}")
    if not is_record_class(hint):
        raise BadType(f"{hint.__qualname__} cannot be stored: {_ADVICE}")
    if hint in inside:
        return str(hint.__name__)
    names, hints = field_names(hint), field_hints(hint)
    check_class(hint, names)
    texts = [f"{name}: {describe(hints[name], (*inside, hint))}" for name in names]
    return f"{hint.__name__}({', '.join(texts)})"


def is_recursive(hint: Any, inside: tuple[Any, ...] = ()) -> bool:
    """Whether a record class is within itself, so that values can be nested without end."""
    hint = unwrap(hint)
    if hint in inside:
        return True
    if get_origin(hint) is Literal:
        return False
    if is_record_class(hint):
        inside = (*inside, hint)
    return any(is_recursive(part, inside) for part in _parts(hint))


def is_mutable(hint: Any, inside: tuple[Any, ...] = ()) -> bool:
    """Whether values of a hint, or what they hold, can be changed."""
    hint = unwrap(hint)
    kind = get_origin(hint) or hint
    if kind is Literal or hint in inside:
        return False
    if hint in (Any, tuple, frozenset) or kind in (list, set, dict):
        return True
    return any(is_mutable(part, (*inside, hint)) for part in _parts(hint))


def _parts(hint: Any) -> tuple[Any, ...]:
    """Give the hints in a hint: of a container's items, or of a class's fields."""
    if is_record_class(hint):
        hints = field_hints(hint)
        return tuple(hints[name] for name in field_names(hint))
    return tuple(part for part in get_args(hint) if part is not ...)


def is_union(hint: Any) -> bool:
    """Whether it is X | Y, in either spelling."""
    return get_origin(hint) in (Union, UnionType)
