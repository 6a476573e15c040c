"""Opens many of the disks that recorded runs could have left, and counts what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Task:
    """A tape, and how many of the disks that it allows are to be opened.

    Attributes:
        name: for findings.
        tape: the file.
        root: the folder that was recorded.
        states: different disks at most.
        judge: who looks at them, as `module:class`, made with `arguments`.
        start: a copy of what was in the folder before, "" for nothing.
        notes: what was promised before.
    """

    name: str
    tape: str
    root: str
    states: int
    judge: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    notes: Sequence[str] = ()


@dataclass(slots=True)
class Totals:
    """What came out of opening disks."""

    opened: int = 0
    lost: int = 0
    torn: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.opened} states opened, {self.lost} acked lost, {self.torn} torn"


def search(
    tasks: Sequence[Task], scratch: Path, *, seed: int, workers: int = WORKERS
) -> Totals:
    """Open different disks of each tape in processes of their own; see `cuts.plan`."""
    totals = Totals()
    lock = threading.Lock()
    failures: list[BaseException] = []

    def look(worker: int) -> None:
        job = {
            "tasks": [asdict(task) for task in tasks],
            "place": str(scratch / f"disk-{worker}"),
            "seed": seed,
            "worker": worker,
            "workers": workers,
        }
        try:
            _work(job, totals, lock)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=look, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return totals


def _work(job: dict[str, Any], totals: Totals, lock: threading.Lock) -> None:
    """Run workers, one after the other if they die, until the job is done."""
    skip = 0
    while True:
        command = [sys.executable, "worker.py"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=HERE, stdin=pipe, stdout=pipe, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps({**job, "skip": skip}) + "\n")
            child.stdin.close()
            ended = False
            for line in child.stdout:
                ((what, told),) = json.loads(line).items()
                with lock:
                    if what == "state":
                        totals.opened += 1
                        skip = told
                    elif what == "end":
                        ended = True
                    else:
                        setattr(totals, what, getattr(totals, what) + 1)
                        totals.findings.append(f"{what}: {told}")
        if ended:
            return
        assert child.returncode < 0, f"a worker failed with {child.returncode}"
        with lock:
            totals.torn += 1
            totals.findings.append(
                f"torn: signal {-child.returncode} while state {skip} of worker {job['worker']} "
                "was open"
            )
