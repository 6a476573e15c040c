"""The runs that are recorded, and how many of their disks are opened.

    python crash_scenarios.py [STATES] [SEED]

opens STATES disks in all, says what was found, and ends with 1 if anything is wrong.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import disk_tape as tape
from disk_model import Disk
from power_cuts import plan
from state_search import Task, Totals, search
from store_child import FAULTS

HERE = Path(__file__).parent
SEED = 20
"""Of the tests."""
SYNC_US = 100
"""How long a synchronisation takes: long enough for the threads of other partitions to get on."""


def scratch() -> Path:
    """Return a folder in memory, where there is one: what is tested is the order, not the disk."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="palaver-crash-", dir=memory if usable else None))


SECOND_CUTS = 4
AT_ONCE = 4000


@dataclass(frozen=True, slots=True)
class Life:
    """A process that is recorded.

    Attributes:
        program: its file here.
        job: the first argument, before the folder and the seed.
        rest: arguments after these.
        killed: it ends by SIGKILL, or may.
    """

    program: str
    job: str
    rest: tuple[int, ...]
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """Lives of processes on one folder, one after the other, and the share of disks to open."""

    name: str
    lives: tuple[Life, ...]
    share: float
    judge: str = "store_judge:StoreJudge"
    partitions: int = 2
    clients: int = 0
    drop_sync: bool = False


def store_scenarios(chance: random.Random) -> Iterator[Scenario]:
    """The runs of a bare store."""

    def life(job: str, number: int, *, killed: bool = False) -> Life:
        return Life("store_child.py", job, (number,), killed)

    yield Scenario("writing", (life("write", 40),), 8)
    yield Scenario("making", (life("write", 1),), 2)
    yield Scenario("making deep down", (life("deep", 1),), 1)
    yield Scenario("backing up", (life("back_up", 4),), 3)
    yield Scenario("restoring", (life("bring_back", 3),), 3)
    yield Scenario("installing a snapshot", (life("install", 3),), 3)
    for nth in sorted(chance.sample(range(1, 68), 8)):
        lives = (life("die", nth, killed=True), life("write", 2))
        yield Scenario(f"killed at operation {nth}", lives, 0.5)
    for fault in sorted(chance.sample(range(len(FAULTS)), 8)):
        ops, nth, mode, error, repeat = FAULTS[fault]
        name = f"{mode.name} {os.strerror(error)} at {ops!r} {nth} (+{repeat})"
        yield Scenario(name, (life("fail", fault),), 0.5)


def database_scenarios(chance: random.Random) -> Iterator[Scenario]:
    """The runs of a database."""
    for partitions in (1, 4):

        def life(
            job: str, number: int, *, killed: bool = False, partitions: int = partitions
        ) -> Life:
            return Life("database_child.py", job, (number, partitions), killed)

        options = {"judge": "database_judge:DatabaseJudge", "partitions": partitions}
        yield Scenario(f"transactions, {partitions}", (life("write", 60),), 6, **options)
        for job in ("threads", "loop"):
            crowd = {"judge": "database_judge:CrowdJudge", "partitions": partitions, "clients": 3}
            yield Scenario(f"{job}, {partitions}", (life(job, 20),), 3, **crowd)
        kept = {"judge": "database_judge:ArchiveJudge", "partitions": partitions}
        lives = (life("archive", 0), life("come_back", 0))
        yield Scenario(f"backup, fallback, restore, {partitions}", lives, 3, **kept)
        for nth in sorted(chance.sample(range(40 * partitions, 100 * partitions), 2)):
            lives = (life("die", nth, killed=True), life("look", 30))
            yield Scenario(f"database killed at {nth}, {partitions}", lives, 0.5, **options)


