"""Every start of a node has a number of its own, greater than those before."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.storage import StoreUnusable
from palaver.supervisors.trees.incarnation import next_creation


@given(st.lists(st.integers(min_value=1, max_value=2**53), max_size=20))
def test_numbers_rise_whatever_the_clock_says(
    tmp_path_factory: pytest.TempPathFactory, clock: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("node")
    last = 0
    for time_ms in clock:
        creation = next_creation(folder, time_ms)
        assert creation > last
        assert creation >= time_ms
        last = creation


def test_a_damaged_note_is_told(tmp_path: Path) -> None:
    (tmp_path / "creation").write_text("yesterday")
    with pytest.raises(StoreUnusable, match="creation is damaged"):
        next_creation(tmp_path, 1)
