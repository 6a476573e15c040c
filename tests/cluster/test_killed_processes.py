"""Each process of a node's cluster is killed once; all goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_fakes import FaultyRegisters
from cluster_kit import Town, in_town

from palaver.actors.cluster.auditor import GetStatus
from palaver.actors.cluster.names import (
    AUDITOR,
    CLEANER,
    MEMBERSHIP,
    OWNERSHIP,
    REBALANCER,
    SNAPSHOT_SERVER,
    SNAPSHOTS,
)
from palaver.actors.cluster.rebalancer import Rebalance
from palaver.actors.cluster.records import NodeRecord, decoded, encoded, node_key
from palaver.actors.runtime import KILL

PROCESSES = (MEMBERSHIP, OWNERSHIP, SNAPSHOT_SERVER, SNAPSHOTS, AUDITOR, REBALANCER, CLEANER)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_that_is_killed_comes_back_and_all_goes_on(name: str) -> None:
    async def test(town: Town) -> None:
        node = town.nodes["b"]
        supervisor = node.whereis("root")
        one = lambda n: [e for e in town.nodes if town.serves(e, n)]  # noqa: E731
        town.world.always(lambda: all(len(one(n)) <= 1 for n in range(4)), "one serves")
        before = {each: node.whereis(each) for each in PROCESSES}
        pid = before[name]
        assert pid is not None
        node.exit(pid, KILL)
        await town.world.eventually(
            lambda: node.whereis(name) not in (None, pid), "it is there again", within_s=10.0
        )
        await town.served()
        # Those before it go on as they are; those after it begin anew.
        at = PROCESSES.index(name)
        assert {each: node.whereis(each) for each in PROCESSES[:at]} == {
            each: before[each] for each in PROCESSES[:at]
        }
        assert node.whereis("root") == supervisor
        members = await town.members("b")
        assert members.joined
        assert members.refused == ""
        assert {record.state for record in members.nodes.values()} == {"up"}
        status = await node.call(AUDITOR, GetStatus(), timeout_s=30.0)
        assert all(each["live"] for each in status["nodes"])
        # What it is there for is done: a node that comes now gets its share by snapshots.
        town.append_all()
        town.journals.first = [2] * 4
        await town.add("x").start()
        await town.served()
        await node.call(REBALANCER, Rebalance("rebalance"), timeout_s=600.0)
        await town.served()
        assert "x" in {name for row in town.placement().partitions for name in row}
        await town.cleaned()
        town.hosts["a"].crash()
        await town.served()

    in_town(test)


@pytest.mark.parametrize("name", [MEMBERSHIP, OWNERSHIP])
@pytest.mark.parametrize("after_s", [0.004, 0.01, 0.02, 0.04, 0.06, 0.1, 0.5, 1.1])
def test_a_process_that_is_killed_while_the_cluster_begins_comes_back(
    name: str, after_s: float
) -> None:
    async def test(town: Town) -> None:
        await town.world.start_all()
        await town.world.sleep(after_s)
        node = town.nodes["b"]
        pid = node.whereis(name)
        assert pid is not None
        node.exit(pid, KILL)
        await town.world.eventually(lambda: node.whereis(name) not in (None, pid), "it is back")
        again = node.whereis(name)
        await town.served()
        await town.world.sleep(10.0)
        assert node.whereis(name) is again, "it began anew once, and not again"
        assert (await town.members("b")).joined

    in_town(test, start=False)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.02, 0.03, 0.05])
def test_ownership_that_is_killed_while_it_takes_over_comes_back(after_s: float) -> None:
    async def test(town: Town) -> None:
        one = lambda n: [e for e in town.nodes if town.serves(e, n)]  # noqa: E731
        town.world.always(lambda: all(len(one(n)) <= 1 for n in range(4)), "one serves")
        town.hosts["a"].crash()
        await town.world.eventually(
            lambda: any(town.told(name, "node lost") for name in "bc"), "it is lost"
        )
        await town.world.eventually(
            lambda: any(len(town.told(name, "campaigning")) > 1 for name in "bc"), "one campaigns"
        )
        await town.world.sleep(after_s)
        for name in "bc":
            pid = town.nodes[name].whereis(OWNERSHIP)
            assert pid is not None
            town.nodes[name].exit(pid, KILL)
        await town.served()
        await town.hosts["a"].start()
        await town.served()

    in_town(test)


def test_what_a_killed_process_watched_is_watched_once() -> None:
    async def test(town: Town) -> None:
        before = len(town.bank.watches)
        node = town.nodes["b"]
        for _ in range(4):
            for name in (MEMBERSHIP, OWNERSHIP):
                pid = node.whereis(name)
                assert pid is not None
                node.exit(pid, KILL)
                await town.world.eventually(
                    lambda name=name, pid=pid: node.whereis(name) not in (None, pid), "it is back"
                )
            await town.served()
        assert len(town.bank.watches) == before

    in_town(test)


def test_membership_whose_register_is_changed_by_others_all_the_time_goes_on() -> None:
    async def test(town: Town) -> None:
        node, key = town.nodes["b"], node_key("b")
        pid = node.whereis(MEMBERSHIP)
        for beat in range(1000):
            record = decoded(NodeRecord, town.bank.values[key].value)
            town.bank.set(key, encoded(replace(record, state="draining", beat=beat)))
            await town.world.sleep(0.003)
        await town.world.sleep(5.0)
        assert node.whereis(MEMBERSHIP) is pid
        assert (await town.members("b")).nodes["b"].state == "draining"

    in_town(test)


def test_membership_does_not_hide_what_it_has_not_expected() -> None:
    async def test(town: Town) -> None:
        node = town.nodes["b"]
        pid = node.whereis(MEMBERSHIP)
        registers = town.parts["b"].registers
        assert isinstance(registers, FaultyRegisters)
        registers.bug = RuntimeError("nobody has thought of this")
        await town.world.eventually(lambda: node.whereis(MEMBERSHIP) is not pid, "it crashes")
        registers.bug = None
        await town.served()

    in_town(test)
