"""Numbers as bytes that sort by exact value: the part of `terms` that is arithmetic.

A number is its sign and the size of its whole part (one byte), the whole part, and then either a
byte for its type or its fraction and then that byte. Of a negative number all but the first byte is
complemented.

The fraction is how many zero bytes its binary form begins with (fewer is more, so complemented) and
the next eight bytes of that form, which is all of it for every float. What is left, where a Decimal
or a Fraction has no end in binary, follows as its continued fraction: the only form that is finite
for every rational number and whose order is that of its terms (rising and falling in turn).
"""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Final

from .errors import BadType

MAX_DIGITS: Final = 2000
"""How many digits a Decimal may have on either side of its point."""
MAX_BITS: Final = 8192
"""How many bits a Fraction's numerator and its denominator may have."""

# First bytes. That of a negative whole part of the same size is _MIRROR minus this one.
_NEG_INF, _NEG8, _NEG4, _NEG2, _NEG1 = 0x08, 0x0A, 0x0B, 0x0C, 0x0D
_POS1, _POS2, _POS4, _POS8, _POS_BIG = 0x0E, 0x0F, 0x10, 0x11, 0x12
_INF, _NAN = 0x13, 0x14
_MIRROR: Final = 0x1B
TAGS: Final = range(_NEG_INF, _NAN + 1)
_WIDTHS: Final = {_POS1: 1, _POS2: 2, _POS4: 4, _POS8: 8}

# The last byte, which decides between equal numbers.
_INT, _FLOAT, _DECIMAL, _FRACTION = range(4)
_RANKS: Final = tuple(bytes((rank,)) for rank in range(4))
_LAST_RANK: Final = 3
_MORE: Final = 4  # in the place of the rank: something follows
_MORE_BYTE: Final = b"\x04"
_NO_ZEROS: Final = 0xFF  # marks 5 to 255: a fraction that begins with 255 - mark zero bytes
_MAX_SHORT_ZEROS: Final = 250
_MAX_ZEROS: Final = MAX_BITS // 8
_MAX_TERMS: Final = 2 * MAX_BITS  # Euclid's algorithm needs at most 1.44 steps a bit

_COMPLEMENT: Final = bytes(255 - byte for byte in range(256))
_SMALL: Final = tuple(bytes((_POS1, n, _INT)) for n in range(256))
_pack2 = struct.Struct(">BHB").pack
_pack4 = struct.Struct(">BIB").pack
_pack8 = struct.Struct(">BQB").pack
_pack_digits = struct.Struct(">BBBQB").pack
_NEG_INT: Final = 0xFF - _LAST_RANK  # the last byte of a negative int


def encode_int(n: int) -> bytes:
    """Encode an int of any size."""
    if n >= 0:
        if n < 256:
            return _SMALL[n]
        if n < 65536:
            return _pack2(_POS2, n, 0)
        if n < 4294967296:
            return _pack4(_POS4, n, 0)
        if n < 18446744073709551616:
            return _pack8(_POS8, n, 0)
    elif n >= -65535:
        if n >= -255:
            return bytes((_NEG1, n + 255, _NEG_INT))
        return _pack2(_NEG2, n + 65535, _NEG_INT)
    elif n >= -4294967295:
        return _pack4(_NEG4, n + 4294967295, _NEG_INT)
    elif n >= -18446744073709551615:
        return _pack8(_NEG8, n + 18446744073709551615, _NEG_INT)
    return _signed(n < 0, abs(n), 0, 1, _INT)


def encode_float(x: float) -> bytes:
    """Encode a float; -0.0 is 0.0, and every NaN is the same."""
    if not math.isfinite(x):
        return _not_finite(_NAN if x != x else _INF if x > 0 else _NEG_INF, _FLOAT)
    if x.is_integer():
        return _signed(x < 0, abs(int(x)), 0, 1, _FLOAT)
    rest, whole = math.modf(x)
    if 0 <= whole < 256 and rest >= 0.00390625:
        return _pack_digits(
            _POS1, int(whole), _NO_ZEROS, int(rest * 18446744073709551616.0), _FLOAT
        )
    return _ratio(*x.as_integer_ratio(), _FLOAT)


