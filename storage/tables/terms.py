"""Terms as bytes that sort as the terms do: the keys of tables and of their indexes.

`encode(a) < encode(b)` is the order of terms. It is Erlang's as far as Python has the same kinds
(Erlang reference manual, "Expressions", "Term Comparisons")::

    numbers < None < False < True < dates < datetimes < UUIDs
            < tuples < dicts < frozensets < str < bytes < other values that CBOR has

- **Numbers** (int, float, Decimal, Fraction) are one order, by exact value. Where values are equal,
  int < float < Decimal < Fraction decides: 1 and 1.0 are different keys, side by side. Equal
  numbers of one type are one key: -0.0 is 0.0, and Decimal("1.0") is Decimal("1"). Infinities are
  at the ends. NaN, which Erlang has not, comes after infinity; every NaN of a type is one key.
- **Tuples** are ordered by their elements, as Python's are: (1, 2, 3) < (2,). Erlang orders them by
  size first. A list is the tuple of its elements.
- **Dicts**, as Erlang's maps, are ordered by size, then by their keys, then by their values.
  Sets, which Erlang has not, are ordered by size, then by their elements.
- **Strings** are ordered by code point, bytes by their values; a prefix comes first.
- **Datetimes** need a time zone and are ordered as instants; equal instants are one key.
- **Others** are IP addresses, interfaces and networks, and CBOR's undefined and simple values,
  ordered by their canonical CBOR.
- Of subclasses and of an `enum.Enum`, the plain value counts.

No encoding is the beginning of another one. Therefore encodings can be joined, and
`encode(a) + encode(b)` sorts as the pair does: an index's value, then the record's key.

What comes back from `decode` is hashable: tuples, frozensets and `cbor2.frozendict`s, datetimes in
UTC, Decimals without needless zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
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
from reprlib import repr as short_repr
from typing import Any, Final, TypeAlias
from uuid import UUID

from cbor2 import (
    CBORDecodeError,
    CBOREncodeError,
    CBORSimpleValue,
    dumps,
    frozendict,
    loads,
    undefined,
)

from .errors import BadType
from .term_numbers import (
    TAGS,
    decode_number,
    encode_decimal,
    encode_float,
    encode_fraction,
    encode_int,
)

MAX_DEPTH: Final = 32
"""How many containers of a term may lie in one another."""

# The first byte of an encoding is its kind; _END closes a tuple and is less than every kind.
_END: Final = b"\x00"
_NONE: Final = b"\x20"
_FALSE: Final = b"\x21"
_TRUE: Final = b"\x22"
_DATE: Final = 0x28
_DATETIME: Final = 0x29
_UUID: Final = b"\x2a"
_TUPLE: Final = b"\x30"
_DICT: Final = 0x38
_SET: Final = 0x40
_STR: Final = 0x50
_BYTES: Final = 0x58
_OTHER: Final = b"\x70"

# Strings are closed by two zero bytes. A zero byte in them is followed by one that is no zero.
_CLOSE: Final = b"\x00\x00"
_ZERO: Final = b"\x00\xff"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_OFFSET: Final = 1 << 63
_INSTANT: Final = struct.Struct(">BQ")
_DAY: Final = struct.Struct(">BI")
_SIZE: Final = struct.Struct(">BI")

_Encoder: TypeAlias = Callable[[Any], bytes]
_Decoder: TypeAlias = Callable[[bytes, int, int], tuple[Any, int]]


def encode(term: Any) -> bytes:
    """Encode a term as bytes that sort as it does.

    Raises:
        BadType: it, or something in it, can be no key: not CBOR-able, a datetime without a time
            zone, a lone surrogate, or more than `MAX_DEPTH` containers in one another.
    """
    encoder = _SIMPLE.get(type(term))
    return encoder(term) if encoder is not None else _nested(term, 1)


def decode(data: bytes) -> Any:
    """Decode exactly one term, as it is after `freeze`.

    Raises:
        BadType: the bytes are not what `encode` makes.
    """
    try:
        term, end = _DECODERS[data[0]](data, 0, 1)
    except (IndexError, KeyError, struct.error, ValueError, OverflowError) as error:
        raise BadType(f"these bytes are no term: {short_repr(data)}") from error
    if end != len(data):
        raise BadType(f"bytes behind the end of a term: {short_repr(data)}")
    return term


def compare(a: Any, b: Any) -> int:
    """Compare two terms in the order of keys: -1 if `a` comes first, 1 if `b` does, 0 if equal.

    Raises:
        BadType: as `encode`.
    """
    kind = type(a)
    if kind is type(b) and (kind in _COMPARABLE or (kind is float and a == a and b == b)):
        return int(a > b) - int(a < b)
    left, right = encode(a), encode(b)
    return int(left > right) - int(left < right)


def freeze(term: Any) -> Any:
    """Give a term as it comes back from a key: lists as tuples, sets and dicts frozen.

    Raises:
        BadType: as `encode`.
    """
    if type(term) in _COMPARABLE:
        return term
    return decode(encode(term))


_COMPARABLE: Final = frozenset((int, str, bytes, bool))


def _encode_str(term: str) -> bytes:
    try:
        data = term.encode()
    except UnicodeEncodeError as error:
        raise BadType(f"{short_repr(term)} has a lone surrogate, and can be no key") from error
    if 0 in data:
        data = data.replace(b"\0", _ZERO)
    return b"\x50%b\0\0" % data


def _encode_bytes(term: bytes) -> bytes:
    if 0 in term:
        term = term.replace(b"\0", _ZERO)
    return b"\x58%b\0\0" % term


def _encode_datetime(term: datetime) -> bytes:
    if term.tzinfo is None or term.utcoffset() is None:
        raise BadType(f"{term!r} has no time zone, and can be no key: give it one")
    try:
        instant = (term.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except OverflowError as error:
        raise BadType(f"{term!r} is not within the years 1 to 9999 in UTC") from error
    return _INSTANT.pack(_DATETIME, instant + _OFFSET)


def _encode_date(term: date) -> bytes:
    return _DAY.pack(_DATE, term.toordinal())


def _encode_uuid(term: UUID) -> bytes:
    return _UUID + term.bytes


def _encode_other(term: Any) -> bytes:
    try:
        data = dumps(term, canonical=True)
        same = loads(data) == term
    except (CBOREncodeError, CBORDecodeError, ValueError) as error:
        raise _refusal(term) from error
    if not same:
        raise _refusal(term)
    return _OTHER + data.replace(b"\0", _ZERO) + _CLOSE


def _refusal(term: Any) -> BadType:
    return BadType(
        f"{short_repr(term)} ({type(term).__name__}) can be no key, nor be in one: "
        "use numbers, None, bools, dates, datetimes, UUIDs, str, bytes, IP addresses, "
        "or tuples, dicts and frozensets of these"
    )


_SIMPLE: Final[dict[type, _Encoder]] = {
    str: _encode_str,
    int: encode_int,
    bytes: _encode_bytes,
    bool: lambda term: _TRUE if term else _FALSE,
    type(None): lambda _: _NONE,
    float: encode_float,
    Decimal: encode_decimal,
    Fraction: encode_fraction,
    datetime: _encode_datetime,
    date: _encode_date,
    UUID: _encode_uuid,
    bytearray: lambda term: _encode_bytes(bytes(term)),
    IPv4Address: _encode_other,
    IPv4Interface: _encode_other,
    IPv4Network: _encode_other,
    IPv6Address: _encode_other,
    IPv6Interface: _encode_other,
    IPv6Network: _encode_other,
    CBORSimpleValue: _encode_other,
    type(undefined): _encode_other,
}


def _nested(term: Any, depth: int) -> bytes:
    """Encode a container, the `depth`-th around this place, or something of a subclass."""
    container = _CONTAINERS.get(type(term))
    if container is None:
        for kind, encoder in _SUBCLASSES:
            if isinstance(term, kind):
                return encoder(term)
        container = next((c for kind, c in _KINDS if isinstance(term, kind)), None)
        if container is None:
            raise _refusal(term)
    if depth > MAX_DEPTH:
        raise _too_deep()
    return container(term, depth + 1)


def _too_deep() -> BadType:
    return BadType(f"a key has at most {MAX_DEPTH} containers in one another")


def _encode_tuple(term: Iterable[Any], depth: int) -> bytes:
    return _TUPLE + b"".join(_each(term, depth)) + _END


def _encode_set(term: Iterable[Any], depth: int) -> bytes:
    items = sorted(set(_each(term, depth)))
    return _SIZE.pack(_SET, len(items)) + b"".join(items)


def _each(terms: Iterable[Any], depth: int) -> list[bytes]:
    parts = []
    for term in terms:
        encoder = _SIMPLE.get(type(term))
        parts.append(encoder(term) if encoder is not None else _nested(term, depth))
    return parts


def _encode_dict(term: Mapping[Any, Any], depth: int) -> bytes:
    items = dict(zip(_each(term, depth), _each(term.values(), depth), strict=True))
    if len(items) != len(term):
        raise BadType(f"{short_repr(term)} has two keys which are one in the order of terms")
    keys = sorted(items)
    parts = [_SIZE.pack(_DICT, len(keys)), *keys]
    parts.extend(items[key] for key in keys)
    return b"".join(parts)


_CONTAINERS: Final[dict[type, Callable[[Any, int], bytes]]] = {
    tuple: _encode_tuple,
    list: _encode_tuple,
    dict: _encode_dict,
    frozendict: _encode_dict,
    frozenset: _encode_set,
    set: _encode_set,
}
_KINDS: Final[tuple[tuple[type, Callable[[Any, int], bytes]], ...]] = (
    (tuple, _encode_tuple),
    (list, _encode_tuple),
    (Mapping, _encode_dict),
    (AbstractSet, _encode_set),
)

# What is of a subclass of one of these is encoded as this one; the first that fits.
_SUBCLASSES: Final[tuple[tuple[type, _Encoder], ...]] = (
    (Enum, lambda term: encode(term.value)),
    (str, lambda term: _encode_str(str.__str__(term))),
    (int, lambda term: encode_int(int.__int__(term))),
    (float, lambda term: encode_float(float.__float__(term))),
    (bytes, lambda term: _encode_bytes(bytes(term))),
    (Decimal, lambda term: encode_decimal(Decimal(term))),
    (Fraction, encode_fraction),
    (datetime, _encode_datetime),
    (date, _encode_date),
    (UUID, _encode_uuid),
)


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """Give what stands before the next close, and where that ends."""
    end = data.index(_CLOSE, at)
    text = data[at:end]
    if 0 in text:
        if text.count(b"\0") != text.count(_ZERO):
            raise BadType("a string has a zero byte that is not marked")
        text = text.replace(_ZERO, b"\0")
    return text, end + 2


def _decode_str(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    text, end = _text(data, at + 1)
    return text.decode(), end


def _decode_bytes(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    return _text(data, at + 1)


def _decode_date(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    return date.fromordinal(_DAY.unpack_from(data, at)[1]), at + _DAY.size


def _decode_datetime(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    instant = _INSTANT.unpack_from(data, at)[1] - _OFFSET
    return _EPOCH + timedelta(microseconds=instant), at + _INSTANT.size


def _decode_uuid(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    return UUID(bytes=data[at + 1 : at + 17]), at + 17


def _decode_tuple(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise _too_deep()
    items = []
    at += 1
    while tag := data[at]:
        item, at = _DECODERS[tag](data, at, depth + 1)
        items.append(item)
    return tuple(items), at + 1


def _decode_items(data: bytes, at: int, depth: int, count: int) -> tuple[list[Any], int]:
    if depth > MAX_DEPTH:
        raise _too_deep()
    items = []
    for _ in range(count):
        item, at = _DECODERS[data[at]](data, at, depth + 1)
        items.append(item)
    return items, at


def _decode_set(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    items, end = _decode_items(data, at + _SIZE.size, depth, _SIZE.unpack_from(data, at)[1])
    return frozenset(items), end


def _decode_dict(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    count = _SIZE.unpack_from(data, at)[1]
    keys, at = _decode_items(data, at + _SIZE.size, depth, count)
    values, at = _decode_items(data, at, depth, count)
    return frozendict(zip(keys, values, strict=True)), at


def _decode_other(data: bytes, at: int, _depth: int) -> tuple[Any, int]:
    text, end = _text(data, at + 1)
    try:
        term = loads(text, max_depth=3, allow_indefinite=False)
    except CBORDecodeError as error:
        raise BadType("an other value is no CBOR") from error
    if _SIMPLE.get(type(term)) is not _encode_other:
        raise BadType("an other value is of a kind that has a place of its own")
    return term, end


_DECODERS: Final[dict[int, _Decoder]] = {
    **dict.fromkeys(TAGS, decode_number),
    _NONE[0]: lambda _, at, __: (None, at + 1),
    _FALSE[0]: lambda _, at, __: (False, at + 1),
    _TRUE[0]: lambda _, at, __: (True, at + 1),
    _DATE: _decode_date,
    _DATETIME: _decode_datetime,
    _UUID[0]: _decode_uuid,
    _TUPLE[0]: _decode_tuple,
    _DICT: _decode_dict,
    _SET: _decode_set,
    _STR: _decode_str,
    _BYTES: _decode_bytes,
    _OTHER[0]: _decode_other,
}
