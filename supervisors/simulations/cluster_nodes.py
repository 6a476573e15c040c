"""A node of a cluster on a simulated host: replicas of a journal, and the real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from palaver.actors.chat import names
from palaver.actors.chat.accounts import CodeSender
from palaver.actors.chat.crossing import CROSSING
from palaver.actors.chat.state import encoding
from palaver.actors.cluster import (
    ClusterError,
    ClusterParts,
    ClusterSettings,
    ClusterSupervisor,
    GiveTo,
    Release,
)
from palaver.actors.cluster.names import OWNERSHIP
from palaver.actors.distribution import Vocabulary
from palaver.actors.runtime import CallFailed, Node, Pid
from palaver.actors.simulation import Fabric, Host, World
from palaver.storage import Machine, StoreError
from palaver.storage.installing import SnapshotInfo
from palaver.storage.replicated import JournalMachine, Limits, ReplicatedStore
from palaver.storage.simulated import DiskHabits, EngineHabits, SimulatedStore
from palaver.supervisors.simulations.nodes import ChatNode
from palaver.supervisors.simulations.quorum import WorldEngine
from palaver.supervisors.trees.running import ChatPorts, RunningChat, StorePort
from palaver.supervisors.trees.settings import Settings

__all__ = ["ClusterNode", "SimulatedCluster"]

T = TypeVar("T")

#: As long as a node waits for others to take what it leads, before it stops.
_RELEASE_S: Final = 15.0
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

    Attributes:
        nodes: in the order of their names.
    """

    def __init__(
        self, world: World, habits: EngineHabits, nodes: int, *, replicas: int, tail: int
    ) -> None:
        self.world = world
        self.nodes: list[ClusterNode] = []
        self.replicas = replicas
        self.limits = Limits(
            lease_s=3.0, checkpoint_s=1.0, takeover_s=6.0, look_s=3.0, tail_entries=tail
        )
        self.size = nodes
        names_ = [chr(ord("a") + number) for number in range(nodes)]
        self.engine = WorldEngine(world, names_[:_ENGINES], habits)
        self.fabric = Fabric(
            net_ticktime_s=2.0, setup_s=2.0, retry_s=0.5, vocabulary=Vocabulary().add(*CROSSING)
        )

    def settings(self, partitions: int, url: str) -> ClusterSettings:
        """The settings of a node's cluster processes."""
        return ClusterSettings(
            "town", partitions, founding=self.size, replicas=self.replicas, ws_url=url,
            refresh_s=1.0, lease_s=4.0, takeover_s=6.0, audit_s=3.0,
        )  # fmt: skip

    def urls(self, first: int) -> tuple[str, ...]:
        """Where clients connect, in the order in which one of them tries."""
        urls = [node.url for node in self.nodes]
        return tuple(urls[first:] + urls[:first])

    def owners(self, partition: int) -> list[ClusterNode]:
        """The nodes that lead a partition and serve it now."""
        return [node for node in self.nodes if node.leads(partition)]


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
        self._supervisor: Pid
        self.at: Callable[[str, str], Any] | None = None

    async def _boot(self, host: Host) -> None:
        self.replicated = None
        await super()._boot(host)

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
            fetch_snapshot=self._fetch,
            run_blocking=_run_here,
            on_trouble=self._in_trouble,
        )
        self.store = self.replicated = replicated
        distribution = await cluster.fabric.join(node)
        self.at = distribution.at
        self.chat = await RunningChat.start(self.settings, self._ports(node, replicated))
        parts = ClusterParts(
            distribution,
            connection.registers(),
            replicated,
            self.chat.partitions,
            cluster.settings(self.settings.partitions, self.url),
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

    def _ports(self, node: Node, store: StorePort) -> ChatPorts:
        return replace(super()._ports(node, store), owned=(), at=self.at)

    def _in_trouble(self, partition: int, error: Exception | None) -> None:
        if error is not None:
            self.world.trace.note("replica", self.host.name, f"{partition}: {error}")

    async def _fetch(self, partition: int) -> tuple[str, SnapshotInfo]:
        """Bring a snapshot from another replica that can be reached."""
        world, here = self.world, self.host.name
        for other in self.cluster.nodes:
            there = other.host.name
            if other is self or other.replicated is None or not other.host.alive:
                continue
            if world.network.link(there, here).is_blocked or not other.follows(partition):
                continue
            name = f"snapshot-{here}-{partition}"
            files = other.host.disk["disk"].files
            files.pop(name, None)
            info = other.replicated.snapshot(partition, name)
            await asyncio.sleep(0.05)
            self.host.disk["disk"].files[name] = files[name]
            world.reach("a replica took a snapshot")
            return name, info
        raise StoreError("no other replica can be reached")

    # -- to look into it -----------------------------------------------------------------------

    def follows(self, partition: int) -> bool:
        """Whether it keeps a copy of a partition."""
        return self.position(partition) is not None

    def leads(self, partition: int) -> bool:
        """Whether it leads a partition and serves it."""
        store = self.replicated
        return self.host.alive and store is not None and store.leads(partition)

    def position(self, partition: int) -> int | None:
        """How far its copy of a partition is; None if it has none."""
        store = self.replicated
        if store is None or not self.host.alive:
            return None
        try:
            state = store.state(partition)
        except StoreError:
            return None
        return None if state is None else state.position

    def mark(self, conversation: bytes, account: str) -> tuple[int, int]:
        """How far an account is, as its copy says; (0, 0) where there is none now."""
        try:
            return super().mark(conversation, account)
        except StoreError:
            return 0, 0

    def has_device(self, account: str, device: int) -> bool:
        """Whether its copy knows a device; True where there is none now."""
        try:
            return super().has_device(account, device)
        except StoreError:
            return True

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
            if self.replicated is not None and (state := self.replicated.state(number)) is not None
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
