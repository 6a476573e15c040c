"""Many seeds: what is counted, when it ends, what several processes do, what `check` raises."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import driven_scenarios as scenarios
import pytest

from palaver.actors.simulation.driving.replaying import replay
from palaver.actors.simulation.driving.runner import (
    Runner,
    ScenarioUnknown,
    name_of,
    scenario_named,
)
from palaver.actors.simulation.driving.seeds import Campaign, check, search
from palaver.actors.simulation.driving.statistics import Statistics
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.driving.workers import WorkerDied
from palaver.actors.simulation.reporting.failure import SimulationFailed
from palaver.actors.simulation.world import Quiet, Seeded

OFFICE = "driven_scenarios:office"


def test_a_search_counts_what_it_did() -> None:
    campaign = search(scenarios.fine, range(20))
    assert campaign.ended == "seeds"
    assert campaign.found == []
    figures = campaign.statistics
    assert figures.runs == 20
    assert figures.virtual_s == pytest.approx(200.0)
    assert figures.coverage.reached["the end"] == 20
    assert figures.coverage.runs["the end"] == 20
    assert figures.coverage.missed == ["something that never is"]
    assert "NEVER reached: something that never is" in str(campaign)
    assert figures.ratio > 100


def test_it_ends_with_the_first_failure_or_with_as_many_as_asked() -> None:
    first = search(scenarios.office, range(1000))
    assert first.ended == "failures"
    assert len(first.found) == 1
    more = search(scenarios.office, range(1000), max_failures=3)
    assert len(more.found) == 3
    assert more.found[0] == first.found[0]
    assert len({one.signature for one in more.found}) == 1


def test_the_time_ends_it_although_there_are_always_more_seeds() -> None:
    ticks = itertools.count()
    campaign = search(
        scenarios.fine, itertools.count(), budget_s=10.0, clock=lambda: float(next(ticks))
    )
    assert campaign.ended == "budget"
    assert campaign.statistics.runs == 10


def test_progress_is_told_after_each_run() -> None:
    seen: list[int] = []

    def progress(campaign: Campaign) -> None:
        seen.append(campaign.statistics.runs)

    search(scenarios.fine, range(5), progress=progress)
    assert seen == [1, 2, 3, 4, 5]


def test_rates_can_be_given() -> None:
    never = search(scenarios.office, range(30), swarm=False, rates={"order": 0.0})
    assert "order" not in never.statistics.deviations
    always = search(scenarios.office, range(30), swarm=False, rates={"order": 1.0}, max_failures=99)
    assert always.statistics.deviations["order"] > 30


def test_figures_are_the_same_after_they_were_json() -> None:
    figures = search(scenarios.office, range(20), max_failures=99).statistics
    again = Statistics.of_json(figures.as_json())
    assert again.as_json() == figures.as_json()


# -- several processes ------------------------------------------------------------------------


def test_several_processes_find_what_one_does() -> None:
    alone = search(OFFICE, range(60), max_failures=1000)
    together = search(OFFICE, range(60), max_failures=1000, jobs=2)
    assert together.found == alone.found
    assert together.found
    one, other = alone.statistics, together.statistics
    assert other.virtual_s == pytest.approx(one.virtual_s)  # added up in another order
    other.wall_s, other.virtual_s = one.wall_s, one.virtual_s
    assert other.as_json() == one.as_json()


def test_processes_end_with_the_first_failure_although_seeds_have_no_end() -> None:
    campaign = search(OFFICE, itertools.count(), jobs=2)
    assert campaign.ended == "failures"


def test_what_a_scenario_prints_harms_no_result(capfd: Any) -> None:
    campaign = search("driven_scenarios:prints", range(20), jobs=2, max_failures=99)
    assert campaign.statistics.runs == 20
    assert capfd.readouterr().err.count("hello") == 20


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(WorkerDied, match="ended with 3"):
        search("driven_scenarios:dies", range(4), jobs=2)


def test_a_scenario_that_cannot_be_imported_is_refused_for_several_processes() -> None:
    async def local(world: Any) -> None: ...

    with pytest.raises(ScenarioUnknown, match="other processes"):
        search(local, range(4), jobs=2)


# -- names ------------------------------------------------------------------------------------


def test_a_scenario_is_found_by_its_name() -> None:
    assert name_of(scenarios.office) == OFFICE
    assert scenario_named(OFFICE) is scenarios.office
    for wrong in ("office", "no_such_module:f", "driven_scenarios:nothing", ":", "os:sep"):
        with pytest.raises(ScenarioUnknown):
            scenario_named(wrong)


# -- check and replay -------------------------------------------------------------------------


def test_check_returns_the_figures_if_nothing_fails() -> None:
    assert check(scenarios.fine, range(3)).statistics.runs == 3


def test_check_raises_the_shrunk_failure_and_replay_does_the_same(tmp_path: Path) -> None:
    page = tmp_path / "pages" / "office.html"
    with pytest.raises(SimulationFailed) as caught:
        check(scenarios.office, range(1000), page=page)
    report = caught.value.report
    assert report.seed is not None
    assert len(caught.value.tape.deviations) == 1
    assert "cat is never the first" in str(caught.value.__cause__)
    assert page.exists()
    assert str(page) in str(caught.value)
    file = tmp_path / "office.tape"
    caught.value.tape.save(file)
    for tape in (caught.value.tape, str(caught.value.tape), file):
        with pytest.raises(SimulationFailed, match="cat is never the first"):
            replay(tape)


def test_a_replay_that_does_not_fail_says_what_came_of_it() -> None:
    outcome = replay(RecordedTape(OFFICE))
    assert outcome.failure is None
    assert outcome.hash == Runner.of(OFFICE)(Quiet()).hash


def test_options_reach_the_run() -> None:
    campaign = search(scenarios.fine, range(1), max_virtual_s=5.0)
    assert "TooLong" in campaign.found[0].signature
    with pytest.raises(SimulationFailed, match="TooLong"):
        check(scenarios.fine, range(1), max_virtual_s=5.0)


def test_the_tape_of_a_seed_gives_the_same_trace() -> None:
    runner = Runner.of(scenarios.rough)
    for seed in range(5):
        outcome = runner(Seeded(seed))
        assert runner(runner.tape_of(outcome).source).hash == outcome.hash
