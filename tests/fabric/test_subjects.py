"""Names of nodes as tokens of NATS subjects."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.transport.fabric.subjects import Subjects, encoded

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(NAMES, NAMES)
def test_names_are_safe_and_stay_different(one: str, other: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", encoded(one))
    assert (encoded(one) == encoded(other)) == (one == other)


def test_a_subject_names_the_cluster_and_the_node() -> None:
    town = Subjects("my.town")
    assert town.node("a@host") == b"palaver.my=2Etown.to.a=40host"
    assert town.everybody == b"palaver.my=2Etown.all"
    for number in range(10_000):
        assert town.node(f"n{number}").endswith(b"n%d" % number)
    assert len(town._nodes) <= 8_192


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128])
def test_empty_and_endless_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="255"):
        encoded(name)
