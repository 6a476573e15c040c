"""What the tests of single towns share: a story told in a quiet world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from palaver.actors.simulation import Outcome, World, run
from palaver.supervisors.simulations.town import Plan, Town

Story = Callable[[World, Town], Awaitable[None]]


def tell(story: Story, plan: Plan) -> Outcome:
    """Run a story in a quiet town, from the morning on; raises what fails in it."""

    async def scenario(world: World) -> None:
        town = Town(world, plan)
        await town.morning()
        await story(world, town)

    outcome = run(scenario, max_virtual_s=600.0, max_steps=200_000)
    if outcome.failure is not None:
        raise outcome.failure
    return outcome


def all_online(town: Town) -> bool:
    return all(one.is_settled for one in town.residents)


async def until_all_online(world: World, town: Town) -> None:
    assert await world.until(lambda: all_online(town), within_s=30.0)
