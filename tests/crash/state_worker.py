"""Opens the disks of tapes one after the other; a damaged one may end this process by a signal."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import disk_tape as tape
from disk_model import Cut, Disk
from judgement import Judge, LostError, TornError
from power_cuts import plan


def judge_of(task: dict[str, Any]) -> Judge:
    """Make the judge of a task."""
    module, name = task["judge"].split(":")
    judge: Judge = getattr(import_module(module), name)(**task["arguments"])
    return judge


def describe(disk: Disk, cut: Cut) -> str:
    """Say what the disk of a cut holds of what was under way."""
    lines = []
    for step in disk.pending():
        state = "kept" if step.number in cut.kept else "lost"
        if step.number in cut.torn:
            state = f"torn {cut.torn[step.number]:b}"
        lines.append(f"{step} {state}")
    return "; ".join(lines) or "nothing was under way"


class Worker:
    """Does every `workers`th state of each task, from number `skip` on."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.place = Path(job["scratch"]) / f"disk-{job['worker']}"
        self.skip = job["skip"]
        self.stride = slice(job["worker"], None, job["workers"])
        self.number = 0

    def task(self, task: dict[str, Any], seed: int) -> None:
        """Open the disks of one tape."""
        root = Path(task["root"])
        start = Path(task["start"]) if task["start"] else None
        records = list(tape.read(Path(task["tape"])))
        mine = plan(records, root, task["states"], seed, start)[self.stride]
        if self.number + len(mine) <= self.skip:
            self.number += len(mine)
            return
        judge = judge_of(task)
        disk = Disk(root, start)
        moments = enumerate(disk.play(records))
        moment = -1
        for when, cut in mine:
            while moment < when:
                moment, _ = next(moments)
            self.number += 1
            if self.number <= self.skip:
                continue
            about = f"{task['name']}, moment {when}"
            print(json.dumps({"about": f"{about} [{describe(disk, cut)}]"}))
            print(json.dumps({"state": self.number}), flush=True)
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
            disk.build(self.place, cut)
            try:
                judge.judge(self.place, [*task["notes"], *disk.notes])
            except (LostError, TornError) as error:
                verdict = "lost" if isinstance(error, LostError) else "torn"
                finding = f"{about}: {error} [{describe(disk, cut)}]"
                print(json.dumps({verdict: finding}), flush=True)


def main(job: dict[str, Any]) -> None:
    worker = Worker(job)
    for task in job["tasks"]:
        worker.task(task, job["seed"])
    print(json.dumps({"end": worker.number}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
