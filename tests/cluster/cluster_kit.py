"""A whole cluster in a simulated world."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cluster_fakes import FakeHost, FakeStore, FaultyRegisters, Journals, RegisterBank

from palaver.actors.cluster import ClusterParts, ClusterSettings, ClusterSupervisor, Members
from palaver.actors.cluster.fetching import snapshot_port
from palaver.actors.cluster.files import folder_files
from palaver.actors.cluster.membership import GetMembers
from palaver.actors.cluster.names import MEMBERSHIP, OWNERSHIP
from palaver.actors.cluster.ownership_messages import GetPartitions
from palaver.actors.cluster.records import OwnerRecord, Placement, decoded
from palaver.actors.runtime import Node
from palaver.actors.simulation import Fabric, Host, Outcome, Source, World, run
from palaver.supervisors.trees.cluster_vocabulary import vocabulary

PARTITIONS = 4

FOLDER = Path(tempfile.gettempdir()) / f"palaver-cluster-{os.getpid()}"
"""For the snapshots of all towns; removed at the end of the tests."""


class Town:
    """Hosts `a`, `b`, ... with a node, a store and the cluster's processes each."""

    def __init__(self, world: World, names: str = "abc", **settings: Any) -> None:
        self.world = world
        options = {"cluster": "town", "partitions": PARTITIONS, "founding": len(names)}
        self.options = {**options, **settings}
        self.other_options: dict[str, dict[str, Any]] = {}
        self.folder = FOLDER
        self.fabric = Fabric(net_ticktime_s=2.0, vocabulary=vocabulary())
        self.bank = RegisterBank(world)
        self.journals = Journals(world, int(self.options["partitions"]))
        self.nodes: dict[str, Node] = {}
        self.parts: dict[str, ClusterParts] = {}
        self.hosts: dict[str, Host] = {}
        for name in names:
            self.add(name)

    def add(self, name: str, **options: Any) -> Host:
        self.other_options[name] = options
        self.hosts[name] = host = self.world.host(name, self.boot)
        return host

    async def boot(self, host: Host) -> None:
        node = await host.node()
        distribution = await self.fabric.join(node)
        settings = ClusterSettings(**{**self.options, **self.other_options[host.name]})
        store = FakeStore(self.journals, host)
        parts = ClusterParts(
            distribution,
            FaultyRegisters(self.bank, host),
            store,
            FakeHost(host, store),
            settings,
            folder_files(self.folder / host.name),
        )
        store.fetch = snapshot_port(node)
        self.nodes[host.name], self.parts[host.name] = node, parts
        await node.start_server(ClusterSupervisor, parts, name="root")

    # -- to look -------------------------------------------------------------------------------

    def store(self, name: str) -> FakeStore:
        store = self.parts[name].store
        assert isinstance(store, FakeStore)
        return store

    def running(self, name: str) -> dict[int, str]:
        host = self.parts[name].host
        assert isinstance(host, FakeHost)
        return host.running if self.hosts[name].alive else {}

    def owner(self, partition: int) -> OwnerRecord | None:
        register = self.bank.values.get(f"owner.{partition}")
        return None if register is None else decoded(OwnerRecord, register.value)

    def placement(self) -> Placement:
        found: Placement = decoded(Placement, self.bank.values["placement"].value)
        return found

    def serves(self, name: str, partition: int) -> bool:
        """Whether a node serves a partition: its processes run, and the journal takes its word."""
        if not self.hosts[name].alive or self.running(name).get(partition) != "owner":
            return False
        state = self.store(name).state(partition)
        if state is None or not state.leading:
            return False
        takeovers = [
            entry for entry in self.journals.entries[partition] if entry.kind == "takeover"
        ]
        epoch = max(entry.epoch for entry in takeovers)
        return state.epoch == epoch

    def servers(self, partition: int) -> list[str]:
        return [name for name in self.hosts if name in self.parts and self.serves(name, partition)]

    def is_served(self) -> bool:
        """Every partition has one owner that serves, all know it, and all others have proxies."""
        for partition in range(int(self.options["partitions"])):
            servers, owner = self.servers(partition), self.owner(partition)
            if len(servers) != 1 or owner is None or owner.phase != "leading":
                return False
            if owner.node != servers[0]:
                return False
            others = [
                name for name, host in self.hosts.items() if host.alive and name != owner.node
            ]
            proxy = f"proxy of {owner.node}"
            if any(self.running(name).get(partition) != proxy for name in others):
                return False
        return True

    def append_all(self) -> None:
        for partition in range(int(self.options["partitions"])):
            for name in self.servers(partition):
                self.store(name).append(partition)

    async def served(self, what: str = "all is served", within_s: float = 60.0) -> None:
        await self.world.eventually(self.is_served, what, within_s=within_s)

    def stop_needing_a_majority(self) -> None:
        """As if the registers and the journals were on other machines than the nodes."""
        self.bank.elsewhere = self.journals.elsewhere = True

    async def start(self) -> None:
        await self.world.start_all()
        await self.served("the cluster is founded and served")

    def leftovers(self) -> dict[str, list[int]]:
        """Of which partitions a node that is alive has tables that it is not to have.

        A node that was removed knows nothing any more; its folder is its operator's.
        """
        return {
            name: [
                n
                for n, row in enumerate(self.placement().partitions)
                if name not in row and self.store(name).held(n)
            ]
            for name, host in self.hosts.items()
            if host.alive and f"node.{name}" in self.bank.values
        }

    def is_whole(self) -> bool:
        """Whether every replica has all that is in its journal."""
        return all(
            self.store(name).held(n) == len(self.journals.entries[n])
            for n, row in enumerate(self.placement().partitions)
            for name in row
        )

    async def cleaned(self) -> None:
        """Wait until all that is not needed is gone."""
        await self.world.eventually(
            lambda: not any(self.leftovers().values()), "no tables are left"
        )

    async def members(self, name: str) -> Members:
        found: Members = await self.nodes[name].call(MEMBERSHIP, GetMembers())
        return found

    async def partitions(self, name: str) -> Any:
        return await self.nodes[name].call(OWNERSHIP, GetPartitions())

    def told(self, name: str, what: str) -> list[Any]:
        return [event for event in self.parts[name].recorder.recent() if event.what == what]


def epochs_are_unique(town: Town) -> None:
    """In the registers each epoch of a partition names one node, in the journal each has one."""
    named: dict[tuple[str, int], str] = {}
    last: dict[str, int] = {}
    for key, value in town.bank.history:
        if key.startswith("owner.") and value is not None:
            record: OwnerRecord = decoded(OwnerRecord, value)
            assert named.setdefault((key, record.epoch), record.node) == record.node
            assert last.get(key, 0) <= record.epoch
            last[key] = record.epoch


def in_town(
    test: Callable[[Town], Awaitable[None]],
    names: str = "abc",
    source: Source | None = None,
    *,
    start: bool = True,
    **settings: Any,
) -> Outcome:
    """Run a test in a town whose cluster is up (or about to be started by the test)."""

    async def scenario(world: World) -> None:
        town = Town(world, names, **settings)
        if start:
            await town.start()
        await test(town)
        epochs_are_unique(town)

    outcome = run(scenario, source)
    if outcome.failure is not None:
        raise outcome.failure
    return outcome
