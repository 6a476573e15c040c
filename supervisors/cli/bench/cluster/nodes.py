"""What a second node's gateways bring, and what a node costs that does nothing.

Two node processes, each with its NATS server, and the load in this process: pairs of people, one
sending to the other. `one node`: the other one is drained, so all people and all partitions are at
one, and both keep the tables. `two nodes`: people and partitions are spread. Where the machine has
no core for each process, what counts is the CPU time: a node process can use one core, so the
busiest of them is the bound.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit

from palaver.supervisors.cli.admin_client import RemoteAdmin
from palaver.supervisors.cli.bench import procfs
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part, Target
from palaver.supervisors.cli.bench.identities import account, device_key
from palaver.supervisors.cli.bench.load import (
    NUMBERS_PER_EPOCH,
    ClosedLoop,
    Flow,
    Meter,
    Session,
    until_none,
)
from palaver.supervisors.cli.bench.report import Tell
from palaver.supervisors.cli.bench.scenarios import LOGIN_CONCURRENCY, close_all, in_parallel
from palaver.supervisors.cli.bench.wireload import WireDriver
from palaver.supervisors.cli.cluster.processes import ClusterProcesses
from palaver.supervisors.cli.node_process import NodeProcess
from palaver.supervisors.trees.nats_monitor import MonitorFailed, fetch
from palaver.transport.client import SignUp
from palaver.transport.http.cluster_port import Change

__all__ = ["Idle", "Load", "Measured", "NodesPlan", "measure_nodes", "nodes_figures"]

LEAST_RATIO: Final = 1.7
"""Wanted of two nodes beside one."""

NATS: Final = "nats-server"
"""The name of the program, as the system knows it."""

_SETTLE_S: Final = 30.0
_ON: Final = (
    "two node processes, each with its nats-server (R2, TLS), and the load's process, all on this "
    "machine; people and partitions spread over both"
)
_BESIDE: Final = "the same cluster with one of them drained: all people and partitions at the other"


@dataclass(frozen=True, slots=True)
class NodesPlan:
    """How much is measured.

    Attributes:
        pairs: of people.
        window: messages in flight for each pair.
        rounds: of one node and of two.
        round_s, warmup_s: of each.
        idle_s: for how long nodes are watched that do nothing.
        grows: whether a third node joins at the end, to see what that costs the others.
    """

    pairs: int = 100
    window: int = 10
    rounds: int = 3
    round_s: float = 5.0
    warmup_s: float = 1.5
    idle_s: float = 10.0
    grows: bool = True


@dataclass(frozen=True, slots=True)
class Load:
    """What one round was.

    Attributes:
        messages: delivered, and acknowledged by their receivers.
        took_s: how long it took.
        cpu_s: CPU time of each node's process, without its NATS server.
    """

    messages: int
    took_s: float
    cpu_s: Sequence[float]

    @property
    def per_s(self) -> float:
        """Messages a second."""
        return self.messages / self.took_s

    @property
    def per_cpu_s(self) -> float:
        """Messages for each second of CPU time that the node processes used together."""
        return self.messages / sum(self.cpu_s)

    @property
    def per_busiest_cpu_s(self) -> float:
        """Messages for each second of the busiest process: what they could do with a core each."""
        return self.messages / max(self.cpu_s)


@dataclass(frozen=True, slots=True)
class Idle:
    """What a node costs that does nothing, the mean of the nodes.

    Attributes:
        cpu_ms_per_s: of its process.
        nats_cpu_ms_per_s: of its NATS server.
        memory_mb, nats_memory_mb: anonymous memory of both.
        messages_per_s: that it sends and receives over its connection to NATS.
    """

    cpu_ms_per_s: float
    nats_cpu_ms_per_s: float
    memory_mb: float
    nats_memory_mb: float
    messages_per_s: float


@dataclass(slots=True)
class Measured:
    """All that was measured: rounds of one node and of two, and idle nodes by their number."""

    one: list[Load] = field(default_factory=list)
    two: list[Load] = field(default_factory=list)
    idle: dict[int, Idle] = field(default_factory=dict)


async def measure_nodes(plan: NodesPlan, folder: Path, tell: Tell) -> list[ClusterFigure]:
    """Measure a cluster of two nodes, which then gets a third.

    Raises:
        LoadFault: a promise was broken under load.
        BenchFailed: a node has ended.
        CommandError: a node did not start, or the cluster did not become whole.
    """
    measured = Measured()
    tell("nodes: starting two nodes")
    everyone = f"codes_per_hour_per_address={2 * plan.pairs}"
    cluster = ClusterProcesses(folder, ("a", "b"), options=["--set", everyone])
    try:
        await cluster.start()
        tell(f"nodes: two nodes do nothing for {plan.idle_s:g} s")
        measured.idle[2] = await _idle(cluster, plan.idle_s)
        people = await _People.sign_up(cluster, plan)
        for number in range(1, plan.rounds + 1):
            tell(f"nodes: round {number}/{plan.rounds}, two nodes")
            measured.two.append(await people.load(plan, spread=True))
            tell(f"nodes: round {number}/{plan.rounds}, one node")
            await _change(cluster, "drain", people.other)
            measured.one.append(await people.load(plan, spread=False))
            await _change(cluster, "undrain", people.other)
            if number < plan.rounds:
                await _change(cluster, "rebalance", None)
        if plan.grows:
            tell(f"nodes: a third one joins, and does nothing for {plan.idle_s:g} s")
            await cluster.add("c").start()
            await cluster.whole()
            measured.idle[3] = await _idle(cluster, plan.idle_s)
    finally:
        await cluster.close()
    return nodes_figures(plan, measured)


def nodes_figures(plan: NodesPlan, measured: Measured) -> list[ClusterFigure]:
    """Reckon the figures: throughput of two beside one, by the clock and by CPU; idle nodes."""
    one, two = measured.one, measured.two
    details = {
        "pairs": plan.pairs,
        "in_flight_per_pair": plan.window,
        "node_cores_used": {
            "one": [round(sum(each.cpu_s) / each.took_s, 2) for each in one],
            "two": [round(sum(each.cpu_s) / each.took_s, 2) for each in two],
        },
        "cpu_us_per_message_by_node": {
            "one": [_us_by_node(each) for each in one],
            "two": [_us_by_node(each) for each in two],
        },
        "cores": len(procfs.Cores.all()),
    }

    def beside_one(
        name: str, unit: str, about: str, ours: list[float], theirs: list[float], target: bool
    ) -> ClusterFigure:
        return ClusterFigure(
            Part.NODES,
            name,
            unit,
            "higher",
            about,
            _ON,
            ours,
            "one node",
            _BESIDE,
            theirs,
            target=Target("ratio", at_least=LEAST_RATIO) if target else None,
            details=details,
        )

    return [
        beside_one(
            "nodes_per_s",
            "1/s",
            "messages delivered a second, by wall time: nodes, NATS servers and the load share "
            "this machine's cores",
            [each.per_s for each in two],
            [each.per_s for each in one],
            True,
        ),
        beside_one(
            "nodes_per_busiest_cpu_s",
            "1/cpu s",
            "messages for a CPU second of the busiest node process: throughput with a core for "
            "each process",
            [each.per_busiest_cpu_s for each in two],
            [each.per_busiest_cpu_s for each in one],
            True,
        ),
        beside_one(
            "nodes_per_cpu_s",
            "1/cpu s",
            "messages for a CPU second of all node processes together: what a message costs",
            [each.per_cpu_s for each in two],
            [each.per_cpu_s for each in one],
            False,
        ),
        *(figure for count, idle in measured.idle.items() for figure in _idle_figures(count, idle)),
    ]


def _us_by_node(load: Load) -> list[float]:
    """CPU microseconds of each node for a message; a drained one has those of a copy alone."""
    return [round(each * 1e6 / load.messages, 1) for each in load.cpu_s]


def _idle_figures(count: int, idle: Idle) -> list[ClusterFigure]:
    told: Mapping[str, tuple[str, str, float]] = {
        "cpu_ms_per_s": ("ms/s", "CPU time of a node's process", idle.cpu_ms_per_s),
        "nats_cpu_ms_per_s": ("ms/s", "CPU time of its nats-server", idle.nats_cpu_ms_per_s),
        "memory_mb": ("MB", "anonymous memory of a node's process", idle.memory_mb),
        "nats_memory_mb": ("MB", "anonymous memory of its nats-server", idle.nats_memory_mb),
        "messages_per_s": (
            "1/s",
            "messages that a node sends and receives by NATS",
            idle.messages_per_s,
        ),
    }
    return [
        ClusterFigure(
            Part.NODES,
            f"idle_{name}_{count}",
            unit,
            "lower",
            f"{about}, of {count} nodes and 4 partitions that do nothing; the mean of the nodes",
            f"{count} node processes, each with its nats-server; the third keeps no partition",
            [value],
            details={"nodes": count},
        )
        for name, (unit, about, value) in told.items()
    ]


# -- people --------------------------------------------------------------------------------------


class _People:
    """Pairs of people who can connect at either node."""

    def __init__(self, cluster: ClusterProcesses, devices: Sequence[int]) -> None:
        self._cluster = cluster
        self._epoch = 0
        self._nodes = list(cluster.nodes.values())
        self._drivers = []
        for node in self._nodes:
            url = urlsplit(node.ws_url)
            assert url.hostname is not None
            assert url.port is not None
            self._drivers.append(WireDriver(url.hostname, url.port, devices))

    @property
    def other(self) -> str:
        """The node that is drained where one is to do everything."""
        return list(self._cluster.nodes)[1]

    @classmethod
    async def sign_up(cls, cluster: ClusterProcesses, plan: NodesPlan) -> _People:
        """Sign everybody up at the first node."""
        node = next(iter(cluster.nodes.values()))
        devices = [0] * (2 * plan.pairs)

        async def one(user: int) -> None:
            phone = account(user)
            door = SignUp(node.ws_url)
            await door.request_code(phone)
            code = await node.code_for(phone)
            identity = await door.register(phone, code, "load", device_key(user))
            devices[user] = identity.device

        await in_parallel(
            ((lambda user=user: one(user)) for user in range(len(devices))),  # type: ignore[misc]
            width=LOGIN_CONCURRENCY,
        )
        return cls(cluster, devices)

    async def load(self, plan: NodesPlan, *, spread: bool) -> Load:
        """Let all pairs talk for a round: at both nodes, or at the first one."""
        await self._cluster.whole()
        self._epoch += 1
        meter = Meter()
        closed = ClosedLoop(plan.window)
        async with self._paired(plan.pairs, meter, closed, spread=spread) as flows:
            closed.start(flows)
            await _pass(plan.warmup_s, meter)
            meter.recording = True
            before_s = [_cpu_s(node.pid) for node in self._nodes]
            began_s = perf_counter()
            await _pass(plan.round_s, meter)
            took_s = perf_counter() - began_s
            after_s = [_cpu_s(node.pid) for node in self._nodes]
            delivered = meter.delivered
            meter.recording = False
            closed.running = False
            await until_none(
                lambda: sum(flow.unsettled for flow in flows),
                meter,
                timeout_s=_SETTLE_S,
                what="messages were not delivered",
            )
        if not delivered:
            raise BenchFailed("no message was delivered")
        used_s = [after - before for before, after in zip(before_s, after_s, strict=True)]
        return Load(delivered, took_s, used_s)

    @asynccontextmanager
    async def _paired(
        self, pairs: int, meter: Meter, closed: ClosedLoop, *, spread: bool
    ) -> AsyncIterator[list[Flow]]:
        """Connect everybody: of each pair, one sends to the other."""
        flows: list[Flow] = []
        sessions: list[Session] = []
        base = self._epoch * NUMBERS_PER_EPOCH

        async def one(pair: int) -> None:
            flow = Flow(2 * pair, 2 * pair + 1, base, meter, wake=closed.wake)
            # Half of the pairs talk across the nodes.
            receiver_at, sender_at = (pair % 2, pair // 2 % 2) if spread else (0, 0)
            receiver = await self._drivers[receiver_at].login(flow.to_user, inbox=flow)
            sessions.append(receiver)
            sender = await self._drivers[sender_at].login(flow.from_user)
            sessions.append(sender)
            flow.sender, sender.outbox = sender, flow
            flows.append(flow)

        try:
            await in_parallel(
                ((lambda pair=pair: one(pair)) for pair in range(pairs)),  # type: ignore[misc]
                width=LOGIN_CONCURRENCY,
            )
            yield flows
        finally:
            await close_all(sessions)


async def _pass(time_s: float, meter: Meter) -> None:
    """Let the load run for a time; a broken promise ends it."""
    deadline_s = perf_counter() + time_s
    while (left_s := deadline_s - perf_counter()) > 0:
        meter.check()
        await asyncio.sleep(min(left_s, 0.25))


# -- nodes ---------------------------------------------------------------------------------------


async def _change(cluster: ClusterProcesses, what: Change, node: str | None) -> None:
    """Drain, undrain or rebalance, and wait until that is done."""
    first = next(iter(cluster.nodes.values()))
    async with RemoteAdmin(first.data / "admin.sock") as admin:
        async for _ in admin.change_cluster(what, node):
            pass


async def _idle(cluster: ClusterProcesses, idle_s: float) -> Idle:
    """Watch nodes that do nothing; the mean of them."""
    nodes = list(cluster.nodes.values())
    before = [await asyncio.to_thread(_counters, node) for node in nodes]
    began_s = perf_counter()
    await asyncio.sleep(idle_s)
    after = [await asyncio.to_thread(_counters, node) for node in nodes]
    took_s = perf_counter() - began_s

    def grown(name: str) -> float:
        return sum(b[name] - a[name] for a, b in zip(before, after, strict=True)) / len(nodes)

    def mean(name: str) -> float:
        return sum(each[name] for each in after) / len(nodes)

    return Idle(
        grown("cpu_s") * 1000 / took_s,
        grown("nats_cpu_s") * 1000 / took_s,
        mean("memory_mb"),
        mean("nats_memory_mb"),
        grown("messages") / took_s,
    )


def _counters(node: NodeProcess) -> dict[str, float]:
    """What a node and its NATS server have used until now; it blocks."""
    found = dict.fromkeys(("cpu_s", "memory_mb", "nats_cpu_s", "nats_memory_mb"), 0.0)
    for pid in procfs.process_tree(node.pid):
        with suppress(OSError):  # a helper of the node's that has just ended
            whose = "nats_" if Path(f"/proc/{pid}/comm").read_text().strip() == NATS else ""
            memory = procfs.parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())
            found[f"{whose}memory_mb"] += memory.anonymous_kb / 1024
            found[f"{whose}cpu_s"] += _cpu_s(pid)
    return found | {"messages": _messages(node)}


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process alone, without its children."""
    ticks = procfs.parse_cpu_ticks(Path(f"/proc/{pid}/stat").read_text())
    return ticks * procfs.TICK_US / 1e6


def _messages(node: NodeProcess) -> float:
    """Messages that a node's connection to its NATS server has carried, both ways."""
    try:
        (file,) = (node.data / "nats" / "run").glob("*.ports")
        (url,) = json.loads(file.read_text())["monitoring"]
        said: Mapping[str, Any] = fetch(url, "/connz", 5.0)
        return float(sum(each["in_msgs"] + each["out_msgs"] for each in said["connections"]))
    except (OSError, ValueError, KeyError, MonitorFailed) as error:
        raise BenchFailed(f"a NATS server does not say what it has carried: {error!r}") from None
