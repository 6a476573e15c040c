"""What an embedder does: the bugs planted in two examples are found in every way, and shrunk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from palaver.actors.runtime import KILL
from palaver.actors.simulation import Seeded, check_deterministic, run
from palaver.actors.simulation.driving import check, explore, replay, search, strategies
from palaver.actors.simulation.reporting import SimulationFailed
from palaver.supervisors import ChildSpec, Supervisor

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

import simulated_bank as bank  # noqa: E402
import simulated_jobs as jobs  # noqa: E402

SCREEN = 100, 120
"""Lines and columns of what a person can look at at once."""


@pytest.mark.parametrize("scenario", [jobs.forgetful, bank.careless], ids=["jobs", "bank"])
def test_a_planted_bug_is_found_by_seeds_and_shrunk(scenario: Callable[..., Any]) -> None:
    with pytest.raises(SimulationFailed) as caught:
        check(scenario, range(50))
    failed = caught.value
    assert len(failed.tape.deviations) <= 2
    report = str(failed)
    assert len(report.splitlines()) <= SCREEN[0]
    assert max(map(len, report.splitlines())) <= SCREEN[1]
    with pytest.raises(SimulationFailed) as again:
        replay(str(failed.tape))
    assert again.value.tape == failed.tape


def test_what_never_came_about_is_drawn_where_it_went_wrong() -> None:
    with pytest.raises(SimulationFailed) as caught:
        check(jobs.forgetful, range(50))
    _, drawing = str(caught.value).split("before the failure:")
    before, gap, after = drawing.split("\n~ ")[0], "more events)", drawing.split("\n~ ")[1]
    assert "is killed" in before
    assert "call Take" in before.split("is killed")[0]  # how the dead worker had got its job
    assert gap in after
    assert after.index("failure: scenario") > after.index(gap)


@pytest.mark.parametrize("scenario", [jobs.leasing, bank.careful], ids=["jobs", "bank"])
def test_the_mended_program_passes(scenario: Callable[..., Any]) -> None:
    campaign = check(scenario, range(300))
    assert campaign.statistics.runs == 300


@pytest.mark.parametrize("scenario", [jobs.leasing, bank.careful], ids=["jobs", "bank"])
def test_the_examples_are_deterministic(scenario: Callable[..., Any]) -> None:
    check_deterministic(scenario, 3, hash_seeds=(1,))
    assert run(scenario, Seeded(3), strict=True).failure is None


def test_the_faults_of_the_examples_happen() -> None:
    for scenario in (jobs.leasing, bank.careful):
        assert not search(scenario, range(60)).statistics.coverage.missed


def test_a_lost_job_is_found_by_exploration() -> None:
    with pytest.raises(SimulationFailed) as caught:
        explore(jobs.forgetful, deviations=1, kinds=["kill"])
    assert len(caught.value.tape.deviations) == 1


def test_a_lost_job_is_found_by_hypothesis() -> None:
    found = settings(strategies.SETTINGS, max_examples=300, database=None, print_blob=False)

    @strategies.simulated(settings=found, kinds=["kill"])
    async def finds(world: Any) -> None:
        await jobs.forgetful(world)

    with pytest.raises(SimulationFailed) as caught:
        finds()
    assert len(caught.value.tape.deviations) == 1


class JobsMachine(strategies.SimulatedStateMachine):
    """Jobs, deaths and time, in any order."""

    queue = jobs.ForgetfulQueue
    kinds = ("order", "late")

    async def boot(self) -> None:
        async def start(host: Any) -> None:
            node = await host.node()
            await node.start_server(self.queue, name="jobs")
            workers = [ChildSpec(f"worker {n}", jobs.Worker) for n in range(jobs.WORKERS)]
            await node.start_server(Supervisor, workers, intensity=1000)

        self.submitted = 0
        host = self.world.host("office", start)
        await host.start()
        self.node = host.nodes[0]

    @rule(count=st.integers(1, 5))
    def submit(self, count: int) -> None:
        for _ in range(count):
            self.node.cast("jobs", self.submitted)
            self.submitted += 1

    @rule(which=st.integers(0, jobs.WORKERS - 1))
    def kill_a_worker(self, which: int) -> None:
        workers = [p for p in self.node.table.values() if isinstance(p.context, jobs.Worker)]
        self.node.exit(workers[which % len(workers)].pid, KILL)
        self.advance(0.0)

    @rule(seconds=st.floats(0.0, 2.0))
    def wait(self, seconds: float) -> None:
        self.advance(seconds)

    @invariant()
    def nothing_is_done_that_nobody_asked_for(self) -> None:
        if hasattr(self, "node"):
            assert set(self.results()) <= set(range(self.submitted))

    async def finish(self) -> None:
        await self.world.eventually(
            lambda: len(self.results()) == self.submitted, "all jobs are done", within_s=60.0
        )

    def results(self) -> dict[int, int]:
        process = self.node.whereis("jobs").process_
        results: dict[int, int] = process.context.results
        return results


class LeasingMachine(JobsMachine):
    queue = jobs.LeasingQueue


QUICK = settings(
    strategies.SETTINGS,
    max_examples=60,
    stateful_step_count=12,
    database=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
)


def test_a_lost_job_is_found_by_a_state_machine() -> None:
    with pytest.raises(AssertionError, match="all jobs are done"):
        run_state_machine_as_test(JobsMachine, settings=QUICK)


def test_a_state_machine_finds_nothing_in_the_mended_program() -> None:
    run_state_machine_as_test(LeasingMachine, settings=QUICK)