def encode_decimal(x: Decimal) -> bytes:
    """Encode a Decimal by its value; how many zeros it is written with does not count.

    Raises:
        BadType: it has more than `MAX_DIGITS` digits before or behind its point.
    """
    if not x.is_finite():
        return _not_finite(_NAN if x.is_nan() else _NEG_INF if x.is_signed() else _INF, _DECIMAL)
    exponent = x.as_tuple().exponent
    assert isinstance(exponent, int), "it is finite"
    if x.adjusted() >= MAX_DIGITS or exponent < -MAX_DIGITS:
        raise BadType(
            f"a Decimal in a key has at most {MAX_DIGITS} digits before and behind its point"
        )
    return _ratio(*x.as_integer_ratio(), _DECIMAL)


def encode_fraction(x: Fraction) -> bytes:
    """Encode a Fraction.

    Raises:
        BadType: its numerator or denominator has more than `MAX_BITS` bits.
    """
    if x.numerator.bit_length() > MAX_BITS or x.denominator.bit_length() > MAX_BITS:
        raise BadType(
            f"a Fraction in a key has at most {MAX_BITS} bits in its numerator and its denominator"
        )
    return _ratio(x.numerator, x.denominator, _FRACTION)


def _not_finite(tag: int, rank: int) -> bytes:
    return bytes((tag, rank))


def _ratio(numerator: int, denominator: int, rank: int) -> bytes:
    whole, rest = divmod(abs(numerator), denominator)
    return _signed(numerator < 0, whole, rest, denominator, rank)


def _signed(negative: bool, whole: int, rest: int, denominator: int, rank: int) -> bytes:
    """Encode the number `whole + rest / denominator` with its sign."""
    last = _RANKS[_LAST_RANK - rank if negative else rank]
    head = _whole(whole)
    data = head + (_fraction(rest, denominator) + last if rest else last)
    if negative:
        return bytes((_MIRROR - data[0],)) + data[1:].translate(_COMPLEMENT)
    return data


def _whole(n: int) -> bytes:
    size = (n.bit_length() + 7) >> 3
    for tag, width in _WIDTHS.items():
        if size <= width:
            return bytes((tag,)) + n.to_bytes(width, "big")
    return bytes((_POS_BIG,)) + size.to_bytes(4, "big") + n.to_bytes(size, "big")


def _fraction(rest: int, denominator: int) -> bytes:
    """Encode a number between 0 and 1, all but its type."""
    zeros = (denominator.bit_length() - rest.bit_length()) >> 3
    if rest << 8 * zeros >= denominator:
        zeros -= 1
    digits, rest = divmod(rest << 8 * (zeros + 8), denominator)
    if zeros <= _MAX_SHORT_ZEROS:
        mark = bytes((_NO_ZEROS - zeros,))
    else:
        mark = _MORE_BYTE + (0xFFFF - zeros).to_bytes(2, "big")
    data = mark + digits.to_bytes(8, "big")
    return data + _MORE_BYTE + _continued(rest, denominator) if rest else data


def _continued(rest: int, denominator: int) -> bytes:
    """Encode `rest / denominator` as 1 / (a1 + 1 / (a2 + ...)): a1 falling, a2 rising, ..."""
    parts = []
    falling = True
    while rest:
        term, remainder = divmod(denominator, rest)
        part = _whole(term)
        parts.append(part.translate(_COMPLEMENT) if falling else part)
        denominator, rest = rest, remainder
        falling = not falling
    parts.append(b"\x00" if falling else b"\xff")  # the end is as an infinite term
    return b"".join(parts)


def decode_number(
    data: bytes, at: int, _depth: int = 0
) -> tuple[int | float | Decimal | Fraction, int]:
    """Decode the number that begins at `at`; returns it and where it ends.

    Raises:
        BadType, IndexError, OverflowError: there is none.
    """
    tag = data[at]
    width = _WIDTHS.get(tag)
    if width is not None and data[end := at + 1 + width] == _INT:  # mostly
        return int.from_bytes(data[at + 1 : end], "big"), end + 1
    if tag >= _INF or tag == _NEG_INF:
        return _decode_not_finite(tag, data[at + 1]), at + 2
    flip = 0
    if tag < _POS1:
        tag, flip = _MIRROR - tag, 0xFF
    whole, at = _decode_whole(data, at + 1, tag, flip)
    mark = data[at] ^ flip
    at += 1
    if mark < _MORE:
        rest, denominator = 0, 1
    else:
        rest, denominator, mark, at = _decode_fraction(data, at, mark, flip)
    if flip:
        return _number(-whole * denominator - rest, denominator, _LAST_RANK - mark), at
    return _number(whole * denominator + rest, denominator, mark), at


