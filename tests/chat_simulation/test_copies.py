"""What is done to the copies of a simulated cluster, and what looks after them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from palaver.actors.cluster.records import PLACEMENT, Placement, decoded, encoded
from palaver.actors.simulation import World, run
from palaver.supervisors.simulations.cluster_nodes import ClusterNode
from palaver.supervisors.simulations.clusters import ClusterPlan, ClusterTown

Story = Callable[[World, ClusterTown], Awaitable[None]]


def tell(story: Story, plan: ClusterPlan) -> Exception | None:
    """Run a story in a quiet cluster that has something in its tables; what fails in it."""

    async def scenario(world: World) -> None:
        town = ClusterTown(world, plan)
        await town.morning()
        settled = lambda: all(one.is_settled for one in town.residents)  # noqa: E731
        assert await world.until(settled, within_s=60.0)
        agree = lambda: not any(town._unlike()) and town.copies._agrees(0)  # noqa: E731
        assert await world.until(agree, within_s=60.0)
        await story(world, town)

    return run(scenario, max_virtual_s=600.0, max_steps=400_000).failure


def plan(**more: object) -> ClusterPlan:
    return replace(
        ClusterPlan(nodes=3, people=2, habits={"say": 1}, wishes=4, tail=0),
        **more,  # type: ignore[arg-type]
    )


def follower(town: ClusterTown) -> ClusterNode:
    return next(node for node in town.cluster.nodes if not node.leads(0))


def test_a_node_whose_store_is_closed_is_asked_in_vain_and_harms_nobody() -> None:
    async def story(world: World, town: ClusterTown) -> None:
        node = follower(town)
        account = town.people[0].account
        assert node.store is not None
        await node.host.spawn(node.store.close())
        assert node.mark(bytes(16), account) == (0, 0)
        assert node.has_device(account, 7)
        assert not node.follows(0)
        assert node.durable(0) > 0
        assert "lacks" in str(node)
        node.host.crash()
        node.host.boot()  # which has not begun yet: nothing is left of what ended
        assert not node.is_up
        assert node.store is None

    assert tell(story, plan()) is None


def test_a_spoilt_copy_is_found_alarmed_and_made_anew() -> None:
    async def story(world: World, town: ClusterTown) -> None:
        node = follower(town)
        others = [one for one in town.cluster.nodes if one is not node]
        assert town.copies.spoil(node, 0)
        assert not town.copies.spoil(others[0], 0)  # one at a time
        owner = next(one for one in others if one.leads(0))
        assert owner.parts is not None
        told = owner.parts.recorder
        assert await world.until(lambda: told.stats.events["replicas differ"], within_s=60.0)
        (alarm,) = [event for event in told.recent() if event.what == "replicas differ"]
        assert alarm.level == "alarm"
        assert alarm.text.endswith(f": {node.host.name}")

        def made_anew() -> bool:
            return node.parts is not None and node.parts.recorder.stats.events["rebuilt"] > 0

        assert await world.until(made_anew, within_s=60.0)
        assert await world.until(lambda: not any(town._unlike()), within_s=60.0)
        assert await world.until(lambda: town.copies._agrees(0), within_s=60.0)

    assert tell(story, plan(spoils=1e-12)) is None


def test_a_node_without_a_disk_catches_up_by_a_snapshot_and_what_came_after_it() -> None:
    async def story(world: World, town: ClusterTown) -> None:
        node, other = (one for one in town.cluster.nodes if not one.leads(0))
        log = town.cluster.engine.engine.log(0)
        assert await world.until(lambda: log.first > 1, within_s=60.0)
        assert town.copies.wipe(node)
        assert node.durable(0) == 0
        assert not town.copies.wipe(other)  # one at a time
        node.host.boot()
        assert await world.until(lambda: not any(town._unlike()), within_s=60.0)
        assert node.parts is not None
        assert node.parts.recorder.stats.snapshots_fetched == 1
        at = node.durable(0)
        assert await world.until(lambda: node.durable(0) > at, within_s=60.0)
        assert town.copies.wipe(other)

    assert tell(story, plan()) is None


@pytest.mark.parametrize("enough", [True, False])
def test_a_journal_that_forgets_what_one_node_has_is_found_out(enough: bool) -> None:
    async def story(world: World, town: ClusterTown) -> None:
        log = town.cluster.engine.engine.log(0)
        for node in town.cluster.nodes:
            if not node.leads(0) and not (enough and node is follower(town)):
                node.host.pause(40.0)  # the engine's machine beside it goes on
        last = log.last
        owner = next(iter(town.cluster.owners(0)))
        assert await world.until(lambda: owner.durable(0) > last, within_s=30.0)
        if enough:
            assert await world.until(lambda: follower(town).durable(0) > last, within_s=30.0)
        log.truncate(last + 1)
        await world.sleep(1.0)

    failure = tell(story, plan())
    assert (failure is None) == enough
    assert enough or str(failure).endswith("have it")


@pytest.mark.parametrize("row", ["abd", "ad"])
def test_a_placement_that_gives_up_too_many_copies_is_found_out(row: str) -> None:
    async def story(world: World, town: ClusterTown) -> None:
        engine = town.cluster.engine.engine
        assert await world.until(lambda: engine.log(0).first > 1, within_s=60.0)
        register = engine.table.now[PLACEMENT]
        placement = decoded(Placement, register.value)
        assert sorted(placement.partitions[0]) == ["a", "b", "c"]
        new = replace(placement, version=placement.version + 1, partitions=(tuple(row),))
        engine.table.change(PLACEMENT, encoded(new), register.revision)
        await world.sleep(1.0)

    failure = tell(story, plan(nodes=4, founders=3))
    assert (failure is None) == (row == "abd")
    assert failure is None or "only ['a'] have what its journal has forgotten" in str(failure)
