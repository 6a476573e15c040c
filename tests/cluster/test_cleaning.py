"""Tables that replicas have left are removed once nobody needs them, and no earlier."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_kit import Town, in_town
from test_rebalancing import rebalance, settled

from palaver.actors.cluster.auditor import GetStatus
from palaver.actors.cluster.cleaning import is_covered
from palaver.actors.cluster.names import AUDITOR, REBALANCER
from palaver.actors.cluster.ownership_messages import PartitionStatus
from palaver.actors.cluster.rebalancer import Rebalance
from palaver.actors.cluster.records import encoded
from palaver.supervisors.trees.cluster_operator import ClusterOperator

SOME = PartitionStatus(
    3, "following", "a", 7, "leading", replica=True, position=50, applied=40, behind=0, ready=True,
    digests=(), held=50,
)  # fmt: skip
OWNER = SOME._replace(role="leading")
LEFT = SOME._replace(replica=False, ready=False, position=0)
ROW = ("a", "b", "c")


def test_tables_are_needed_until_a_majority_and_the_owner_have_what_they_have() -> None:
    assert is_covered(LEFT, ROW, {"a": OWNER, "b": SOME, "c": SOME})
    assert is_covered(LEFT, ROW, {"a": OWNER, "b": SOME})
    assert not is_covered(LEFT, ROW, {"a": OWNER})
    assert not is_covered(LEFT, ROW, {"b": SOME, "c": SOME})
    assert not is_covered(LEFT, ROW, {"a": SOME, "b": SOME, "c": SOME}), "nobody leads it yet"
    assert not is_covered(LEFT, ROW, {"a": OWNER, "x": SOME, "y": SOME}), "others do not count"
    for behind in (
        SOME._replace(position=49),
        SOME._replace(ready=False),
        SOME._replace(replica=False),
    ):
        assert not is_covered(LEFT, ROW, {"a": OWNER, "b": behind, "c": behind})
        assert is_covered(LEFT, ROW, {"a": OWNER, "b": SOME, "c": behind})
    for owner in (LEFT._replace(owner="x"), LEFT._replace(phase="free"), LEFT._replace(owner="")):
        assert not is_covered(owner, ROW, {"a": OWNER, "b": SOME, "c": SOME})


def test_what_a_node_gives_away_is_removed_and_the_status_tells_of_it() -> None:
    async def test(town: Town) -> None:
        town.append_all()
        await town.add("x").start()
        await town.served()
        for name in "abcx":
            town.store(name).busy = True
        await rebalance(town, "a", "rebalance")
        await settled(town)
        await town.world.sleep(30.0)
        left = town.leftovers()
        count = sum(len(numbers) for numbers in left.values())
        assert count > 0, "they cannot be removed now"
        status = await town.nodes["a"].call(AUDITOR, GetStatus(), timeout_s=30.0)
        assert {each["name"]: each["leftovers"] for each in status["nodes"]} == {
            name: len(numbers) for name, numbers in left.items()
        }
        shown = await ClusterOperator(town.nodes["a"], "a").status()
        assert sum(node.leftovers for node in shown.nodes) == count
        assert any(town.told(name, "tables not removed") for name in "abc")
        for name in "abcx":
            town.store(name).busy = False
        await town.cleaned()
        await town.world.eventually(
            lambda: sum(len(town.told(name, "tables removed")) for name in "abcx") == count,
            "it is told",
        )
        for n, row in enumerate(town.placement().partitions):
            for name in row:
                assert town.store(name).held(n) == len(town.journals.entries[n])
        assert (await town.nodes["a"].call(AUDITOR, GetStatus()))["nodes"][0]["leftovers"] == 0

    in_town(test)


def test_what_a_node_gives_away_stays_while_the_others_are_not_there() -> None:
    async def test(town: Town) -> None:
        town.stop_needing_a_majority()
        await town.add("x").start()
        await town.served()
        await town.nodes["a"].call(REBALANCER, Rebalance("rebalance"), timeout_s=600.0)
        # The move is over, and before anything is removed all others are gone.
        (name, numbers) = next((k, v) for k, v in town.leftovers().items() if v)
        for other in "abcx":
            if other != name:
                town.hosts[other].crash()
        await town.world.sleep(60.0)
        assert town.leftovers()[name] == numbers
        for other in "abcx":
            if other != name:
                await town.hosts[other].start()
        await town.cleaned()

    in_town(test, audit_s=20.0)


def test_tables_of_a_replica_that_is_placed_again_are_used() -> None:
    async def test(town: Town) -> None:
        await town.add("x").start()
        await town.served()
        for name in "abcx":
            town.store(name).busy = True
        await rebalance(town, "a", "rebalance")
        await settled(town)
        (name, n) = next((k, v[0]) for k, v in town.leftovers().items() if v)
        placement = town.placement()
        rows = list(placement.partitions)
        rows[n] = (*rows[n], name)
        town.bank.set(
            "placement",
            encoded(replace(placement, version=placement.version + 1, partitions=tuple(rows))),
        )
        for each in "abcx":
            town.store(each).busy = False
        await town.world.eventually(lambda: n in town.store(name).followed, "it is followed again")
        await town.world.sleep(30.0)
        assert town.store(name).held(n) == len(town.journals.entries[n])
        assert not [event for event in town.told(name, "tables removed") if event.about == str(n)]

    in_town(test)


@pytest.mark.parametrize("who", ["giver", "all"])
@pytest.mark.parametrize("step", range(6))
def test_a_crash_while_tables_are_removed_is_made_up_for(step: int, who: str) -> None:
    """Before they are to go, as it is asked for, in the midst of it, and right after."""

    async def test(town: Town) -> None:
        town.append_all()
        await town.add("x").start()
        await town.served()
        await rebalance(town, "a", "rebalance")
        await settled(town)
        left = town.leftovers()
        name = next(each for each, numbers in left.items() if numbers)
        if step:
            await town.world.eventually(
                lambda: bool(town.store(name).forgetting), "it is being removed"
            )
            await town.world.sleep(0.001 * (step - 1))
        for each in name if who == "giver" else "abcx":
            town.hosts[each].crash()
        for each in name if who == "giver" else "abcx":
            await town.hosts[each].start()
        await town.served()
        await town.cleaned()
        await town.world.eventually(town.is_whole, "the copies are whole")

    in_town(test)