def _decode_not_finite(tag: int, rank: int) -> float | Decimal:
    text = {_NEG_INF: "-inf", _INF: "inf", _NAN: "nan"}[tag]
    if rank == _FLOAT:
        return float(text)
    if rank == _DECIMAL:
        return Decimal(text)
    raise BadType(f"no number ends with {rank}")


def _decode_whole(data: bytes, at: int, tag: int, flip: int) -> tuple[int, int]:
    width = _WIDTHS.get(tag)
    if width is None:
        if tag != _POS_BIG:
            raise BadType(f"no number begins with {tag}")
        width = int.from_bytes(data[at : at + 4], "big") ^ (flip and 0xFFFFFFFF)
        at += 4
    end = at + width
    if end > len(data):
        raise BadType("a number is cut short")
    n = int.from_bytes(data[at:end], "big")
    return (n ^ ((1 << 8 * width) - 1) if flip else n), end


def _decode_fraction(data: bytes, at: int, mark: int, flip: int) -> tuple[int, int, int, int]:
    """Decode from behind the mark: numerator, denominator, rank and where it ends."""
    zeros = _NO_ZEROS - mark
    if mark == _MORE:
        zeros = 0xFFFF - (int.from_bytes(data[at : at + 2], "big") ^ (flip and 0xFFFF))
        at += 2
        if zeros > _MAX_ZEROS:
            raise BadType("a fraction is too small")
    digits, at = _decode_whole(data, at, _POS8, flip)
    rest, denominator = 0, 1
    rank = data[at] ^ flip
    if rank == _MORE:
        rest, denominator, at = _decode_continued(data, at + 1, flip)
        rank = data[at] ^ flip
    if rank > _LAST_RANK:
        raise BadType(f"no number ends with {rank}")
    return digits * denominator + rest, denominator << 8 * (zeros + 8), rank, at + 1


def _decode_continued(data: bytes, at: int, flip: int) -> tuple[int, int, int]:
    terms: list[int] = []
    falling = True
    while True:
        turn = flip ^ 0xFF if falling else flip
        tag = data[at] ^ turn
        at += 1
        if tag == 0xFF:
            break
        term, at = _decode_whole(data, at, tag, turn)
        if len(terms) > _MAX_TERMS or term.bit_length() > MAX_BITS:
            raise BadType("a fraction has too many digits")
        terms.append(term)
        falling = not falling
    rest, denominator = 0, 1
    for term in reversed(terms):
        rest, denominator = denominator, term * denominator + rest
        if denominator.bit_length() > 2 * MAX_BITS:
            raise BadType("a fraction has too many digits")
    if rest >= denominator:
        raise BadType("a fraction is no fraction")
    return rest, denominator, at


def _number(numerator: int, denominator: int, rank: int) -> int | float | Decimal | Fraction:
    if rank == _INT and denominator == 1:
        return numerator
    if rank == _FLOAT:
        return numerator / denominator
    if rank == _DECIMAL:
        return _decimal(Fraction(numerator, denominator))
    if rank == _FRACTION:
        return Fraction(numerator, denominator)
    raise BadType("an int has no fraction")


def _decimal(value: Fraction) -> Decimal:
    """Give the Decimal of this value, with no more digits than it needs."""
    fives = twos = 0
    rest = value.denominator
    if value.numerator.bit_length() > MAX_BITS or rest.bit_length() > MAX_BITS:
        raise BadType("a Decimal has too many digits")
    while not rest & 1:
        rest >>= 1
        twos += 1
    while rest > 1:
        rest, odd = divmod(rest, 5)
        if odd:
            raise BadType("a Decimal has no end")
        fives += 1
    places = max(fives, twos)
    if places > MAX_DIGITS:
        raise BadType("a Decimal has too many digits")
    digits = value.numerator * 10**places // value.denominator
    return Decimal(f"{digits}E-{places}")
