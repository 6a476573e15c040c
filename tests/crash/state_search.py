"""Opens many of the disks that recorded runs could have left, and counts what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from herding import WORKERS, herd


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

    def hear(self, what: str, told: Any) -> None:
        """Count what a worker says."""
        if what == "state":
            self.opened += 1
            return
        if what == "lost":
            self.lost += 1
        else:
            self.torn += 1
        self.findings.append(f"{what}: {told}")

    def add(self, other: Totals) -> None:
        """Add what came out of another search."""
        self.opened += other.opened
        self.lost += other.lost
        self.torn += other.torn
        self.findings.extend(other.findings)

    def __str__(self) -> str:
        return f"{self.opened} states opened, {self.lost} acked lost, {self.torn} torn"


def search(tasks: Sequence[Task], scratch: Path, *, seed: int, workers: int = WORKERS) -> Totals:
    """Open different disks of each tape in processes of their own; see `power_cuts.plan`."""
    totals = Totals()
    job = {
        "tasks": [asdict(task) for task in tasks],
        "scratch": str(scratch),
        "seed": seed,
    }
    herd("state_worker.py", job, totals.hear, workers)
    return totals
