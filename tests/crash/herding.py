"""Worker processes that may die by a signal over what they look at: then another one goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORKERS = 2

Heard = Callable[[str, Any], None]
"""Called with (what, told) for each line of a worker: an object with one key."""


def herd(program: str, job: Mapping[str, Any], heard: Heard, workers: int = WORKERS) -> None:
    """Do a job by several processes that run `program`, each with its share of it.

    A worker reads a line with the job (and `worker`, `workers`, `skip`: how many of its states are
    done), says `{"about": what it is}` and `{"state": number}` before each of them,
    `{"end": number}` after the last, and whatever else it has found. A death by a signal is told as
    "signal".
    """
    lock = threading.Lock()
    failures: list[BaseException] = []

    def tell(what: str, told: Any) -> None:
        with lock:
            heard(what, told)

    def look(worker: int) -> None:
        try:
            _work(program, {**job, "worker": worker, "workers": workers}, tell)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=look, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _work(program: str, job: dict[str, Any], tell: Heard) -> None:
    """Run workers, one after the other if they die, until this share is done."""
    skip, about = 0, "before the first state"
    pipe = subprocess.PIPE
    while True:
        command = [sys.executable, program]
        with subprocess.Popen(command, cwd=HERE, stdin=pipe, stdout=pipe, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps({**job, "skip": skip}) + "\n")
            child.stdin.close()
            ended = False
            for line in child.stdout:
                ((what, told),) = json.loads(line).items()
                if what == "end":
                    ended = True
                elif what == "about":
                    about = told
                else:
                    if what == "state":
                        skip = told
                    tell(what, told)
        if ended:
            return
        if child.returncode >= 0:
            raise AssertionError(f"a worker of {program} failed with {child.returncode}")
        tell("signal", f"{about}: signal {-child.returncode}")
