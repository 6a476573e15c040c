"""OTP's rules between nodes, under every fault of the world."""

from __future__ import annotations

import pytest
from between_story import Story

from palaver.actors.runtime import NOREPLY
from palaver.actors.simulation import Coverage, Seeded, World, run

SEEDS = 40
LONG_SEEDS = 2000


async def scenario(world: World) -> None:
    story = Story(world, NOREPLY)
    await story.act()
    story.check()


def search(seeds: range) -> Coverage:
    coverage = Coverage()
    for seed in seeds:
        outcome = run(scenario, Seeded(seed))
        coverage.merge(outcome.coverage)
        if outcome.failure is not None:
            raise AssertionError(f"seed {seed}") from outcome.failure
    return coverage


def test_signals_between_nodes_follow_the_rules() -> None:
    coverage = search(range(SEEDS))
    assert not coverage.missed
    for state in ("messages were lost", "a call was lost", "noconnection", "links were left"):
        assert coverage.reached[state], f"{state}: never"


@pytest.mark.long
def test_signals_between_nodes_follow_the_rules_for_long() -> None:
    search(range(SEEDS, LONG_SEEDS))


def test_two_runs_of_one_tape_are_the_same() -> None:
    for seed in range(3):
        assert run(scenario, Seeded(seed)).hash == run(scenario, Seeded(seed)).hash
