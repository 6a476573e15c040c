"""Messages as bytes: what arrives is what was sent; what cannot cross says so."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import fractions
import math
import uuid
from collections import OrderedDict, defaultdict, deque
from types import MappingProxyType
from typing import Any

import pytest
from distribution_kit import (
    Attrs,
    Colour,
    Flags,
    Frozen,
    Odd,
    Open,
    Point,
    crossed,
    dialect,
    encode,
    everything,
    helper,
    where,
)
from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.distribution import CannotCross, RemoteError, Unreadable, Vocabulary, encoding
from palaver.actors.distribution.encoding import BadPacket, Encoder, load
from palaver.actors.distribution.signals import Where
from palaver.actors.runtime import (
    KILLED,
    NOCONNECTION,
    NOPROC,
    NOREPLY,
    NORMAL,
    SHUTDOWN,
    CalleeExited,
    CallTimeout,
    Crash,
    NamedReason,
    NodeDown,
    Overflow,
    Pid,
    Shutdown,
    Stop,
)

SAME = dialect(everything(), everything())
ENCODER = Encoder(everything(), where, 1_000_000)

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.binary()
)
extras = (
    st.decimals(allow_nan=False) | st.fractions() | st.uuids() | st.dates() | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC)) | st.times()
    | st.complex_numbers(allow_nan=False) | st.binary().map(bytearray)
    | st.sampled_from([Colour.RED, Colour.BLUE, Flags.A | Flags.B, NORMAL, SHUTDOWN, KILLED])
    | st.builds(Where, st.just("pid"), texts, st.integers(0, 9), st.integers(0, 2**40))
)  # fmt: skip
hashables = st.recursive(
    scalars,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner) | st.builds(Point, inner, inner),
    max_leaves=5,
)
values = st.recursive(
    scalars | extras,
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(hashables, inner) | st.sets(hashables)
        | st.builds(Point, inner, inner) | st.builds(Frozen, inner) | st.builds(Attrs, inner)
        | st.builds(Open, inner) | st.builds(Shutdown, inner) | st.lists(inner).map(deque)
        | st.dictionaries(texts, inner).map(OrderedDict)
    ),
    max_leaves=20,
)  # fmt: skip


def shape(value: Any) -> Any:
    """A value, so that 1, 1.0 and True differ, and a list and a tuple."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, [(shape(key), shape(each)) for key, each in value.items()]
    if isinstance(value, (set, frozenset)):
        return kind, sorted(repr(shape(each)) for each in value)
    if isinstance(value, (list, tuple, deque)):
        return kind, [shape(each) for each in value]
    if kind in (Frozen, Attrs, Open, Shutdown):
        names = getattr(kind, "__match_args__", None) or ("name",)
        return kind, [shape(getattr(value, name)) for name in names]
    return kind, value


@given(values)
def test_what_is_sent_arrives(value: Any) -> None:
    assert shape(SAME.read(load(ENCODER.encode(value)))) == shape(value)


def test_reasons_stay_what_they_are() -> None:
    for reason in (NORMAL, SHUTDOWN, KILLED, NOPROC, NOCONNECTION, NOREPLY, helper, Point, dict):
        assert crossed(reason) is reason
    for same in (Shutdown("x"), Overflow(3), Stop(NORMAL, 3)):
        assert crossed(same) == same
    mine = NamedReason("mine")
    with pytest.raises(CannotCross, match="Vocabulary"):
        crossed(mine)
    assert crossed(mine, Vocabulary().add(mine), Vocabulary().add(mine)) is mine


def test_rarer_values() -> None:
    got = crossed([float("nan"), -0.0, math.inf, 2**5000, -(2**64)])
    assert math.isnan(got[0])
    assert math.copysign(1, got[1]) == -1
    assert got[2:] == [math.inf, 2**5000, -(2**64)]
    assert crossed(defaultdict(list, k=[1])) == {"k": [1]}
    assert crossed(MappingProxyType({1: 2})) == {1: 2}
    assert crossed([..., range(1, 9, 2), deque([1], 3).maxlen]) == [..., range(1, 9, 2), 3]
    assert crossed(deque([1], 3)).maxlen == 3
    zone = dt.timezone(dt.timedelta(hours=2), "here")
    assert crossed(dt.datetime(2026, 1, 1, 2, fold=1, tzinfo=zone)).tzname() == "here"
    for value in (decimal.Decimal("1.50"), fractions.Fraction(1, 3), uuid.UUID(int=3)):
        assert crossed(value) == value


def test_an_error_comes_with_its_attributes_and_causes() -> None:
    error = Odd(3)
    error.add_note("a note")
    error.__cause__ = UnicodeDecodeError("utf-8", b"x", 0, 1, "why")
    error.__cause__.__cause__ = CallTimeout(5.0)
    got = crossed(error)
    assert (type(got), str(got), got.number, got.__notes__) == (Odd, "odd: 3", 3, ["a note"])
    assert str(got.__cause__) == str(error.__cause__)
    assert got.__cause__.__cause__.timeout_s == 5.0
    assert crossed(NodeDown("b")).reason is NOCONNECTION
    pid = Pid("a", 7)
    exited = crossed(CalleeExited(pid, NOPROC))
    assert exited.pid == Where("pid", "a", 1, 7)
    assert crossed(Crash(ValueError("x", 3))).exception.args == ("x", 3)


