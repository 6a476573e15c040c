"""Everything that a disk may hold after a power cut, opened with the real code.

What a disk may hold is in `disk_model`; which of it is opened, in `power_cuts`; what is recorded,
in `crash_scenarios`. `make crash-states STATES=n` opens more.
"""

from __future__ import annotations

import random
import subprocess
from itertools import islice
from pathlib import Path

import disk_tape as tape
import pytest
from crash_scenarios import SEED, Life, Scenario, Studio, open_states, store_scenarios
from disk_model import Disk
from disk_tape import Mode, Op
from state_search import search
from store_child import FAULTS

STATES = 2200


def test_no_state_of_a_disk_loses_or_tears_anything(studio: Studio) -> None:
    totals = open_states(STATES, SEED)
    assert not totals.findings, "\n".join(totals.findings[:10])
    assert (totals.lost, totals.torn) == (0, 0)
    assert totals.opened >= 2000


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_no_state_of_many_disks_loses_or_tears_anything(studio: Studio, seed: int) -> None:
    totals = open_states(5000, seed)
    assert not totals.findings, "\n".join(totals.findings[:10])


def test_the_tape_has_everything_that_was_done(studio: Studio) -> None:
    """Played to its end it gives the folder that is there, byte by byte."""
    for scenario in islice(store_scenarios(random.Random(SEED)), 8):
        task = studio.record(scenario, 0)
        disk = Disk(Path(task.root))
        for _ in disk.play(tape.read(Path(task.tape))):
            pass
        left = Path(task.tape).with_name("left")
        left.mkdir()
        disk.build_live(left)
        # LMDB writes its table of readers through memory, and nothing else.
        assert {Path(path).name for path in disk.mapped} <= {"lock.mdb"}
        compared = subprocess.run(
            ["diff", "--recursive", "--exclude=lock.mdb", task.root, str(left)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert compared.returncode == 0, compared.stdout


def test_what_a_store_shows_after_a_kill_is_durable(studio: Studio) -> None:
    """Killed within its first commits; the next process sees more than is on the disk."""
    tasks = []
    for nth in range(41, 68, 5):
        lives = (
            Life("store_child.py", "die", (nth,), killed=True),
            Life("store_child.py", "write", (2,)),
        )
        tasks.append(studio.record(Scenario(f"killed at {nth}", lives, 1), 60))
    totals = search(tasks, studio.folder, seed=SEED)
    assert not totals.findings, "\n".join(totals.findings[:10])


def test_a_head_that_could_not_be_written_does_not_come_back(studio: Studio) -> None:
    """The disk may hold it all the same; what is written next would be under it."""
    tasks = [
        studio.record(Scenario(str(fault), (Life("store_child.py", "fail", (number,)),), 1), 150)
        for number, fault in enumerate(FAULTS)
        if Op.DURABLE_WRITE in fault[0] and fault[1] == 2 and fault[2] == Mode.ERROR_AFTER
    ]
    totals = search(tasks, studio.folder, seed=SEED)
    assert not totals.findings, "\n".join(totals.findings[:10])


BROKEN = {
    "a disk that lies about fsync": Scenario(
        "", (Life("store_child.py", "write", (10,)),), 1, drop_sync=True
    ),
    "LMDB without fsync": Scenario("", (Life("store_child.py", "unsynced", (10,)),), 1),
    "a head that is not synchronised": Scenario(
        "", (Life("store_child.py", "unsynced_head", (10,)),), 1
    ),
    "an answer before the commit": Scenario("", (Life("store_child.py", "hasty", (10,)),), 1),
    "partitions that do not agree": Scenario(
        "",
        (Life("database_child.py", "unagreed", (30, 4)),),
        1,
        judge="database_judge:DatabaseJudge",
        partitions=4,
    ),
    "two transactions for one append": Scenario("", (Life("store_child.py", "halves", (10,)),), 1),
}

EXPECTED = {
    "a disk that lies about fsync": (True, True),
    "LMDB without fsync": (True, True),
    "a head that is not synchronised": (True, False),
    "an answer before the commit": (True, False),
    "partitions that do not agree": (True, True),
    "two transactions for one append": (False, True),
}
"""Whether the check finds something lost, and something torn."""


@pytest.mark.parametrize("fault", BROKEN)
def test_the_check_finds_what_is_broken_on_purpose(studio: Studio, fault: str) -> None:
    totals = search([studio.record(BROKEN[fault], 200)], studio.folder, seed=SEED)
    assert (totals.lost > 0, totals.torn > 0) == EXPECTED[fault], totals
