"""A town whose nodes are one cluster: people connect to any of them, partitions move about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import cbor2

from palaver.actors.cluster.moves import What
from palaver.actors.simulation import Fault, Host
from palaver.storage.replicated.ports import Entry
from palaver.storage.simulated import EngineHabits
from palaver.supervisors.simulations.cluster_nodes import ClusterNode, SimulatedCluster
from palaver.supervisors.simulations.copies import Copies
from palaver.supervisors.simulations.people import Person
from palaver.supervisors.simulations.promises import marks
from palaver.supervisors.simulations.town import Plan, Resident, Town, settings

__all__ = ["ClusterPlan", "ClusterTown"]

_TAKEOVER: Final = 1
_SPANS_S: Final = (0.5, 2.0, 8.0, 30.0)
_CHANGES: Final[tuple[What, ...]] = ("rebalance", "drain", "undrain", "remove")
_OFF_MS: Final = (10, -10, 1_000, -1_000, 25_000, -25_000)
"""By how much a clock is off: two nodes by less than the minute that a cluster bears."""
_PATIENCE_S: Final = 300.0
_CHANGE_S: Final = 120.0
"""How long an operator waits for a change, before it is asked for again."""
_DRIFT_MS: Final = 10_000
"""What the drift of two clocks adds to that, in a town's day."""


@dataclass(frozen=True, slots=True)
class ClusterPlan(Plan):
    """What a town with a cluster is like.

    Attributes:
        replicas: nodes that keep a copy of each partition.
        engine: how the journals and registers behave by day.
        splits: how often, at a pulse, a node is cut off from the other nodes, not from people.
        wipes: how often a node loses its disk.
        spoils: how often a node's copy of a partition goes astray.
        blackouts: how often all nodes lose power at once.
        moves: how often an operator has a node hand a partition over to another.
        changes: how often an operator spreads the copies anew, or drains a node.
        founders: how many nodes found the cluster; 0: all. The others wait for their share.
        skew: how often the wall clock of a node is set, so that it is off by less than a minute.
        tail: entries that stay in a journal whoever has them.
    """

    replicas: int = 3
    engine: EngineHabits = field(default_factory=EngineHabits)
    splits: float = 0.0
    wipes: float = 0.0
    spoils: float = 0.0
    blackouts: float = 0.0
    moves: float = 0.0
    changes: float = 0.0
    founders: int = 0
    skew: float = 0.0
    tail: int = 16


