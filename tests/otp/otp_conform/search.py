"""Random programs, in rounds: each round ends with its first failure, made small."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from otp_conform.check import Checker
from otp_conform.corpus import CORPUS
from otp_conform.differences import DIFFERENCES
from otp_conform.generate import FAMILIES
from otp_conform.language import Program

__all__ = ["ROUND", "Tally", "conform", "search"]

ROUND = 250
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
    """Check `number` programs of a family; stops at the first failure, and shrinks it."""
    ran = 0
    failed = False

    @seed(seed_)
    @settings(
        max_examples=number,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(FAMILIES[family](), st.integers(0, 3))
    def programs(program: Program, shuffle: int) -> None:
        nonlocal ran, failed
        try:
            checker.check(program, shuffle)
        except AssertionError:
            failed = True
            raise
        if not failed:
            ran += 1

    try:
        programs()
    except AssertionError as failure:
        tally.failures.append(f"{family}, seed {seed_}\n{failure}")
    tally.passed += ran


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
    print(f"{checker.other_schedules} programs agree with the BEAM in another order of turns only")
    print("meant to differ (with how often it came up, or - where it is kept from coming up):")
    for difference in DIFFERENCES:
        met = "-" if difference.meant is None else str(checker.met[difference.name])
        print(f"  {met:>5}  {difference.name}: {difference.text}")
