"""A town's parts: nodes that are looked into, stopped and come back; devices that lose state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from town_kit import tell, until_all_online

from palaver.actors.chat import names
from palaver.actors.runtime import KILL, ProcessContext
from palaver.actors.simulation import Violation, World
from palaver.supervisors.simulations.states import SimulatedState, state_of
from palaver.supervisors.simulations.town import Plan, Town
from palaver.transport.client import MemoryState, OutboxItem, Snapshot, StateChange, StateError

TALK = {"say": 3, "read": 1}


def test_a_whole_day_without_faults() -> None:
    async def story(world: World, town: Town) -> None:
        await world.sleep(10.0)
        await town.evening()
        await town.at_night()
        assert len(town.chronicle.devices) == 4

    tell(story, Plan(people=2, devices=2, partitions=2, gateways=2, habits=TALK))


def test_a_node_tells_what_it_holds_of_its_people() -> None:
    async def story(world: World, town: Town) -> None:
        await until_all_online(world, town)
        accounts = [person.account for person in town.people]
        left = " ".join(await town.nodes[0].left_behind(accounts))
        for what in ("Session", "DeviceQueue", "registry entry", "counts as online",
                     "2 sessions are counted", "2 connections are open"):  # fmt: skip
            assert what in left
        with pytest.raises(Violation, match="lets go of who is gone"):
            await town._nothing_left(town.nodes[0], accounts)

    tell(story, Plan(people=2, habits={}))


async def _stay(ctx: ProcessContext) -> None:
    await ctx.receive()


def test_a_node_is_whole_with_the_processes_that_it_was_started_with() -> None:
    async def story(world: World, town: Town) -> None:
        (node,) = town.nodes
        runtime, place = node.node, names.partition_name(0)
        assert runtime is not None
        partition = runtime.whereis(place)
        assert partition is not None
        runtime.exit(partition, KILL)
        assert await world.until(
            lambda: runtime.whereis(place) not in (None, partition) and node.is_whole,
            within_s=5.0,
        )
        stranger = runtime.spawn(_stay, name="stranger")
        assert not node.is_whole
        runtime.exit(stranger, KILL)
        assert await world.until(lambda: node.is_whole, within_s=5.0)

    tell(story, Plan(people=1, habits={}))


def test_a_stopped_node_starts_again_with_everything() -> None:
    async def story(world: World, town: Town) -> None:
        (node,) = town.nodes
        await world.sleep(5.0)
        node.stop(node.host)
        assert await world.until(lambda: not node.is_up, within_s=30.0)
        await town.evening()
        assert node.host.incarnation == 2
        assert world.coverage.reached["a node was drained and stopped"] == 1

    tell(story, Plan(people=2, habits=TALK))


def test_a_node_whose_root_is_killed_is_started_again() -> None:
    async def story(world: World, town: Town) -> None:
        (node,) = town.nodes
        await until_all_online(world, town)
        assert node.chat is not None
        assert node.node is not None
        node.node.exit(node.chat.root, KILL)
        assert await world.until(lambda: node.host.incarnation == 2 and node.is_up, within_s=30.0)
        await town.evening()

    tell(story, Plan(people=2, habits=TALK))


@pytest.mark.parametrize(("habit", "reached"), [
    ("forget", "a device lost its state"), ("restore", "a device came back with old state"),
])  # fmt: skip
def test_a_device_is_set_back(habit: str, reached: str) -> None:
    async def story(world: World, town: Town) -> None:
        await world.sleep(4.0)
        device = town.residents[0].device
        assert device is not None
        await town.habits.backup(device)
        await world.sleep(4.0)
        await getattr(town.habits, habit)(device)
        assert await world.until(lambda: world.coverage.reached[reached], within_s=10.0)
        await world.sleep(4.0)
        await town.evening()

    tell(story, Plan(people=2, habits=TALK))


# -- the state of a simulated device -----------------------------------------------------------

snapshots = st.builds(
    Snapshot,
    position=st.integers(0, 100),
    next_cid=st.integers(1, 100),
    after=st.integers(0, 100),
    outbox=st.dictionaries(st.integers(1, 99), st.binary()).map(
        lambda items: {cid: OutboxItem(cid, 5, args) for cid, args in items.items()}
    ),
    seen=st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(1, 9)),
    awaited=st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(1, 9)),
)


@given(snapshots)
def test_a_backup_holds_what_the_state_held(snapshot: Snapshot) -> None:
    assert state_of("a", 1, snapshot).open("a", 1) == snapshot


def test_a_step_is_on_the_disk_when_its_commit_returns() -> None:
    disk: dict[str, MemoryState] = {}
    state = SimulatedState(disk, blocking=False, fails=lambda: False)
    state.open("a", 1)
    state.commit(StateChange(position=3))
    state.close()
    assert SimulatedState(disk, blocking=True, fails=lambda: False).open("a", 1).position == 3


def test_nothing_is_kept_of_a_step_that_fails() -> None:
    disk: dict[str, MemoryState] = {}
    state = SimulatedState(disk, blocking=False, fails=lambda: True)
    state.open("a", 1)
    with pytest.raises(StateError):
        state.commit(StateChange(position=3))
    assert state.open("a", 1).position == 0
