"""What the simulation has found in Palaver, each as the smallest town that shows it."""

from __future__ import annotations

import pytest
from town_kit import all_online, tell, until_all_online

from palaver.actors.chat import names
from palaver.actors.runtime import KILL
from palaver.actors.simulation import Seeded, World, run
from palaver.storage.partitioning import partition_of
from palaver.storage.simulated import SimulatedDisk
from palaver.supervisors.simulations.promises import missing
from palaver.supervisors.simulations.scenarios import SCENARIOS, brief
from palaver.supervisors.simulations.town import Plan, Town
from palaver.transport import wire


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
        # Nobody is left to tell a new one.
        for name in (names.presence_name(0), names.gateway_name(0)):
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


#: The disk's answer "failed", to a commit that is durable all the same.
_KEPT = 3


@pytest.mark.parametrize("partitions", [1, 8])
def test_a_message_whose_commit_failed_and_is_there_arrives(partitions: int) -> None:
    """Nobody was told of it: its sender repeated it and got its place, but it was not pushed, and
    where it had to go to another partition it stayed in the outbox until something else came.
    """

    async def story(world: World, town: Town) -> None:
        await until_all_online(world, town)
        await world.sleep(3.0)
        author, reader = (one.device for one in town.residents)
        assert author is not None
        assert reader is not None
        to = reader.person.account
        conversation = wire.direct_conversation(author.person.account, to)
        here = partition_of(conversation, partitions)
        assert partitions == 1 or here != partition_of(to.encode(), partitions)
        disk = town.nodes[0].host.disk["disk"]
        assert isinstance(disk, SimulatedDisk)
        disk.fail_next.append(_KEPT)
        author.say(to, "hello")
        assert await world.until(lambda: town.chronicle.said.get(conversation), within_s=20.0)
        assert not disk.fail_next
        assert await world.until(lambda: not list(missing(town.chronicle)), within_s=20.0)

    tell(story, Plan(people=2, partitions=partitions, habits={}))


def test_a_node_without_work_finds_out_that_its_disk_has_room_again() -> None:
    """It said that nothing can be stored until somebody stored something, and so got no clients."""

    async def story(world: World, town: Town) -> None:
        (node,) = town.nodes
        await until_all_online(world, town)
        await world.sleep(3.0)
        disk = node.host.disk["disk"]
        assert isinstance(disk, SimulatedDisk)
        disk.fill(5.0)
        author, reader = (one.device for one in town.residents)
        assert author is not None
        assert reader is not None
        author.say(reader.person.account, "hello")
        assert await world.until(lambda: node.stats.storage_failing, within_s=4.0)
        for one in town.residents:  # with them goes whatever would be stored
            one.host.power_off()
        assert await world.until(lambda: node.is_well, within_s=10.0)
        assert node.host.incarnation == 1

    tell(story, Plan(people=2, habits={}))


@pytest.mark.parametrize(("name", "seed", "what"), [
    ("group", 4000034, "who was removed from a group was told of it as one of theirs"),
    ("group", 4000248, "a message whose refusal was lost came to stand behind later ones"),
    ("group", 2000557, "a mark that a client only assumed was told, and went back"),
    ("group", 54, "a receipt was told again to who had been removed from the group"),
    ("devices", 4000378, "with a revoked device went when its account was last seen"),
    ("moving", 7, "the owner of a conversation stamped by its own clock what its author answered"),
    ("failover", 6, "a node whose cluster's processes had ended went on without them"),
    ("moving", 79, "what an earlier presence had said came late, and last seen went back"),
    ("moving", 144, "the checker read the tables of a store that was closed"),
    ("failover", 13, "an honest stamp of a node whose clock was ahead was no good elsewhere"),
])  # fmt: skip
def test_a_seed_that_has_failed_fails_no_more(name: str, seed: int, what: str) -> None:
    failure = SCENARIOS[name].runner(Seeded(seed)).failure
    assert failure is None, what
