"""A cluster under every fault of the world: it comes back, and never with two owners."""

from __future__ import annotations

import pytest
from cluster_kit import Town, epochs_are_unique

from palaver.actors.simulation import Coverage, Faults, Seeded, World, run

SEEDS = 25
LONG_SEEDS = 2000

RECOVERY_S = 45.0
"""After all faults have ended: leases, backoffs and a hung take-over that run out."""

FAULTS = Faults(
    crash=0.01,
    power=0.005,
    kill=0.003,
    partition=0.01,
    oneway=0.01,
    clog=0.01,
    reset=0.01,
    pause=0.01,
    jump=0.01,
)


async def scenario(world: World) -> None:
    town = Town(world)
    await town.start()
    numbers = range(len(town.journals.entries))
    world.invariant(lambda: all(len(town.servers(n)) <= 1 for n in numbers), "one owner at most")
    nemesis = world.nemesis(FAULTS)
    for _ in range(60):
        await world.sleep(1.0)
        town.append_all()
    nemesis.stop()
    await world.calm()
    town.bank.faulty = town.journals.faulty = False
    await town.served("all partitions are owned again", within_s=RECOVERY_S)
    epochs_are_unique(town)
    for name in town.hosts:
        world.sometimes("woke up", town.told(name, "woke up"))
        world.sometimes("overtaken", town.told(name, "stepping down"))


def search(seeds: range) -> Coverage:
    coverage = Coverage()
    for seed in seeds:
        outcome = run(scenario, Seeded(seed))
        coverage.merge(outcome.coverage)
        if outcome.failure is not None:
            raise AssertionError(f"seed {seed}") from outcome.failure
    return coverage


def test_ownership_comes_back_after_every_fault() -> None:
    coverage = search(range(SEEDS))
    assert not coverage.missed


@pytest.mark.long
def test_ownership_comes_back_after_every_fault_for_long() -> None:
    search(range(SEEDS, LONG_SEEDS))


def test_two_runs_of_one_tape_are_the_same() -> None:
    assert run(scenario, Seeded(1)).hash == run(scenario, Seeded(1)).hash
