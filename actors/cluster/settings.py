"""The settings of a node's part in a cluster: names, times and limits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

__all__ = ["FORMAT", "MAX_PARTITIONS", "ClusterSettings"]

FORMAT: Final = 1
"""The version of what the registers hold; nodes of another one are refused."""

MAX_PARTITIONS: Final = 4096
"""As many as the register of the placement has room for."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How a node behaves in its cluster.

    The times are made for one another: a dead node is noticed by the distribution, which takes its
    own time, then `grace_s` passes, then the first candidate begins, the second `rank_delay_s`
    later. See the page about the cluster for how long a fail-over takes.

    Args:
        cluster: the cluster's name; nodes of another one are refused.
        partitions: how many there are, a power of two; fixed when the cluster is founded.
        founding: the nodes that have to be there before the cluster is founded: their names, or
            how many.
        replicas: how many nodes keep a copy of each partition.
        island: how many nodes share partitions among themselves; at least `replicas`.
        auto_rebalance: whether a node that joins is given its share without being asked.
        ws_url, http_url: where clients reach this node.
        version: of the program, shown to operators.
        refresh_s: how often a node writes its register, by which it sees that it can.
        lease_s: a node that has not reached the registers for so long steps down from what it
            owns, and others take it for gone.
        register_timeout_s: how long one question to the registers may take.
        grace_s: how long an owner is left alone after its connection was lost.
        rank_delay_s: how much later the next candidate in order begins.
        takeover_s: how long a take-over may take; then the next candidate begins.
        host_s: how long starting or stopping a partition's processes may take.
        retry_s: how long after a failed attempt the next one is made, at first; doubled each time
            up to sixteen times as much.
        max_behind: entries that a replica may lack and still be a candidate.
        tick_s: how often everything is looked at again.
        claim_s: how long a node of the same name has to say that it is alive.
        audit_s: how often the replicas are compared.
        peer_timeout_s: how long another node may take to answer.
        chunk_bytes: how much of a snapshot one answer carries.
        max_transfers: how many snapshots a node sends at a time, and how many it fetches.
        snapshot_s: how long a node may take to make a snapshot ready for another one.
        transfer_idle_s: a snapshot that nobody reads any more is given up after so long.
        catch_up_s: how long a rebalance waits for a new replica that makes no progress.
        max_events: how many recent events a node remembers.
    """

    cluster: str
    partitions: int
    founding: tuple[str, ...] | int = 1
    replicas: int = 3
    island: int = 5
    auto_rebalance: bool = False
    ws_url: str = ""
    http_url: str = ""
    version: str = ""
    refresh_s: float = 2.0
    lease_s: float = 10.0
    register_timeout_s: float = 3.0
    grace_s: float = 0.5
    rank_delay_s: float = 1.0
    takeover_s: float = 10.0
    host_s: float = 30.0
    retry_s: float = 0.5
    max_behind: int = 10_000
    tick_s: float = 0.5
    claim_s: float = 2.0
    audit_s: float = 5.0
    peer_timeout_s: float = 3.0
    chunk_bytes: int = 256 * 1024
    max_transfers: int = 2
    snapshot_s: float = 1800.0
    transfer_idle_s: float = 60.0
    catch_up_s: float = 120.0
    max_events: int = 500

    def __post_init__(self) -> None:
        if not self.cluster:
            raise ValueError("a cluster has a name")
        count = self.partitions
        if not 1 <= count <= MAX_PARTITIONS or count & (count - 1):
            raise ValueError(f"partitions is a power of two up to {MAX_PARTITIONS}, not {count}")
        founders = self.founding if isinstance(self.founding, int) else len(set(self.founding))
        if founders < 1:
            raise ValueError("a cluster is founded by at least one node")
        if self.replicas < 1 or self.island < self.replicas:
            raise ValueError("replicas is at least 1, and an island has at least that many nodes")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_s") and not value > 0:
                raise ValueError(f"{each.name} is a time in seconds, more than 0")
        if self.refresh_s * 2 > self.lease_s:
            raise ValueError("lease_s is at least twice refresh_s")
        if self.chunk_bytes < 1024 or self.max_transfers < 1 or self.max_events < 1:
            raise ValueError("chunk_bytes is at least 1024, the other limits at least 1")
        if self.max_behind < 0:
            raise ValueError("max_behind is at least 0")
