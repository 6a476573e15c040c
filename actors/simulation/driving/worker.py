"""A process that runs seeds for `Workers`: a task and lists of seeds come in, results go out."""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

__all__ = ["main"]


def main(orders: IO[str], results: IO[str]) -> None:
    """Run what comes, until nothing more does."""
    task = json.loads(next(orders))
    sys.path[:] = task["path"]
    # Only now: the scenario's modules, and ours, may be found there only.
    from palaver.actors.simulation.driving.runner import Runner

    runner = Runner.of(task["scenario"], **task["options"])
    for line in orders:
        for seed in json.loads(line):
            result = _result(runner, seed, task["swarm"], task["rates"])
            results.write(json.dumps(result) + "\n")
            results.flush()


def _result(runner: Any, seed: int, swarm: bool, rates: dict[str, float] | None) -> dict[str, Any]:
    from palaver.actors.simulation.driving.failures import signature
    from palaver.actors.simulation.driving.statistics import Statistics
    from palaver.actors.simulation.world.sources import Seeded

    outcome = runner(Seeded(seed, swarm=swarm, rates=rates))
    statistics = Statistics()
    statistics.add(outcome)
    result = {"seed": seed, "statistics": statistics.as_json()}
    if outcome.failure is not None:
        result["signature"] = signature(outcome.failure)
        result["hash"] = outcome.hash
        result["text"] = str(outcome.failure)
        result["tape"] = str(runner.tape_of(outcome))
    return result


if __name__ == "__main__":
    # What the scenario prints must not come between the results.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.stdin, pipe)
