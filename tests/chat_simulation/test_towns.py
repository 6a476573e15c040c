"""Thousands of days of simulated towns, in which every promise of the message path must hold.

Seeds are fixed, so that a run that passes here passes everywhere. `palaver simulate` runs more.
"""

from __future__ import annotations

import os

import pytest

from palaver.actors.simulation.driving import check
from palaver.supervisors.simulations.scenarios import SCENARIOS

#: Seeds of each scenario in an ordinary run of the tests: three minutes on two processors at most.
#: As many as it takes to reach all that has to be, and to catch what `tests/mutations` puts in.
SEEDS = {
    "talk": 150, "brief": 400, "calm": 100, "offline": 80, "group": 100, "devices": 120,
    "presence": 120, "storm": 80, "power": 90, "partitioned": 100, "supervisors": 120,
    "tables": 200, "replicas": 200, "cluster": 50, "failover": 80, "moving": 40, "rebuilt": 40,
    "diverging": 30, "rebalanced": 30,
}  # fmt: skip
JOBS = min(2, os.cpu_count() or 1)


@pytest.mark.parametrize("name", list(SEEDS))
def test_every_promise_holds_and_what_has_to_be_reached_is(name: str) -> None:
    scenario = SCENARIOS[name]
    campaign = check(scenario.runner, range(SEEDS[name]), jobs=JOBS)
    assert campaign.statistics.runs == SEEDS[name]
    reached = campaign.statistics.coverage.reached
    assert not [what for what in scenario.reach if not reached[what]]


def test_every_default_scenario_is_run() -> None:
    assert set(SEEDS) == {one.name for one in SCENARIOS.values() if one.default}


@pytest.mark.long
@pytest.mark.parametrize("name", list(SEEDS))
def test_every_promise_holds_in_many_more_runs(name: str) -> None:
    campaign = check(SCENARIOS[name].runner, range(200_000, 202_000), jobs=JOBS)
    assert not campaign.statistics.coverage.missed
