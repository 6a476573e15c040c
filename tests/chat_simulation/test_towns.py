"""Thousands of days of simulated towns, in which every promise of the message path must hold.

Seeds are fixed, so that a run that passes here passes everywhere. `palaver simulate` runs more.
"""

from __future__ import annotations

import pytest

from palaver.actors.simulation.driving import check
from palaver.supervisors.simulations.scenarios import SCENARIOS

#: Seeds of each scenario in an ordinary run of the tests.
SEEDS = {
    "talk": 320, "brief": 800, "calm": 160, "offline": 160, "group": 200, "devices": 240,
    "presence": 240, "storm": 140, "power": 160, "partitioned": 240, "supervisors": 260,
    "tables": 240,
}  # fmt: skip
BLOCKS = 4


def _blocks() -> list[tuple[str, range]]:
    found = []
    for name, count in SEEDS.items():
        size = count // BLOCKS
        found += [(name, range(n * size, (n + 1) * size)) for n in range(BLOCKS)]
    return found


@pytest.mark.parametrize(("name", "seeds"), _blocks(), ids=lambda value: str(value))
def test_every_promise_holds(name: str, seeds: range) -> None:
    check(SCENARIOS[name].runner, seeds)


def test_every_default_scenario_is_run() -> None:
    assert set(SEEDS) == {one.name for one in SCENARIOS.values() if one.default}


@pytest.mark.parametrize("name", list(SEEDS))
def test_what_has_to_be_reached_is_reached(name: str) -> None:
    runner = SCENARIOS[name].runner
    wanted = set(SCENARIOS[name].reach)
    seed = 100_000
    while wanted and seed < 100_400:
        campaign = check(runner, range(seed, seed + 20))
        reached = campaign.statistics.coverage.reached
        wanted -= {what for what in wanted if reached[what]}
        seed += 20
    assert not wanted, f"never reached in {seed - 100_000} runs: {sorted(wanted)}"


@pytest.mark.long
@pytest.mark.parametrize("name", list(SEEDS))
def test_every_promise_holds_in_many_more_runs(name: str) -> None:
    campaign = check(SCENARIOS[name].runner, range(200_000, 202_000))
    assert not campaign.statistics.coverage.missed
