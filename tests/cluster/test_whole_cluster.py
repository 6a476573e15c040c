"""Membership and ownership of a whole cluster, in a simulated world."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cluster_fakes import FakeHost
from cluster_kit import Town, in_town

from palaver.actors.cluster import (
    CannotHandOver,
    GiveTo,
    Joined,
    NameInUse,
    Release,
    Replaced,
    WrongCluster,
)
from palaver.actors.cluster.names import MEMBERSHIP, OWNERSHIP
from palaver.actors.cluster.records import encoded
from palaver.actors.runtime import KILL, CallTimeout
from palaver.supervisors.trees.cluster_operator import ClusterOperator

FAILOVER_S = 6.0
"""2.5 s until the fabric gives a silent node up, 0.5 s of grace, a rank's delay, the take-over."""


def owned(town: Town) -> list[list[str]]:
    return [town.servers(n) for n in range(4)]


def first_of(town: Town, owner: str) -> int:
    return owned(town).index([owner])


def test_a_cluster_is_founded_and_its_partitions_spread() -> None:
    async def test(town: Town) -> None:
        assert {owner for (owner,) in owned(town)} == {"a", "b", "c"}
        for n, (owner,) in enumerate(owned(town)):
            assert town.placement().partitions[n][0] == owner
        for name in "abc":
            members = await town.nodes[name].call(MEMBERSHIP, Joined())
            assert members.nodes[name].state == "up"
        assert (await town.members("a")).live() == ("a", "b", "c")

    in_town(test)


def test_a_cluster_is_not_founded_before_its_founders_are_there() -> None:
    async def test(town: Town) -> None:
        await town.hosts["a"].start()
        await town.hosts["b"].start()
        await town.world.sleep(60.0)
        assert "cluster" not in town.bank.values
        with pytest.raises(CallTimeout):
            await town.nodes["a"].call(MEMBERSHIP, Joined(), timeout_s=1.0)
        await town.hosts["c"].start()
        await town.served()

    in_town(test, start=False)
    in_town(test, start=False, founding=("a", "b", "c"))


def test_another_replica_takes_over_from_a_node_that_crashes() -> None:
    async def test(town: Town) -> None:
        town.hosts["b"].crash()
        await town.served(within_s=FAILOVER_S)
        assert ["b"] not in owned(town)
        before = owned(town)
        await town.hosts["b"].start()
        await town.served(within_s=FAILOVER_S)
        await town.world.sleep(30.0)
        assert before == owned(town), "an owner that comes back does not take it all back"

    in_town(test)


def test_another_replica_takes_over_from_a_node_that_loses_power() -> None:
    async def test(town: Town) -> None:
        town.hosts["b"].power_off()
        await town.served(within_s=FAILOVER_S)

    in_town(test)


def test_an_owner_that_is_back_at_once_goes_on() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        before = town.owner(n)
        await town.hosts["b"].restart()
        await town.served(within_s=FAILOVER_S)
        after = town.owner(n)
        assert before is not None
        assert after is not None
        assert after.epoch > before.epoch, "an epoch is led by one life only"

    in_town(test)


def test_an_owner_that_is_at_something_else_refuses_to_hand_over_at_once() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        town.hosts["b"].crash()
        await town.world.eventually(
            lambda: any(
                event.about == str(n) for name in "ac" for event in town.told(name, "taking over")
            ),
            "another one takes over",
        )
        name = next(
            each
            for each in "ac"
            if any(event.about == str(n) for event in town.told(each, "taking over"))
        )
        # It leads, and cannot say so in the register.
        town.bank.severed.add(name)
        await town.world.eventually(
            lambda: any(event.about == str(n) for event in town.told(name, "leading")), "it leads"
        )
        other = "c" if name == "a" else "a"
        with pytest.raises(CannotHandOver, match="again"):
            await town.nodes[name].call(OWNERSHIP, GiveTo(n, other), timeout_s=5.0)
        town.bank.severed.discard(name)
        await town.served()
        await town.nodes[name].call(OWNERSHIP, GiveTo(n, other), timeout_s=5.0)
        await town.served()
        assert town.servers(n) == [other]

    in_town(test)


