"""The order, the identity and the round trip of keys, against an order written down anew."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any
from uuid import UUID

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palaver.storage.tables import terms
from palaver.storage.tables.errors import BadType

ZONES = st.builds(timezone, st.integers(-1439, 1439).map(lambda m: timedelta(minutes=m)))
EDGES = [0, 1, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53, 2**64 - 1, 2**64, 2**1023, 2**2100]
INTS = (
    st.integers()
    | st.integers(-300, 300)
    | st.builds(
        lambda n, sign, d: sign * n + d,
        st.sampled_from(EDGES),
        st.sampled_from([1, -1]),
        st.integers(-1, 1),
    )
)
DECIMALS = st.decimals(allow_nan=False).filter(
    lambda x: x.is_infinite() or (x.adjusted() < 2000 and x.as_tuple().exponent >= -2000)
)
FRACTIONS = (
    st.fractions()
    | st.fractions(0, 1, max_denominator=300)
    | st.builds(
        lambda x, a, b: x + Fraction(a, 10**b),
        st.fractions(0, 1),
        st.integers(-3, 3),
        st.integers(0, 700),
    )
)
NUMBERS = INTS | st.floats() | DECIMALS | FRACTIONS | st.just(Decimal("NaN"))
# Values near one another of all types: ties and the last place.
NEAR = st.builds(
    lambda x, kind: kind(x),
    st.sampled_from(
        [0, 1, -1, 2, -2, 0.5, -0.5, 0.1, -0.1, 1.1, -1e-300, 1e-300, 1e300, 2.0**53, -255.5]
    ),
    st.sampled_from(
        [float, Decimal, Fraction, lambda x: Fraction(x) + Fraction(1, 3 * 10**18), int]
    ),
).filter(lambda x: not isinstance(x, Decimal) or x.as_tuple().exponent >= -2000)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.text(
    "\x00\x01\xff", max_size=4
)
BINARY = st.binary(max_size=6) | st.lists(st.sampled_from([0, 1, 254, 255]), max_size=4).map(bytes)
OTHERS = st.ip_addresses() | st.sampled_from(
    [
        ip_network("10.0.0.0/8"),
        ip_interface("10.0.0.1/8"),
        cbor2.undefined,
        cbor2.CBORSimpleValue(40),
    ]
)
SCALARS = (
    NUMBERS
    | NEAR
    | st.none()
    | st.booleans()
    | TEXT
    | BINARY
    | st.uuids()
    | st.dates()
    | OTHERS
    | st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)
)
FROZEN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.dictionaries(inner, inner, max_size=3).map(cbor2.frozendict)
    ),
    max_leaves=6,
)
TERMS = FROZEN.filter(lambda term: not twice(term)) | st.lists(
    FROZEN.filter(lambda term: not twice(term)), max_size=3
)
SMALL = st.sampled_from(
    [
        0,
        1,
        1.0,
        Decimal(1),
        Fraction(1),
        True,
        False,
        None,
        "",
        "a",
        "a\0",
        b"",
        b"\0",
        (),
        (1,),
        (1, 0),
        0.5,
    ]
)
CLOSE = st.recursive(
    SMALL,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=2),
    max_leaves=4,
)
PAIRS = (
    st.tuples(TERMS, TERMS) | st.tuples(NEAR | NUMBERS, NEAR | NUMBERS) | st.tuples(CLOSE, CLOSE)
)


def twice(term: Any) -> bool:
    """Whether a dict in it has NaN for a key more than once, which is refused."""
    if isinstance(term, Mapping):
        nans = [type(key) for key in term if key != key]
        return len(set(nans)) < len(nans) or any(twice(x) for x in (*term, *term.values()))
    return isinstance(term, (tuple, list, frozenset)) and any(map(twice, term))


# The order, once more and in another way: a kind's place, then what Python compares within it.

TYPES = (int, float, Decimal, Fraction)
KINDS: tuple[tuple[type, ...], ...] = (
    TYPES, (type(None),), (bool,), (date,), (datetime,), (UUID,), (tuple, list),
    (dict, cbor2.frozendict), (frozenset, set), (str,), (bytes,),
)  # fmt: skip


def place(term: Any) -> int:
    return next((i for i, types in enumerate(KINDS) if type(term) in types), len(KINDS))


def sign(a: Any, b: Any) -> int:
    return (a > b) - (a < b)


def finite(x: Any) -> tuple[int, Fraction]:
    if x != x:
        return 2, Fraction(0)
    if x in (math.inf, -math.inf):
        return (1 if x > 0 else -1), Fraction(0)
    return 0, Fraction(x)


def reference(a: Any, b: Any) -> int:
    if place(a) != place(b):
        return sign(place(a), place(b))
    if type(a) in TYPES:
        return sign(finite(a), finite(b)) or sign(TYPES.index(type(a)), TYPES.index(type(b)))
    if isinstance(a, (tuple, list)):
        return next((c for c in map(reference, a, b) if c), 0) or sign(len(a), len(b))
    if isinstance(a, Mapping):
        left, right = ordered(a), ordered(b)
        return (
            sign(len(a), len(b))
            or reference(left, right)
            or reference([a[k] for k in left], [b[k] for k in right])
        )
    if isinstance(a, frozenset):
        left, right = ordered(a), ordered(b)
        return sign(len(left), len(right)) or reference(left, right)
    if a is None:
        return 0
    if isinstance(a, str):
        return sign([ord(c) for c in a], [ord(c) for c in b])
    if place(a) == len(KINDS):
        a, b = cbor2.dumps(a, canonical=True), cbor2.dumps(b, canonical=True)
    return sign(a, b)


def ordered(items: Any) -> list[Any]:
    """The different ones of them by insertion: no sort, no hash."""
    result: list[Any] = []
    for item in items:
        signs = [reference(item, other) for other in result]
        if 0 not in signs:
            result.insert(signs.count(1), item)
    return result


def order(a: bytes, b: bytes) -> int:
    return (a > b) - (a < b)


@given(PAIRS)
@settings(deadline=None, max_examples=250)
@example((-0.5, -0.25))
@example((Fraction(1, 3), Decimal("0." + "3" * 60)))
@example((Fraction(-1, 3), Decimal("-0." + "3" * 60)))
def test_encodings_sort_as_terms(pair: tuple[Any, Any]) -> None:
    a, b = pair
    expected = reference(a, b)
    assert order(terms.encode(a), terms.encode(b)) == expected
    assert terms.compare(a, b) == expected
    assert terms.compare(b, a) == -expected


@given(PAIRS, PAIRS)
@settings(deadline=None, max_examples=150)
def test_joined_encodings_sort_as_pairs(a: tuple[Any, Any], b: tuple[Any, Any]) -> None:
    for left, right in ((a, b), ((a[0], a[1]), (a[0], b[0]))):
        joined = [terms.encode(pair[0]) + terms.encode(pair[1]) for pair in (left, right)]
        expected = reference(left[0], right[0]) or reference(left[1], right[1])
        assert order(*joined) == expected


@given(PAIRS)
@settings(deadline=None, max_examples=150)
def test_no_encoding_begins_another(pair: tuple[Any, Any]) -> None:
    a, b = map(terms.encode, pair)
    assert a == b or not (a.startswith(b) or b.startswith(a))


def same(a: Any, b: Any) -> bool:
    """Whether two frozen terms are equal, their types included, and NaN equal to itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (Mapping, frozenset)):
        return reference(a, b) == 0
    return bool(a == b or (a != a and b != b))


