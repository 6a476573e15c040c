"""Many seeds: run a scenario with one after the other, here or in several processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from palaver.actors.simulation.driving.failures import signature
from palaver.actors.simulation.driving.runner import Runner, ScenarioUnknown, scenario_named
from palaver.actors.simulation.driving.shrinking import BUDGET_S, shrink_tape
from palaver.actors.simulation.driving.statistics import Statistics
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.driving.workers import Workers
from palaver.actors.simulation.reporting.failure import Report, SimulationFailed
from palaver.actors.simulation.world.running import Scenario
from palaver.actors.simulation.world.sources import Seeded
from palaver.actors.simulation.world.tape import Source

__all__ = ["Campaign", "Found", "check", "search"]

SEEDS: Final = range(100)


@dataclass(frozen=True)
class Found:
    """A seed that failed."""

    seed: int
    signature: str
    """What is equal for failures that are the same one."""
    text: str
    """What the failure said."""
    tape: RecordedTape
    """As it was, not shrunk."""
    hash: int
    """Of its trace."""


@dataclass
class Campaign:
    """What came of some seeds."""

    statistics: Statistics = field(default_factory=Statistics)
    found: list[Found] = field(default_factory=list)
    """The failures, by seed."""
    ended: Literal["seeds", "failures", "budget"] = "seeds"
    """Why it ended: all seeds were run, enough have failed, the time was up."""

    def __str__(self) -> str:
        """The figures, and a line for each failure."""
        why = {
            "seeds": "all seeds were run",
            "failures": "enough have failed",
            "budget": "the time was up",
        }[self.ended]
        lines = [str(self.statistics), f"ended: {why}"]
        lines += [f"seed {one.seed} failed: {one.signature}" for one in self.found]
        return "\n".join(lines)


def search(
    scenario: Scenario | str | Runner,
    seeds: Iterable[int] = SEEDS,
    *,
    max_failures: int = 1,
    budget_s: float | None = None,
    jobs: int = 1,
    swarm: bool = True,
    rates: Mapping[str, float] | None = None,
    source: Callable[[int], Source] | None = None,
    progress: Callable[[Campaign], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Campaign:
    """Run a scenario with many seeds, until enough have failed or the time is up.

    Args:
        scenario: An ``async def scenario(world)``, or its ``module:function``.
        seeds: May have no end, if there is a budget.
        max_failures: So many failing seeds are enough.
        budget_s: Real seconds after which no further seed is begun.
        jobs: Processes that share the work; more than one needs a scenario that can be imported.
        swarm: Let each seed switch whole kinds of faults off, down or up.
        rates: Rates of kinds, in place of those that the world names.
        source: Makes the source of each seed, such as `Few`, in place of `Seeded`; not with jobs.
        progress: Called after each run.
        clock: Tells real seconds.
        options: Further arguments of `run`: ``max_virtual_s``, ``max_steps``.

    Raises:
        ScenarioUnknown: With several jobs, for a scenario that another process cannot import.
        WorkerDied: One of the processes ended by itself.
        ValueError: A source of one's own, and several jobs.
    """
    if source is not None and jobs != 1:
        raise ValueError("a source of one's own cannot be given to other processes: use jobs=1")
    make = source or partial(Seeded, swarm=swarm, rates=rates)
    runner = Runner.of(scenario, **options)
    campaign = Campaign()
    began_s = clock()

    def done() -> bool:
        campaign.statistics.wall_s = clock() - began_s
        if progress is not None:
            progress(campaign)
        if len(campaign.found) >= max_failures:
            campaign.ended = "failures"
        elif budget_s is not None and campaign.statistics.wall_s >= budget_s:
            campaign.ended = "budget"
        return campaign.ended != "seeds"

    if jobs == 1:
        for seed in seeds:
            outcome = runner(make(seed))
            campaign.statistics.add(outcome)
            if outcome.failure is not None:
                tape = runner.tape_of(outcome)
                found = Found(
                    seed, signature(outcome.failure), str(outcome.failure), tape, outcome.hash
                )
                campaign.found.append(found)
            if done():
                break
    else:
        with Workers(jobs, _importable(runner), swarm=swarm, rates=rates) as workers:
            for result in workers.run(seeds):
                campaign.statistics.merge(Statistics.of_json(result["statistics"]))
                if "tape" in result:
                    tape = RecordedTape.parse(result["tape"])
                    what, text = result["signature"], result["text"]
                    found = Found(result["seed"], what, text, tape, result["hash"])
                    campaign.found.append(found)
                if done():
                    break
    campaign.found.sort(key=lambda one: one.seed)
    return campaign


def check(
    scenario: Scenario | str | Runner,
    seeds: Iterable[int] = SEEDS,
    *,
    shrink_s: float = BUDGET_S,
    secrets: bool = False,
    page: Path | str | None = None,
    **options: Any,
) -> Campaign:
    """Run a scenario with many seeds; the first that fails is shrunk and raised as a report.

        def test_the_bank():
            check(transfers, seeds=range(200))

    Args:
        scenario: An ``async def scenario(world)``, or its ``module:function``.
        seeds: Which ones.
        shrink_s: Real seconds for shrinking; 0 takes the run as it was found.
        secrets: Show what servers hide from reports (`Watch`).
        page: Where to save the report as an HTML page, should a seed fail.
        options: As for `search`.

    Raises:
        SimulationFailed: A seed failed; its text is the whole report.
        NotReproduced: A seed failed, and its tape did not.
    """
    campaign = search(scenario, seeds, **{**options, "max_failures": 1})
    if not campaign.found:
        return campaign
    given = {key: options[key] for key in options if key not in _OF_SEARCH}
    runner = Runner.of(scenario, **given)
    first = campaign.found[0]
    shrunk = shrink_tape(
        runner, first.tape, wanted=first.signature, hash_=first.hash, budget_s=shrink_s
    )
    report = Report(runner, shrunk.tape, seed=first.seed, shrunk=shrunk, secrets=secrets)
    if page is not None:
        report.save(page)
    raise SimulationFailed(report) from shrunk.outcome.failure


_OF_SEARCH: Final = frozenset(
    {"max_failures", "budget_s", "jobs", "swarm", "rates", "source", "progress", "clock"}
)


def _importable(runner: Runner) -> Runner:
    try:
        found = scenario_named(runner.name)
    except ScenarioUnknown as error:
        raise ScenarioUnknown(
            f"several jobs need a scenario that other processes can import: {error}"
        ) from error
    if found is not runner.scenario:
        raise ScenarioUnknown(
            f"several jobs need a scenario that other processes can import; {runner.name} is "
            "another one: give a function of a module, or jobs=1"
        )
    return runner
