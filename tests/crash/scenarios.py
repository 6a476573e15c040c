"""The runs that are recorded, and how many of their disks are opened.

    python scenarios.py [STATES] [SEED]

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
from dataclasses import dataclass
from pathlib import Path

import tape
from cuts import plan
from disk import Disk
from search import Task, Totals, search
from store_child import FAULTS

HERE = Path(__file__).parent
SYNC_US = 100
"""How long a synchronisation takes: long enough for the threads of other partitions to get on."""


def scratch() -> Path:
    """Return a folder in memory, where there is one: what is tested is the order, not the disk."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="palaver-crash-", dir=memory if usable else None))


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
    drop_sync: bool = False


def store_scenarios(chance: random.Random) -> Iterator[Scenario]:
    """The runs of a bare store."""

    def life(job: str, number: int, *, killed: bool = False) -> Life:
        return Life("store_child.py", job, (number,), killed)

    yield Scenario("writing", (life("write", 40),), 8)
    yield Scenario("making", (life("write", 1),), 2)
    yield Scenario("backing up", (life("back_up", 4),), 3)
    yield Scenario("restoring", (life("bring_back", 3),), 3)
    for nth in sorted(chance.sample(range(1, 68), 8)):
        lives = (life("die", nth, killed=True), life("write", 2))
        yield Scenario(f"killed at operation {nth}", lives, 0.5)
    for fault in sorted(chance.sample(range(len(FAULTS)), 8)):
        ops, nth, mode, error = FAULTS[fault]
        name = f"{mode.name} {os.strerror(error)} at {ops.name} {nth}"
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
        for nth in sorted(chance.sample(range(40 * partitions, 100 * partitions), 2)):
            lives = (life("die", nth, killed=True), life("look", 30))
            yield Scenario(f"database killed at {nth}, {partitions}", lives, 0.5, **options)


class Studio:
    """Records scenarios in a folder of its own; a context manager, which removes the folder."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.folder = scratch()
        self.library = tape.build(self.folder)
        self._numbers = 0

    def __enter__(self) -> Studio:
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
            {"seed": self.seed, "partitions": scenario.partitions},
            start,
            notes,
        )

    def _live(self, life: Life, root: Path, file: Path, *, drop_sync: bool = False) -> None:
        command = [sys.executable, life.program, life.job, str(root), str(self.seed)]
        ended = subprocess.run(
            [*command, *map(str, life.rest)],
            cwd=HERE,
            env=tape.environment(self.library, root, file, sync_us=SYNC_US, drop_sync=drop_sync),
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
    whole = sum(scenario.share for scenario in scenarios) + 4 * second.share
    with Studio(seed) as studio:
        # A run may not allow as many different disks as are asked of it; the largest makes it up.
        tasks = [
            studio.record(scenario, round(states * scenario.share / whole) + 1)
            for scenario in scenarios
        ]
        share = round(states * second.share / whole) + 1
        for number in range(4):
            tasks.append(studio.again(tasks[number], second, share))
        return search(tasks, studio.folder, seed=seed)


def main() -> int:
    """Run from the command line."""
    states = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    print(f"seed {seed}", flush=True)
    totals = open_states(states, seed)
    for finding in totals.findings[:20]:
        print(finding)
    print(totals)
    return int(bool(totals.lost or totals.torn))


if __name__ == "__main__":
    sys.exit(main())
