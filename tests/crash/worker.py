"""Opens the disks of a plan one after the other; a damaged one may end this process by a signal."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import tape
from cuts import plan
from disk import Cut, Disk
from judge import LostError, StoreJudge, TornError

JUDGES: dict[str, Any] = {"store": StoreJudge}


def describe(disk: Disk, cut: Cut) -> str:
    """Say what the disk of a cut holds of what was under way."""
    lines = []
    for step in disk.pending():
        state = "kept" if step.number in cut.kept else "lost"
        if step.number in cut.torn:
            state = f"torn {cut.torn[step.number]:b}"
        lines.append(f"{step} {state}")
    return "; ".join(lines)


def main(job: dict[str, Any]) -> None:
    root, place = Path(job["root"]), Path(job["place"])
    start = Path(job["start"]) if job["start"] else None
    records = list(tape.read(Path(job["tape"])))
    states = plan(records, root, job["states"], job["seed"], start)
    mine = states[job["worker"] :: job["workers"]]
    judge = JUDGES[job["judge"]](*job["arguments"])
    disk = Disk(root, start)
    moments = enumerate(disk.play(records))
    moment = -1
    for number, (when, cut) in enumerate(mine):
        while moment < when:
            moment, _ = next(moments)
        if number < job["skip"]:
            continue
        print(json.dumps({"n": number}), flush=True)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        disk.build(place, cut)
        try:
            judge.judge(place, disk.notes)
        except (LostError, TornError) as error:
            verdict = "lost" if isinstance(error, LostError) else "torn"
            finding = f"moment {when}: {error} [{describe(disk, cut)}]"
            print(json.dumps({verdict: finding}), flush=True)
    print(json.dumps({"end": len(mine)}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
