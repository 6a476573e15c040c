"""What the simulation has found in Palaver, each as the smallest town that shows it."""

from __future__ import annotations

from town_kit import all_online, tell, until_all_online

from palaver.actors.chat import names
from palaver.actors.runtime import KILL
from palaver.actors.simulation import World
from palaver.supervisors.simulations.town import Plan, Town


def test_a_client_that_has_nothing_to_say_does_nothing() -> None:
    """It span: its writer had a turn run after writing nothing, and a turn wakes the writer."""

    async def story(world: World, town: Town) -> None:
        await until_all_online(world, town)
        before = world.loop.steps
        await world.sleep(60.0)
        # Pings, the deadlines of the edge, people who look at their phones: none of it often.
        assert world.loop.steps - before < 3_000

    tell(story, Plan(people=2, habits={}))


def test_the_sessions_of_a_killed_gateway_are_not_counted_for_ever() -> None:
    async def story(world: World, town: Town) -> None:
        (node,) = town.nodes
        await until_all_online(world, town)
        assert node.stats.sessions_now == len(town.residents)
        assert node.node is not None
        gateway = node.node.whereis(names.gateway_name(0))
        assert gateway is not None
        node.node.exit(gateway, KILL)
        assert await world.until(lambda: not all_online(town), within_s=30.0)
        await until_all_online(world, town)
        assert node.stats.sessions_now == len(town.residents)

    tell(story, Plan(people=3, habits={}))


def test_the_accounts_that_a_killed_presence_knew_are_not_counted_for_ever() -> None:
    async def story(world: World, town: Town) -> None:
        (node,) = town.nodes
        await until_all_online(world, town)
        assert node.stats.accounts_online_now == 2
        for one in town.residents:
            one.host.power_off()
        assert node.node is not None
        for name in (names.PRESENCE, names.gateway_name(0)):  # nobody is left to tell a new one
            pid = node.node.whereis(name)
            assert pid is not None
            node.node.exit(pid, KILL)
        assert await world.until(lambda: not node.stats.accounts_online_now, within_s=30.0)

    tell(story, Plan(people=2, habits={}))
