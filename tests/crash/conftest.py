from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The helpers are also imported by the child processes of these tests, from the same folder.
sys.path.insert(0, str(Path(__file__).parent))

import disk_tape as tape
from crash_scenarios import SEED, Studio


@pytest.fixture
def studio() -> Iterator[Studio]:
    if tape.compiler() is None or sys.platform != "linux":
        pytest.skip("recording needs Linux and a C compiler")
    with Studio(SEED) as made:
        yield made
