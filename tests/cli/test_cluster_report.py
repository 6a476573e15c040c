"""What an operator sees of a cluster."""

from __future__ import annotations

import pytest

from palaver.supervisors.cli.cluster.report import print_status
from palaver.supervisors.trees.cluster_operator import _problems, _replica
from palaver.transport.http.cluster_port import (
    ClusterStatus,
    NodeRecord,
    PartitionRecord,
    ReplicaRecord,
)


def test_the_status_shows_what_is_left_to_be_removed_and_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    nodes = (
        NodeRecord("a@h", "up", "1", 4, 16, "ws://a", leftovers=3),
        NodeRecord("b@h", "up", "1", 4, 16, "ws://b"),
    )
    replica = ReplicaRecord("a@h", 7, 0, "ab", 7, "failing")
    partition = PartitionRecord(0, "", 3, (replica,))
    problem = "the copy of partition 0 at a@h: the journal is gone: restore it"
    print_status(ClusterStatus("shop", "a@h", nodes, (partition,), (), (problem,)), 0)
    shown = capsys.readouterr().out
    assert "16 (+3 to be removed)" in shown
    assert "a@h (failing)" in shown
    assert problem in shown


def test_a_copy_that_is_in_trouble_is_failing_and_says_why() -> None:
    found = {
        "node": "a@h",
        "role": "following",
        "position": 7,
        "behind": 0,
        "ready": False,
        "trouble": "the journal is gone: restore it",
        "digest": None,
    }
    replica = _replica(found)
    assert replica.state == "failing"
    whole = {
        "cluster": {"refused": "", "founded": True},
        "partitions": [{"number": 0, "replicas": [found, {"node": "b@h", "role": "unknown"}]}],
    }
    partition = PartitionRecord(0, "b@h", 3, (replica,))
    assert _problems(whole, (), (partition,)) == [
        "the copy of partition 0 at a@h: the journal is gone: restore it"
    ]
