"""Runs a scenario in an interpreter of its own, in which sets have another order.

`python -m palaver.actors.simulation.guarding.elsewhere` reads what to run as JSON from its
standard input, and writes what came of it into the file that is named there.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from palaver.actors.simulation.errors import SimulationError
from palaver.actors.simulation.guarding.recording import Replay, Run, Step, perform
from palaver.actors.simulation.world.running import Scenario

__all__ = ["main", "perform_elsewhere", "where_of"]

_MAX_OUTPUT: Final = 4_000


def where_of(scenario: Scenario) -> dict[str, str]:
    """Where another interpreter finds a scenario: its module, file and name.

    Raises:
        SimulationError: it is not a function at the top level of a module that is a file.
    """
    module = sys.modules.get(getattr(scenario, "__module__", None) or "")
    name = getattr(scenario, "__qualname__", "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or not name or "<" in name:
        raise SimulationError(
            f"{scenario!r} cannot be found from another interpreter: write the scenario as an "
            "`async def` at the top level of a module, or compare in this interpreter only, "
            "with `hash_seeds=()`"
        )
    return {"module": module.__name__, "file": str(Path(file).resolve()), "name": name}


def perform_elsewhere(
    scenario: Scenario, replay: Replay, hash_seed: int, *, record: bool = False
) -> Run:
    """Run a scenario in a new interpreter with this PYTHONHASHSEED.

    Raises:
        SimulationError: it cannot be found there, or the interpreter failed.
    """
    with tempfile.TemporaryDirectory(prefix="palaver-") as folder:
        answer = Path(folder) / "run.json"
        asked = {
            "scenario": where_of(scenario),
            "replay": replay._asdict(),
            "record": record,
            "path": sys.path,
            "answer": str(answer),
        }
        done = subprocess.run(  # noqa: S603 - this interpreter, with our own module
            [sys.executable, "-m", __name__],
            input=json.dumps(asked),
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode or not answer.exists():
            said = done.stdout[-_MAX_OUTPUT:]
            raise SimulationError(f"the scenario could not be run in another interpreter:\n{said}")
        told: dict[str, Any] = json.loads(answer.read_text())
    steps = [Step(*step) for step in told["steps"]]
    deviations = {(name, number): value for name, number, value in told["deviations"]}
    return Run(told["hash"], told["failure"], steps, deviations)


def _module(module: str, file: str) -> ModuleType:
    """The module again: under its name if it is found so, else from its file."""
    try:
        found = importlib.util.find_spec(module) if module != "__main__" else None
    except (ImportError, ValueError):
        found = None
    if found is not None and found.origin and Path(found.origin).resolve() == Path(file):
        return importlib.import_module(module)
    # Not as __main__: what a program does under that name is not wanted.
    name = "__scenario__" if module == "__main__" else module
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main() -> None:
    """Run what standard input asks for."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    where = asked["scenario"]
    scenario = cast("Scenario", attrgetter(where["name"])(_module(where["module"], where["file"])))
    run = perform(scenario, Replay(**asked["replay"]), record=asked["record"])
    deviations = [(name, number, value) for (name, number), value in run.deviations.items()]
    told = {**run._asdict(), "deviations": deviations}
    Path(asked["answer"]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
