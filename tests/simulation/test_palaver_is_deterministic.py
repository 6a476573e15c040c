"""Real chat nodes, tables and client libraries under the strict guard, also elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from palaver.actors.simulation import World, check_deterministic
from palaver.supervisors.simulations.scenarios import SCENARIOS
from palaver.supervisors.simulations.tables import tables


async def chat(world: World) -> None:
    await SCENARIOS["talk"](world)


async def transactions(world: World) -> None:
    await tables(world)


@pytest.mark.parametrize("scenario", [chat, transactions], ids=lambda scenario: scenario.__name__)
def test_two_runs_of_one_tape_are_the_same(scenario: Callable[..., Any]) -> None:
    check_deterministic(scenario, 11, hash_seeds=(1,))
