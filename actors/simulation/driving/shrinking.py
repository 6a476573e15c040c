"""Shrinking: the shortest tape that fails in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from palaver.actors.simulation.driving.failures import signature
from palaver.actors.simulation.driving.minimising import Attempt, BudgetSpent, Minimiser
from palaver.actors.simulation.driving.runner import Runner
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.world.running import Outcome, Scenario
from palaver.actors.simulation.world.sources import Recorded
from palaver.actors.simulation.world.tape import Deviations

__all__ = ["NotReproduced", "Shrunk", "shrink", "shrink_tape"]

BUDGET_S: Final = 120.0


class NotReproduced(AssertionError):
    """A tape did not fail again: something is not on it.

    What the scenario, or an actor in it, does depends on something beside the tape: real time, the
    order of a set, a random number of its own, what an earlier run has left in a global.
    """

    def __init__(self, tape: RecordedTape, failed: str, hash_: int, again: Outcome) -> None:
        self.tape = tape
        self.hashes = (hash_, again.hash)
        parted = "the same" if hash_ == again.hash else "different"
        what = (
            "it did not fail at all"
            if again.failure is None
            else f"it failed otherwise: {signature(again.failure)}"
        )
        super().__init__(
            f"the run does not depend on its tape alone. It failed with "
            f"{failed}; run again, {what}. The hashes of the two traces are {parted}: "
            f"{hash_:016x} and {again.hash:016x}. "
            "Look for real time, random numbers, sets, globals, files or threads in the scenario "
            f"and its actors. The tape: {tape}"
        )


@dataclass(frozen=True)
class Shrunk:
    """What became of a failing run."""

    tape: RecordedTape
    outcome: Outcome
    """The run of the shortest tape."""
    first: RecordedTape
    """The tape that was found."""
    runs: int
    """How many runs it took."""
    wall_s: float
    ended: Literal["fixpoint", "budget"]
    """Whether nothing made it shorter any more, or the time was up."""
    hashes: tuple[int, int]
    """Of the trace of the run that was given, and of the same tape run again: equal, or something
    is not on the tape."""

    @property
    def deterministic(self) -> bool:
        """Whether the same tape gave the same trace."""
        return self.hashes[0] == self.hashes[1]

    def __str__(self) -> str:
        """How far it came, in one line."""
        why = "nothing makes it shorter" if self.ended == "fixpoint" else "the time was up"
        return (
            f"{len(self.first.deviations)} deviations became {len(self.tape.deviations)} "
            f"in {self.runs} runs and {self.wall_s:.1f} s: {why}"
        )


def shrink(
    scenario: Scenario | str | Runner,
    outcome: Outcome,
    *,
    budget_s: float = BUDGET_S,
    max_runs: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] | None = None,
) -> Shrunk:
    """Find the shortest tape that fails as `outcome` did.

    First whole kinds of deviations are left out, then whole streams, then single ones; then values
    become small and deviations come sooner; all of that until nothing helps any more. A failure is
    the same if `signature` says so.

    Args:
        scenario: What was run.
        outcome: A run of it that failed.
        budget_s: Real seconds after which the shortest so far is taken.
        max_runs: The same by count.
        clock: Tells real seconds.
        progress: Called after each run with the number of runs and of deviations left.

    Raises:
        NotReproduced: The tape did not fail again.
        ValueError: The run did not fail.
    """
    if outcome.failure is None:
        raise ValueError("the run did not fail: there is nothing to shrink")
    runner = Runner.of(scenario)
    return shrink_tape(
        runner,
        runner.tape_of(outcome),
        wanted=signature(outcome.failure),
        hash_=outcome.hash,
        budget_s=budget_s,
        max_runs=max_runs,
        clock=clock,
        progress=progress,
    )


def shrink_tape(
    runner: Runner,
    first: RecordedTape,
    *,
    wanted: str,
    hash_: int,
    budget_s: float = BUDGET_S,
    max_runs: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[int, int], None] | None = None,
) -> Shrunk:
    """`shrink` for a tape whose run had the signature `wanted` and a trace of this hash."""
    began_s = clock()
    runs = 0
    best: Outcome | None = None

    def trial(deviations: Deviations) -> Attempt | None:
        nonlocal runs, best
        spent = clock() - began_s >= budget_s or (max_runs is not None and runs >= max_runs)
        if runs and spent:
            raise BudgetSpent
        runs += 1
        found = runner(Recorded(deviations, first.seed))
        attempt = None
        if found.failure is not None and signature(found.failure) == wanted:
            attempt = Attempt(dict(found.tape.deviations), found.steps)
            if best is None or attempt.weight < _attempt_of(best).weight:
                best = found
        elif best is None:
            raise NotReproduced(first, wanted, hash_, found)
        if progress is not None and best is not None:
            progress(runs, len(best.tape.deviations))
        return attempt

    start = trial(first.deviations)
    assert start is not None
    assert best is not None
    hashes = (hash_, best.hash)
    done = Minimiser(start, trial).minimise()
    return Shrunk(
        tape=runner.tape_of(best),
        outcome=best,
        first=first,
        runs=runs,
        wall_s=clock() - began_s,
        ended="fixpoint" if done else "budget",
        hashes=hashes,
    )


def _attempt_of(outcome: Outcome) -> Attempt:
    return Attempt(outcome.tape.deviations, outcome.steps)
