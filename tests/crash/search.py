"""Opens many of the disks that a recorded run could have left, and counts what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORKERS = 2


@dataclass(slots=True)
class Totals:
    """What came out of opening disks."""

    opened: int = 0
    lost: int = 0
    torn: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, other: Totals) -> None:
        """Add another search's figures."""
        self.opened += other.opened
        self.lost += other.lost
        self.torn += other.torn
        self.findings.extend(other.findings)

    def __str__(self) -> str:
        return f"{self.opened} states opened, {self.lost} acked lost, {self.torn} torn"


def search(
    tape: Path,
    root: Path,
    scratch: Path,
    *,
    states: int,
    seed: int,
    judge: str,
    arguments: Sequence[Any] = (),
    start: Path | None = None,
    workers: int = WORKERS,
) -> Totals:
    """Open up to `states` different disks of a tape in processes of their own; see `cuts.plan`."""
    totals = Totals()
    lock = threading.Lock()
    failures: list[BaseException] = []

    def look(worker: int) -> None:
        job = {
            "tape": str(tape),
            "root": str(root),
            "start": str(start) if start else "",
            "place": str(scratch / f"disk-{worker}"),
            "states": states,
            "seed": seed,
            "judge": judge,
            "arguments": list(arguments),
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
        command = [sys.executable, "worker.py", json.dumps({**job, "skip": skip})]
        with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            ended = False
            for line in child.stdout:
                told = json.loads(line)
                with lock:
                    if "n" in told:
                        totals.opened += 1
                        skip = told["n"] + 1
                    elif "end" in told:
                        ended = True
                    else:
                        ((verdict, finding),) = told.items()
                        setattr(totals, verdict, getattr(totals, verdict) + 1)
                        totals.findings.append(f"{verdict}: {finding}")
        if ended:
            return
        assert child.returncode < 0, f"a worker failed with {child.returncode}"
        with lock:
            totals.torn += 1
            totals.findings.append(
                f"torn: signal {-child.returncode} while state {skip - 1} of worker "
                f"{job['worker']} was open"
            )
