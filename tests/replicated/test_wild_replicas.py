"""Replicas over an engine at its contract's worst, on hosts and disks that fail.

A few seeds each; `PALAVER_REPLICA_SEEDS=200` looks further, and then everything that may happen has
to have happened.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from test_simulated_engine import WILD, WorldEngineFaults
from wild_kit import Partition

from palaver.actors.simulation import Faults, World
from palaver.actors.simulation.driving import check
from palaver.actors.simulation.world.nemesis import Fault
from palaver.storage.simulated import DiskHabits, EngineHabits, SimulatedEngine

FEW = 6
SEEDS = int(os.environ.get("PALAVER_REPLICA_SEEDS", str(FEW)))
FAILING = DiskHabits(commit_s=0.003, slow=0.1, late=0.1, full=0.002, fail=0.002, trouble_s=3.0)
SOUND = DiskHabits(commit_s=0.003)


async def wild(world: World, habits: EngineHabits, disk: DiskHabits, faults: Faults) -> None:
    engine = SimulatedEngine(WorldEngineFaults(world), habits)
    partition = Partition(world, engine, disk)
    await world.start_all()
    wipe = Fault("wipe", 0.002, 1, lambda host, _: partition.wipe(host))
    world.nemesis(replace(faults, own=(wipe,)), partition.hosts)
    for _ in range(100):
        await world.sleep(0.2)
        partition.keep()
        partition.agree()
    engine.calm()
    partition.over = True
    for made in partition.disks.values():
        made.habits = SOUND
        made.make_room()
    await world.calm()
    for host in partition.hosts:
        host.boot()
    await world.sleep(40.0)  # what comes late has come
    await world.eventually(partition.agree, "all replicas come to the end", within_s=120.0)
    lines = partition.judge()
    world.sometimes("commands were acknowledged", partition.acked)
    world.sometimes("many were", len(partition.acked) > 50)
    world.sometimes("one was there that nobody was told of", len(lines) > len(partition.acked))
    world.sometimes("a partition was lost", partition.lost)
    world.sometimes("a snapshot was taken", partition.snapshots)


async def wild_engine(world: World) -> None:
    await wild(world, WILD, SOUND, Faults())


async def wild_hosts(world: World) -> None:
    await wild(world, EngineHabits(), FAILING, Faults(crash=0.01, power=0.01, pause=0.01))


async def wild_everything(world: World) -> None:
    await wild(world, WILD, FAILING, Faults(crash=0.005, power=0.005, pause=0.01))


@pytest.mark.parametrize("scenario", [wild_engine, wild_hosts, wild_everything])
def test_replicas_stay_equal_and_nothing_is_lost_or_done_twice(
    scenario: Callable[[World], Awaitable[None]],
) -> None:
    coverage = check(scenario, range(SEEDS)).statistics.coverage
    if SEEDS > FEW:
        assert not coverage.missed
