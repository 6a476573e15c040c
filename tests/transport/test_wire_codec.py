"""The strict decoder: everything CBOR allows and the protocol does not, and any bytes at all."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palaver.transport import wire
from palaver.transport.wire.codec import _MARK, _MARK_ITEM

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)

NOT_OURS = {
    "nothing at all": "",
    "a byte behind": "800 0".replace(" ", ""),
    "a whole frame behind": "8181018181 01".replace(" ", ""),
    "the mark behind": ("8101" + _MARK_ITEM.hex()),
    "the mark twice behind": ("8101" + _MARK_ITEM.hex() * 2),
    "cut short": "8201",
    "indefinite array": "9f01ff",
    "indefinite map": "bfff",
    "indefinite bytes": "5f4101ff",
    "indefinite text": "7f6161ff",
    "break alone": "ff",
    "break inside": "81ff",
    "duplicate key": "a2616101616102",
    "integer key": "a10102",
    "list as key": "a18001",
    "map as key": "a1a001",
    "bad UTF-8": "62c328",
    "UTF-8 of a surrogate": "63eda080",
    "reserved additional information": "1c",
    "simple value in two bytes below 32": "f814",
    "array that claims 2**64 - 1 items": "9bffffffffffffffff",
    "array that claims 2**31 items": "9a80000000",
    "map that claims 2**63 pairs": "bb7fffffffffffffff",
    "bytes that claim 2**63": "5b7fffffffffffffff00",
    "text that claims 2**31": "7a80000000" + "61" * 100,
    "nine deep": "81" * 9 + "01",
    "a thousand deep": "81" * 1000 + "01",
    "a hundred thousand deep": "81" * 100_000,
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_cbor_allows_and_the_protocol_does_not(name: str) -> None:
    with pytest.raises(wire.BadFrame):
        wire.decode(bytes.fromhex(NOT_OURS[name]))
    with pytest.raises(wire.BadFrame):
        wire.decode_frame(bytes.fromhex("8181" + NOT_OURS[name]))


def test_cbor2_alone_would_take_some_of_these() -> None:
    """Why each switch and the check of the end are there; fails when cbor2 changes its mind."""
    for name in ("a byte behind", "indefinite array", "duplicate key", "integer key"):
        cbor2.loads(bytes.fromhex(NOT_OURS[name]))
    assert cbor2.loads(bytes.fromhex("c24101"), tag_hook=lambda *_: pytest.fail("asked")) == 1


def test_every_tag_is_refused() -> None:
    for tag in (*range(1, 1100), 1004, 43000, 55799, 65536, 2**32, 2**64 - 1, 0):
        for content in (0, b"\x01", "2013-03-21T20:04:00Z", [], [1, 2], {}):
            data = cbor2.dumps(cbor2.CBORTag(tag, content))
            for whole in (data, b"\x81\x82\x01" + data):
                with pytest.raises(wire.BadFrame):
                    wire.decode(whole)


@pytest.mark.parametrize(
    "value", [cbor2.undefined, 1.5, math.nan, math.inf, cbor2.CBORSimpleValue(40)]
)
def test_values_that_the_grammar_does_not_use_stop_at_the_fields(value: Any) -> None:
    good = [
        wire.Send(7, "+491701234567", 5, 5, 0, 0, "text", b"hi", None),
        wire.Hello(1, (1,), "x"),
        wire.Ack(5),
        wire.Members(1, 2, 1, b"c" * 16, ("+491701234567",), ()),
    ]
    for request in good:
        plain = wire.decode(wire.encode_request(request))
        for index in range(len(plain)):
            for wrong in (value, [value], {"a": value}):
                op = wire.decode(cbor2.dumps([*plain[:index], wrong, *plain[index + 1 :]]))
                with pytest.raises(wire.BadRequest):
                    wire.parse_request(op)


@given(PLAIN)
@settings(deadline=None)
def test_what_is_encoded_is_decoded(value: Any) -> None:
    assert wire.decode(wire.encode(value)) == value


@given(PLAIN, st.binary(min_size=1, max_size=20))
@settings(deadline=None)
def test_nothing_may_stand_behind(value: Any, rest: bytes) -> None:
    data = wire.encode(value)
    with pytest.raises(wire.BadFrame):
        wire.decode(data + rest)


@example([b"x", b"\x01", b"H"])  # a length that would fit into less
@given(st.lists(st.sampled_from([_MARK, _MARK_ITEM, b"\x48", b"\x82", b"\x81", b"\x01", b"x"])))
@settings(deadline=None)
def test_data_that_holds_the_decoders_mark_is_judged_alike(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert wire.decode(wire.encode(data)) == data
    try:
        value = wire.decode(data)
    except wire.BadFrame:
        return
    assert wire.encode(value) == cbor2.dumps(cbor2.loads(data))  # the shortest form of it


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x81" * 300_000)
@example(b"\x98\x00")
@settings(max_examples=1000, deadline=None)
def test_any_bytes_are_a_frame_or_a_bad_frame(data: bytes) -> None:
    with contextlib.suppress(wire.BadFrame):
        for op in wire.decode_frame(data):
            with contextlib.suppress(wire.BadRequest):
                wire.parse_request(op)


@given(PLAIN, st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_frames_raise_nothing_else(value: Any, data: st.DataObject) -> None:
    whole = bytearray(wire.encode([[1, value]]))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(wire.BadFrame):
        wire.decode_frame(bytes(whole))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([], "too_many"),
        ([[1]] * 257, "too_many"),
        (1, "not_a_list"),
        (None, "not_a_list"),
        ({"a": []}, "not_a_list"),
        ("text", "not_a_list"),
        ([1], "not_a_list"),
        ([[]], "not_a_list"),
        ([[1], {}], "not_a_list"),
        ([[1, bytes(wire.MAX_FRAME_BYTES)]], "too_large"),
    ],
)
def test_the_outer_shape(value: Any, kind: str) -> None:
    with pytest.raises(wire.BadFrame) as info:
        wire.decode_frame(wire.encode(value))
    assert info.value.kind == kind


def test_the_largest_frame_fits() -> None:
    op = [1, bytes(wire.MAX_FRAME_BYTES - 8)]
    data = wire.encode([op])
    assert len(data) == wire.MAX_FRAME_BYTES
    assert wire.decode_frame(data) == [op]
    assert len(wire.decode_frame(wire.encode([[1]] * 256))) == 256


@given(st.integers(0, 2**64 - 1))
@example(23)
@example(24)
@example(255)
@example(256)
@example(65535)
@example(65536)
@example(2**32 - 1)
@example(2**32)
@settings(deadline=None)
def test_the_short_way_of_integers(n: int) -> None:
    assert wire.uint(n) == cbor2.dumps(n)


@pytest.mark.parametrize("n", [0, 1, 23, 24, 255, 256, 257, 65535])
def test_heads_of_arrays(n: int) -> None:
    assert wire.array_head(n) + b"\x01" * n == cbor2.dumps([1] * n)
    assert wire.frame([b"\x01"] * n) == cbor2.dumps([1] * n)
