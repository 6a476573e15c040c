"""A run with every step of its trace written down, to find where two runs part."""

from __future__ import annotations

import sys
from typing import Any, Final, NamedTuple

from palaver.actors.simulation.errors import Violation
from palaver.actors.simulation.world.running import Scenario, run
from palaver.actors.simulation.world.sources import Recorded
from palaver.actors.simulation.world.tape import Deviations, Source
from palaver.actors.simulation.world.trace import Trace
from palaver.actors.simulation.world.world import World

__all__ = ["Replay", "Run", "Step", "perform"]

_TRACE: Final = "palaver.actors.simulation.world.trace"

_frame: Final = sys._getframe  # noqa: SLF001 - CPython's, and no other way tells who calls


class Step(NamedTuple):
    """Something that entered the hash of a trace."""

    hash: int
    text: str
    """The line of the trace, or where the program was."""


class Run(NamedTuple):
    """What is compared of a run."""

    hash: int
    failure: str
    steps: list[Step]
    """Empty unless they were to be recorded."""
    deviations: Deviations


class Replay(NamedTuple):
    """How to run a scenario."""

    seed: int
    deviations: list[tuple[str, int, int]]
    strict: bool
    allow: list[str]
    max_virtual_s: float
    max_steps: int

    def source(self) -> Source:
        """Where its choices come from."""
        recorded = {(name, number): value for name, number, value in self.deviations}
        return Recorded(recorded, self.seed)


class _Steps(list[int]):
    """What a trace appends its hashes to; notes where the program was too."""

    def __init__(self, world: World, steps: list[Step]) -> None:
        super().__init__()
        self._world = world
        self._trace: Trace = world.trace
        self._steps = steps

    def append(self, value: int) -> None:
        """Something entered the hash."""
        frame = _frame(1)
        noted = False
        while frame.f_back is not None and frame.f_globals.get("__name__") == _TRACE:
            noted = noted or frame.f_code.co_name == "note"
            frame = frame.f_back
        if noted:
            text = str(self._trace.lines[-1])
        else:
            code = frame.f_code
            text = f"{self._world.now_s:12.6f}  {code.co_qualname} ({code.co_filename})"
        self._steps.append(Step(value, text))


def perform(
    scenario: Scenario, replay: Replay, source: Source | None = None, *, record: bool = False
) -> Run:
    """Run a scenario, from what was recorded if there is no other source."""
    steps: list[Step] = []

    def watch(world: World) -> None:
        if record:
            world.trace.steps = _Steps(world, steps)

    outcome = run(
        scenario,
        replay.source() if source is None else source,
        max_virtual_s=replay.max_virtual_s,
        max_steps=replay.max_steps,
        prepare=watch,
        allow=replay.allow,
        strict=replay.strict,
    )
    return Run(outcome.hash, _told(outcome.failure), steps, outcome.tape.deviations)


def _told(failure: Any) -> str:
    """A failure, as far as it must be the same in every run."""
    if failure is None:
        return ""
    return failure.what if isinstance(failure, Violation) else type(failure).__name__
