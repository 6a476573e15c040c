"""The settings of a node that belongs to a cluster; without its name none of them counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from palaver.supervisors.trees import settings_values as read
from palaver.supervisors.trees.settings_key import Key

__all__ = ["ClusterSettings", "cluster_problems"]

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What an operator decides about a node's place among others."""

    cluster_name: Annotated[
        str | None,
        Key(
            read.optional(read.word),
            "the cluster that this node belongs to; empty: it stands alone",
            section="Cluster",
        ),
    ] = None
    cluster_keys: Annotated[
        Path | None,
        Key(read.optional(read.path), "folder with this node's keys, from `palaver cluster keys`"),
    ] = None
    cluster_join: Annotated[
        tuple[str, ...],
        Key(
            read.addresses,
            "host:port (cluster_port) of nodes of the cluster, of this one too if it is a founder",
        ),
    ] = ()
    cluster_host: Annotated[
        str, Key(read.host, "address where other nodes reach this one; in its certificate")
    ] = "127.0.0.1"
    cluster_port: Annotated[
        int, Key(read.integer(1, 65535), "port where the NATS servers of the nodes meet")
    ] = 6222
    cluster_client_port: Annotated[
        int, Key(read.integer(1, 65535), "port of this node's NATS server for nodes")
    ] = 4222
    cluster_nats: Annotated[
        tuple[str, ...],
        Key(
            read.nats_urls,
            "an existing NATS with JetStream, nats://user:password@host:port; then none is run",
        ),
    ] = ()
    cluster_nats_monitor: Annotated[
        tuple[str, ...],
        Key(read.http_urls, "its monitoring addresses, to check that it syncs what it confirms"),
    ] = ()
    cluster_replicas: Annotated[
        int, Key(read.integer(1, 5), "machines that keep each partition's journal and tables")
    ] = 3
    cluster_founders: Annotated[
        int, Key(read.integer(1, 64), "nodes that have to be there before a new cluster begins")
    ] = 3
    cluster_island: Annotated[
        int,
        Key(read.integer(0, 1024), "nodes of an island, which share partitions; 0: one island"),
    ] = 0
    cluster_tick_s: Annotated[
        float,
        Key(read.seconds(0.5, 120), "a node that is silent for so long is taken for lost"),
    ] = 2.5
    cluster_auto_rebalance: Annotated[
        str, Key(read.choice("on", "off"), "whether nodes that join get their share by themselves")
    ] = "off"
    cluster_journal_bytes: Annotated[
        int, Key(read.size(64 << 20, 1024 * _GIB), "size of one partition's journal at most")
    ] = 4 * _GIB
    cluster_registry_url: Annotated[
        str | None,
        Key(
            read.optional(read.redis_url),
            "a Redis for connection information, redis://host:port/0; empty: in memory",
        ),
    ] = None

    @property
    def clustered(self) -> bool:
        """Whether the node belongs to a cluster."""
        return self.cluster_name is not None


def cluster_problems(s: ClusterSettings) -> Iterator[tuple[str, str]]:
    """What does not fit together: the key, and what is wrong with it."""
    if s.cluster_name is None:
        for name in ("cluster_join", "cluster_nats"):
            if getattr(s, name):
                yield name, "needs cluster_name too; give both, or neither for a node that is alone"
        return
    if s.cluster_keys is None:
        yield (
            "cluster_name",
            "needs cluster_keys; `palaver cluster keys` makes them, for each node once",
        )
    elif not s.cluster_keys.is_dir():
        yield "cluster_keys", f"{s.cluster_keys} is no folder; `palaver cluster keys` makes it"
    if s.cluster_nats and s.cluster_join:
        yield "cluster_nats", "excludes cluster_join: NATS is run by the nodes, or it is there"
    if not s.cluster_nats and not s.cluster_join and s.cluster_founders > 1:
        text = "needs cluster_join with the cluster_host:cluster_port of the founders, or "
        text += "cluster_nats; a cluster of one node has cluster_founders=1 and cluster_replicas=1"
        yield "cluster_name", text
    if s.cluster_founders < s.cluster_replicas:
        yield "cluster_founders", f"must be at least cluster_replicas ({s.cluster_replicas})"
    if s.cluster_island and s.cluster_island < s.cluster_replicas:
        yield "cluster_island", f"must be at least cluster_replicas ({s.cluster_replicas})"
