"""Running scenarios with a mutation until one run fails, and what came of it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from catalogue import SCENARIOS
from mutation import Mutation

from palaver.actors.simulation.world.running import Scenario, run
from palaver.actors.simulation.world.sources import Seeded
from palaver.actors.simulation.world.statements import Violation

__all__ = ["Caught", "hunt", "known", "note", "quiet", "unmutated"]

#: The seeds that are known to catch something, for a short check.
_KNOWN = Path(__file__).parent / "known_seeds.json"

#: A mutation may make a run that never ends: it is caught by that as well.
MAX_STEPS = 2_000_000
MAX_VIRTUAL_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Caught:
    """What came of one mutation.

    Attributes:
        seeds: how many were run.
        seed: the one that caught it; None if none did.
        statement: what did not hold there.
        wall_s: how long all of it took.
    """

    name: str
    promise: str
    scenario: str
    seeds: int
    seed: int | None
    statement: str
    wall_s: float

    @property
    def passed(self) -> bool:
        return self.seed is not None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def hunt(mutation: Mutation, seeds: Iterable[int]) -> Caught:
    """Run the mutation's scenario with one seed after the other until one fails."""
    began_s = time.perf_counter()
    scenario = SCENARIOS[mutation.scenario]
    count = 0
    failure: Exception | None = None
    seed = None
    with mutation.applied():
        for seed in seeds:
            count += 1
            failure = fails(scenario, seed)
            if failure is not None:
                break
    return Caught(
        mutation.name,
        mutation.promise,
        mutation.scenario,
        count,
        seed if failure is not None else None,
        "" if failure is None else statement(failure),
        time.perf_counter() - began_s,
    )


def unmutated(scenario: str, mutation: Mutation | None, seeds: Iterable[int]) -> str | None:
    """Run the code as it is with the same seeds; what did not hold, which should be nothing."""
    with nullcontext() if mutation is None else mutation.set_up():
        for seed in seeds:
            failure = fails(SCENARIOS[scenario], seed)
            if failure is not None:
                return f"{scenario}, seed {seed}: {statement(failure)}"
    return None


def fails(scenario: Scenario, seed: int) -> Exception | None:
    return run(scenario, Seeded(seed), max_steps=MAX_STEPS, max_virtual_s=MAX_VIRTUAL_S).failure


def statement(failure: Exception) -> str:
    """The statement that a failure is of, in a line."""
    if isinstance(failure, Violation):
        text = str(failure)
    else:
        text = f"{type(failure).__name__}: {failure}"
    return " ".join(text.split())[:160]


def quiet() -> None:
    """Let nothing be logged in this process: what goes wrong in a run is told by its outcome."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def known() -> dict[str, int]:
    """By mutation, a seed that has caught it."""
    seeds: dict[str, int] = json.loads(_KNOWN.read_text())
    return seeds


def note(rows: Iterable[Caught]) -> None:
    """Keep the seeds that have caught something, beside those of other mutations."""
    seeds = known() if _KNOWN.exists() else {}
    seeds |= {row.name: row.seed for row in rows if row.seed is not None}
    _KNOWN.write_text(json.dumps(dict(sorted(seeds.items())), indent=1) + "\n")
