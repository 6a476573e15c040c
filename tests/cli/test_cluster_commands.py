"""`palaver cluster` against a port that is only a record: what is shown, asked and refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_programs import inside

from palaver.transport.http.admin_port import AdminRefused
from palaver.transport.http.cluster_port import (
    Change,
    ChangeProgress,
    ClusterEvent,
    ClusterStatus,
    NodeRecord,
    PartitionRecord,
    ReplicaRecord,
)

REPLICAS = tuple(
    ReplicaRecord(f"{name}@h", 7, behind, "00ab", 5, state)
    for name, behind, state in (("a", 0, "leading"), ("b", 2, "following"), ("c", 0, "following"))
)
WELL = ClusterStatus(
    "shop",
    "a@h",
    tuple(NodeRecord(f"{n}@h", "up", "1.2", n == "a", 1, f"ws://{n}/ws") for n in "abc"),
    (PartitionRecord(0, "a@h", 3, REPLICAS),),
    tuple(ClusterEvent(1_700_000_000_000 + n, "a@h", f"event {n}") for n in range(12)),
    (),
)


class FakeCluster:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = WELL
        self.asked: list[tuple[Change, str | None]] = []
        self.error: Exception | None = None

    async def status(self) -> ClusterStatus:
        return self.now

    async def change(self, what: Change, node: str | None) -> AsyncIterator[ChangeProgress]:
        self.asked.append((what, node))
        yield ChangeProgress(1, 2, "one step")
        if self.error is not None:
            raise self.error
        yield ChangeProgress(2, 2, "all is where it is to be")


@pytest.fixture
def cluster(served: Any) -> FakeCluster:
    port = FakeCluster()
    served.serve_cluster(port)
    return port


def asked(served: Any, *arguments: str) -> Any:
    return inside("cluster", *arguments, "--data", str(served.folder))


def test_a_cluster_that_is_well(served: Any, cluster: FakeCluster) -> None:
    shown = asked(served, "status", "--events", "2")
    assert shown.returncode == 0
    for text in ("shop", "b@h", "ws://c/ws", "0, 2, 0", "3 equal at 5", "nothing is wrong"):
        assert text in shown.stdout
    assert "event 11" in shown.stdout
    assert "event 9" not in shown.stdout
    told = json.loads(asked(served, "status", "--json").stdout)
    assert told["partitions"][0]["replicas"][1]["behind"] == 2
    assert len(told["events"]) == 12


def test_what_is_wrong_is_said_and_is_the_exit_code(served: Any, cluster: FakeCluster) -> None:
    odd = replace(REPLICAS[1], digest="ffff", state="catching up")
    partition = PartitionRecord(0, "", 3, (REPLICAS[0], odd))
    cluster.now = replace(WELL, partitions=(partition,), problems=("partition 0 has no owner",))
    shown = asked(served, "status")
    assert shown.returncode == 1
    for text in ("nobody", "b@h (catching up)", "DIFFER", "problem partition 0 has no owner"):
        assert text in shown.stdout
    assert asked(served, "status", "--json").returncode == 1


@pytest.mark.parametrize("what", ["drain", "undrain", "remove", "rebalance"])
def test_a_change_is_asked_for_and_its_steps_are_shown(
    served: Any, cluster: FakeCluster, what: Change
) -> None:
    node = [] if what == "rebalance" else ["b@h"]
    done = asked(served, what, *node)
    assert done.returncode == 0
    assert "is done" in done.stdout
    assert "1/2 one step" in done.stderr
    told = asked(served, what, *node, "--json")
    assert json.loads(told.stdout)["steps"][-1]["text"] == "all is where it is to be"
    assert cluster.asked == [(what, node[0] if node else None)] * 2


def test_what_is_refused_says_why(served: Any, cluster: FakeCluster) -> None:
    cluster.error = AdminRefused("refused", "there is no node x: see `palaver cluster status`")
    refused = asked(served, "drain", "x")
    assert refused.returncode == 1
    assert "error: there is no node x" in refused.stderr


def test_a_fault_of_the_node_is_told_as_one(served: Any, cluster: FakeCluster) -> None:
    cluster.error = ValueError("a bug")
    failed = asked(served, "rebalance")
    assert failed.returncode == 1
    assert "the change failed: a bug; the node's log has more" in failed.stderr


def test_a_node_that_stands_alone_says_so(served: Any) -> None:
    for arguments in (["status"], ["drain", "b@h"], ["rebalance"]):
        refused = asked(served, *arguments)
        assert refused.returncode == 1
        assert "belongs to no cluster" in refused.stderr


def test_wrong_use(tmp_path: Path) -> None:
    assert inside("cluster", "drain").returncode == 2
    nobody = inside("cluster", "status", "--data", str(tmp_path))
    assert nobody.returncode == 1
    assert "no node runs on" in nobody.stderr
    assert "--data" in nobody.stderr
