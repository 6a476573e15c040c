"""Python's own types beyond those of CBOR: what each is taken apart into, and made of again."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import EllipsisType, MappingProxyType
from typing import Any, Final, NamedTuple

__all__ = ["PLAIN_TYPES", "PlainType"]


class PlainType(NamedTuple):
    """How values of a type cross: as the parts that `take` gives, of which `make` makes one."""

    kind: type
    take: Callable[[Any], tuple[Any, ...]]
    make: Callable[..., Any]


def _time(value: dt.time | dt.datetime) -> tuple[Any, ...]:
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)


def _make_datetime(year: int, month: int, day: int, *rest: Any) -> dt.datetime:
    hour, minute, second, microsecond, fold, zone = rest
    return dt.datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _make_time(hour: int, minute: int, second: int, us: int, fold: int, zone: Any) -> dt.time:
    return dt.time(hour, minute, second, us, zone, fold=fold)


def _pairs(value: Any) -> tuple[Any, ...]:
    return tuple((key, each) for key, each in value.items())


# The place of a type in it is its number between nodes: new ones go to the end.
PLAIN_TYPES: Final = (
    PlainType(dict, _pairs, lambda *pairs: dict(pairs)),
    PlainType(OrderedDict, _pairs, lambda *pairs: OrderedDict(pairs)),
    PlainType(deque, lambda v: (v.maxlen, *v), lambda most, *items: deque(items, most)),
    PlainType(bytearray, lambda v: (bytes(v),), lambda v: bytearray(_bytes(v))),
    PlainType(complex, lambda v: (v.real, v.imag), complex),
    PlainType(range, lambda v: (v.start, v.stop, v.step), range),
    PlainType(EllipsisType, lambda _: (), lambda: ...),
    PlainType(decimal.Decimal, lambda v: (str(v),), lambda v: decimal.Decimal(_text(v))),
    PlainType(fractions.Fraction, lambda v: (v.numerator, v.denominator), fractions.Fraction),
    PlainType(uuid.UUID, lambda v: (v.bytes,), lambda v: uuid.UUID(bytes=v)),
    PlainType(dt.date, lambda v: (v.year, v.month, v.day), dt.date),
    PlainType(dt.datetime, lambda v: (v.year, v.month, v.day, *_time(v)), _make_datetime),
    PlainType(dt.time, _time, _make_time),
    PlainType(dt.timedelta, lambda v: (v.days, v.seconds, v.microseconds), dt.timedelta),
    PlainType(
        dt.timezone, lambda v: (v.utcoffset(None), v.tzname(None)), lambda *v: dt.timezone(*v)
    ),
)

# Types whose values arrive as those of another.
ARRIVE_AS: Final = {defaultdict: dict, MappingProxyType: dict}


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:  # bytearray(10**12) would take a terabyte
        raise TypeError("not bytes")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError("not a text")
    return value
