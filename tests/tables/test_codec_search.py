"""A long search with numbers that lie close together and bytes that are nearly right.

Hypothesis finds the short cases; this goes through many, by chance from a seed.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest

from palaver.storage.tables import terms
from palaver.storage.tables.errors import BadType
from palaver.storage.tables.records import RecordType

ROUNDS = 100_000
TYPES = (int, float, Decimal, Fraction)


def number(random: Random) -> Any:
    match random.randrange(6):
        case 0:
            size = random.choice([1, 8, 9, 16, 17, 32, 33, 64, 65, 200])
            return random.choice([1, -1]) * random.getrandbits(size)
        case 1:
            return random.uniform(-2, 2)
        case 2:
            return random.choice([1, -1]) * math.ldexp(random.random(), random.randint(-1080, 1023))
        case 3:
            most = 10 ** random.randint(1, 30)
            return Decimal(random.randint(-most, most)).scaleb(random.randint(-40, 20))
        case 4:
            return Fraction(random.randint(-999, 999), random.randint(1, 999))
        case _:  # a float and a little
            little = Fraction(
                random.randint(-1, 1), random.choice([3, 7, 10]) ** random.randint(1, 60)
            )
            return Fraction(random.uniform(-2, 2)) + little


def neighbour(random: Random, x: Any) -> Any:
    """A number of the same or nearly the same value, perhaps of another type."""
    kinds: list[Callable[[Any], Any]] = [lambda x: x, Fraction]
    if abs(x) < 10**300:
        kinds += [float, lambda x: Decimal(float(x))]
    return random.choice(kinds)(x)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_numbers_that_are_close(seed: int) -> None:
    random = Random(seed)
    for _ in range(ROUNDS):
        a = number(random)
        b = neighbour(random, a) if random.random() < 0.5 else number(random)
        left, right = ((Fraction(x), TYPES.index(type(x))) for x in (a, b))
        x, y = terms.encode(a), terms.encode(b)
        assert (x < y) == (left < right), (a, b)
        assert (x == y) == (left == right), (a, b)
        back = terms.decode(x)
        assert type(back) is type(a), a
        assert back == a


def damage(random: Random, data: bytes, others: list[bytes]) -> bytes:
    bad = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(bad) + 1)
        match random.randrange(4):
            case 0 if at < len(bad):
                bad[at] ^= 1 << random.randrange(8)
            case 1:
                bad[at:at] = random.randbytes(random.randint(1, 9))
            case 2:
                del bad[at : at + random.randint(1, 4)]
            case _:
                bad[at:at] = random.choice(others)
    return bytes(bad)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_encodings_that_are_nearly_right(seed: int) -> None:
    random = Random(seed)
    good = [
        terms.encode(term)
        for term in (
            *(1, -5, 2**70, -(2**70), 1.5, -0.001, Decimal("3.14"), Fraction(-1, 3), math.nan),
            *("a\0b", b"\0", (1, ("a",), None), {"a": 1, 2: (3,)}, frozenset([1, "x"]), True),
            *(uuid.UUID(int=5), date(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)),
            ip_address("::1"),
        )
    ]
    for _ in range(ROUNDS):
        try:
            term = terms.decode(damage(random, random.choice(good), good))
        except BadType:
            continue
        data = terms.encode(term)
        assert terms.encode(terms.decode(data)) == data


class Colour(Enum):
    RED = "red"
    BLUE = 2


@dataclass(frozen=True)
class Tree:
    it: int
    others: list[Tree]


@dataclass(frozen=True)
class Everything:
    number: int
    any: Any
    colours: frozenset[Colour]
    at: datetime | Decimal | None
    trees: dict[str, Tree]
    pairs: dict[tuple[int, str], list[bytes]]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_records_that_are_nearly_right(seed: int) -> None:
    random = Random(seed)
    kind = RecordType.of(Everything)
    now = datetime(2020, 1, 1, tzinfo=UTC)
    values = [
        Everything(1, None, frozenset(), None, {}, {}),
        Everything(1, {"a": [1, {2}]}, frozenset(Colour), now, {"a": Tree(1, [Tree(2, [])])}, {}),
        Everything(2**70, now, frozenset(), Decimal("1.50"), {}, {(1, "a"): [b"b"]}),
    ]
    good = [kind.encode(value) for value in values]
    for _ in range(ROUNDS):
        try:
            record = kind.decode(damage(random, random.choice(good), good))
        except BadType:
            continue
        try:
            data = kind.encode(record)
        except BadType:  # Any may have been made of what CBOR has and tables do not write
            continue
        assert kind.encode(kind.decode(data)) == data
