"""The scenarios of the simulation, against real processes and sockets: every promise holds there.

`SEED` in the environment sets the first seed, `DAYS` how many days a long search lives.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from real_faults import KINDS
from real_town import RealTown, day

from palaver.actors.simulation.world.sources import Seeded
from palaver.actors.simulation.world.tape import Tape
from palaver.supervisors.simulations.scenarios import SCENARIOS

SEED = int(os.environ.get("SEED", "1"))
DAYS = int(os.environ.get("DAYS", "100"))

#: From outside of a process no actor in it can be killed: "supervisors" stays simulated.
NAMES = ["talk", "offline", "group", "devices", "presence", "storm", "power", "partitioned"]


def live(name: str, folder: Path, seed: int, at_most_s: float | None = None) -> RealTown:
    print(f"SEED={seed} {name}")  # pytest shows it when the test fails
    town = day(SCENARIOS[name], folder, Tape(Seeded(seed)), at_most_s=at_most_s)
    said = sum(map(len, town.chronicle.said.values()))
    heard = sum(len(log.presences) for log in town.chronicle.devices.values())
    print(f"{said} messages, {heard} presences, {dict(town.nemesis.counts)}")
    assert said or heard
    return town


@pytest.mark.parametrize("name", NAMES)
def test_a_day_in_the_world(name: str, tmp_path: Path) -> None:
    town = live(name, tmp_path, SEED + NAMES.index(name), at_most_s=8.0)
    assert not set(KINDS) - set(town.nemesis.counts), "every kind of fault has happened"


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_days_in_the_world(tmp_path: Path) -> None:
    for seed in range(SEED, SEED + DAYS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        live(NAMES[seed % len(NAMES)], folder, seed)
        shutil.rmtree(folder)