class Unknown(Exception):
    pass


def test_an_unknown_error_arrives_as_a_text() -> None:
    error = Unknown("why")
    error.__cause__ = ValueError("because")
    got = crossed([error])[0]
    assert isinstance(got, RemoteError)
    assert got.kind.endswith("test_encoding.Unknown")
    assert (got.text, str(got.__cause__)) == ("why", "because")
    # The same if only the receiver does not know it, and if it has something in it that is no data.
    assert crossed(error, Vocabulary().add(Unknown)).text == "why"
    for bad in (ValueError(object()), ValueError("\ud800")):
        got = crossed(bad)
        assert isinstance(got, RemoteError)
        assert got.kind == "builtins.ValueError"


def test_what_cannot_cross_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MAX_VALUES", 1000)
    deep: list[Any] = []
    deep.append(deep)
    wide: list[Any] = []
    for _ in range(60):
        wide = [wide, wide]
    for bad, text in [
        (object(), "add object"),
        (lambda: 3, "Vocabulary"),
        (Unknown, "Vocabulary"),
        (deep, "100 deep"),
        (wide, "1000 values"),
        ("\ud800", "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        (b"x" * 2000, "in pieces"),
        (Point(1, [object()]), "add object"),
        (Frozen.__new__(Frozen), "lacks a field"),
    ]:
        with pytest.raises(CannotCross, match=text):
            encode(bad, max_bytes=1000)


# -- two versions ----------------------------------------------------------------------------------


def versions(old: type, new: type) -> tuple[Vocabulary, Vocabulary]:
    return Vocabulary().add(old, name="app.Thing"), Vocabulary().add(new, name="app.Thing")


def test_a_field_too_many_is_dropped_and_a_missing_one_takes_its_default() -> None:
    from dataclasses import dataclass, field
    from typing import NamedTuple

    @dataclass
    class Old:
        a: Any
        gone: Any

    @dataclass
    class New:
        new: Any = field(default_factory=list)
        a: Any = None

    old, new = versions(Old, New)
    assert crossed(Old([1], 2), old, new) == New([], [1])
    with pytest.raises(Unreadable, match="comes without gone"):
        crossed(New(1, 2), new, old)

    class First(NamedTuple):
        a: int
        b: int

    class Second(NamedTuple):
        b: int
        c: str = "c"

    first, second = versions(First, Second)
    assert crossed(First(1, 2), first, second) == Second(2)


def test_a_class_that_only_the_sender_knows_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"Point is not in the vocabulary of this node"):
        crossed(Point(1), everything(), Vocabulary())
    with pytest.raises(Unreadable, match=r"helper is not in the vocabulary"):
        crossed(helper, everything(), Vocabulary())


def test_an_enum_member_that_is_new_is_refused() -> None:
    from enum import Enum

    class Old(Enum):
        A = 1

    class New(Enum):
        A = 1
        B = 2

    old, new = versions(Old, New)
    assert crossed(New.A, new, old) is Old.A
    with pytest.raises(Unreadable, match="no 'B' here"):
        crossed(New.B, new, old)


def test_a_vocabulary_is_complete_once_it_is_used() -> None:
    vocabulary = Vocabulary().add(Point, Point)
    with pytest.raises(ValueError, match="another name"):
        vocabulary.add(Frozen, name=f"{Point.__module__}.Point")
    with pytest.raises(TypeError, match="nothing to register"):
        vocabulary.add(3)
    with pytest.raises(TypeError, match="not defined in a module"):
        vocabulary.add(lambda: 3)
    with pytest.raises(ValueError, match="one name"):
        vocabulary.add(Point, Frozen, name="x")
    vocabulary.entries()
    assert vocabulary.add(Point)
    with pytest.raises(ValueError, match="in use"):
        vocabulary.add(Frozen)


# -- what others may send --------------------------------------------------------------------------


@given(st.binary() | values.map(ENCODER.encode))
def test_any_bytes_are_a_value_or_a_typed_error(data: bytes) -> None:
    try:
        value = load(data)
    except BadPacket:
        return
    with contextlib.suppress(Unreadable):
        SAME.read(value)


raw = st.recursive(
    scalars | st.integers(0, 130),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
    | st.tuples(st.integers(-1, 130), inner, inner).map(list),
    max_leaves=20,
)  # fmt: skip


@given(raw)
def test_any_data_is_a_value_or_a_typed_error(data: Any) -> None:
    with contextlib.suppress(Unreadable):
        SAME.read(data)


@pytest.mark.parametrize(
    "data",
    ["", "c11a00000000", "9f01ff", "0101", "a2616101616102", "a10101", "d81c80", "01" + "6c" * 9],
)
def test_other_cbor_is_refused(data: str) -> None:
    with pytest.raises(BadPacket):
        load(bytes.fromhex(data))


def test_bytes_behind_a_packet_are_found_whatever_they_are() -> None:
    mark = b"\x48\x01palaver"
    assert load(b"\x81" + mark) == [b"\x01palaver"]
    with pytest.raises(BadPacket, match="behind"):
        load(b"\x01" + mark)
    with pytest.raises(BadPacket):
        load(b"\x81" * 5000 + b"\x01")
