"""Whether the simulation catches every realistic bug, and after how many seeds.

    python run.py [--seeds N] [--only NAME] [--jobs N] [--json] [--list] [--note]

applies one mutation after the other, runs its scenario seed by seed until it is caught, and prints
a row for each. The last row is the code without any: it passes with all the seeds that caught
something, and with those before. `--note` keeps the seeds that caught something for the tests,
which begin there. Closes with "N passed, N failed" and ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

from hunting import Caught, hunt, note, quiet, unmutated
from mutants import MUTATIONS
from mutation import Mutation

SEEDS = 2_000
"""Within so many a mutation has to be caught."""

_BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
_PART = 50
"""So many seeds of the unmutated code are one piece of work."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _parser().parse_args(arguments)
    chosen = [each for each in MUTATIONS if not options.only or options.only in each.name]
    if options.list:
        for mutation in chosen:
            print(f"{mutation.name:34} {mutation.mistake}")
        return 0
    if not chosen:
        print(f"no mutation's name has {options.only!r} in it; --list shows all", file=sys.stderr)
        return 2
    rows: list[Caught] = []
    with _workers(options.jobs) as each_of:
        work = partial(_hunt, seeds=options.seeds)
        for caught in each_of(work, [mutation.name for mutation in chosen]):
            rows.append(caught)
            if not options.json:
                _print(caught, first=len(rows) == 1)
        began_s = time.perf_counter()
        pieces = list(_pieces(chosen, rows))
        found = [text for text in each_of(_control, pieces) if text is not None]
    control = _row_of_control(pieces, found, time.perf_counter() - began_s)
    if options.note:
        note(rows)
    passed = sum(row.passed for row in rows) + (not found)
    failed = len(rows) + 1 - passed
    if options.json:
        everything = [*(row.as_json() for row in rows), {**control.as_json(), "passed": not found}]
        print(json.dumps({"rows": everything, "passed": passed, "failed": failed}, indent=1))
    else:
        _print(control)
        _explain([row for row in rows if not row.passed], found)
        print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="catch it within so many seeds")
    parser.add_argument("--only", default="", help="only mutations with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--note", action="store_true", help="keep the seeds for the tests")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    return parser


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Something like `map`, in so many processes; in this one if it is one."""
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), quiet) as pool:
        yield pool.map


def _hunt(name: str, seeds: int) -> Caught:
    return hunt(_BY_NAME[name], range(seeds))


Piece = tuple[str, str, range]
"""A scenario, the mutation whose setting is used (or none), and seeds."""


def _pieces(mutations: Sequence[Mutation], rows: Sequence[Caught]) -> Iterator[Piece]:
    """The seeds to run without a mutation: those that were run with one."""
    seeds: dict[tuple[str, str], int] = {}
    for mutation, row in zip(mutations, rows, strict=True):
        if row.passed:
            key = (mutation.scenario, mutation.name if mutation.setting else "")
            seeds[key] = max(row.seeds, seeds.get(key, 0))
    for (scenario, name), count in seeds.items():
        for start in range(0, count, _PART):
            yield scenario, name, range(start, min(count, start + _PART))


def _control(piece: Piece) -> str | None:
    scenario, name, seeds = piece
    return unmutated(scenario, _BY_NAME.get(name), seeds)


def _row_of_control(pieces: Sequence[Piece], found: Sequence[str], wall_s: float) -> Caught:
    scenarios = sorted({scenario for scenario, _, _ in pieces})
    runs = sum(len(seeds) for _, _, seeds in pieces)
    return Caught(
        "none",
        "all of them hold",
        f"{len(scenarios)} of these",
        runs,
        None,
        found[0] if found else "nothing, as it should be",
        wall_s,
    )


_COLUMNS = "{:34} {:46} {:12} {:>6}  {:>6}  {}"


def _print(row: Caught, *, first: bool = False) -> None:
    if first:
        print(_COLUMNS.format("mutation", "promise", "scenario", "seeds", "s", "caught by"))
    said = row.statement if row.passed or row.name == "none" else "NOT CAUGHT"
    print(
        _COLUMNS.format(
            row.name,
            textwrap.shorten(row.promise, 46, placeholder="..."),
            row.scenario,
            row.seeds,
            f"{row.wall_s:.1f}",
            textwrap.shorten(said, 90, placeholder="..."),
        ),
        flush=True,
    )


def _explain(missed: Sequence[Caught], found: Sequence[str]) -> None:
    for row in missed:
        print(f"\nnot caught: {row.name}: {_BY_NAME[row.name].mistake}")
        print(f"  after {row.seeds} seeds of {row.scenario}: the promises or the days are too weak")
    for text in found:
        print(f"\nwithout any mutation: {text}")


if __name__ == "__main__":
    quiet()
    sys.exit(main())
