"""kill -9 of writing processes: `make crash-kills ROUNDS=n` does more of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_scenarios import scratch
from killing import kill

ROUNDS = 30


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: what a kill leaves is there, and fsync is not what is tested."""
    place = scratch()
    yield place
    shutil.rmtree(place)


def test_a_killed_process_loses_nothing_that_it_acknowledged(memory: Path) -> None:
    done: list[int] = []
    kill(ROUNDS, 7, memory, done.append)
    assert len(done) == ROUNDS
