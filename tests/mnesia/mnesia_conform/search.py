"""Random programs, in rounds: each round ends with its first failure, made small."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from mnesia_conform.check import Checker, Mismatch
from mnesia_conform.corpus import CORPUS
from mnesia_conform.differences import DIFFERENCES
from mnesia_conform.generate import FAMILIES
from mnesia_conform.language import Program

__all__ = ["ROUND", "Tally", "conform", "search"]

ROUND = 100
"""Programs in a round."""


class Tally:
    """How many programs passed and failed."""

    def __init__(self) -> None:
        self.passed = 0
        self.failures: list[str] = []

    def attempt(self, name: str, run: Callable[[], None]) -> None:
        """Run something that passes or fails."""
        try:
            run()
        except AssertionError as failure:
            self.failures.append(f"{name}\n{failure}")
        else:
            self.passed += 1


def search(checker: Checker, family: str, number: int, seed_: int, tally: Tally) -> None:
    """Check `number` programs of a family; stops at the first failure, and makes it small."""
    failed: list[Program] = []

    @seed(seed_)
    @settings(
        max_examples=number,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(FAMILIES[family])
    def programs(program: Program) -> None:
        if not failed:  # else the rest is only drawn
            try:
                checker.check(program)
            except Mismatch:
                failed.append(program)
            else:
                tally.passed += 1

    programs()
    for program in failed:
        tally.failures.append(f"{family}, seed {seed_}\n{smallest(checker, program)}")


def smallest(checker: Checker, program: Program) -> Mismatch:
    """How a program fails in the same place that has no step and no operation too many.

    Hypothesis would make the values smaller too, but takes hundreds of times as long.
    """
    failure = checker.failure(program)
    assert failure is not None
    found = True
    while found:
        found = False
        for fewer in with_less(program.steps):
            smaller = checker.failure(Program(fewer, program.disc))
            if smaller is not None and smaller.where == failure.where:
                program, failure, found = Program(fewer, program.disc), smaller, True
                break
    return failure


def with_less(steps: list[Any]) -> Iterator[list[Any]]:
    """Lists of steps or operations that lack one, last ones first; also within activities."""
    for at in range(len(steps) - 1, -1, -1):
        before, step, after = steps[:at], steps[at], steps[at + 1 :]
        yield [*before, *after]
        if step[0] in ("activity", "nested"):
            for body in with_less(step[2]):
                yield [*before, (*step[:2], body, *step[3:]), *after]
        if step[0] == "nested":
            yield [*before, *step[2], *after]
        if step[0] == "try":
            yield [*before, step[1], *after]


def conform(number: int, first_seed: int) -> int:
    """Run the corpus and `number` random programs; print what came of it; the exit status."""
    tally = Tally()
    began = time.monotonic()
    with Checker() as checker:
        for name, program in CORPUS.items():
            tally.attempt(name, lambda program=program: checker.check(program))
        print(f"{len(CORPUS)} programs written by hand, {number} random ones, seed {first_seed}")
        families = list(FAMILIES)
        done = 0
        while done < number:
            size = min(ROUND, number - done)
            turn = done // ROUND
            search(checker, families[turn % len(families)], size, first_seed + turn, tally)
            done += size
            print(f"{done} of {number}, {time.monotonic() - began:.0f} s", file=sys.stderr)
        show_differences(checker)
    for failure in tally.failures:
        print("\n" + "=" * 100 + f"\n{failure}")
    print(f"\n{tally.passed} passed, {len(tally.failures)} failed")
    return 1 if tally.failures else 0


def show_differences(checker: Checker) -> None:
    """Print the table of what is meant to differ, and how often it did."""
    print("meant to differ (with how often it came up, or - where it is kept from coming up):")
    for difference in DIFFERENCES:
        met = "-" if difference.meant is None else str(checker.met[difference.name])
        print(f"  {met:>5}  {difference.name}: {difference.text}")
