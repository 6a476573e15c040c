"""A node of a cluster on a simulated host: replicas of a journal, and the real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from palaver.actors.chat import names
from palaver.actors.chat.accounts import CodeSender
from palaver.actors.chat.state import encoding
from palaver.actors.cluster import (
    ClusterError,
    ClusterParts,
    ClusterSettings,
    ClusterSupervisor,
    GiveTo,
    Release,
)
from palaver.actors.cluster.fetching import snapshot_port
from palaver.actors.cluster.moves import What
from palaver.actors.cluster.names import OWNERSHIP, REBALANCER
from palaver.actors.cluster.rebalancer import Rebalance
from palaver.actors.cluster.records import PLACEMENT, NodeRecord, Placement, decoded
from palaver.actors.runtime import CallFailed, Node, Pid
from palaver.actors.simulation import Fabric, Host, World
from palaver.storage import Machine, StoreError
from palaver.storage.replicated import JournalMachine, Limits, ReplicaState, ReplicatedStore
from palaver.storage.simulated import DiskHabits, EngineHabits, SimulatedStore
from palaver.supervisors.simulations.disks import DiskFiles, position_on, spoil
from palaver.supervisors.simulations.nodes import ChatNode
from palaver.supervisors.simulations.quorum import WorldEngine
from palaver.supervisors.trees.cluster_vocabulary import vocabulary
from palaver.supervisors.trees.running import ChatPorts, RunningChat, StorePort
from palaver.supervisors.trees.settings import Settings

__all__ = ["ClusterNode", "SimulatedCluster"]

T = TypeVar("T")

#: As long as a node waits for others to take what it leads, before it stops.
_RELEASE_S: Final = 15.0
#: What the cluster's processes tell of, and what that is called in the coverage of a search.
_EVENTS: Final = {
    "replicas differ": "an audit found a copy that differs",
    "rebuilt": "a copy was made anew",
    "snapshot fetched": "a copy took a snapshot",
    "no snapshot": "a snapshot was not to be had",
    "replica dropped": "a copy was given up",
    "node removed": "a node was removed",
}
#: So many machines keep the journals and registers.
_ENGINES: Final = 3


class SimulatedCluster:
    """The nodes of one cluster, and what they have in common.

    Args:
        world: where.
        habits: of the engine that keeps journals and registers.
        nodes: how many nodes there will be.
        replicas: how many of them keep a copy of each partition.
        tail: entries that stay in a journal whoever has them.
        founders: how many nodes found the cluster; the others have no share until a rebalance.

    Attributes:
        nodes: in the order of their names.
    """

    def __init__(
        self,
        world: World,
        habits: EngineHabits,
        nodes: int,
        *,
        replicas: int,
        tail: int,
        founders: int,
    ) -> None:
        self.world = world
        self.nodes: list[ClusterNode] = []
        self.replicas = replicas
        self.limits = Limits(
            lease_s=3.0, checkpoint_s=1.0, takeover_s=6.0, look_s=3.0, tail_entries=tail
        )
        self.founders = founders
        names_ = [chr(ord("a") + number) for number in range(nodes)]
        self.engine = WorldEngine(world, names_[:_ENGINES], habits)
        self.fabric = Fabric(net_ticktime_s=2.0, setup_s=2.0, retry_s=0.5, vocabulary=vocabulary())

    def settings(self, partitions: int, url: str) -> ClusterSettings:
        """The settings of a node's cluster processes."""
        return ClusterSettings(
            "town", partitions, founding=self.founders, replicas=self.replicas, ws_url=url,
            refresh_s=1.0, lease_s=4.0, takeover_s=6.0, audit_s=3.0, chunk_bytes=4096,
            transfer_idle_s=10.0, catch_up_s=30.0,
        )  # fmt: skip

    def urls(self, first: int) -> tuple[str, ...]:
        """Where clients connect, in the order in which one of them tries."""
        urls = [node.url for node in self.nodes]
        return tuple(urls[first:] + urls[:first])

    def owners(self, partition: int) -> list[ClusterNode]:
        """The nodes that lead a partition and serve it now."""
        return [node for node in self.nodes if node.leads(partition)]

    def placed(self, partition: int) -> tuple[str, ...]:
        """The names of the nodes that are to keep a copy of a partition; () before the founding."""
        register = self.engine.engine.table.now.get(PLACEMENT)
        if register is None:
            return ()
        placement: Placement = decoded(Placement, register.value)
        return placement.partitions[partition]

    def withdrawn(self) -> list[str]:
        """The names of the nodes that are to own nothing."""
        rows = self.engine.engine.table.now.items()
        records = [decoded(NodeRecord, row.value) for key, row in rows if key.startswith("node.")]
        return [record.name for record in records if record.state in ("draining", "leaving")]


