"""Shrinking finds the few deviations that matter, in few runs, and says when it cannot."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.simulation.driving.failures import signature
from palaver.actors.simulation.driving.minimising import Attempt, BudgetSpent, Minimiser
from palaver.actors.simulation.driving.runner import Runner
from palaver.actors.simulation.driving.shrinking import NotReproduced, shrink
from palaver.actors.simulation.world.sources import Seeded

STREAMS = [f"{kind}/{n}" for kind in ("order", "delay", "late", "crash") for n in range(4)]
ADDRESSES = st.tuples(st.sampled_from(STREAMS), st.integers(0, 30))


class Counted:
    """Fails if it is given all that is needed; counts how often it was asked."""

    def __init__(self, needed: dict[tuple[str, int], int], most: int = 10**9) -> None:
        self.needed = needed
        self.most = most
        self.runs = 0

    def __call__(self, deviations: Any) -> Attempt | None:
        if self.runs >= self.most:
            raise BudgetSpent
        self.runs += 1
        if all(deviations.get(one, 0) >= least for one, least in self.needed.items()):
            return Attempt(dict(deviations), 1000)
        return None


@given(
    st.dictionaries(ADDRESSES, st.integers(1, 9), max_size=6),
    st.dictionaries(ADDRESSES, st.integers(1, 9), max_size=40),
)
def test_what_is_left_is_what_is_needed(
    needed: dict[tuple[str, int], int], noise: dict[tuple[str, int], int]
) -> None:
    start = {**noise, **{one: max(noise.get(one, 0), least) for one, least in needed.items()}}
    minimiser = Minimiser(Attempt(start, 1000), Counted(needed))
    assert minimiser.minimise()
    assert minimiser.best.deviations == needed


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_thousands_become_a_handful_in_a_few_hundred_runs(seed: int, count: int) -> None:
    chance = random.Random(seed)
    start = {
        (f"order/{chance.randrange(60)}", number): chance.randint(1, 20) for number in range(5000)
    }
    needed = dict.fromkeys(chance.sample(sorted(start), count), 1)
    trial = Counted(needed)
    minimiser = Minimiser(Attempt(start, 1000), trial)
    assert minimiser.minimise()
    assert minimiser.best.deviations == needed
    # 50 ms each: two minutes are 2,400.
    assert trial.runs < 600


def test_a_schedule_whose_failure_needs_either_of_two_shrinks_to_one_of_them() -> None:
    start = {("order/a", number): 3 for number in range(100)}

    def trial(deviations: Any) -> Attempt | None:
        either = ("order/a", 10) in deviations or ("order/a", 90) in deviations
        return Attempt(dict(deviations), 10) if either else None

    minimiser = Minimiser(Attempt(start, 10), trial)
    assert minimiser.minimise()
    assert list(minimiser.best.deviations.values()) == [1]


def test_a_deviation_moves_to_where_the_failure_comes_sooner() -> None:
    def trial(deviations: Any) -> Attempt | None:
        numbers = [number for stream, number in deviations if stream == "crash/a" and number >= 7]
        return Attempt(dict(deviations), 10 * min(numbers)) if numbers else None

    start = {("crash/a", 900): 1, ("crash/b", 3): 2}
    minimiser = Minimiser(Attempt(start, 9000), trial)
    assert minimiser.minimise()
    assert minimiser.best.deviations == {("crash/a", 7): 1}


def test_the_budget_ends_it_with_the_shortest_so_far() -> None:
    start = {("order/a", number): 1 for number in range(1000)}
    trial = Counted({("order/a", 500): 1}, most=5)
    minimiser = Minimiser(Attempt(start, 1), trial)
    assert not minimiser.minimise()
    assert 1 < len(minimiser.best.deviations) < 1000


def test_nothing_is_tried_twice() -> None:
    tried: list[frozenset[Any]] = []

    def trial(deviations: Any) -> Attempt | None:
        tried.append(frozenset(deviations.items()))
        return Attempt(dict(deviations), 1) if ("a", 3) in deviations else None

    start = {("a", number): 2 for number in range(30)}
    assert Minimiser(Attempt(start, 1), trial).minimise()
    assert len(tried) == len(set(tried))


# -- with a world -----------------------------------------------------------------------------


async def racy(world: Any) -> None:
    """Fails if the third and the fifth order are not the quiet ones, after a few crashes."""
    orders = []
    for step in range(40):
        orders.append(world.tape.choose(f"order/{step % 3}", 4, 0.5))
        world.tape.choose("delay/a>b", 5, 0.5)
        await world.sleep(0.001)
        if world.tape.choose("crash/a", 2, 0.3) and sum(map(bool, orders[3:20])) > 4:
            world.fail(f"balance is {sum(orders)} after {step} steps")


def failing(runner: Runner, seeds: range = range(200)) -> Any:
    for seed in seeds:
        outcome = runner(Seeded(seed, swarm=False))
        if outcome.failure is not None:
            return outcome
    raise AssertionError("no seed fails")


def test_a_run_shrinks_and_its_tape_fails_again() -> None:
    runner = Runner.of(racy)
    outcome = failing(runner)
    shrunk = shrink(runner, outcome)
    assert shrunk.ended == "fixpoint"
    assert shrunk.deterministic
    assert len(shrunk.tape.deviations) == 6  # five orders and one crash
    assert set(shrunk.tape.deviations.values()) == {1}
    again = runner(shrunk.tape.source)
    assert again.failure is not None
    assert outcome.failure is not None
    assert signature(again.failure) == signature(outcome.failure)
    assert again.hash == shrunk.outcome.hash
    assert "deviations became 6" in str(shrunk)


def test_thousands_of_deviations_of_a_run_become_a_handful_in_few_runs() -> None:
    async def long(world: Any) -> None:
        order = [world.tape.choose(f"order/{step % 5}", 8, 0.5) for step in range(6000)]
        crashes = [world.tape.choose(f"crash/{host}", 10, 0.5) for host in range(20)]
        if order[700] > 1 and order[4000] and crashes[3] > 4:
            world.fail("three things at once", f"{sum(order)}")

    runner = Runner.of(long)
    outcome = failing(runner)
    assert len(outcome.tape.deviations) > 2500
    shrunk = shrink(runner, outcome)
    assert shrunk.tape.deviations == {("order/0", 140): 2, ("order/0", 800): 1, ("crash/3", 0): 5}
    assert shrunk.runs < 400  # of 20 to 50 ms: 20 s at most


def test_max_runs_bounds_the_search() -> None:
    runner = Runner.of(racy)
    shrunk = shrink(runner, failing(runner), max_runs=3)
    assert shrunk.ended == "budget"
    assert shrunk.runs == 3
    assert "time was up" in str(shrunk)


def test_the_time_bounds_the_search() -> None:
    runner = Runner.of(racy)
    ticks = itertools.count()
    shrunk = shrink(runner, failing(runner), budget_s=10, clock=lambda: float(next(ticks)))
    assert shrunk.ended == "budget"
    assert shrunk.runs < 12


def test_another_failure_is_not_the_same() -> None:
    async def scenario(world: Any) -> None:
        crash = world.tape.choose("crash/a", 2, 1.0)
        order = world.tape.choose("order/a", 2, 1.0)
        if crash and order:
            world.fail("both")
        if crash or order:
            world.fail("one")

    runner = Runner.of(scenario)
    shrunk = shrink(runner, failing(runner))
    assert len(shrunk.tape.deviations) == 2
    assert "both" in str(shrunk.outcome.failure)


def test_a_tape_that_does_not_fail_again_is_told_with_both_hashes() -> None:
    runs = itertools.count()

    async def hidden(world: Any) -> None:
        world.trace.note("run", "scenario", str(next(runs)))
        if next(runs) == 1:
            world.fail("only once")

    runner = Runner.of(hidden)
    outcome = failing(runner)
    with pytest.raises(NotReproduced, match="did not fail at all") as caught:
        shrink(runner, outcome)
    first, again = caught.value.hashes
    assert first != again
    assert f"{first:016x}" in str(caught.value)
    assert f"{again:016x}" in str(caught.value)
    assert "different" in str(caught.value)


def test_a_run_whose_trace_differs_is_marked_although_it_fails_again() -> None:
    runs = itertools.count()

    async def hidden(world: Any) -> None:
        world.trace.note("run", "scenario", str(next(runs)))
        world.fail("always")

    runner = Runner.of(hidden)
    assert not shrink(runner, failing(runner)).deterministic


def test_a_run_that_did_not_fail_is_not_shrunk() -> None:
    async def fine(world: Any) -> None:
        await world.sleep(1)

    runner = Runner.of(fine)
    with pytest.raises(ValueError, match="did not fail"):
        shrink(runner, runner(Seeded(1)))


# -- the same failure -------------------------------------------------------------------------


@given(st.integers(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_do_not_make_another_failure(a: int, b: int, c: float) -> None:
    assert signature(ValueError(f"{a} is not {c} at 0x7f3a")) == signature(
        ValueError(f"{b} is not 1.5 at 0x8888")
    )


def test_type_and_words_do() -> None:
    assert signature(ValueError("a")) != signature(KeyError("a"))
    assert signature(ValueError("a")) != signature(ValueError("b"))


def test_a_failure_that_says_nothing_is_known_by_its_place() -> None:
    def first() -> None:
        raise AssertionError

    def second() -> None:
        raise AssertionError

    found = []
    for fail in (first, first, second):
        try:
            fail()
        except AssertionError as error:
            found.append(signature(error))
    assert found[0] == found[1] != found[2]


def test_groups_are_the_same_if_what_is_in_them_is() -> None:
    a, b = ValueError("1"), KeyError("x")
    assert signature(ExceptionGroup("g", [a, b])) == signature(ExceptionGroup("h", [b, a]))
    assert signature(ExceptionGroup("g", [a])) != signature(ExceptionGroup("g", [b]))
