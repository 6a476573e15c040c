"""Supervision trees: whatever is killed at whatever moment, the tree comes back or gives up.

Each supervisor is read along by a model of OTP's (`tree_model`): the order of starts and stops, the
sets of each strategy, restarts that fail, the intensity's window, the patience of stops, and in the
end that all runs that should, and nothing else.
"""

from __future__ import annotations

import pytest
from tree_story import Story

from palaver.actors.simulation import Coverage, Seeded, World, run

SEEDS = 300
LONG_SEEDS = 20_000


async def scenario(world: World) -> None:
    await Story(world).act()


def search(seeds: range) -> Coverage:
    coverage = Coverage()
    for seed in seeds:
        outcome = run(scenario, Seeded(seed))
        coverage.merge(outcome.coverage)
        if outcome.failure is not None:
            raise AssertionError(f"seed {seed}: {outcome.failure}") from outcome.failure
    return coverage


def test_a_tree_comes_back_or_gives_up_as_specified() -> None:
    coverage = search(range(SEEDS))
    for state in (
        "restarted", "gave up", "did not start", "child_terminated", "start_error", "shutdown",
        "shutdown_error",
    ):  # fmt: skip
        assert coverage.reached[state], f"{state}: never"


@pytest.mark.long
def test_a_tree_comes_back_or_gives_up_for_long() -> None:
    search(range(SEEDS, LONG_SEEDS))
