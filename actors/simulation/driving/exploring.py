"""Systematic exploration: every schedule with at most so many deviations from the quiet run.

The quiet run tells which choices there are. Then each of them is made otherwise, one after the
other; then, for each run that came of that, each later choice as well; and so on. Most bugs of
concurrency need few deviations, two or three: so a small scenario for which all of these were run
is nearly proven. After Emmi, Qadeer and Rakamarić, "Delay-Bounded Scheduling" (POPL 2011).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from palaver.actors.simulation.driving.failures import signature
from palaver.actors.simulation.driving.runner import Runner
from palaver.actors.simulation.driving.shrinking import shrink_tape
from palaver.actors.simulation.driving.statistics import Statistics
from palaver.actors.simulation.reporting.failure import Report, SimulationFailed
from palaver.actors.simulation.world.running import Outcome, Scenario
from palaver.actors.simulation.world.sources import Recorded
from palaver.actors.simulation.world.tape import Address, kind_of

__all__ = ["Explored", "Level", "explore"]

KINDS: Final = ("order", "turn", "slice", "late", "delay")
"""What is explored if nothing else is asked for: who runs when, and what comes late."""

MAX_RUNS: Final = 100_000
SHRINK_S: Final = 20.0


@dataclass
class Level:
    """All schedules with a certain number of deviations."""

    deviations: int
    runs: int = 0
    traces: int = 0
    """Different ones among them: schedules can come to the same."""
    complete: bool = False
    """Whether there are no others of this number."""


@dataclass
class Explored:
    """How much of the space of schedules was run, without a failure."""

    kinds: tuple[str, ...]
    levels: list[Level] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)
    ended: Literal["complete", "runs", "budget"] = "complete"
    """Everything up to the bound was run; the runs, or the time, were spent."""

    @property
    def covered(self) -> int:
        """All schedules with at most so many deviations were run; -1: not even the quiet one."""
        bound = -1
        for level in self.levels:
            if not level.complete:
                break
            bound = level.deviations
        return bound

    def __str__(self) -> str:
        """What was covered, in a line."""
        runs, kinds = self.statistics.runs, ", ".join(self.kinds)
        found = "no failure"
        text = f"all schedules with at most {self.covered} deviations ({kinds})"
        if self.ended == "complete":
            return f"{text}: {runs:,} runs, {found}"
        last = self.levels[-1]
        why = "the time was up" if self.ended == "budget" else "no more runs were allowed"
        return (
            f"{text}, and {last.runs:,} of those with {last.deviations}: {runs:,} runs, {found}; "
            f"then {why}"
        )


@dataclass(frozen=True, slots=True)
class _Node:
    """A schedule that was run: its deviations, in the order of the run."""

    schedule: tuple[tuple[Address, int], ...]


def explore(
    scenario: Scenario | str | Runner,
    *,
    deviations: int = 2,
    kinds: Collection[str] = KINDS,
    max_values: int | None = None,
    max_runs: int = MAX_RUNS,
    budget_s: float | None = None,
    seed: int = 0,
    secrets: bool = False,
    page: Path | str | None = None,
    progress: Callable[[Explored], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Explored:
    """Run every schedule with at most so many deviations from the quiet run.

    Schedules whose traces were seen before are not carried on: what comes after is the same.

    Args:
        scenario: An ``async def scenario(world)``, or its ``module:function``.
        deviations: The bound. The number of runs grows with its power: 2 or 3 are usual.
        kinds: Of choices: others stay quiet.
        max_values: So many options of a choice at most, beside the quiet one; None: all.
        max_runs: More are not run.
        budget_s: Real seconds after which no further run is begun.
        seed: Of values.
        secrets: Show what servers hide from reports.
        page: Where to save the report as an HTML page, should it fail.
        progress: Called after each run.
        clock: Tells real seconds.
        options: Further arguments of `run`: ``max_virtual_s``, ``max_steps``.

    Raises:
        SimulationFailed: A schedule fails; none with fewer deviations does.
    """
    runner = Runner.of(scenario, **options)
    explored = Explored(tuple(kinds))
    explorer = _Explorer(runner, explored, frozenset(kinds), max_values, seed)
    began_s = clock()

    def spent() -> bool:
        explored.statistics.wall_s = clock() - began_s
        if progress is not None:
            progress(explored)
        if explored.statistics.runs >= max_runs:
            explored.ended = "runs"
        elif budget_s is not None and explored.statistics.wall_s >= budget_s:
            explored.ended = "budget"
        return explored.ended != "complete"

    failed = explorer.explore(deviations, spent)
    if failed is None:
        return explored
    assert failed.failure is not None
    shrunk = shrink_tape(
        runner,
        runner.tape_of(failed),
        wanted=signature(failed.failure),
        hash_=failed.hash,
        budget_s=SHRINK_S,
    )
    report = Report(runner, shrunk.tape, shrunk=shrunk, secrets=secrets)
    if page is not None:
        report.save(page)
    raise SimulationFailed(report) from shrunk.outcome.failure


class _Explorer:
    """Goes through the schedules, those with few deviations first."""

    def __init__(
        self,
        runner: Runner,
        explored: Explored,
        kinds: frozenset[str],
        max_values: int | None,
        seed: int,
    ) -> None:
        self._runner = runner
        self._explored = explored
        self._kinds = kinds
        self._max_values = max_values
        self._seed = seed
        self._seen: set[int] = set()

    def explore(self, bound: int, spent: Callable[[], bool]) -> Outcome | None:
        """Up to so many deviations, until something fails or `spent` says so."""
        parents: list[_Node] = []
        for count in range(bound + 1):
            level = Level(count)
            self._explored.levels.append(level)
            nodes: list[_Node] = []
            for schedule in self._schedules(count, parents):
                outcome = self._run(schedule)
                self._explored.statistics.add(outcome)
                level.runs += 1
                if outcome.failure is not None:
                    return outcome
                if _behaviour(outcome) not in self._seen:
                    self._seen.add(_behaviour(outcome))
                    level.traces += 1
                    nodes.append(_Node(schedule))
                if spent():
                    return None
            level.complete = True
            parents = nodes
        return None

    def _schedules(
        self, count: int, parents: list[_Node]
    ) -> Iterator[tuple[tuple[Address, int], ...]]:
        if count == 0:
            yield ()
        for parent in parents:
            # Its choices are asked for only now: to keep them would take too much memory.
            choices = self._run(parent.schedule, observe=True).tape.options
            assert choices is not None
            last = parent.schedule[-1][0] if parent.schedule else None
            after = last is None
            for address, options in choices.items():
                if after and kind_of(address[0]) in self._kinds:
                    most = options if self._max_values is None else self._max_values + 1
                    for value in range(1, min(options, most)):
                        yield (*parent.schedule, (address, value))
                after = after or address == last

    def _run(self, schedule: tuple[tuple[Address, int], ...], *, observe: bool = False) -> Outcome:
        return self._runner(Recorded(dict(schedule), self._seed), observe=observe)


def _behaviour(outcome: Outcome) -> int:
    return outcome.hash