def test_replicas_that_have_stopped_are_told_of_and_the_other_partitions_go_on() -> None:
    async def test(town: Town) -> None:
        for name in "abc":
            town.store(name).fail(2, "the journal is gone: restore it")
        await town.world.eventually(lambda: town.servers(2) == [], "nobody leads it")
        await town.world.sleep(30.0)
        assert [len(town.servers(n)) for n in range(4)] == [1, 1, 0, 1]
        for name in "abc":
            (alarm,) = town.told(name, "replica in trouble")
            assert (alarm.about, alarm.level) == ("2", "alarm")
            assert "restore it" in alarm.text
        status = await ClusterOperator(town.nodes["a"], "a").status()
        for name in "abc":
            text = f"the copy of partition 2 at {name}: the journal is gone: restore it"
            assert text in status.problems
        assert {each.state for each in status.partitions[2].replicas} == {"failing"}
        assert "partition 2 has no owner" in status.problems
        for name in "abc":
            town.store(name).troubles.clear()
        await town.served()
        for name in "abc":
            await town.world.eventually(
                lambda name=name: [e.about for e in town.told(name, "replica goes on")] == ["2"],
                "it is told that they go on",
            )

    in_town(test)


def test_an_owner_that_is_cut_off_steps_down_and_comes_back_as_a_follower() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        heal = town.world.network.cut(["b"], ["a", "c"])
        await town.world.eventually(
            lambda: town.servers(n) in (["a"], ["c"]), "another one serves", within_s=FAILOVER_S
        )
        await town.world.eventually(
            lambda: town.running("b")[n] != "owner", "it has stepped down", within_s=15.0
        )
        heal()
        await town.served(within_s=20.0)

    in_town(test)


def test_an_owner_that_reaches_no_registers_steps_down_and_is_replaced() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        town.bank.severed.add("b")
        await town.world.eventually(
            lambda: town.running("b")[n] != "owner", "it has stepped down", within_s=15.0
        )
        await town.world.eventually(
            lambda: town.servers(n) in (["a"], ["c"]), "another one serves", within_s=20.0
        )
        await town.world.sleep(10.0)
        assert all(town.running("b")[n] != "owner" for n in range(4))
        town.bank.severed.clear()
        await town.served()

    in_town(test)


def test_without_a_majority_nobody_owns_anything_new() -> None:
    async def test(town: Town) -> None:
        town.hosts["b"].crash()
        town.hosts["c"].crash()
        await town.world.sleep(60.0)
        assert owned(town) == [[], [], [], []]
        await town.hosts["b"].start()
        await town.served()

    in_town(test)


def test_after_a_pause_a_node_serves_nothing_that_it_owned() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        town.hosts["b"].pause(30.0)
        await town.world.sleep(29.0)
        assert town.servers(n) in (["a"], ["c"])
        await town.served()
        assert town.told("b", "woke up")

    in_town(test)


def test_a_take_over_that_hangs_is_left_to_the_next() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        nodes = town.placement().partitions[n]
        second, third = (name for name in nodes if name != "b")
        town.store(second).stuck.add(n)
        town.hosts["b"].crash()
        await town.world.eventually(
            lambda: town.servers(n) == [third], "the third serves", within_s=FAILOVER_S + 15.0
        )
        town.store(second).stuck.clear()
        await town.served()

    in_town(test)


def test_the_next_owner_is_one_that_is_not_far_behind() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        second, third = (name for name in town.placement().partitions[n] if name != "b")
        # The second does not get on with what the journal has.
        town.store(second).replicas[n].position -= 1
        town.store(second)._pumping.add(n)
        town.hosts["b"].crash()
        await town.world.eventually(
            lambda: town.servers(n) == [third], "the third serves", within_s=FAILOVER_S
        )

    in_town(test, max_behind=0)


def test_a_partition_is_handed_over_without_two_servers() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        servers = lambda: [each for each in town.nodes if town.running(each)[n] == "owner"]  # noqa: E731
        town.world.always(lambda: len(servers()) <= 1, "one serves")
        began_s = town.world.now_s
        assert await town.nodes["b"].call(OWNERSHIP, GiveTo(n, "c"))
        await town.world.eventually(lambda: town.servers(n) == ["c"], "c serves", within_s=2.0)
        assert town.world.now_s - began_s < 0.5
        await town.served()
        with pytest.raises(CannotHandOver):
            await town.nodes["b"].call(OWNERSHIP, GiveTo(n, "c"))
        with pytest.raises(CannotHandOver):
            await town.nodes["c"].call(OWNERSHIP, GiveTo(n, "x"))

    in_town(test)


def test_a_successor_that_dies_at_once_is_replaced() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        assert await town.nodes["b"].call(OWNERSHIP, GiveTo(n, "c"))
        town.hosts["c"].crash()
        await town.served(within_s=FAILOVER_S)

    in_town(test)


def test_a_node_that_is_about_to_stop_hands_all_over() -> None:
    async def test(town: Town) -> None:
        await town.nodes["b"].call(OWNERSHIP, Release())
        await town.served(within_s=1.0)
        assert ["b"] not in owned(town)
        await town.nodes["b"].stop()
        await town.world.eventually(
            lambda: b'"state":"down"' in town.bank.values["node.b"].value, "it says so"
        )

    in_town(test)


