"""The life of a cluster of real processes, by the operator's commands, while people talk.

It follows the procedures of docs/operations.md: node by node to a new version, then one more node,
then one less.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from cluster_cli_kit import PATIENCE_S, Operator, People, log_lines

from palaver.supervisors.cli.cluster.processes import ClusterProcesses
from palaver.transport.http.admin_port import AdminRefused

PEOPLE = 6
A, B, C, D = (f"{name}@127.0.0.1" for name in "abcd")


def test_a_cluster_is_upgraded_grows_and_shrinks_while_people_talk(tmp_path: Path) -> None:
    async def life() -> None:
        cluster = ClusterProcesses(
            tmp_path, options=["--set", "reconnect_spread_s=0.5"], partitions=4
        )
        try:
            await cluster.start()
            operator = Operator(cluster)
            async with People.at(cluster, PEOPLE) as people:
                for name in "abc":
                    await upgrade(cluster, operator, people, name)
                await grow(cluster, operator, people)
                await be_refused(operator)
                await shrink(cluster, operator, people)
                await people.fell_silent()
                assert people.missing() == 0
                assert people.doubled() == 0
                assert all(person.acked for person in people.persons)
        finally:
            await cluster.close()

    asyncio.run(life())


async def upgrade(cluster: ClusterProcesses, operator: Operator, people: People, name: str) -> None:
    """The procedure of docs/operations.md for one node."""
    node = cluster.nodes[f"{name}@127.0.0.1"]
    other = "b" if name == "a" else "a"
    steps = await operator.does(other, "drain", f"{name}@127.0.0.1")
    assert f"no clients are connected to {name}@127.0.0.1" in steps
    (record,) = (n for n in (await cluster.status()).nodes if n.name == f"{name}@127.0.0.1")
    assert (record.state, record.owns) == ("draining", 0)
    assert "the node is draining" in await asyncio.to_thread(page, f"{node.admin_url}/readyz")
    await people.more()
    assert await node.stop() == 0
    await node.start()
    await cluster.equal_digests()
    await operator.does(other, "undrain", f"{name}@127.0.0.1")
    status = await cluster.status()
    assert {node.state for node in status.nodes} == {"up"}
    assert max(node.owns for node in status.nodes) <= 2
    await people.more()


def page(url: str) -> str:
    try:
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()


async def grow(cluster: ClusterProcesses, operator: Operator, people: People) -> None:
    """One more node, without a restart of the others."""
    pids = [node.pid for node in cluster.nodes.values()]
    await cluster.add("d").start()
    (record,) = (node for node in (await cluster.status(D)).nodes if node.name == D)
    assert (record.state, record.owns, record.replicates) == ("up", 0, 0)
    rebalanced = await operator.asks("d", "rebalance", "--json")
    assert rebalanced.json["steps"][-1]["text"] == "all is where it is to be"
    status = await cluster.equal_digests()
    assert [node.owns for node in status.nodes] == [1, 1, 1, 1]
    assert [node.pid for node in cluster.nodes.values()][:3] == pids
    exported = await asyncio.to_thread(page, f"{cluster.nodes[D].admin_url}/metrics")
    assert "palaver_cluster_partitions_owned 1.0" in exported
    assert "palaver_cluster_nodes_up 4.0" in exported
    await people.more()


async def be_refused(operator: Operator) -> None:
    """What an operator may get wrong, and what is said to it."""
    refused = await operator.asks("c", "remove", C, ok=False)
    assert refused.code == 1
    assert "ask another node" in refused.err
    with pytest.raises(AdminRefused, match="there is no node nobody@x"):
        await operator.does("a", "drain", "nobody@x")
    # All at once, at every node: one after the other they are done, or told to wait.
    at_once = await asyncio.gather(
        *(operator.does(name, "rebalance") for name in "aabcd"), return_exceptions=True
    )
    refusals = [each for each in at_once if isinstance(each, BaseException)]
    assert 1 <= len(refusals) < len(at_once)
    for each in refusals:
        assert isinstance(each, AdminRefused)
        assert re.search("wait for its end|ask for the same|is under way here", each.text), each


async def shrink(cluster: ClusterProcesses, operator: Operator, people: People) -> None:
    """One node less, which ends by itself and is not an error to its service manager."""
    gone = cluster.nodes[C]
    steps = await operator.does("a", "remove", C)
    assert f"the journals have 3 copies, none of them at {C}" in steps
    async with asyncio.timeout(PATIENCE_S):
        assert await gone.wait() == 0
    assert log_lines(gone.log, "removed from the cluster")
    status = await cluster.equal_digests()
    assert [node.name for node in status.nodes] == [A, B, D]
    assert sum(node.owns for node in status.nodes) == 4
    assert not status.problems
    await people.more()
