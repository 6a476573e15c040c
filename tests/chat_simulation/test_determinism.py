"""Two runs of one tape are one run, whatever Python's hash seed is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from palaver.actors.simulation import Seeded
from palaver.supervisors.simulations.scenarios import SCENARIOS

SEED = 17
NAMES = [one.name for one in SCENARIOS.values() if one.default]

_PROGRAM = """
import sys
from palaver.actors.simulation import Seeded
from palaver.supervisors.simulations.scenarios import SCENARIOS
for name in sys.argv[2:]:
    print(name, SCENARIOS[name].runner(Seeded(int(sys.argv[1]))).hash)
"""


def _hashes(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(SEED), *NAMES],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_run_again(name: str) -> None:
    runner = SCENARIOS[name].runner
    first, second = runner(Seeded(SEED)), runner(Seeded(SEED))
    assert (first.hash, first.steps) == (second.hash, second.steps)
    assert first.tape.deviations == second.tape.deviations
    assert runner(Seeded(SEED + 1)).hash != first.hash


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_its_tape(name: str) -> None:
    runner = SCENARIOS[name].runner
    seeded = runner(Seeded(SEED))
    assert runner(runner.tape_of(seeded).source).hash == seeded.hash


def test_the_order_of_sets_changes_nothing() -> None:
    assert _hashes("1") == _hashes("2")
