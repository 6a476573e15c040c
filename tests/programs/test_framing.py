"""Framings: what was encoded comes out again, however it is cut; what is bad is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.programs import BadFrame, Framing, Lines, Netstrings, Packets, Raw

FRAMINGS: list[Framing] = [
    Lines(30),
    Packets(1, 30),
    Packets(2, 30),
    Packets(4, 30),
    Netstrings(30),
]
frames = st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" ")), max_size=12)


def feed(framing: Framing, data: bytes, cuts: list[int]) -> list[tuple[bytes, bool]]:
    decoder = framing.decoder()
    pieces: list[tuple[bytes, bool]] = []
    at = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        pieces += decoder.feed(data[at:cut])
        at = cut
    return pieces + decoder.finish()


@pytest.mark.parametrize("framing", FRAMINGS, ids=repr)
@given(frames=frames, cuts=st.lists(st.integers(0, 1000), max_size=8))
def test_frames_come_out_as_they_went_in(
    framing: Framing, frames: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(framing.encode(frame) for frame in frames)
    assert feed(framing, data, cuts) == [(frame, True) for frame in frames]


@pytest.mark.parametrize("framing", [Packets(4, 30), Netstrings(30), Packets(1, 30)], ids=repr)
@given(data=st.binary(max_size=100), cuts=st.lists(st.integers(0, 1000), max_size=8))
def test_any_bytes_give_the_same_however_they_are_cut(
    framing: Framing, data: bytes, cuts: list[int]
) -> None:
    def outcome(cuts: list[int]) -> Any:
        try:
            return feed(framing, data, cuts)
        except BadFrame:
            return BadFrame

    assert outcome(cuts) == outcome([])


@given(text=st.binary(max_size=200), cuts=st.lists(st.integers(0, 1000), max_size=8))
def test_a_long_line_comes_in_pieces_and_none_is_lost(text: bytes, cuts: list[int]) -> None:
    pieces = feed(Lines(7), text, cuts)
    assert b"".join(piece + b"\n" * whole for piece, whole in pieces) == text
    assert all(len(piece) <= 7 for piece, _ in pieces)
    assert all(len(piece) == 7 for piece, whole in pieces[:-1] if not whole)


def test_part_of_a_packet_at_the_end_is_nothing() -> None:
    for framing in (Packets(2), Netstrings()):
        decoder = framing.decoder()
        assert decoder.feed(framing.encode(b"whole") + framing.encode(b"part")[:-1]) == [
            (b"whole", True)
        ]
        assert decoder.finish() == []


def test_raw_passes_everything_on() -> None:
    assert Raw().encode(b"ab\n") == b"ab\n"
    assert feed(Raw(), b"abcdef", [2, 4]) == [(b"ab", True), (b"cd", True), (b"ef", True)]


@pytest.mark.parametrize(
    ("framing", "frame"),
    [
        (Lines(), b"two\nlines"),
        (Packets(1), bytes(256)),
        (Packets(2), bytes(65536)),
        (Packets(4, 10), bytes(11)),
        (Netstrings(10), bytes(11)),
    ],
)
def test_what_cannot_be_a_frame_is_not_encoded(framing: Framing, frame: bytes) -> None:
    with pytest.raises(BadFrame):
        framing.encode(frame)


@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (Packets(1, 10), b"\x0b"),
        (Packets(2, 10), b"\x00\x0b"),
        (Packets(4, 10), b"\xff\xff\xff\xff"),
        (Netstrings(10), b":,"),
        (Netstrings(10), b"05:hello,"),
        (Netstrings(10), b"11:"),
        (Netstrings(10), b"123"),
        (Netstrings(10), b"-1:,"),
        (Netstrings(10), b"5:hello."),
        (Netstrings(10), b"hello"),
    ],
)
def test_bad_input_is_refused_as_soon_as_it_is_seen(framing: Framing, data: bytes) -> None:
    with pytest.raises(BadFrame):
        framing.decoder().feed(data)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Lines(0),
        lambda: Packets(3),  # type: ignore[arg-type]
        lambda: Packets(4, 0),
        lambda: Netstrings(0),
    ],
)
def test_bad_settings_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"a l|a f"):
        bad()
