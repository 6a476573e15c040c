"""A node's place in its cluster: what it stands on, who owns what, and how it leaves.

.. code-block:: text

    engine (one_for_one)
    └── nats                       the node's nats-server, unless there is a NATS already
    root                           the chat, see `chat`; `partitions` has what the node owns
    cluster (rest_for_one)         see `palaver.actors.cluster.tree`
    ├── membership                 who belongs to the cluster
    ├── ownership                  who owns which partition
    └── ...                        what compares and moves the copies
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from palaver.actors.chat.media_shared import SharedBlobs
from palaver.actors.chat.state import encoding
from palaver.actors.cluster.events import ClusterStats
from palaver.actors.cluster.fetching import snapshot_port
from palaver.actors.cluster.files import folder_files
from palaver.actors.cluster.membership import Joined
from palaver.actors.cluster.names import MEMBERSHIP, OWNERSHIP
from palaver.actors.cluster.ownership_messages import (
    Release,
)
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.cluster.tree import ClusterParts, ClusterSupervisor
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import SHUTDOWN, CallFailed, Node, Pid
from palaver.storage import Store
from palaver.storage.blobs import BlobStore
from palaver.storage.replicated.store import ReplicatedStore
from palaver.supervisors import Supervisor
from palaver.supervisors.trees.cluster_engine import ClusterEngine, Hooks
from palaver.supervisors.trees.cluster_keys import ClusterKeysWrong, NodeKeys
from palaver.supervisors.trees.cluster_media import share, sharing_specs
from palaver.supervisors.trees.cluster_metrics import ClusterNumbers
from palaver.supervisors.trees.cluster_operator import ClusterOperator
from palaver.supervisors.trees.cluster_standing import ChatStanding
from palaver.supervisors.trees.cluster_vocabulary import vocabulary
from palaver.supervisors.trees.incarnation import next_creation
from palaver.supervisors.trees.running import RunningChat
from palaver.supervisors.trees.settings import Settings

__all__ = ["ClusterPart", "cluster_settings", "open_keys", "why_not_ready"]

log = structlog.get_logger("palaver.cluster")

#: The founders of a cluster are started by hand, one after the other.
_FOUNDED_S = 600.0
_RELEASE_S = 15.0


def open_keys(settings: Settings) -> NodeKeys:
    """The node's keys, which have to be those of this node and of this cluster.

    Raises:
        ClusterKeysWrong: they are not, or cannot be used.
    """
    assert settings.cluster_keys is not None
    keys = NodeKeys.open(settings.cluster_keys)
    if keys.cluster != settings.cluster_name or keys.node != settings.name[:64]:
        raise ClusterKeysWrong(
            f"the keys in {settings.cluster_keys} are those of node {keys.node} of cluster "
            f"{keys.cluster}; this is node {settings.name} of cluster {settings.cluster_name}: "
            "set name, cluster_name and cluster_keys to what belongs together"
        )
    warning = keys.warning()
    if warning is not None:
        log.warning("keys end soon", text=warning)
    return keys


def cluster_settings(
    settings: Settings, *, ws_url: str, http_url: str, version: str
) -> ClusterSettings:
    """What the cluster's processes are told of the operator's settings."""
    assert settings.cluster_name is not None
    island = settings.cluster_island or 1_000_000
    return ClusterSettings(
        settings.cluster_name,
        settings.partitions,
        founding=settings.cluster_founders,
        replicas=settings.cluster_replicas,
        island=island,
        auto_rebalance=settings.cluster_auto_rebalance == "on",
        ws_url=ws_url,
        http_url=http_url,
        version=version,
    )


def why_not_ready(connected: bool, stats: ClusterStats | None, partitions: int) -> list[str]:
    """Why a node of a cluster should get no clients now; empty when it may.

    Only what is wrong with this node: were partitions without an owner told here, one journal that
    is gone, or a fail-over, would take all nodes out of service at once.

    Args:
        connected: whether it has a connection to NATS.
        stats: what it knows of its cluster; None where it does not belong to it yet.
        partitions: how many the cluster has.
    """
    why = []
    if not connected:
        why.append("the node is connected to no NATS server")
    if stats is None:
        why.append("the node does not belong to its cluster yet")
    elif stats.ownerless == partitions:
        why.append("no partition has an owner, as far as this node can see")
    return why


class ClusterPart:
    """What a chat node has more in a cluster.

    Args:
        settings: the operator's.
        node: which runs already.

    Raises (from the constructor):
        ClusterKeysWrong: the keys cannot be used.
        StoreUnusable: the note of the last start is damaged.
    """

    def __init__(self, settings: Settings, node: Node) -> None:
        self._settings = settings
        self._node = node
        self.keys = open_keys(settings)
        creation = next_creation(settings.data_dir, node.clock.time_ms())
        self._engine = ClusterEngine(settings, self.keys, node, creation)
        self._troubles: dict[int, str] = {}
        self._parts: ClusterParts | None = None
        self._supervisor: Pid | None = None
        self._standing: ChatStanding | None = None

    # -- life --------------------------------------------------------------------------------------

    async def start(self, tables: Store) -> None:
        """Stand on NATS, and on the others; see `ClusterEngine.start` for what it raises."""
        hooks = Hooks(snapshot_port(self._node), self._trouble)
        await self._engine.start(tables, encoding, vocabulary(), hooks)

    def _trouble(self, partition: int, error: Exception | None) -> None:
        """A replica cannot go on, or can again."""
        if error is None:
            self._troubles.pop(partition, None)
            log.info("a replica goes on", partition=partition)
        elif self._troubles.get(partition) != str(error):
            self._troubles[partition] = str(error)
            log.error("a replica cannot go on", partition=partition, why=str(error))

    async def join(self, chat: RunningChat, *, ws_url: str, http_url: str, version: str) -> None:
        """Become a part of the cluster; returns when this node belongs to it, founded.

        Raises:
            CannotJoin: this node may not; the text says why.
            CallTimeout: the founders were not there within ten minutes.
        """
        settings = self._settings
        self._standing = ChatStanding(chat)
        self._parts = ClusterParts(
            self._engine.distribution,
            self._engine.registers,
            self._engine.store,
            chat.partitions,
            cluster_settings(settings, ws_url=ws_url, http_url=http_url, version=version),
            folder_files(settings.data_dir / "snapshots"),
            self._standing,
            self._engine.machines(),
        )
        self._supervisor = await self._node.start_server(
            ClusterSupervisor, self._parts, name="cluster"
        )
        log.info("joining", cluster=settings.cluster_name, founders=settings.cluster_founders)
        await self._node.call(MEMBERSHIP, Joined(), timeout_s=_FOUNDED_S)

    async def release(self) -> None:
        """Hand over what this node owns, as far as there is somebody: it is about to stop."""
        if self._supervisor is None:
            return
        try:
            await self._node.call(OWNERSHIP, Release(), timeout_s=_RELEASE_S)
        except CallFailed as error:
            log.warning("partitions were not handed over", reason=str(error))

    async def leave(self) -> None:
        """End the cluster's processes, so that nothing here leads any more."""
        if self._standing is not None:
            self._standing.close()
        if self._supervisor is not None:
            supervisor, self._supervisor = self._supervisor, None
            self._node.exit(supervisor, SHUTDOWN)
            await self._node.wait(supervisor)

    async def wait_failed(self) -> str:
        """Wait until this node cannot be a part of the cluster any more; the reason.

        That is when the cluster's processes have ended by themselves, or the cluster refuses it.
        """
        assert self._supervisor is not None, "the node has not joined"
        assert self._standing is not None
        ended = asyncio.ensure_future(self._node.wait(self._supervisor))
        refused = self._standing.refusal
        either: tuple[asyncio.Future[Any], ...] = (ended, refused)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if refused.done():
                return refused.result()
            return f"what makes it a node of its cluster has ended: {ended.result()}"
        finally:
            ended.cancel()

    @property
    def removed(self) -> bool:
        """Whether an operator has removed this node from the cluster."""
        return self._standing is not None and self._standing.removed

    async def stop(self) -> None:
        """Close the tables and the connections; before the node stops, which ends nats-server."""
        await self._engine.stop()

    @property
    def closed_tables(self) -> bool:
        """Whether `stop` has closed the tables, which are the replicated store's once it is."""
        return self._engine.has_store

    # -- files -------------------------------------------------------------------------------------

    async def share(self, local: BlobStore, folder: Path) -> SharedBlobs:
        """Keep files in this node's folder, and share them with the other nodes."""
        members: list[str] = [self._node.name]
        shared = share(local, folder, self.distribution, lambda: members)
        await shared.open()

        def told(names: Sequence[str]) -> None:
            members[:] = names

        specs = sharing_specs(shared, told)
        await self._node.start_server(Supervisor, specs, intensity=20, period_s=10.0, name="media")
        return shared

    # -- what others need --------------------------------------------------------------------------

    @property
    def store(self) -> ReplicatedStore:
        """The tables, replicated."""
        return self._engine.store

    @property
    def distribution(self) -> Distribution:
        """The node's, to the other nodes."""
        return self._engine.distribution

    @property
    def operator(self) -> ClusterOperator:
        """What an operator can ask."""
        return ClusterOperator(self._node, self._settings.name)

    @property
    def parts(self) -> ClusterParts:
        """What the cluster's processes are made of."""
        assert self._parts is not None, "the node has not joined"
        return self._parts

    def numbers(self) -> ClusterNumbers | None:
        """What the metrics show; None before the node joins."""
        if self._parts is None:
            return None
        states = map(self.store.state, range(self._settings.partitions))
        replicas = [state for state in states if state is not None]
        return self._engine.numbers(self._parts.recorder.stats, replicas)

    def not_ready(self) -> list[str]:
        """Why the node should get no clients now, while others may; see `why_not_ready`."""
        stats = None if self._parts is None else self._parts.recorder.stats
        return why_not_ready(self._engine.connected, stats, self._settings.partitions)
