"""Exploration runs every schedule with so few deviations, once, and says how far it came."""

from __future__ import annotations

import itertools
from math import comb
from typing import Any

import driven_scenarios as scenarios
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.simulation.driving.exploring import Explored, explore
from palaver.actors.simulation.driving.few import Few
from palaver.actors.simulation.driving.seeds import search
from palaver.actors.simulation.reporting.failure import SimulationFailed
from palaver.actors.simulation.world import Tape, World


def choosing(options: list[int], forbidden: list[int] | None = None) -> Any:
    """A scenario of some choices; one outcome of them is forbidden."""

    async def scenario(world: World) -> None:
        chosen = [
            world.tape.choose(f"order/{number % 2}", count) for number, count in enumerate(options)
        ]
        world.trace.note("chosen", "scenario", str(chosen))
        if chosen == forbidden:
            world.fail("never so")

    return scenario


@settings(max_examples=25)
@given(st.lists(st.integers(2, 3), min_size=1, max_size=4), st.integers(0, 3), st.data())
def test_a_failure_is_found_if_it_needs_no_more_deviations_than_the_bound(
    options: list[int], bound: int, data: Any
) -> None:
    forbidden = [data.draw(st.integers(0, count - 1)) for count in options]
    needed = sum(map(bool, forbidden))
    if needed <= bound:
        with pytest.raises(SimulationFailed) as caught:
            explore(choosing(options, forbidden), deviations=bound)
        assert len(caught.value.tape.deviations) == needed
    else:
        assert explore(choosing(options, forbidden), deviations=bound).covered == bound


@settings(max_examples=25)
@given(st.lists(st.integers(2, 3), min_size=1, max_size=4), st.integers(0, 3))
def test_every_schedule_is_run_once(options: list[int], bound: int) -> None:
    explored = explore(choosing(options), deviations=bound)
    schedules = [
        chosen
        for chosen in itertools.product(*map(range, options))
        if sum(map(bool, chosen)) <= bound
    ]
    assert explored.statistics.runs == len(schedules)
    assert sum(level.traces for level in explored.levels) == len(schedules)
    assert explored.ended == "complete"
    assert explored.covered == bound


def test_how_much_was_covered_is_said() -> None:
    explored = explore(choosing([2] * 10), deviations=2)
    assert explored.statistics.runs == 1 + 10 + comb(10, 2)
    assert str(explored) == (
        "all schedules with at most 2 deviations (order, turn, slice, late, delay): "
        "56 runs, no failure"
    )


def test_schedules_that_come_to_the_same_are_not_carried_on() -> None:
    async def indifferent(world: World) -> None:
        for _ in range(10):
            world.tape.choose("order/a", 2)

    explored = explore(indifferent, deviations=3)
    assert [level.runs for level in explored.levels] == [1, 10, 0, 0]
    assert explored.covered == 3


def test_choices_that_come_only_after_a_deviation_are_explored() -> None:
    async def nested(world: World) -> None:
        if world.tape.choose("order/a", 3) == 2:
            world.trace.note("went", "scenario", "there")
            if world.tape.choose("order/b", 4) == 3:
                world.fail("found")

    with pytest.raises(SimulationFailed, match="found") as caught:
        explore(nested)
    assert caught.value.tape.deviations == {("order/a", 0): 2, ("order/b", 0): 3}


def test_other_kinds_stay_quiet() -> None:
    async def scenario(world: World) -> None:
        world.trace.note("a", "b", str(world.tape.choose("order/a", 2)))
        if world.tape.choose("crash/a", 2):
            world.fail("a crash")

    assert explore(scenario).statistics.deviations == {"order": 1}
    with pytest.raises(SimulationFailed):
        explore(scenario, kinds=("crash",))


def test_the_values_can_be_bounded() -> None:
    assert explore(choosing([9, 9]), deviations=1, max_values=2).statistics.runs == 1 + 2 * 2


def test_runs_and_time_end_it_and_what_is_covered_is_right() -> None:
    explored = explore(choosing([2] * 10), deviations=2, max_runs=20)
    assert explored.ended == "runs"
    assert explored.statistics.runs == 20
    assert explored.covered == 1
    assert "at most 1 deviations" in str(explored)
    assert "9 of those with 2" in str(explored)
    ticks = itertools.count()
    explored = explore(
        choosing([2] * 10), deviations=2, budget_s=5.0, clock=lambda: float(next(ticks))
    )
    assert explored.ended == "budget"
    assert "the time was up" in str(explored)


def test_progress_is_told() -> None:
    seen: list[int] = []

    def progress(explored: Explored) -> None:
        seen.append(explored.statistics.runs)

    explore(choosing([2, 2]), deviations=1, progress=progress)
    assert seen == [1, 2, 3]


def test_the_order_of_actors_is_explored() -> None:
    with pytest.raises(SimulationFailed, match="cat is never the first") as caught:
        explore(scenarios.office, kinds=("order",))
    assert caught.value.tape.deviations == {("order/town", 0): 2}


def test_a_small_scenario_is_covered() -> None:
    explored = explore(scenarios.bank, deviations=1, kinds=("order", "slice"))
    assert explored.ended == "complete"
    assert explored.statistics.runs > 5


# -- few deviations, by chance ----------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 50))
def test_few_deviates_so_often_and_never_more(seed: int, deviations: int, choices: int) -> None:
    tape = Tape(Few(seed, deviations, choices))
    for number in range(60):
        tape.choose(f"order/{number % 3}", 4)
    assert len(tape.deviations) == min(deviations, choices)
    again = Tape(Few(seed, deviations, choices))
    for number in range(60):
        again.choose(f"order/{number % 3}", 4)
    assert again.deviations == tape.deviations


def test_few_finds_what_needs_two_deviations_among_many_choices() -> None:
    # Of 190 pairs, each as likely as the others: with fixed rates, few runs have but two.
    async def needle(world: World) -> None:
        chosen = [world.tape.choose("order/a", 2) for _ in range(20)]
        if chosen[7] and chosen[14] and sum(chosen) == 2:
            world.fail("found")

    campaign = search(needle, range(5000), source=lambda seed: Few(seed, 2, 20))
    assert campaign.found
    assert set(campaign.found[0].tape.deviations) == {("order/a", 7), ("order/a", 14)}


def test_few_leaves_other_kinds_quiet() -> None:
    tape = Tape(Few(1, 10, 10, kinds=("order",)))
    for _ in range(10):
        tape.choose("crash/a", 2)
        tape.choose("order/a", 2)
    assert set(tape.deviations) == {("order/a", number) for number in range(10)}


def test_a_source_of_ones_own_needs_one_process() -> None:
    with pytest.raises(ValueError, match="jobs=1"):
        search("driven_scenarios:office", range(3), source=lambda seed: Few(seed, 1, 1), jobs=2)
    with pytest.raises(ValueError, match="no less"):
        Few(1, -1, 5)