class Home:
    """The cluster as somebody's server; what a `Resident` asks of its node."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster

    @property
    def url(self) -> tuple[str, ...]:
        """The addresses of all nodes, from any one on."""
        cluster = self._cluster
        return cluster.urls(cluster.world.tape.choose("home", len(cluster.nodes), rate=0.7))

    def has_device(self, account: str, device: int) -> bool:
        """Whether its tables know a device, as far as all copies say."""
        nodes = [node for node in self._cluster.nodes if node.host.alive]
        return all(node.has_device(account, device) for node in nodes)

    def mark(self, conversation: bytes, account: str) -> tuple[int, int]:
        """How far an account has received and read a conversation."""
        up = [node for node in self._cluster.nodes if node.store is not None]
        found = [(0, 0), *(node.mark(conversation, account) for node in up)]
        return max(mark[0] for mark in found), max(mark[1] for mark in found)


class Takeovers:
    """Who leads a partition, as its journal says."""

    def __init__(self, reach: Callable[[str], None]) -> None:
        self.epoch = 0
        self.owners: dict[int, list[str]] = {}
        self._reach = reach

    def __call__(self, entry: Entry) -> None:
        """Take the next entry."""
        kind, epoch, _, payload = cbor2.loads(entry.body)
        if kind == _TAKEOVER and epoch > self.epoch:
            if self.epoch:
                self._reach("a partition was taken over")
            self.epoch = epoch
            self.owners.setdefault(epoch, []).append(payload[0])


class ClusterTown(Town):
    """People, and the nodes of one cluster; see `Town`."""

    plan: ClusterPlan
    cluster: SimulatedCluster

    def _settle(self, plan: Plan) -> None:
        assert isinstance(plan, ClusterPlan)
        cluster = self.cluster = SimulatedCluster(
            self.world,
            plan.engine,
            plan.nodes,
            replicas=min(plan.replicas, plan.nodes),
            tail=plan.tail,
            founders=plan.founders or plan.nodes,
        )
        for number in range(plan.nodes):
            node = ClusterNode(
                cluster,
                chr(ord("a") + number),
                code_sender=self.post,
                settings=settings(plan),
                habits=plan.disk,
            )
            cluster.nodes.append(node)
            self.nodes.append(node)
        self.chronicle.clocks_apart_ms = 2 * max(_OFF_MS) + _DRIFT_MS
        self._heals: list[Callable[[], None]] = []
        self.takeovers = [Takeovers(self.world.reach) for _ in range(plan.partitions)]
        for number, witness in enumerate(self.takeovers):
            cluster.engine.engine.log(number).witnesses.append(witness)
        self.copies = Copies(cluster, plan.partitions)
        home: Any = Home(cluster)
        accounts = [f"+4915112{i:06d}" for i in range(plan.people)]
        for account in accounts:
            person = Person(account, [a for a in accounts if a != account], wishes=plan.wishes)
            self.people.append(person)
            for device in range(1, plan.devices + 1):
                self.residents.append(Resident(self, person, device, home))
        if plan.skew:
            self.world.invariant(self._no_server_is_later, "the clocks of the nodes are known")
        self.world.invariant(self.copies.hold, "a majority has what a journal forgets")
        self.world.invariant(self._one_serves, "a partition is served by one node", every_s=0.5)

    def _by_node(self) -> list[list[Resident]]:
        return [self.residents]

    def _marks_rise(self) -> bool:
        return True  # a copy that lags shows what was: the end is looked at

    def _one_serves(self) -> bool:
        for number, witness in enumerate(self.takeovers):
            for node in self.cluster.owners(number):
                state = node.state(number)
                if state is not None and witness.owners.get(state.epoch) != [node.host.name]:
                    raise AssertionError(
                        f"{node.host.name} serves {number} in epoch {state.epoch}, which is "
                        f"{witness.owners.get(state.epoch)}'s"
                    )
        return True

    # -- faults --------------------------------------------------------------------------------

    async def morning(self) -> None:
        """Start the nodes, let the people begin, and let faults happen."""
        plan = self.plan
        own = (
            *plan.node_faults.own,
            Fault("split", plan.splits, 3 * len(_SPANS_S), self._split),
            Fault("wipe", plan.wipes, 1, self._wipe),
            Fault("blackout", plan.blackouts, 1, self._blackout),
            Fault("spoil", plan.spoils, plan.partitions, self._spoil),
            Fault("change", plan.changes, len(_CHANGES) * plan.nodes, self._change),
            Fault("move", plan.moves, 8, self._move),
            Fault("skew", plan.skew, len(_OFF_MS), self._skew),
        )
        self.plan = replace(plan, node_faults=replace(plan.node_faults, own=own))
        await super().morning()

    def _split(self, host: Host, way: int) -> None:
        """Cut a node off from the other nodes: both ways, or one."""
        span_s, how = _SPANS_S[way % len(_SPANS_S)], way // len(_SPANS_S)
        others = [node.host.name for node in self.nodes if node.host is not host]
        here, there = ([host.name], others) if how != 2 else (others, [host.name])
        self.world.trace.note("fault", host.name, f"is split off ({how}) for {span_s:g} s")
        heal = self.world.network.cut(here, there, both_ways=how == 0)
        self._heals.append(heal)
        self.world.network.later(span_s, heal)

    def _wipe(self, host: Host, _way: int) -> None:
        """Take a node's disk away, one at a time; see `Copies`."""
        if self.copies.wipe(self._at(host)):
            self.world.network.later(1.0, host.boot)

    def _spoil(self, host: Host, way: int) -> None:
        """Lead a node's copy of a partition astray, one at a time; see `Copies`."""
        self.copies.spoil(self._at(host), way % self.plan.partitions)

    def _change(self, host: Host, way: int) -> None:
        """Have a node asked to change who keeps what."""
        here, which = self._at(host), self.nodes[way % len(self.nodes)].host.name
        if here.is_up:
            here.change(_CHANGES[way // len(self.nodes) % len(_CHANGES)], which)

    def _at(self, host: Host) -> ClusterNode:
        return next(node for node in self.cluster.nodes if node.host is host)

    def _blackout(self, _host: Host, _way: int) -> None:
        """Cut the power of all nodes."""
        for node in self.nodes:
            node.host.power_off()
            self.world.network.later(1.0, node.host.boot)

    def _skew(self, host: Host, way: int) -> None:
        """Set a node's wall clock wrong."""
        host.jump((_OFF_MS[way] - host.jumped_ms) / 1000)

    def _move(self, host: Host, way: int) -> None:
        """Have a partition that a node leads handed over to another node."""
        here = self._at(host)
        led = [number for number in range(self.plan.partitions) if here.leads(number)]
        others = [node.host.name for node in self.nodes if node is not here]
        if led:
            here.give(led[way % len(led)], others[way % len(others)])

    # -- the evening ---------------------------------------------------------------------------

    async def evening(self) -> None:
        """Let all be well again, and check the copies beside everything else."""
        for heal in self._heals:
            heal()
        self.cluster.engine.engine.calm()
        if self.plan.changes or self.plan.founders:
            await self.world.calm()
            await self._spread()
        await super().evening()
        await self._agree()
        if any(log.first > 1 for log in self.cluster.engine.engine.logs.values()):
            self.world.reach("a journal was truncated")

    async def _spread(self) -> None:
        """Have an operator see to it that all nodes have a share, and none is left drained."""
        deadline_s = self.world.now_s + _PATIENCE_S
        while (withdrawn := self.cluster.withdrawn()) or not self._shares():
            if self.world.now_s > deadline_s:
                self.world.fail("eventually: all nodes have a share", self._state())
            up = [node for node in self.cluster.nodes if node.is_up and not node.is_refused]
            for node in self.cluster.nodes:
                if node.is_refused:  # it was removed, and started anew it is a new one
                    node.host.crash()
                    node.host.boot()
            if up:
                what: What = "undrain" if withdrawn else "rebalance"
                asked = up[0].change(what, (*withdrawn, "")[0])
                await self.world.until(asked.done, within_s=_CHANGE_S)
            await self.world.sleep(1.0)

    def _shares(self) -> bool:
        """Whether every node keeps something, as far as there is something for all."""
        rows = [self.cluster.placed(number) for number in range(self.plan.partitions)]
        wanted = min(len(self.nodes), self.plan.partitions * self.cluster.replicas)
        return len({name for row in rows for name in row}) >= wanted

    async def _agree(self) -> None:
        await self._eventually(lambda: not any(self._unlike()), "all copies are equal")

    def _unlike(self) -> Iterator[str]:
        """What keeps the copies from being equal, or a partition from being served."""
        cluster = self.cluster
        for number in range(self.plan.partitions):
            owners = [node.host.name for node in cluster.owners(number)]
            if len(owners) != 1:
                yield f"partition {number} is served by {owners}"
            copies = [node for node in cluster.nodes if node.follows(number)]
            names, placed = {node.host.name for node in copies}, cluster.placed(number)
            if names != set(placed) or len(placed) < cluster.replicas:
                yield f"partition {number} has copies at {sorted(names)}, not {placed}"
            at = {node.position(number): node for node in copies}
            if len(at) != 1:
                yield f"partition {number} is at {sorted(map(str, at))}"
                continue
            digests = {node.replicated.digest(number) for node in copies if node.replicated}
            if len(digests) != 1 and self.plan.spoils:
                yield f"the copies of partition {number} differ"
            elif len(digests) != 1:
                self.world.fail("replicas have one history", f"partition {number}: {digests}")

    def _state(self) -> str:
        return "\n".join([super()._state(), *map(str, self.cluster.nodes), *self._unlike()])

    def _marks_behind(self) -> Iterable[str]:
        home = Home(self.cluster)
        for (conversation, account), (delivered, read) in marks(self.chronicle).items():
            mark = home.mark(conversation, account)
            if mark[0] < delivered or mark[1] < read:
                yield f"{account} is at {mark}, and was at {(delivered, read)}"

    async def check_tables(self) -> None:
        """Check the copies of all nodes, once they are equal."""
        await self._agree()
        await super().check_tables()
