"""Changes of the placement, in a simulated cluster."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from cluster_kit import Town, epochs_are_unique, in_town

from palaver.actors.cluster import CannotRebalance, Rebalancing
from palaver.actors.cluster.auditor import GetStatus
from palaver.actors.cluster.moves import check_rows
from palaver.actors.cluster.moving import Progress
from palaver.actors.cluster.names import AUDITOR, REBALANCER
from palaver.actors.cluster.rebalancer import GetProgress, Rebalance
from palaver.actors.simulation import Faults, Probe, Seeded, World, run


async def rebalance(town: Town, at: str, what: Any, node: str = "") -> Progress:
    done: Progress = await town.nodes[at].call(REBALANCER, Rebalance(what, node), timeout_s=600.0)
    return done


async def insist(town: Town, at: str, what: Any, node: str) -> None:
    """Ask until it is done: another change may be under way, a node just about to come."""
    until_s = town.world.now_s + 300.0
    while True:
        try:
            await rebalance(town, at, what, node)
        except CannotRebalance:
            if town.world.now_s > until_s:
                raise
            await town.world.sleep(2.0)
        else:
            return


def assert_balanced(town: Town, names: str) -> None:
    placement = town.placement()
    count = Counter(name for row in placement.partitions for name in row)
    assert set(count) == set(names)
    assert max(count.values()) - min(count.values()) <= 1
    for n, row in enumerate(placement.partitions):
        assert len(set(row)) == min(3, len(names))
        assert town.servers(n) == [row[0]]
        for name in town.hosts:
            if town.hosts[name].alive:
                assert (n in town.store(name).followed) == (name in row)


async def settled(town: Town) -> None:
    await town.served()
    placement = town.placement()

    def followed() -> bool:
        return all(
            (n in town.store(name).followed) == (name in row)
            for n, row in enumerate(placement.partitions)
            for name, host in town.hosts.items()
            if host.alive
        )

    await town.world.eventually(followed, "replicas are where they are to be", within_s=10.0)


def test_a_node_that_joins_gets_its_share_by_a_rebalance() -> None:
    async def test(town: Town) -> None:
        town.append_all()
        town.journals.first = [2] * 4  # so that the new one needs a snapshot
        await town.add("x").start()
        await town.served()
        one = lambda n: [e for e in town.nodes if town.running(e).get(n) == "owner"]  # noqa: E731
        town.world.always(lambda: all(len(one(n)) <= 1 for n in range(4)), "one serves")
        probe = Probe(town.nodes["b"])
        done = await town.nodes["b"].call(
            REBALANCER, Rebalance("rebalance", told=probe.pid), timeout_s=600.0
        )
        await settled(town)
        assert_balanced(town, "abcx")
        assert done.done == done.total
        steps = [each for each in probe.messages if isinstance(each, Progress)]
        assert steps[-1] == done
        assert [each.done for each in steps] == list(range(1, done.total + 1))
        assert await town.nodes["b"].call(REBALANCER, GetProgress()) == done
        assert town.parts["x"].recorder.stats.snapshots_fetched > 0
        # Again: nothing to be done.
        before = town.placement()
        await rebalance(town, "a", "rebalance")
        assert town.placement() == before

    in_town(test)


def test_no_replica_is_dropped_before_the_new_one_has_caught_up() -> None:
    async def test(town: Town) -> None:
        town.append_all()
        await town.add("x").start()
        await town.served()
        before = town.placement()
        town.store("x")._pumping.update(range(4))  # it applies nothing
        changing = asyncio.ensure_future(rebalance(town, "a", "rebalance"))
        await town.world.sleep(20.0)
        for old, new in zip(before.partitions, town.placement().partitions, strict=True):
            assert set(old) <= set(new)
        await town.world.until(changing.done, within_s=200.0)
        with pytest.raises(CannotRebalance, match="x does not get on with partition"):
            await changing
        town.store("x")._pumping.clear()
        town.append_all()
        await rebalance(town, "a", "rebalance")
        await settled(town)
        assert_balanced(town, "abcx")

    in_town(test, max_behind=0)


def test_a_partition_is_not_left_to_replicas_that_are_not_there() -> None:
    check_rows(7, ["a", "b", "c"], ["a", "c"])
    with pytest.raises(CannotRebalance, match=r"partition 7 .*only c would be there"):
        check_rows(7, ["a", "b", "c"], ["c"])
    with pytest.raises(CannotRebalance, match="only a would"):
        check_rows(7, ["a", "b"], ["a"])


def test_a_cluster_may_rebalance_by_itself() -> None:
    async def test(town: Town) -> None:
        await town.add("x").start()
        await town.world.eventually(
            lambda: "x" in town.placement().nodes() and town.servers(0), "x has a share"
        )
        await town.world.sleep(30.0)
        await settled(town)
        assert_balanced(town, "abcx")

    in_town(test, auto_rebalance=True)


def test_preferred_owners_are_restored_by_a_rebalance() -> None:
    async def test(town: Town) -> None:
        await town.hosts["b"].restart()
        town.hosts["c"].crash()
        await town.served()
        await town.hosts["c"].start()
        await town.served()
        assert ["c"] not in [town.servers(n) for n in range(4)]
        await rebalance(town, "a", "rebalance")
        await settled(town)
        assert_balanced(town, "abc")

    in_town(test)


def test_a_node_is_drained_and_comes_back() -> None:
    async def test(town: Town) -> None:
        await rebalance(town, "a", "drain", "b")
        await town.served()
        assert ["b"] not in [town.servers(n) for n in range(4)]
        assert all("b" in row for row in town.placement().partitions), "it keeps its replicas"
        # Also over a restart.
        await town.hosts["b"].restart()
        await town.served()
        town.hosts["a"].crash()
        await town.served()
        assert ["b"] not in [town.servers(n) for n in range(4)]
        await town.hosts["a"].start()
        await town.served()
        await rebalance(town, "c", "undrain", "b")
        await settled(town)
        assert_balanced(town, "abc")

    in_town(test)


def test_a_drained_node_owns_what_nobody_else_can() -> None:
    async def test(town: Town) -> None:
        await rebalance(town, "a", "drain", "b")
        town.hosts["a"].crash()
        town.stop_needing_a_majority()
        town.hosts["c"].crash()
        await town.served()
        assert [town.servers(n) for n in range(4)] == [["b"]] * 4

    in_town(test)


def test_a_drained_node_of_many_keeps_no_replicas() -> None:
    async def test(town: Town) -> None:
        await rebalance(town, "a", "drain", "b")
        await settled(town)
        assert_balanced(town, "acde")

    in_town(test, "abcde")


def test_a_node_is_removed_for_good() -> None:
    async def test(town: Town) -> None:
        await rebalance(town, "a", "remove", "b")
        assert "node.b" not in town.bank.values
        await town.world.eventually(lambda: town.told("b", "refused"), "it is told")
        assert (await town.members("b")).removed
        town.hosts["b"].crash()
        await settled(town)
        assert_balanced(town, "acd")
        with pytest.raises(CannotRebalance, match="there is no node b"):
            await rebalance(town, "a", "remove", "b")
        with pytest.raises(CannotRebalance, match="ask another node"):
            await rebalance(town, "a", "remove", "a")

    in_town(test, "abcd")


def test_a_node_that_was_removed_while_it_was_cut_off_knows_it() -> None:
    async def test(town: Town) -> None:
        heal = town.world.network.cut(["b"], ["a", "c", "d"])
        await town.world.sleep(15.0)
        await rebalance(town, "a", "remove", "b")
        assert "node.b" not in town.bank.values
        heal()
        await town.world.eventually(lambda: town.told("b", "refused"), "it is told")
        assert (await town.members("b")).refused
        town.hosts["b"].crash()
        await settled(town)
        assert_balanced(town, "acd")

    in_town(test, "abcd")


def test_a_dead_node_is_replaced() -> None:
    async def test(town: Town) -> None:
        town.hosts["b"].crash()
        await town.served()
        with pytest.raises(CannotRebalance, match="b is not there now"):
            await rebalance(town, "a", "rebalance")
        with pytest.raises(CannotRebalance, match="b is not there, so nothing can be moved"):
            await rebalance(town, "a", "drain", "b")
        await rebalance(town, "a", "remove", "b")
        await settled(town)
        assert_balanced(town, "acd")
        assert "node.b" not in town.bank.values

    in_town(test, "abcd")


def test_what_would_lose_a_majority_is_refused() -> None:
    async def test(town: Town) -> None:
        await rebalance(town, "a", "remove", "b")
        with pytest.raises(CannotRebalance, match="fewer than a majority"):
            await rebalance(town, "a", "remove", "c")
        with pytest.raises(CannotRebalance, match="there is no node z"):
            await rebalance(town, "a", "drain", "z")

    in_town(test)


def test_one_change_at_a_time() -> None:
    async def test(town: Town) -> None:
        await town.add("x").start()
        await town.served()
        town.hosts["x"].pause(5.0)  # so that the first change has to wait for it
        first = asyncio.ensure_future(rebalance(town, "a", "rebalance"))
        await town.world.sleep(2.0)
        for name in "ab":
            with pytest.raises(Rebalancing):
                await rebalance(town, name, "rebalance")
        await first
        await settled(town)
        assert_balanced(town, "abcx")

    in_town(test)


def test_a_change_that_was_broken_off_is_gone_on_with_by_another_node() -> None:
    async def test(town: Town) -> None:
        await town.add("x").start()
        await town.served()
        town.hosts["x"].pause(5.0)
        first = asyncio.ensure_future(rebalance(town, "a", "rebalance"))
        await town.world.sleep(2.0)
        await town.hosts["a"].restart()
        await town.served()
        await town.world.sleep(10.0)
        first.cancel()
        await rebalance(town, "b", "rebalance")
        await settled(town)
        assert_balanced(town, "abcx")

    in_town(test)


def test_the_status_tells_it_all() -> None:
    async def test(town: Town) -> None:
        town.append_all()
        town.hosts["c"].crash()
        await town.served()
        status = await town.nodes["a"].call(AUDITOR, GetStatus())
        assert status["cluster"] == {
            "name": "town",
            "partitions": 4,
            "founded": True,
            "refused": "",
        }
        nodes = {each["name"]: each for each in status["nodes"]}
        assert [name for name, each in nodes.items() if each["live"]] == ["a", "b"]
        assert sum(each["owns"] for each in nodes.values()) == 4
        for each in status["partitions"]:
            assert [each["owner"]] == town.servers(each["number"])
            roles = {one["node"]: one["role"] for one in each["replicas"]}
            assert roles["c"] == "unknown"
            assert sorted(roles.values()) == ["following", "leading", "unknown"]
        told = [(each["node"], each["what"], each["about"]) for each in status["events"]]
        assert ("a", "node lost", "c") in told
        assert ("b", "node lost", "c") in told
        times = [each["at_ms"] for each in status["events"]]
        assert times == sorted(times)

    in_town(test)


SEEDS = 10
LONG_SEEDS = 500


async def scenario(world: World) -> None:
    """Nodes join, are drained and removed, while nodes crash and links are cut."""
    town = Town(world, "abc")
    await town.start()
    for name in "xy":
        await town.add(name).start()
    await town.served()
    nemesis = world.nemesis(Faults(crash=0.004, partition=0.006, pause=0.004, reset=0.01))
    wishes = [("rebalance", ""), ("drain", "b"), ("undrain", "b"), ("remove", "y")]
    for what, node in wishes:
        await world.sleep(3.0)
        town.append_all()
        asked = [name for name, host in town.hosts.items() if host.alive]
        at = asked[world.tape.choose("asked", len(asked), rate=0.5)]
        asking = asyncio.ensure_future(rebalance(town, at, what, node))
        if not await world.until(asking.done, within_s=20.0):
            asking.cancel()  # it may be lost with its node, without a word
        elif asking.exception() is not None:  # it may be refused
            world.trace.note("refused", at, f"{what} {node}: {asking.exception()}")
    nemesis.stop()
    await world.calm()
    town.bank.faulty = town.journals.faulty = False
    await town.served("all is owned again", within_s=60.0)
    # Whatever was done and was not: asked for again, it comes to its end.
    await insist(town, "a", "undrain", "b")
    if "y" in town.placement().nodes() or "node.y" in town.bank.values:
        await insist(town, "c", "remove", "y")
    # A node that has no share yet gets one only if it is seen.
    await world.eventually(town.fabric.connected, "the nodes are connected")
    while not set("abcx") <= set((await town.members("c")).live()):
        await world.sleep(0.5)
    await insist(town, "c", "rebalance", "")
    await settled(town)
    assert_balanced(town, "abcx")
    await town.cleaned()
    await world.eventually(town.is_whole, "the copies are whole")
    epochs_are_unique(town)


def test_a_rebalance_always_ends_in_a_whole_balanced_placement() -> None:
    for seed in range(SEEDS):
        outcome = run(scenario, Seeded(seed))
        if outcome.failure is not None:
            raise AssertionError(f"seed {seed}") from outcome.failure


@pytest.mark.long
def test_a_rebalance_always_ends_so_for_long() -> None:
    for seed in range(SEEDS, LONG_SEEDS):
        outcome = run(scenario, Seeded(seed))
        if outcome.failure is not None:
            raise AssertionError(f"seed {seed}") from outcome.failure