@given(TERMS)
@settings(deadline=None, max_examples=250)
def test_what_is_encoded_comes_back_frozen(term: Any) -> None:
    data = terms.encode(term)
    back = terms.decode(data)
    frozen = terms.freeze(term)
    assert same(back, frozen)
    assert reference(back, term) == 0
    assert terms.encode(back) == data == terms.encode(frozen)
    hash(back)


@given(
    st.binary(max_size=40)
    | st.builds(lambda tag, rest: bytes((tag,)) + rest, st.integers(0, 128), st.binary(max_size=40))
)
@settings(deadline=None, max_examples=500)
def test_any_bytes_are_a_term_or_refused(data: bytes) -> None:
    try:
        term = terms.decode(data)
    except BadType:
        return
    terms.encode(term)


@given(TERMS, st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_encodings_are_a_term_or_refused(term: Any, draw: st.DataObject) -> None:
    data = bytearray(terms.encode(term))
    with pytest.raises(BadType):
        terms.decode(bytes(data[: draw.draw(st.integers(0, len(data) - 1))]))
    with pytest.raises(BadType):
        terms.decode(bytes(data) + b"\x20")
    for _ in range(3):
        data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
        try:
            terms.decode(bytes(data))
        except BadType:
            continue


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    __slots__ = ()


class Moment(datetime):
    pass


Point = namedtuple("Point", "x y")  # noqa: PYI024  the untyped one is meant


def test_a_subclass_counts_as_what_it_is_of() -> None:
    zoned = Moment(2020, 1, 1, tzinfo=UTC)
    for term, plain in [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Word("a"), "a"),
        (Point(1, [2]), (1, (2,))),
        (zoned, datetime(2020, 1, 1, tzinfo=UTC)),
        (OrderedDict(a=1), cbor2.frozendict(a=1)),
        ({1, 2}, frozenset((1, 2))),
        (bytearray(b"a"), b"a"),
        ([1, [2]], (1, (2,))),
    ]:
        back = terms.decode(terms.encode([term]))[0]
        assert back == plain
        assert type(back) is type(plain)
        assert terms.encode(term) == terms.encode(plain)
        assert type(terms.freeze(term)) is type(plain)


