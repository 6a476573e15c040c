"""Runs a program on both sides and says whether what OTP determines is equal.

The BEAM is asked first in its usual schedule. Where Palaver shows something else, that need not be
a fault: several processes may have raced. So the BEAM is asked again, with other priorities and
with turns given away, and Palaver is right if the BEAM can be seen to do just the same. It is wrong
if it never is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import zip_longest
from types import TracebackType
from typing import Any, Self

from otp_conform import processes
from otp_conform.beam import Beam
from otp_conform.compare import canonical
from otp_conform.differences import explain
from otp_conform.language import Program
from otp_conform.world import run_program

__all__ = ["SCHEDULES", "Checker", "Mismatch"]

SCHEDULES = 300
"""Schedules of the BEAM that are tried before Palaver is said to be wrong."""


class Mismatch(AssertionError):
    """Palaver does what the BEAM never does; the text shows the program and both logs."""


class Checker:
    """Compares programs; used by `with`. `met` counts the meant differences that came up."""

    def __init__(self, actors: Any = processes, schedules: int = SCHEDULES) -> None:
        self.actors = actors
        self.schedules = schedules
        self.beam = Beam()
        self.runner = asyncio.Runner()
        self.met: Counter[str] = Counter()
        self.other_schedules = 0

    def check(self, program: Program, shuffle: int = 0) -> None:
        """Raise `Mismatch` if the two sides differ in what is determined."""
        raw = self.runner.run(run_program(program, self.actors, shuffle))
        shuffled = bool(shuffle)
        ours = canonical(program, raw, shuffled=shuffled)
        usual = None
        for schedule in range(self.schedules):
            observed = self.beam.run(program, schedule)
            usual = usual or observed
            names = explain(canonical(program, observed, shuffled=shuffled), ours)
            if names is not None:
                self.met.update(names)
                self.other_schedules += schedule > 0
                return
        raise Mismatch(report(program, usual, raw, shuffled=shuffled))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.runner.close()
        self.beam.close()


def report(program: Program, otp: Any, ours: Any, *, shuffled: bool = False) -> str:
    """The program, and both logs side by side."""
    lines = [str(program), "", f"{'OTP':<58}| Palaver"]
    left = canonical(program, otp, shuffled=shuffled)
    right = canonical(program, ours, shuffled=shuffled)
    for number, (one, other) in enumerate(zip(otp[0], ours[0], strict=True)):
        differs = explain(left[0][number], right[0][number]) is None
        lines.append(f"-- step {number}" + (" differs" if differs else ""))
        for pair in zip_longest(one, other, fillvalue=""):
            first, second = map(_line, pair)
            lines.append(f"{first:<58}| {second}")
        if differs:
            for part in left[0][number]:
                if left[0][number][part] != right[0][number][part]:
                    lines.append(f"   {part} by OTP:     {left[0][number][part]}")
                    lines.append(f"   {part} by Palaver: {right[0][number][part]}")
    if otp[1] != ours[1]:
        lines += ["-- the end differs", f"   by OTP:     {otp[1]}", f"   by Palaver: {ours[1]}"]
    return "\n".join(lines)


def _line(entry: Any) -> str:
    if not entry:
        return ""
    who, event = entry
    return f"{who} {event if isinstance(event, str) else ' '.join(map(str, event))}"
