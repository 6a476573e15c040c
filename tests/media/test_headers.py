from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.transport.http import tus
from palaver.transport.http.media_port import MediaRefused
from palaver.transport.http.ranges import Span, Unsatisfiable, parse_range


@given(st.integers(0, 2000), st.integers(0, 2500), st.integers(0, 2500))
def test_a_range_picks_what_a_slice_picks(size: int, first: int, last: int) -> None:
    data = bytes(size)
    for header, wanted in (
        (f"bytes={first}-{last}", data[first : last + 1] if first <= last else None),
        (f"bytes={first}-", data[first:]),
        (f"bytes=-{last}", data[max(0, size - last) :] if last else b""),
    ):
        try:
            span = parse_range(header, size)
        except Unsatisfiable:
            assert wanted == b""
            continue
        if wanted is None:
            assert span is None
        else:
            assert span is not None
            assert span.end <= size
            assert span.end - span.start == len(wanted) > 0


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_any_range_header_is_taken_calmly(text: str, size: int) -> None:
    try:
        span = parse_range(text, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= size


def test_no_range_header_is_the_whole() -> None:
    assert parse_range(None, 10) is None
    assert parse_range(" bytes=1-2 ", 10) == Span(1, 3)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,20}", fullmatch=True).filter(
            lambda key: key not in {"filename", "filetype", "sha256"}
        ),
        st.binary(max_size=60),
        max_size=10,
    )
)
def test_metadata_comes_back(fields: dict[str, bytes]) -> None:
    header = ", ".join(f"{key} {base64.b64encode(value).decode()}" for key, value in fields.items())
    assert tus.metadata(header) == fields
    assert tus.new_upload("5", None, header).metadata == header.strip()


@given(st.text(max_size=200))
def test_any_text_in_a_header_is_a_value_or_a_refusal(text: str) -> None:
    for parse in (tus.metadata, tus.checksum, lambda t: tus.number("Upload-Offset", t)):
        with contextlib.suppress(MediaRefused):
            parse(text)


@given(st.binary(max_size=300))
def test_a_file_name_is_one_harmless_line(raw: bytes) -> None:
    try:
        name = tus.file_name(raw)
    except MediaRefused:
        return
    assert name.encode() == raw
    assert "/" not in name
    assert "\\" not in name
    assert len(name.splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "\u00e9t\u00e9 \u590f.png",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467.gif",
        "..a",
        "-rf",
        "\u0646\u0645\u0648\u0646\u0647\u200c\u0647\u0627",
    ],
)
def test_ordinary_names_are_taken(name: str) -> None:
    assert tus.file_name(name.encode()) == name


def test_metadata_is_bounded() -> None:
    many = ",".join(f"k{n} YQ==" for n in range(17))
    for header in (many, "k " + "A" * 5000, "k YQ==,k YQ=="):
        with pytest.raises(MediaRefused):
            tus.metadata(header)
