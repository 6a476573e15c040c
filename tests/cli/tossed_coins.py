"""Scenarios for the tests of `palaver simulate`: one that holds, and one with a fault in it."""

from __future__ import annotations

from palaver.actors.simulation import World


async def sound(world: World) -> None:
    """Something that is well whatever happens."""
    world.sometimes("a coin fell on its head", world.tape.choose("coin/one", 2, rate=0.5))


async def unsound(world: World) -> None:
    """Something that is not, in some runs; two of three coins have nothing to do with it."""
    coins = [world.tape.choose(f"coin/{n}", 4, rate=0.5) for n in range(3)]
    if coins[1] >= 2:
        world.fail("no second coin stands on its edge", f"they are {coins}")


async def unmet(world: World) -> None:
    """Something that never happens."""
    world.sometimes("a coin stands on its edge", False)
