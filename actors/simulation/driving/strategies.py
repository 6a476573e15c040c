"""Simulation with Hypothesis: the schedule itself is drawn, so a failing one shrinks.

    from palaver.actors.simulation import strategies

    @strategies.simulated(deposits=st.lists(st.integers(1, 100)))
    async def test_no_deposit_is_lost(world, deposits): ...

Everything else of the kit can be used without Hypothesis.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Collection
from functools import partial, wraps
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize

from palaver.actors.simulation.driving.drawn import MAX_DEVIATIONS, Drawn
from palaver.actors.simulation.driving.replaying import replay
from palaver.actors.simulation.driving.runner import Runner, name_of
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.reporting.facts import observed
from palaver.actors.simulation.reporting.failure import Report, SimulationFailed
from palaver.actors.simulation.reporting.text import seen_as_text
from palaver.actors.simulation.reporting.watching import Watch
from palaver.actors.simulation.world.running import Outcome
from palaver.actors.simulation.world.statements import SimulationError
from palaver.actors.simulation.world.tape import Tape
from palaver.actors.simulation.world.world import World

__all__ = ["SETTINGS", "Drawn", "SimulatedStateMachine", "simulated", "tapes"]

T = TypeVar("T")

#: Real time says nothing of a simulation. What is drawn depends on what was drawn before.
SETTINGS: Final = settings(
    deadline=None,
    # No `explain`: it traces every line, which makes a run many times slower.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""What `simulated` uses if it is given no others; a parent for one's own."""

MAX_SEED: Final = 255


@st.composite
def tapes(
    draw: st.DrawFn,
    *,
    kinds: Collection[str] | None = None,
    max_deviations: int = MAX_DEVIATIONS,
) -> Drawn:
    """A source of choices for one run, for `run` or `Tape`; call its `check` after the run.

    Args:
        draw: Hypothesis gives it.
        kinds: Only choices of these kinds deviate from the quiet run; all if None.
        max_deviations: After so many, everything is quiet.
    """
    seed = draw(st.integers(0, MAX_SEED))
    return Drawn(draw, seed=seed, kinds=kinds, max_deviations=max_deviations)


def simulated(
    test: Callable[..., Awaitable[None]] | None = None,
    *,
    kinds: Collection[str] | None = None,
    max_deviations: int = MAX_DEVIATIONS,
    settings: settings = SETTINGS,
    secrets: bool = False,
    options: dict[str, Any] | None = None,
    **strategies: st.SearchStrategy[Any],
) -> Any:
    """Make a test of an ``async def test(world, ...)``: Hypothesis draws its schedule.

    It becomes an ordinary function for pytest. When it fails, the failure is the shortest that
    Hypothesis has found, with the whole report; its attribute `replay` takes the tape that the
    report names, and the same further arguments. Parameters that are not drawn are fixtures.

    Args:
        test: The test, if this is used without arguments.
        kinds: Only choices of these kinds deviate from the quiet run; all if None.
        max_deviations: After so many, everything is quiet.
        settings: Hypothesis' settings; `SETTINGS` is a good parent.
        secrets: Show what servers hide from reports.
        options: Further arguments of `run`: ``max_virtual_s``, ``max_steps``.
        strategies: Further arguments of the test, drawn before the run begins.
    """

    def decorate(test: Callable[..., Awaitable[None]]) -> Any:
        @wraps(test)
        def run_test(*, tape_: Drawn, **arguments: Any) -> None:
            runner = Runner(partial(test, **arguments), name_of(test), options or {})
            outcome = runner(tape_)
            tape_.check()
            _raise(runner, outcome, test, arguments, secrets)

        signature = inspect.signature(test)
        by_name = inspect.Parameter.KEYWORD_ONLY
        parameters = list(signature.parameters.values())[1:]  # without the world
        parameters = [one.replace(kind=by_name) for one in parameters]
        first = inspect.Parameter("tape_", by_name)
        run_test.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[first, *parameters], return_annotation=None
        )
        del run_test.__wrapped__
        drawn = tapes(kinds=kinds, max_deviations=max_deviations)
        wrapped: Any = settings(given(tape_=drawn, **strategies)(run_test))

        def replay_test(tape: RecordedTape | str, **arguments: Any) -> Outcome:
            scenario = Runner(partial(test, **arguments), name_of(test), options or {})
            return replay(tape, scenario, secrets=secrets)

        wrapped.replay = replay_test
        return wrapped

    return decorate if test is None else decorate(test)


