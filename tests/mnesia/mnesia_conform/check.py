"""Runs a program on both sides and says whether what Mnesia determines is equal."""

from __future__ import annotations

import json
from collections import Counter
from copy import copy
from itertools import islice, zip_longest
from types import TracebackType
from typing import Any, Self

from mnesia_conform.beam import Mnesia
from mnesia_conform.compare import canonical
from mnesia_conform.differences import explain
from mnesia_conform.doing import Operations
from mnesia_conform.language import Program
from mnesia_conform.ours import Ours

__all__ = ["Checker", "Mismatch"]


class Mismatch(AssertionError):
    """The tables do what Mnesia does not; the text shows the program and both logs.

    Attributes:
        where: the instruction and the table at which they differ first.
    """

    def __init__(self, text: str, where: list[str]) -> None:
        super().__init__(text)
        self.where = where


class Checker:
    """Compares programs; used by `with`. `met` counts the meant differences that came up."""

    def __init__(self) -> None:
        self.runner = Ours
        self.operations = Operations
        self.mnesia = Mnesia()
        self.met: Counter[str] = Counter()

    def planted(self, mutant: type[Operations | Ours]) -> Checker:
        """One with the same Mnesia, and with a fault in the tables."""
        other = copy(self)
        other.met = Counter()
        if issubclass(mutant, Ours):
            other.runner = mutant
        else:
            other.operations = mutant
        return other

    def check(self, program: Program) -> None:
        """Raise `Mismatch` if the two sides differ in what is determined."""
        theirs = canonical(self.mnesia.run(program), disc=program.disc)
        ours = canonical(self.runner(program, self.operations).run(), disc=program.disc)
        names, first = compared(theirs, ours)
        if first is not None:
            entries = [log[first] for log in (theirs, ours) if first < len(log)]
            raise Mismatch(report(program, theirs, ours, first), entries[0][:2])
        self.met.update(names)

    def failure(self, program: Program) -> Mismatch | None:
        """How the two sides differ, if they do."""
        try:
            self.check(program)
        except Mismatch as failure:
            return failure
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.mnesia.__exit__(kind, error, trace)


def compared(theirs: list[Any], ours: list[Any]) -> tuple[list[str], int | None]:
    """The meant differences between two logs, and where they differ otherwise."""
    names: list[str] = []
    codes: list[Any] = []  # which error of one is the other's
    for number, (one, other) in enumerate(zip_longest(theirs, ours)):
        if json.dumps(one) == json.dumps(other):
            continue
        if one is None or other is None:
            return names, number
        errors = [entry[2][1] for entry in (one, other) if entry[2][0] == "error"]
        if one[0] == other[0] in ("activity", "nested", "try", "outside") and errors in codes:
            continue
        name = explain(one, other)
        if name is None:
            return names, number
        names.append(name)
        codes.append(errors)
    return names, None


def report(program: Program, theirs: list[Any], ours: list[Any], first: int) -> str:
    """The program, and both logs side by side up to the first difference that is not meant."""
    lines = [str(program), "", f"{'Mnesia':<70}| Palaver"]
    for one, other in islice(zip_longest(theirs, ours), first + 1):
        left = _line(one)
        if json.dumps(one) != json.dumps(other):
            left = f"{left:<70}| {_line(other)}"
        lines.append(left)
    return "\n".join(lines)


def _line(entry: Any) -> str:
    if entry is None:
        return "(nothing more)"
    name, table, (kind, *values) = entry
    return (
        f"{name} {table}: {'' if kind == 'value' else kind + ' '}{' | '.join(map(_term, values))}"
    )


def _term(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    tag, *rest = value
    if tag in ("float", "text"):
        return repr(rest[0])
    return "(" + ", ".join(map(_term, rest)) + ")"
