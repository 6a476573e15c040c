"""With Hypothesis: schedules are drawn sparsely and shrink; state machines drive worlds."""

from __future__ import annotations

import inspect
import re
from typing import Any

import driven_scenarios as scenarios
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from palaver.actors.simulation import strategies
from palaver.actors.simulation.driving.drawn import Drawn
from palaver.actors.simulation.driving.strategies import (
    SETTINGS,
    SimulatedStateMachine,
    simulated,
    tapes,
)
from palaver.actors.simulation.reporting.failure import SimulationFailed
from palaver.actors.simulation.world import SimulationError, Tape, World, run

# A failure must be found and made small here whatever earlier runs have kept.
FRESH = settings(SETTINGS, max_examples=300, database=None, derandomize=True)


def failure_of(test: Any) -> SimulationFailed:
    with pytest.raises(SimulationFailed) as caught:
        test()
    return caught.value


def test_a_schedule_that_fails_shrinks_to_the_choice_that_matters() -> None:
    @simulated(settings=FRESH)
    async def office(world: World) -> None:
        await scenarios.office(world)

    failed = failure_of(office)
    assert failed.tape.deviations == {("order/town", 0): 2}
    assert failed.tape.seed == 0
    text = str(failed)
    assert "town/cat ran before town/ann, town/ben" in text
    # What it says replays it.
    tape = re.search(r"office\.replay\('(.*)'\)", text)
    assert tape is not None
    with pytest.raises(SimulationFailed, match="cat is never the first"):
        office.replay(tape.group(1))


def test_faults_shrink_as_well_as_orders() -> None:
    @simulated(settings=FRESH)
    async def many(world: World) -> None:
        crashes = 0
        for _ in range(2000):  # thousands of choices
            world.tape.choose("order/a", 8, 0.2)
            world.tape.choose("delay/a>b", 7, 0.05)
            crashes += world.tape.choose("crash/a", 2, 0.01)
            if crashes == 2:
                world.fail("one crash at most")

    failed = failure_of(many)
    assert set(failed.tape.deviations) == {("crash/a", 0), ("crash/a", 1)}


def test_further_arguments_are_drawn_shown_and_replayed() -> None:
    @simulated(settings=FRESH, size=st.integers(0, 100), name=st.just("x"))
    async def sized(world: World, size: int, name: str) -> None:
        if size > 7:
            world.fail(f"{name} is small", str(size))

    failed = failure_of(sized)
    assert "size=8, name='x')" in str(failed)
    with pytest.raises(SimulationFailed, match="x is small"):
        sized.replay(failed.tape, size=8, name="x")
    assert sized.replay(failed.tape, size=3, name="x").failure is None


def test_kinds_bound_what_deviates() -> None:
    seen: set[str] = set()

    @simulated(settings=settings(FRESH, max_examples=50), kinds=("order",))
    async def office(world: World) -> None:
        try:
            await scenarios.office(world)
        except AssertionError:
            seen.update(name.partition("/")[0] for name, _ in world.tape.deviations)

    office()
    assert seen == {"order"}


def test_assume_in_a_scenario_is_hypothesis_own() -> None:
    @simulated(settings=settings(FRESH, max_examples=20))
    async def choosy(world: World) -> None:
        assume(world.tape.choose("odd/a", 2, 0.5) == 0)

    choosy()


def test_a_test_without_a_failure_passes() -> None:
    @simulated
    async def fine(world: World) -> None:
        await world.sleep(1.0)

    fine()
    assert list(inspect.signature(fine).parameters) == []


def test_fixtures_are_left_to_pytest(pytester_free: str) -> None:
    assert list(inspect.signature(with_fixture).parameters) == ["pytester_free"]
    with_fixture(pytester_free=pytester_free)


@pytest.fixture
def pytester_free() -> str:
    return "fixture"