def _raise(
    runner: Runner,
    outcome: Outcome,
    test: Callable[..., Any],
    arguments: dict[str, Any],
    secrets: bool,
) -> None:
    failure = outcome.failure
    if failure is None:
        return
    if isinstance(failure, HypothesisException):  # `assume`, or a mistake in a strategy
        raise failure
    tape = runner.tape_of(outcome)
    given_too = "".join(f", {name}={value!r}" for name, value in arguments.items())
    how = f"{test.__name__}.replay({str(tape)!r}{given_too})"
    # Only its text costs anything, and only the last failure is printed.
    raise SimulationFailed(Report(runner, tape, how=how, secrets=secrets)) from failure


class SimulatedStateMachine(RuleBasedStateMachine):
    """A Hypothesis state machine that drives a world: its rules do something, time passes.

        class Bank(SimulatedStateMachine):
            async def boot(self):
                self.host = self.world.host("bank", start_bank)
                await self.host.start()

            @rule(amount=st.integers(1, 100))
            def deposit(self, amount):
                self.run(deposit(self.host, amount))

            @rule()
            def wait(self):
                self.advance(10.0)

    The world begins with `boot` and not with an ``__init__`` or an ``@initialize`` of one's own,
    whose order nobody knows. In the end `finish` runs, all statements are checked once more, and
    nothing is left of the world.

    Attributes:
        world: The world, from `boot` on.
        kinds: Only choices of these kinds deviate from the quiet run; all if None.
        max_deviations: After so many, everything is quiet.
    """

    kinds: Collection[str] | None = None
    max_deviations: int = MAX_DEVIATIONS

    def __init__(self) -> None:
        super().__init__()
        self._tape: Drawn | None = None
        self._world: World | None = None
        self._watch: Watch | None = None

    @property
    def world(self) -> World:
        """The world; raises `SimulationError` before it has begun."""
        if self._world is None:
            raise SimulationError("the world has not begun: begin in `boot`, not in `initialize`")
        return self._world

    async def boot(self) -> None:
        """Make hosts and start them; to be overridden."""

    async def finish(self) -> None:
        """What is to be done and stated in the end; to be overridden."""

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run the world until a coroutine is done; its value."""
        return self._checked(lambda: self.world.run(awaitable))

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        self._checked(lambda: self.world.advance(seconds))

    def _checked(self, drive: Callable[[], T]) -> T:
        """Drive the world; if Hypothesis has had enough, that is more than what came of it."""
        try:
            return drive()
        finally:
            if self._tape is not None:
                self._tape.check()

    @initialize(machine=st.runner(), data=st.data())
    def begin_world_(self, machine: Any, data: st.DataObject) -> None:
        """Begin; Hypothesis calls it before any rule."""
        self._tape = data.draw(
            tapes(kinds=self.kinds, max_deviations=self.max_deviations), label="tape"
        )
        world = self._world = World(Tape(self._tape))
        world.__enter__()
        if getattr(current_build_context(), "is_final", False):  # the run that is printed
            self._watch = Watch()
            self._watch.__enter__()
            self._watch.prepare(world)
        self.run(self.boot())

    def teardown(self) -> None:
        """End the world: `finish`, the last checks, then nothing of it is left."""
        if self._world is None:
            return
        failure = sys.exc_info()[1]
        try:
            if failure is None:
                try:
                    self.run(self.finish())
                    with self.world.loop.running():
                        self.world.statements.at_the_end()
                except BaseException as error:
                    failure = error
                    raise
        finally:
            self._end(self._world, failure)

    def _end(self, world: World, failure: BaseException | None) -> None:
        watch, self._watch = self._watch, None
        try:
            world.close()  # the watch looks at it once more
        finally:
            if watch is not None:
                watch.__exit__(None, None, None)
        if watch is not None and isinstance(failure, Exception):
            note(seen_as_text(observed(world, failure, watch)))
