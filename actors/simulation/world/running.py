"""One run of a scenario, from a source of choices to an outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from palaver.actors.simulation.world.collector import calm_collector
from palaver.actors.simulation.world.coverage import Coverage
from palaver.actors.simulation.world.sources import Quiet
from palaver.actors.simulation.world.statements import Violation
from palaver.actors.simulation.world.tape import Source, Tape
from palaver.actors.simulation.world.trace import Trace
from palaver.actors.simulation.world.world import (
    DEFAULT_MAX_STEPS,
    DEFAULT_MAX_VIRTUAL_S,
    World,
)

__all__ = ["Outcome", "Scenario", "run"]

Scenario: TypeAlias = Callable[[World], Awaitable[None]]
"""An `async def` that is given a world, makes hosts in it, does something and states something."""


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    failure: Exception | None
    """What was violated, or raised by the scenario; None if all is well."""
    tape: Tape
    trace: Trace
    coverage: Coverage
    virtual_s: float
    steps: int

    @property
    def hash(self) -> int:
        """Of all that happened: equal for two runs of one tape."""
        return self.trace.hash


def run(
    scenario: Scenario,
    source: Source | None = None,
    *,
    observe: bool = False,
    max_virtual_s: float = DEFAULT_MAX_VIRTUAL_S,
    max_steps: int = DEFAULT_MAX_STEPS,
    prepare: Callable[[World], None] | None = None,
    allow: Iterable[str] = (),
    strict: bool = False,
    no_files: bool = False,
) -> Outcome:
    """Run a scenario once, and say what came of it.

    Args:
        scenario: what happens.
        source: where choices come from; the quiet run if None.
        observe: keep every choice there was (`Tape.options`).
        max_virtual_s: a run that lasts longer fails with `TooLong`;
        max_steps: so does one of more callbacks.
        prepare: called with the new world first, to watch it.
        allow: packages that may ask for time and chance; see `World`.
        strict: let the guard look at every call; see `World`.
        no_files: refuse real files; see `World`.

    Exceptions of the scenario are outcomes; others (KeyboardInterrupt) are raised.
    """
    tape = Tape(source or Quiet(), observe=observe)
    # Around the world, not in it: what is left of it is freed before the next one.
    with calm_collector():
        return _live(
            scenario,
            prepare,
            World(
                tape,
                max_virtual_s=max_virtual_s,
                max_steps=max_steps,
                allow=allow,
                strict=strict,
                calms_collector=False,
                no_files=no_files,
            ),
        )


def _live(scenario: Scenario, prepare: Callable[[World], None] | None, world: World) -> Outcome:
    failure: Exception | None = None
    with world:
        try:
            if prepare is not None:
                prepare(world)
            world.run(scenario(world))
            with world.loop.running():
                world.statements.at_the_end()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            failure = error
            text = error.what if isinstance(error, Violation) else type(error).__name__
            world.trace.tell("failure", "scenario", text)
        return Outcome(
            failure, world.tape, world.trace, world.coverage, world.now_s, world.loop.steps
        )