@simulated(
    settings=settings(
        SETTINGS, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
)
async def with_fixture(world: World, pytester_free: str) -> None:
    assert pytester_free == "fixture"


@given(tapes(max_deviations=5))
def test_no_more_deviations_than_asked(tape: Drawn) -> None:
    outcome = run(scenarios.office, tape)
    tape.check()
    assert len(outcome.tape.deviations) <= 5


@settings(max_examples=20, phases=[Phase.generate], database=None)
@given(st.data())
def test_what_is_drawn_grows_with_the_deviations_and_not_with_the_choices(data: Any) -> None:
    draws = 0

    def draw(strategy: Any) -> Any:
        nonlocal draws
        draws += 1
        return data.draw(strategy)

    tape = Tape(Drawn(draw, max_deviations=20))
    stream, quick = tape.stream("order/a"), tape.stream("delay/a")
    for _ in range(20_000):
        stream.choose(5)
        quick.choose(2)
    # Two kinds, the first distance of each stream; then a distance and a value for each deviation.
    assert draws <= 4 + 2 * len(tape.deviations)


def test_what_hypothesis_raises_is_raised_after_the_run_and_not_within_an_actor() -> None:
    class Enough(BaseException):
        pass

    def draw(strategy: Any) -> Any:
        raise Enough

    tape = Drawn(draw)
    assert run(scenarios.office, tape).failure is None
    with pytest.raises(Enough):
        tape.check()
    tape.check()


# -- state machines ---------------------------------------------------------------------------


class Bank(SimulatedStateMachine):
    """Deposits of two tellers at a time."""

    async def boot(self) -> None:
        self.node, self.account, self.tellers = await scenarios.started(
            self.world, scenarios.Account, 2
        )
        self.expected = 100

    @rule(amount=st.integers(1, 9))
    def deposit(self, amount: int) -> None:
        for teller in self.tellers:
            self.node.cast(teller, amount)
        self.expected += 2 * amount

    @rule()
    def wait(self) -> None:
        self.advance(1.0)

    async def finish(self) -> None:
        await self.world.sleep(1.0)
        got = await self.node.call(self.account, "read")
        if got != self.expected:
            self.world.fail("no deposit is lost", f"{got} is not {self.expected}")


class GoodBank(Bank):
    """Its tellers do not get in each other's way: the slices of its host are whole."""

    kinds = ("drift",)

    @invariant()
    def the_world_goes_on(self) -> None:
        if self._world is not None:
            assert self.world.hosts["bank"].alive


def test_a_state_machine_drives_a_world() -> None:
    run_state_machine_as_test(
        GoodBank, settings=settings(FRESH, max_examples=10, stateful_step_count=8)
    )


class Strict(SimulatedStateMachine):
    """Fails when somebody waits after the third visitor came."""

    async def boot(self) -> None:
        self.visitors = 0
        self.world.always(lambda: self.visitors < 3, "fewer than three visitors")

    @rule()
    def visit(self) -> None:
        self.visitors += 1
        self.advance(0.5)


def test_a_statement_that_fails_ends_it_with_the_fewest_steps(capsys: Any) -> None:
    with pytest.raises(AssertionError, match="fewer than three visitors") as caught:
        run_state_machine_as_test(Strict, settings=settings(FRESH, max_examples=30))
    notes = "\n".join(getattr(caught.value, "__notes__", []))
    assert notes.count("state.visit()") == 3
    assert "nothing deviated: the quiet run fails" in notes


def test_every_world_is_closed_even_if_it_failed() -> None:
    worlds: list[World] = []

    class Watched(Strict):
        async def boot(self) -> None:
            worlds.append(self.world)
            await super().boot()

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Watched, settings=settings(FRESH, max_examples=10))
    assert worlds
    assert all(world.loop.is_closed() for world in worlds)


def test_there_is_no_world_before_boot() -> None:
    with pytest.raises(SimulationError, match="begin in `boot`"):
        assert Strict().world


def test_it_is_reachable_from_the_package() -> None:
    assert strategies.simulated is simulated
