"""A node of a cluster gets no clients while something is wrong with it, and only with it."""

from __future__ import annotations

import pytest

from palaver.actors.cluster.events import ClusterStats
from palaver.supervisors.trees.cluster import why_not_ready


@pytest.mark.parametrize("ownerless", [0, 1, 7])
def test_partitions_without_an_owner_are_nobodys_fault(ownerless: int) -> None:
    stats = ClusterStats()
    stats.ownerless = ownerless
    assert why_not_ready(True, stats, 8) == []


def test_a_node_that_sees_no_owner_at_all_or_is_alone_is_not_ready() -> None:
    stats = ClusterStats()
    stats.ownerless = 8
    assert why_not_ready(True, stats, 8) == [
        "no partition has an owner, as far as this node can see"
    ]
    stats.ownerless = 0
    assert why_not_ready(False, stats, 8) == ["the node is connected to no NATS server"]
    assert why_not_ready(True, None, 8) == ["the node does not belong to its cluster yet"]