def test_what_the_partition_itself_says_lost_is_given_up() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        town.store("b").step_down(n)
        town.store("b")._lost(n, "the journal is silent")
        await town.world.eventually(lambda: town.servers(n) != [], "served", within_s=3.0)
        await town.served()

    in_town(test)


def test_the_processes_begin_anew_when_one_is_killed() -> None:
    async def test(town: Town) -> None:
        for name in (OWNERSHIP, MEMBERSHIP):
            pid = town.nodes["b"].whereis(name)
            assert pid is not None
            town.nodes["b"].exit(pid, KILL)
            await town.world.sleep(0.1)
            await town.served(within_s=10.0)

    in_town(test)


def test_a_second_node_of_a_name_is_refused_while_the_first_is_alive() -> None:
    async def test(town: Town) -> None:
        claimant = town.add("x")
        # Another machine, on which somebody starts a node of a name that is taken.
        boot = claimant._boot
        assert boot is not None
        claimant._boot = None
        await claimant.start()

        async def second() -> None:
            from cluster_fakes import FaultyRegisters

            from palaver.actors.cluster.joining import Joining
            from palaver.actors.cluster.registers import Guarded
            from palaver.actors.cluster.roster import Lease

            node = await claimant.node("b")
            settings = town.parts["b"].settings
            registers = Guarded(FaultyRegisters(town.bank, claimant), Lease(10.0), 3.0)

            class Second:
                name, creation = "b", 99

            joining = Joining(Second(), registers, settings)  # type: ignore[arg-type]
            outcome: list[BaseException] = []

            async def attempt(ctx: object) -> None:
                try:
                    await joining.run(ctx)  # type: ignore[arg-type]
                except NameInUse as error:
                    outcome.append(error)

            await node.wait(node.spawn(attempt))
            assert len(outcome) == 1
            assert "alive" in str(outcome[0])

        await claimant.spawn(second())
        claimant.crash()
        assert not town.told("b", "refused")

    in_town(test)


def test_a_node_of_another_cluster_is_refused() -> None:
    async def test(town: Town) -> None:
        for name, options in (("x", {"cluster": "city"}), ("y", {"partitions": 8})):
            town.journals.entries += [[] for _ in range(4)]
            town.journals.first += [1] * 4
            await town.add(name, **options).start()
            with pytest.raises(WrongCluster, match="change this node's settings"):
                await town.nodes[name].call(MEMBERSHIP, Joined(), timeout_s=30.0)
            town.hosts[name].crash()

    in_town(test)


def test_a_node_that_joins_later_owns_nothing_yet() -> None:
    async def test(town: Town) -> None:
        await town.add("x").start()
        await town.served()
        await town.world.sleep(30.0)
        assert town.store("x").followed == {}
        assert "x" not in town.placement().nodes()

    in_town(test)


def test_an_owner_that_steps_down_accepts_nothing_while_its_processes_end() -> None:
    async def test(town: Town) -> None:
        n = first_of(town, "b")
        host = town.parts["b"].host
        assert isinstance(host, FakeHost)
        host.slow_s = 1.0
        assert town.store("b").append(n)
        giving = asyncio.ensure_future(town.nodes["b"].call(OWNERSHIP, GiveTo(n, "c")))
        await town.world.sleep(0.1)
        assert town.running("b")[n] == "owner"
        assert not town.store("b").append(n)
        assert await giving

    in_town(test)


def test_replicas_that_an_earlier_process_kept_are_dropped() -> None:
    async def test(town: Town) -> None:
        n = next(n for n, row in enumerate(town.placement().partitions) if "b" not in row)
        town.store("b").follow(n)
        pid = town.nodes["b"].whereis(OWNERSHIP)
        assert pid is not None
        town.nodes["b"].exit(pid, KILL)
        await town.world.eventually(lambda: n not in town.store("b").followed, "it is dropped")

    in_town(test, "abcd")


def test_a_node_whose_name_was_taken_stops_what_it_does() -> None:
    async def test(town: Town) -> None:
        record = (await town.members("b")).nodes["b"]
        town.bank.set("node.b", encoded(replace(record, creation=99)))
        await town.world.eventually(lambda: town.told("b", "refused"), "it is told")
        with pytest.raises(Replaced):
            await town.nodes["b"].call(MEMBERSHIP, Joined())
        await town.world.eventually(
            lambda: "owner" not in town.running("b").values(), "it owns nothing", within_s=5.0
        )

    in_town(test)
