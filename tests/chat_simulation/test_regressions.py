"""What the simulation has found in Palaver, each as the smallest town that shows it."""

from __future__ import annotations

import pytest
from town_kit import all_online, tell, until_all_online

from palaver.actors.chat import names
from palaver.actors.runtime import KILL
from palaver.actors.simulation import Seeded, World, run
from palaver.supervisors.simulations.scenarios import brief, group
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


#: Little else goes wrong, so that nothing cures it by chance.
_FAILING_DISKS = dict.fromkeys(
    ("crash", "power", "kill", "reset", "partition", "pause", "oneway"), 0.0
) | {"disk-fail": 0.03}


@pytest.mark.parametrize("seed", range(150, 260))
def test_what_failed_and_is_on_the_disk_all_the_same_is_told(seed: int) -> None:
    """The effects of such a commit were forgotten: nobody was pushed what it had queued."""
    assert run(brief, Seeded(seed, rates=_FAILING_DISKS)).failure is None


def test_a_mark_that_only_this_client_assumed_is_not_told() -> None:
    """Who came later counted as having read all before; forgotten, the mark went back."""
    assert run(group, Seeded(2_000_557)).failure is None