class ClusterNode(ChatNode):
    """A machine with a node of a cluster; see `ChatNode`."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        name: str,
        *,
        code_sender: CodeSender,
        settings: Settings,
        habits: DiskHabits,
    ) -> None:
        super().__init__(
            cluster.world, name, code_sender=code_sender, settings=settings, habits=habits
        )
        self.cluster = cluster
        self.replicated: ReplicatedStore | None = None
        self.parts: ClusterParts | None = None
        self._supervisor: Pid
        self.at: Callable[[str, str], Any] | None = None

    def _gone(self) -> None:
        super()._gone()
        self.replicated = self.parts = None

    def _machine(self, number: int) -> Machine:
        return JournalMachine(super()._machine(number))

    async def _run(self, node: Node, store: SimulatedStore) -> None:
        cluster, host = self.cluster, self.host
        connection = cluster.engine.connect(host)
        replicated = ReplicatedStore(
            store,
            connection.journal,
            encoding,
            node_name=node.name,
            incarnation=f"{host.incarnation}",
            limits=cluster.limits,
            fetch_snapshot=snapshot_port(node),
            run_blocking=_run_here,
            on_trouble=self._in_trouble,
        )
        self.store = self.replicated = replicated
        distribution = await cluster.fabric.join(node)
        self.at = distribution.at
        self.chat = await RunningChat.start(self.settings, self._ports(node, replicated))
        parts = self.parts = ClusterParts(
            distribution,
            connection.registers(),
            replicated,
            self.chat.partitions,
            cluster.settings(self.settings.partitions, self.url),
            lambda kind: DiskFiles(host.disk["disk"], kind),
        )
        self._supervisor = await node.start_server(ClusterSupervisor, parts, name="cluster")

    async def _wait_failed(self) -> str:
        """Wait until the tree, or the cluster's processes, have ended by themselves; why."""
        assert self.node is not None
        ends = (super()._wait_failed(), self.node.wait(self._supervisor))
        tasks = [asyncio.ensure_future(end) for end in ends]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        return "; ".join(str(task.result()) for task in done)

    async def _stop(self, host: Host) -> None:
        """Hand over what it leads, then end as any node does."""
        assert self.node is not None
        try:
            await self.node.call(OWNERSHIP, Release(), timeout_s=_RELEASE_S)
        except CallFailed:
            self.world.reach("a node stopped without handing over")
        if self.chat is not None:
            await super()._stop(host)

    def give(self, partition: int, to: str) -> None:
        """Have a partition handed over, as an operator does; nobody waits for it."""
        self.host.spawn(self._give(partition, to))

    async def _give(self, partition: int, to: str) -> None:
        assert self.node is not None
        try:
            await self.node.call(OWNERSHIP, GiveTo(partition, to), timeout_s=_RELEASE_S)
        except (CallFailed, ClusterError):
            self.world.reach("a partition was not handed over")
        else:
            self.world.reach("a partition was handed over")

    def change(self, what: What, which: str) -> asyncio.Task[bool]:
        """Ask this node to change the placement, as an operator does; whether it was done."""
        return self.host.spawn(self._change(what, which))

    async def _change(self, what: What, which: str) -> bool:
        assert self.node is not None
        try:
            await self.node.call(REBALANCER, Rebalance(what, which), timeout_s=None)
        except (CallFailed, ClusterError) as error:
            self.world.trace.note("operator", self.host.name, f"{what} {which}: {error}")
            self.world.reach("a change of the placement was refused")
            return False
        self.world.reach("a change of the placement was made")
        return True

    def spoil(self, partition: int) -> None:
        """Crash, and come back with a copy that has a history of its own."""
        self.host.crash()
        if spoil(self.host.disk.get("disk"), partition, self._machine(partition)):
            self.world.reach("a copy was spoilt")
        self.world.network.later(1.0, self.host.boot)

    def _ports(self, node: Node, store: StorePort) -> ChatPorts:
        return replace(super()._ports(node, store), owned=(), at=self.at)

    def _in_trouble(self, partition: int, error: Exception | None) -> None:
        if error is not None:
            self.world.trace.note("replica", self.host.name, f"{partition}: {error}")

    # -- to look into it -----------------------------------------------------------------------

    def follows(self, partition: int) -> bool:
        """Whether it keeps a copy of a partition."""
        return self.position(partition) is not None

    def leads(self, partition: int) -> bool:
        """Whether it leads a partition and serves it."""
        store = self.replicated
        return self.host.alive and store is not None and store.leads(partition)

    def state(self, partition: int) -> ReplicaState | None:
        """What its copy of a partition is; None if it has none, or cannot tell now."""
        store = self.replicated
        if store is None or not self.host.alive:
            return None
        try:
            return store.state(partition)
        except StoreError:
            return None

    def position(self, partition: int) -> int | None:
        """How far its copy of a partition is; None if it has none."""
        state = self.state(partition)
        return None if state is None else state.position

    def durable(self, partition: int) -> int:
        """How far the copy on its disk is, whether it runs or not."""
        return position_on(self.host.disk.get("disk"), partition)

    def count_reached(self) -> None:
        """Count what this run of the node has met, the cluster's events among it."""
        super().count_reached()
        if self.parts is not None:
            for event, name in _EVENTS.items():
                if self.parts.recorder.stats.events[event]:
                    self.world.reach(name)

    @property
    def is_refused(self) -> bool:
        """Whether it has found out that it may not belong to the cluster."""
        return self.parts is not None and self.parts.recorder.stats.events["refused"] > 0

    @property
    def is_whole(self) -> bool:
        """Whether every process that has a name is there, of its own or as a stand-in."""
        return self.is_up and not self.lacking()

    def lacking(self) -> set[str]:
        """The names that no process has."""
        if self.node is None:
            return {"everything"}
        numbers = range(self.settings.partitions)
        wanted = {"root", "cluster", names.ACCOUNTS}
        for name in (names.partition_name, names.manager_name, names.presence_name):
            wanted.update(name(number) for number in numbers)
        wanted.update(names.gateway_name(number) for number in range(self.settings.gateways))
        return wanted - {info.name for info in self.node.processes() if info.name}

    def __str__(self) -> str:
        if not self.is_up:
            return f"{self.host} is down"
        states = [
            f"{number}: {state._replace(digests=state.digests[-1:])}"
            for number in range(self.settings.partitions)
            if (state := self.state(number)) is not None
        ]
        return (
            f"{self.host} lacks {sorted(self.lacking())}, fails {self.stats.storage_failing!r}; "
            + "; ".join(states)
        )

    def violations(self) -> Iterator[str]:
        """What is wrong with its copies."""
        store = self.replicated
        if store is not None:
            for number in range(self.settings.partitions):
                if self.follows(number):
                    for text in store.view(number, lambda txn, n=number: self._check(n, txn)):  # type: ignore[misc]
                        yield f"{self.host.name}/{number}: {text}"

    async def left_behind(self, accounts: Sequence[str]) -> list[str]:
        """What it still has of who is gone; see `ChatNode.left_behind`."""
        places = names.Places(self.settings.partitions)
        for number in range(self.settings.partitions):
            if not self.leads(number):
                self.registries.pop(number, None)  # of an earlier owner
        return await super().left_behind([a for a in accounts if self.leads(places.number_of(a))])


async def _run_here(fn: Callable[..., T], *args: Any) -> T:
    """Run what blocks in the real world: in this one nothing does."""
    await asyncio.sleep(0)
    return fn(*args)