class Studio:
    """Records scenarios in a folder of its own; a context manager, which removes the folder."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.folder = scratch()
        self.recorder = tape.build(self.folder)
        self._numbers = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def record(self, scenario: Scenario, states: int) -> Task:
        """Let the processes live; return the task to look at what they could have left."""
        place = self._place()
        root = place / "root"
        root.mkdir()
        for life in scenario.lives:
            self._live(life, root, place / "tape", drop_sync=scenario.drop_sync)
        return self._task(scenario, place, states)

    def again(self, first: Task, scenario: Scenario, states: int) -> Task:
        """Cut the power in a recorded run, start on what is left, and record that too."""
        chance = random.Random(self.seed)
        records = list(tape.read(Path(first.tape)))
        moment, cut = chance.choice(plan(records, Path(first.root), 2000, self.seed))
        disk = Disk(Path(first.root))
        for number, _ in enumerate(disk.play(records)):
            if number == moment:
                break
        place = self._place()
        root, start = place / "root", place / "start"
        for folder in (root, start):
            folder.mkdir()
            disk.build(folder, cut)
        for life in scenario.lives:
            self._live(life, root, place / "tape")
        return self._task(scenario, place, states, start=str(start), notes=tuple(disk.notes))

    def _place(self) -> Path:
        self._numbers += 1
        place = self.folder / str(self._numbers)
        place.mkdir()
        return place

    def _task(
        self,
        scenario: Scenario,
        place: Path,
        states: int,
        start: str = "",
        notes: Sequence[str] = (),
    ) -> Task:
        return Task(
            scenario.name,
            str(place / "tape"),
            str(place / "root"),
            states,
            scenario.judge,
            {"seed": self.seed, "partitions": scenario.partitions}
            | ({"clients": scenario.clients} if scenario.clients else {}),
            start,
            notes,
        )

    def _live(self, life: Life, root: Path, file: Path, *, drop_sync: bool = False) -> None:
        command = [sys.executable, life.program, life.job, str(root), str(self.seed)]
        ended = subprocess.run(
            [*command, *map(str, life.rest)],
            cwd=HERE,
            env=tape.environment(self.recorder, root, file, sync_us=SYNC_US, drop_sync=drop_sync),
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode and not (life.killed and ended.returncode == -9):
            raise AssertionError(f"{life} ended with {ended.returncode}: {ended.stderr}")


def open_states(states: int, seed: int) -> Totals:
    """Record every scenario and open `states` of the disks that they could have left."""
    chance = random.Random(seed)
    scenarios = [*store_scenarios(chance), *database_scenarios(chance)]
    second = Scenario("a second cut", (Life("store_child.py", "write", (1,)),), 0.5)
    whole = sum(scenario.share for scenario in scenarios) + SECOND_CUTS * second.share
    with Studio(seed) as studio:

        def some(scenario: Scenario) -> int:
            return max(1, round(states * scenario.share / whole))

        tasks = [studio.record(scenario, some(scenario)) for scenario in scenarios]
        for number in range(SECOND_CUTS):
            tasks.append(studio.again(tasks[number], second, some(second)))
        # A run may not allow as many different disks as are asked of it: the first one, which
        # allows the most, makes it up.
        rest = states - sum(possible(task, seed) for task in tasks[1:])
        tasks[0] = replace(tasks[0], states=max(1, rest))
        return search(tasks, studio.folder, seed=seed)


def possible(task: Task, seed: int) -> int:
    """Return how many disks of a task there will be."""
    start = Path(task.start) if task.start else None
    return len(plan(tape.read(Path(task.tape)), Path(task.root), task.states, seed, start))


def main() -> int:
    """Run from the command line."""
    states = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    print(f"seed {seed}", flush=True)
    totals = Totals()
    while totals.opened < states:  # some thousand at a time, of runs of their own
        totals.add(open_states(min(states - totals.opened, AT_ONCE), seed))
        seed += 1
        if states > AT_ONCE:
            print(totals, flush=True)
    for finding in totals.findings[:20]:
        print(finding)
    print(totals)
    return int(bool(totals.lost or totals.torn))


if __name__ == "__main__":
    sys.exit(main())