def test_what_is_one_key() -> None:
    for a, b in [
        (0.0, -0.0),
        (Decimal("1.00"), Decimal(1)),
        (math.nan, -math.nan),
        (
            datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(2020, 1, 1, tzinfo=UTC),
        ),
    ]:
        assert terms.compare(a, b) == 0
    assert math.copysign(1, terms.freeze(-0.0)) == 1
    assert str(terms.freeze(Decimal("100.50"))) == "100.5"
    assert str(terms.freeze(Decimal("1E+2"))) == "100"


def test_the_order_that_is_documented() -> None:
    chain = [
        -math.inf, -(2**70), -1, -0.5, 0, 0.0, Decimal(0), Fraction(0), Fraction(1, 3), 1, 1.0,
        Decimal(1), Fraction(1), 2**64, math.inf, math.nan, None, False, True, date(2020, 1, 1),
        datetime(2020, 1, 1, tzinfo=UTC), UUID(int=0), (), (1, 2, 3), (2,), {}, {9: 1},
        {1: 1, 2: 1}, frozenset(), frozenset([9]), frozenset([1, 2]), "", "a", "a\0", "b",
        "\U0001f600", b"",
        b"\0", b"\xff", ip_address("1.2.3.4"), ip_address("::1"),
    ]  # fmt: skip
    encoded = [terms.encode(term) for term in chain]
    assert encoded == sorted(encoded)
    assert len(set(encoded)) == len(chain)


@given(DECIMALS | FRACTIONS)
@settings(deadline=None, max_examples=50)
def test_the_decimal_context_changes_nothing(term: Any) -> None:
    data = terms.encode(term)
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 3, 5, -5
        context.traps[Inexact] = True
        assert terms.encode(term) == data
        back = terms.decode(data)
    assert same(back, term)


def nested(depth: int, make: Any) -> Any:
    term: Any = make(1) if depth else 1
    for _ in range(depth - 1):
        term = make(term)
    return term


@pytest.mark.parametrize(
    "make",
    [lambda x: (x,), lambda x: [x], lambda x: {"a": x}, lambda x: frozenset((x,))],
    ids=["tuple", "list", "dict", "frozenset"],
)
def test_thirty_two_containers_in_one_another_and_no_more(make: Any) -> None:
    deepest = terms.encode(nested(terms.MAX_DEPTH, make))
    assert terms.encode(terms.decode(deepest)) == deepest
    for depth in (terms.MAX_DEPTH + 1, 500):
        with pytest.raises(BadType, match="at most 32 containers"):
            terms.encode(nested(depth, make))
    with pytest.raises(BadType, match="at most 32 containers"):
        terms.decode(b"\x30" * 100_000)


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("\ud800", "surrogate"),
        (("a", "\udfff"), "surrogate"),
        (datetime(2020, 1, 1), "time zone"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "1 to 9999"),
        (object(), "object"),
        (int, "type"),
        (1j, "complex"),
        (timedelta(1), "timedelta"),
        (cbor2.CBORTag(999, 1), "CBORTag"),
        ({math.nan: 1, -math.nan: 2}, "two keys"),
        (Decimal("1E2000"), "2000 digits"),
        (Decimal("1E-2001"), "2000 digits"),
        (Decimal("1E999999"), "2000 digits"),
        (Fraction(1, 2**8192), "8192 bits"),
        (Fraction(2**8192), "8192 bits"),
    ],
)
def test_what_can_be_no_key_is_refused_with_a_reason(term: Any, text: str) -> None:
    with pytest.raises(BadType, match=text):
        terms.encode(term)
    with pytest.raises(BadType, match=text):
        terms.compare(term, 1)
    with pytest.raises(BadType, match=text):
        terms.freeze([term])


def test_numbers_at_their_limits() -> None:
    for term in (
        Decimal("9" * 2000), Decimal("-9E1999"), Decimal("1E-2000"), Decimal("-0." + "9" * 2000),
        Fraction(1, 2**8191), Fraction(2**8191 + 1, 2**8191), Fraction(-1, 3**5000), 10**30000,
        5e-324, -5e-324, 1.7976931348623157e308,
    ):  # fmt: skip
        assert same(terms.decode(terms.encode(term)), term)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "00",
        "ff",
        "15",
        "1300",
        "1303",
        "0e",
        "0e00",
        "0e0004",
        "0e0005",
        "12ffffffff",
        "0e00040000",
        "0e01ff000000000000000000",
        "0e01ff000000000000000007",
        "5061",
        "50610041",
        "50ff0000",
        "28ffffffff",
        "29ffffffffffffffff",
        "2a00",
        "38ffffffff",
        "40ffffffff",
        "700100 00",
        "70f60000",
        "7018640000",
        "0e00ff000000000000000004ff7f02",
    ],
)
def test_bytes_that_are_no_term(data: str) -> None:
    with pytest.raises(BadType):
        terms.decode(bytes.fromhex(data))
