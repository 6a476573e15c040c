# ruff: noqa: E501, PT017  tables of values, and refusals that may or may not come
"""Records of every kind of class and hint: what is read is what was written, or it was refused."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network, ip_network
from typing import (  # noqa: UP035
    Annotated,
    Any,
    ClassVar,
    Generic,
    List,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Tuple,
    TypeVar,
)
from uuid import UUID

import attrs
import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.storage.tables.errors import BadType, CombineError
from palaver.storage.tables.records import RecordType


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Account:
    number: str
    owner: str
    balance: int
    rate: float
    seal: bytes
    open: bool


@attrs.frozen
class AttrsAccount:
    number: str
    owner: str
    balance: int
    rate: float
    seal: bytes
    open: bool


class TupleAccount(NamedTuple):
    number: str
    owner: str
    balance: int
    rate: float
    seal: bytes
    open: bool


@dataclass(frozen=True)
class Street:
    name: str
    numbers: tuple[int, ...] = ()


class Point(NamedTuple):
    x: int
    y: list[float]


@attrs.frozen(kw_only=True)
class Tag:
    _text: str
    level: Level = Level.LOW


@dataclass(frozen=True)
class Tree:
    value: int
    left: Tree | None = None
    others: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Marker:
    """It has no fields."""


Number = NewType("Number", int)
TEXT = st.text(max_size=5)
ZONES = st.builds(timezone, st.integers(-1439, 1439).map(lambda m: timedelta(minutes=m)))
MOMENTS = st.datetimes(timezones=ZONES | st.just(UTC))
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
STREETS = st.builds(Street, TEXT, st.lists(st.integers(), max_size=3).map(tuple))
POINTS = st.builds(Point, st.integers(), st.lists(st.floats(allow_nan=False), max_size=3))
TAGS = st.builds(Tag, text=TEXT, level=st.sampled_from(Level))
TREES = st.recursive(
    st.builds(Tree, st.integers()),
    lambda inner: st.builds(
        Tree, st.integers(), st.none() | inner, st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=5,
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary(max_size=5) | st.uuids()
    | st.dates() | MOMENTS | DECIMALS | st.fractions() | st.ip_addresses(),
    lambda inner: st.lists(inner, max_size=3).map(tuple)
    | st.frozensets(inner, max_size=3)
    | st.dictionaries(inner, inner, max_size=3).map(cbor2.frozendict),
    max_leaves=5,
)  # fmt: skip

HINTS: dict[str, tuple[Any, Any]] = {
    "int": (int, st.integers()),
    "bool in int": (int, st.booleans()),
    "float": (float, st.floats(allow_nan=False) | st.integers()),
    "str": (str, TEXT),
    "bytes": (bytes, st.binary(max_size=5)),
    "bool": (bool, st.booleans()),
    "None": (None, st.none()),
    "date": (date, st.dates()),
    "datetime": (datetime, MOMENTS),
    "UUID": (UUID, st.uuids()),
    "Decimal": (Decimal, DECIMALS),
    "Fraction": (Fraction, st.fractions()),
    "IPv4Address": (IPv4Address, st.ip_addresses(v=4)),
    "IPv6Network": (IPv6Network, st.just(ip_network("fe80::/10"))),
    "union": (int | str | None, st.integers() | TEXT | st.none()),
    "tagged union": (datetime | Decimal | int, MOMENTS | DECIMALS | st.integers()),
    "Optional": (Optional[list[int]], st.none() | st.lists(st.integers(), max_size=3)),  # noqa: UP045
    "optional class": (Street | None, st.none() | STREETS),
    "NewType": (Number, st.integers()),
    "Annotated": (Annotated[list[Annotated[int, 1]], 2], st.lists(st.integers(), max_size=3)),
    "Literal": (Literal["a", 1] | None, st.sampled_from(["a", 1, None])),
    "Enum": (Colour, st.sampled_from(Colour)),
    "IntEnum": (Level, st.sampled_from(Level)),
    "Flag": (Rights, st.sampled_from([Rights.READ, Rights.READ | Rights.WRITE, Rights(0)])),
    "tuple": (tuple[int, ...], st.lists(st.integers(), max_size=3).map(tuple)),
    "bare tuple": (tuple, st.lists(PLAIN, max_size=3).map(tuple)),
    "Tuple": (Tuple, st.lists(PLAIN, max_size=3).map(tuple)),  # noqa: UP006
    "empty tuple": (tuple[()], st.just(())),
    "fixed tuple": (tuple[int, Colour, list[str]], st.tuples(st.integers(), st.sampled_from(Colour), st.lists(TEXT))),
    "list": (list[str], st.lists(TEXT, max_size=3)),
    "bare list": (list, st.lists(PLAIN, max_size=3)),
    "List": (List, st.lists(PLAIN, max_size=3)),  # noqa: UP006
    "nested list": (list[list[tuple[Level, ...]]], st.lists(st.lists(st.lists(st.sampled_from(Level)).map(tuple), max_size=2), max_size=2)),
    "set": (set[int], st.sets(st.integers(), max_size=5)),
    "set of tuples": (set[tuple[int, str]], st.sets(st.tuples(st.integers(), TEXT), max_size=3)),
    "frozenset": (frozenset[str], st.frozensets(TEXT, max_size=5)),
    "frozenset of enums": (frozenset[Colour], st.frozensets(st.sampled_from(Colour))),
    "frozenset of records": (frozenset[Street], st.frozensets(STREETS, max_size=3)),
    "dict": (dict[str, int], st.dictionaries(TEXT, st.integers(), max_size=3)),
    "dict of lists": (dict[int, list[Colour]], st.dictionaries(st.integers(), st.lists(st.sampled_from(Colour), max_size=2), max_size=3)),
    "dict by records": (dict[Street, Point], st.dictionaries(STREETS, POINTS, max_size=3)),
    "bare dict": (dict, st.dictionaries(PLAIN, PLAIN, max_size=3)),
    "dataclass": (Street, STREETS),
    "NamedTuple": (Point, POINTS),
    "no fields": (Marker, st.just(Marker())),
    "attrs class": (Tag, TAGS),
    "records": (list[Street], st.lists(STREETS, max_size=3)),
    "recursive": (Tree, TREES),
    "recursive in list": (list[Tree], st.lists(TREES, max_size=2)),
    "Any": (Any, PLAIN),
    "object": (object, PLAIN),
}  # fmt: skip


def one_field(hint: Any) -> RecordType[Any]:
    return RecordType.of(make_dataclass("Record", [("key", int), ("it", hint)], frozen=True))


ALL_KINDS = {name: one_field(hint) for name, (hint, _) in HINTS.items()}


def typed(value: Any) -> str:
    """A value and the types of all in it as text, so that 1 and 1.0, set and frozenset differ."""
    if isinstance(value, (set, frozenset)):
        inner = sorted(map(typed, value))
    elif isinstance(value, (dict, cbor2.frozendict)):
        inner = sorted(f"{typed(k)}: {typed(v)}" for k, v in value.items())
    elif attrs.has(type(value)):
        inner = [typed(getattr(value, f.name)) for f in attrs.fields(type(value))]
    elif dataclasses.is_dataclass(value):
        inner = [typed(getattr(value, f.name)) for f in dataclasses.fields(value)]
    elif isinstance(value, (tuple, list)):
        inner = [*map(typed, value)]
    elif isinstance(value, datetime):
        inner = [value.isoformat()]  # without fold, which a fixed offset does not need
    elif isinstance(value, Decimal) and value == 0:
        inner = [str(abs(value))]  # CBOR's zero has no sign
    else:
        inner = [repr(value)]
    return f"{type(value).__name__}({', '.join(inner)})"


@pytest.mark.parametrize("name", HINTS)
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_what_is_written_is_read_with_its_types(name: str, data: st.DataObject) -> None:
    _, values = HINTS[name]
    kind = ALL_KINDS[name]
    record = kind.make((1, data.draw(values)))
    back = kind.decode(kind.encode(record))
    assert back == record
    assert typed(back) == typed(record)
    assert kind.encode(back) == kind.encode(record)


WRONG: list[Any] = [
    object(), 1j, "a", b"a", 1, True, None, 1.5, (), [], {}, set(), frozenset(), (1,), [1], ["a"], {"a": "b"},
    {1: 2}, {1.5}, frozenset((1.5,)), ("a",), Street("a"), Point(1, []), Tree(1), Colour.RED, Level.LOW,
    Rights.READ, Decimal(1), Decimal("NaN"), Decimal("Infinity"), date(2020, 1, 1), datetime(2020, 1, 1),
    datetime(2020, 1, 1, tzinfo=UTC), UUID(int=1), "\ud800", ["\ud800"], [[1]], ((1, "a"),), [Street("a")],
    Street(1), Street("a", [1]), Point("a", []), Tree(1, 2), [Tree(1, Street("a"))], cbor2.CBORTag(1, 1),
    cbor2.undefined, 2**70, -(2**70),
]  # fmt: skip


@pytest.mark.parametrize("name", HINTS)
def test_any_other_value_comes_back_equal_or_is_refused(name: str) -> None:
    kind = ALL_KINDS[name]
    for value in WRONG:
        record = kind.make((1, value))
        try:
            data = kind.encode(record)
        except BadType as error:
            assert "it cannot be" in str(error)
            assert error.__cause__ is not None or "is not" in str(error)
        else:
            back = kind.decode(data)
            if kind.signature.endswith(("Any", "list", "dict", "tuple")):
                assert kind.encode(back) == data
            else:
                assert typed(back) == typed(record)


@pytest.mark.parametrize("name", HINTS)
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_damaged_bytes_are_a_record_or_refused(name: str, data: st.DataObject) -> None:
    _, values = HINTS[name]
    kind = ALL_KINDS[name]
    good = kind.encode(kind.make((1, data.draw(values))))
    with pytest.raises(BadType):
        kind.decode(good[: data.draw(st.integers(0, len(good) - 1))])
    bad = bytearray(good)
    for _ in range(3):
        bad[data.draw(st.integers(0, len(bad) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        read_or_refused(kind, bytes(bad))


def read_or_refused(kind: RecordType[Any], data: bytes) -> None:
    try:
        record = kind.decode(data)
    except BadType:
        return
    assert type(record) is kind.cls


@given(st.binary(max_size=40), st.sampled_from([b"", b"\x82", b"\x82\x01"]))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_record_or_refused(data: bytes, head: bytes) -> None:
    for kind in ALL_KINDS.values():
        read_or_refused(kind, head + data)


CLASSES = [Account, AttrsAccount, TupleAccount]
VALUES = ("1", "Ann", 5, 0.5, b"x", True)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_is_known_by_its_fields(cls: Any) -> None:
    kind = RecordType.of(cls)
    assert kind.name == cls.__name__
    assert kind.cls is cls
    assert kind.attributes == ("number", "owner", "balance", "rate", "seal", "open")
    assert kind.key_position == 0
    assert kind.signature == (
        "number: str, owner: str, balance: int, rate: float, seal: bytes, open: bool"
    )
    record = cls(*VALUES)
    assert kind.make(VALUES) == record
    assert kind.values(record) == VALUES
    assert type(kind.values(record)) is tuple
    assert kind.key_of(record) == "1"
    assert kind.decode(kind.encode(record)) == record
    assert cbor2.loads(kind.encode(record)) == [*VALUES]
    by_owner = RecordType.of(cls, key="owner")
    assert by_owner.key_position == 1
    assert by_owner.key_of(record) == "Ann"
    with pytest.raises(BadType, match="no attribute colour"):
        RecordType.of(cls, key="colour")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_only_records_of_just_the_class_are_taken(cls: Any) -> None:
    kind = RecordType.of(cls)

    class Special(cls):  # type: ignore[misc]
        __slots__ = ()

    kind.check(cls(*VALUES))
    for other in (Special(*VALUES), VALUES, None, Street("a")):
        with pytest.raises(BadType, match=f"are of the class {cls.__name__}"):
            kind.check(other)
        with pytest.raises(BadType, match=f"are of the class {cls.__name__}"):
            kind.encode(other)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_refusal_names_record_field_and_value(cls: Any) -> None:
    kind = RecordType.of(cls)
    with pytest.raises(BadType, match=rf"{cls.__name__}.balance cannot be '5': .*not bool \| int"):
        kind.encode(cls("1", "Ann", "5", 0.5, b"x", True))
    with pytest.raises(BadType, match=rf"{cls.__name__}.owner cannot be .*surrogates") as caught:
        kind.encode(cls("1", "\ud800", 5, 0.5, b"x", True))
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)


def test_make_takes_just_the_fields() -> None:
    for kind in map(RecordType.of, CLASSES):
        for values in (VALUES[:-1], (*VALUES, 1)):
            with pytest.raises(BadType, match="can be made"):
                kind.make(values)


def test_a_record_of_one_attribute() -> None:
    kind = RecordType.of(make_dataclass("One", [("only", str)], frozen=True))
    record = kind.make(["a"])
    assert kind.values(record) == ("a",)
    assert kind.decode(kind.encode(record)) == record


def test_a_class_with_keywords_and_private_names() -> None:
    kind = RecordType.of(Tag)
    record = Tag(text="a", level=Level.HIGH)
    assert kind.attributes == ("_text", "level")
    assert kind.values(record) == ("a", Level.HIGH)
    assert kind.decode(kind.encode(record)) == record


@dataclass(frozen=True)
class Positive:
    n: int
    kind: ClassVar[str] = "class variables are no fields"

    def __post_init__(self) -> None:
        if self.n < 0:
            raise LookupError("it is negative")


def test_what_a_class_refuses_is_refused_when_read() -> None:
    kind = RecordType.of(Positive)
    assert kind.attributes == ("n",)
    assert kind.decode(b"\x81\x01") == Positive(1)
    with pytest.raises(BadType, match="it is negative") as caught:
        kind.decode(b"\x81\x20")
    assert isinstance(caught.value.__cause__, LookupError)


@given(PLAIN, PLAIN)
@settings(deadline=None)
def test_generic_records_hold_anything(a: Any, b: Any) -> None:
    kind = RecordType.generic("pair", ["a", "b"])
    record = kind.make((a, b))
    back = kind.decode(kind.encode(record))
    assert back == record
    assert typed(back) == typed(record)
    assert hash(back) == hash(record)


def test_generic_records_are_frozen_tuples() -> None:
    kind = RecordType.generic("pair", ["a", "b"], key="b")
    record = kind.make((1, 2))
    assert (kind.name, kind.attributes, kind.signature) == ("pair", ("a", "b"), "a: Any, b: Any")
    assert (record.a, record.b, record[1], repr(record)) == (1, 2, 2, "pair(a=1, b=2)")
    assert kind.key_of(record) == 2
    assert kind.make((1, 3)) > record
    with pytest.raises(AttributeError):
        record.a = 5
    assert not hasattr(record, "__dict__")
    with pytest.raises(BadType, match="of the class pair"):
        kind.check((1, 2))


def test_in_generic_records_arrays_come_back_as_tuples() -> None:
    kind = RecordType.generic("pair", ["a", "b"])
    back = kind.decode(kind.encode(kind.make(([1, [2]], {"a": [1], "b": {1}}))))
    assert typed(back.a) == typed((1, (2,)))
    assert typed(back.b) == typed(cbor2.frozendict(a=(1,), b=frozenset([1])))


@pytest.mark.parametrize(
    "value", [object(), 1j, Colour.RED, Street("a"), cbor2.CBORTag(1, 1), [Point(1, [])]]
)
def test_what_cbor_cannot_carry_is_refused(value: Any) -> None:
    kind = RecordType.generic("pair", ["a", "b"])
    with pytest.raises(BadType, match=r"pair\.b cannot be .*CBOR has no"):
        kind.encode(kind.make((1, value)))


@pytest.mark.parametrize(
    "attributes",
    [[], ["class"], ["a b"], [""], ["_a"], [1], [f"a{number}" for number in range(2000)]],
)
def test_generic_records_need_names(attributes: Any) -> None:
    with pytest.raises(BadType):
        RecordType.generic("pair", attributes)
    with pytest.raises(BadType):
        RecordType.generic("no name", ["a"])
    with pytest.raises(CombineError):
        RecordType.generic("pair", ["a", "a"])


T = TypeVar("T")


@dataclass(frozen=True)
class Box(Generic[T]):
    it: T


@dataclass
class Thawed:
    a: int


@attrs.define
class ThawedAttrs:
    a: int


@dataclass(frozen=True, eq=False)
class Unequal:
    a: int


@dataclass(frozen=True)
class Computed:
    a: int
    b: int = field(init=False, default=1)


@dataclass(frozen=True)
class WithInitVar:
    a: int
    b: InitVar[int]


@dataclass(frozen=True)
class Unresolved:
    a: Nowhere  # type: ignore[name-defined]  # noqa: F821


@attrs.frozen
class Untyped:
    a = attrs.field()


class Odd(enum.Enum):
    A = (1, 2)


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (int, "no record class"),
        (Account(*VALUES), "no record class"),
        (Box, "cannot be stored"),
        (Thawed, "frozen=True"),
        (ThawedAttrs, "frozen=True"),
        (Unequal, "allow eq"),
        (Computed, "given to the constructor"),
        (WithInitVar, "just its fields"),
        (Unresolved, "Nowhere"),
        (Untyped, "type hint"),
        (RecordType.generic("pair", ["a"]).cls, "type hint"),
    ],
)
def test_a_class_that_cannot_be_a_record_is_refused(cls: Any, text: str) -> None:
    with pytest.raises(BadType, match=text):
        RecordType.of(cls)


@pytest.mark.parametrize(
    "hint",
    [
        complex, timedelta, type, Odd, list[complex], dict[str, timedelta],
        Street | Point, Colour | str, list[int] | None | int, Box[int], Literal[Colour.RED], tuple[int, timedelta],
        T, "Nowhere", lambda: 1,
    ],
)  # fmt: skip
def test_a_hint_that_cannot_be_stored_is_refused_with_what_can(hint: Any) -> None:
    with pytest.raises(BadType, match=r"Record\.it: .*use|cannot be resolved"):
        one_field(hint)


def test_a_signature_stays_the_same_and_tells_differences() -> None:
    signatures = {name: kind.signature for name, kind in ALL_KINDS.items()}
    assert signatures["recursive"] == (
        "key: int, it: Tree(value: int, left: None | Tree, others: tuple[Tree, ...])"
    )
    assert signatures["attrs class"] == "key: int, it: Tag(_text: str, level: Enum Level)"
    assert (
        one_field(str | int).signature
        == one_field(int | str).signature
        == "key: int, it: int | str"
    )
    same = [
        {"bool in int", "int", "NewType"}, {"Any", "object"}, {"tuple", "Tuple", "bare tuple"},
        {"list", "List", "bare list"},
    ]  # fmt: skip
    for a, text in signatures.items():
        for b in signatures:
            if a != b and not any({a, b} <= names for names in same):
                assert text != signatures[b]


def test_equal_records_are_equal_bytes() -> None:
    for hint, a, b in [
        (set[int], {1, 256, 512}, {512, 256, 1}),
        (dict[str, int], {"b": 1, "a": 2}, {"a": 2, "b": 1}),
        (dict[Street, int], {Street("b"): 1, Street("a"): 2}, {Street("a"): 2, Street("b"): 1}),
        (Any, {"b": [1], "a": {1, 9}}, {"a": {9, 1}, "b": [1]}),
        (list[dict[str, set[str]]], [{"a": {"x", "y"}}], [{"a": {"y", "x"}}]),
    ]:
        kind = one_field(hint)
        assert kind.encode(kind.make((1, a))) == kind.encode(kind.make((1, b)))


@given(DECIMALS)
@settings(deadline=None, max_examples=50)
def test_the_decimal_context_changes_nothing(value: Decimal) -> None:
    kind = ALL_KINDS["Decimal"]
    data = kind.encode(kind.make((1, value)))
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 3, 5, -5
        context.traps[Inexact] = True
        assert kind.encode(kind.make((1, value))) == data
        back = kind.decode(data)
    assert typed(back.it) == typed(value)


IMMUTABLE = {
    *("int", "bool in int", "float", "str", "bytes", "bool", "None", "date", "datetime", "UUID"),
    *("Decimal", "Fraction", "IPv4Address", "IPv6Network", "union", "tagged union", "NewType"),
    *("optional class", "Literal", "Enum", "IntEnum", "Flag", "tuple", "empty tuple", "frozenset"),
    *("frozenset of enums", "frozenset of records", "dataclass"),
    *("attrs class", "recursive", "no fields"),
}


@pytest.mark.parametrize("name", HINTS)
@given(data=st.data())
@settings(deadline=None, max_examples=10)
def test_what_is_kept_is_nothing_that_the_writer_can_change(name: str, data: st.DataObject) -> None:
    kind = ALL_KINDS[name]
    record = kind.make((1, data.draw(HINTS[name][1])))
    encoded, kept = kind.keep(record)
    assert encoded == kind.encode(record)
    assert typed(kept) == typed(record)
    direct = type(record.it) in (int, str, bytes, bool, float, type(None))
    if name in IMMUTABLE or direct:
        assert kept is record
    elif isinstance(record.it, (list, dict, set)):
        assert kept.it is not record.it


def test_what_is_kept_of_a_field_of_any_kind_is_frozen() -> None:
    kind = RecordType.generic("pair", ["a", "b"])
    inner = [1]
    _, kept = kind.keep(kind.make((1, (inner,))))
    inner.append(2)
    assert kept == (1, ((1,),))


def test_nesting_is_bounded() -> None:
    value: Any = 1
    tree = Tree(1)
    for _ in range(5000):
        value = [value]
        tree = Tree(1, tree)
    for hint, deep in ((Any, value), (list, value), (Tree, tree)):
        kind = one_field(hint)
        with pytest.raises(BadType):
            kind.encode(kind.make((1, deep)))
        for head in (b"\x81", b"\xa1\x01", b"\xc0", b"\xd9\x01\x02\x81"):
            with pytest.raises(BadType):
                kind.decode(b"\x82\x01" + head * 100_000)
    kind = one_field(Tree)
    tree = Tree(1)
    for depth in range(300):
        try:
            data = kind.encode(kind.make((1, tree)))
        except BadType as error:
            assert "too many in one another" in str(error)
            assert depth > 30
            break
        assert kind.decode(data).it == tree
        tree = Tree(depth, tree)
    else:
        pytest.fail("it has no end")


def test_tags_make_nothing_unexpected() -> None:
    kind = one_field(Any)
    wanted = {0, 2, 3, 4, 30, 37, 52, 54, 258, 1004}
    taken = set()
    for tag in (*range(1100), 43000, 55799, 2**32):
        for content in (
            1,
            b"\x01" * 16,
            b"\x01" * 4,
            "2013-03-21T20:04:00Z",
            "2013-03-21",
            [],
            [1, 2],
            "a",
            {},
        ):
            data = b"\x82\x01" + cbor2.dumps(cbor2.CBORTag(tag, content))
            try:
                kind.decode(data)
            except BadType:
                continue
            taken.add(tag)
    assert taken == wanted


def test_a_float_that_is_no_number_comes_back() -> None:
    kind = one_field(float)
    assert math.isnan(kind.decode(kind.encode(kind.make((1, math.nan)))).it)
    assert math.copysign(1, kind.decode(kind.encode(kind.make((1, -0.0)))).it) == -1
