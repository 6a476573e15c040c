"""A tape is the same after it was text; what is no tape is refused with a reason."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.simulation.driving.tapes import RecordedTape, TapeUnreadable, by_kind

NAMES = st.text(min_size=1, max_size=20)
TAPES = st.builds(
    RecordedTape,
    NAMES.map(lambda name: name),
    st.integers(),
    st.dictionaries(st.tuples(NAMES, st.integers(0, 10**6)), st.integers(1, 10**6), max_size=200),
)


@given(TAPES)
def test_one_line_round_trip(tape: RecordedTape) -> None:
    text = str(tape)
    assert RecordedTape.parse(text) == tape
    assert RecordedTape.parse(f"  {text}\n") == tape
    assert len(text.splitlines()) == 1
    assert shlex.quote(text) == text or "~" in text  # nothing but the '~' that needs no quotes
    assert not set(text) & set(" '\"\\$&|;<>()*?!#`{}[]^")


@given(TAPES)
def test_file_round_trip(tmp_path_factory: Any, tape: RecordedTape) -> None:
    path = tmp_path_factory.mktemp("tapes") / "one.tape"
    tape.save(path)
    assert RecordedTape.load(path) == tape
    path.write_text(str(tape))
    assert RecordedTape.load(path) == tape


@given(TAPES, st.data())
def test_a_changed_character_is_noticed(tape: RecordedTape, data: st.DataObject) -> None:
    text = str(tape)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]))
    if other != text[at]:
        with pytest.raises(TapeUnreadable):
            RecordedTape.parse(text[:at] + other + text[at + 1 :])


@given(TAPES, st.data())
def test_a_tape_that_was_cut_off_is_noticed(tape: RecordedTape, data: st.DataObject) -> None:
    text = str(tape)
    with pytest.raises(TapeUnreadable):
        RecordedTape.parse(text[: data.draw(st.integers(0, len(text) - 1))])


def test_thousands_of_deviations_are_packed() -> None:
    tape = RecordedTape("chat", 7, {(f"order/{n % 9}", n): 1 + n % 3 for n in range(5000)})
    assert len(str(tape)) < 25_000
    assert RecordedTape.parse(str(tape)) == tape


def test_the_line_can_be_read() -> None:
    tape = RecordedTape("m:f", 42, {("order/a", 12): 1, ("delay/a>b", 4): 1, ("order/a", 15): 2})
    assert str(tape).startswith("pt1~m:f~42~order/a@12,15=2+delay/a%3Eb@4~")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no tape"),
        ("hello", "no tape"),
        ("pt2~a~1~~00000000", "version 2"),
        ("pt1~a~1~", "cut off"),
        ("pt1~a~1~~00000000", "checksum"),
        ("palaver tape 2\nend 0", "begins with"),
        ("palaver tape 1\nscenario a\nseed 1\norder/a 1 1", "cut off"),
        ("palaver tape 1\nscenario a\nseed x\nend 0", "no number"),
        ("palaver tape 1\nscenario a\nwhat is this line\nend 0", "line 3"),
        ("palaver tape 1\nseed 1\nend 0", "no scenario"),
        ("palaver tape 1\nscenario a\norder/a 1 0\nend 1", "no deviation"),
    ],
)
def test_what_is_no_tape_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(TapeUnreadable, match=reason):
        RecordedTape.parse(text)


def test_a_file_may_be_edited_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "one.tape"
    RecordedTape("chat", 3, {("order/a", 1): 1, ("crash/b", 2): 1}).save(path)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("crash")]
    path.write_text("\n".join([*lines[:3], "# mine", *lines[3:]]))
    assert RecordedTape.load(path) == RecordedTape("chat", 3, {("order/a", 1): 1})


def test_kinds_are_counted() -> None:
    assert by_kind([("order/a", 1), ("crash/a", 1), ("order/b", 1)]) == {"order": 2, "crash": 1}
