"""Seconds without service when a partition's owner, or the leader of its journal, is killed.

Three node processes, each with its NATS server, and people at each of them who write to one group
without pause. Beside it, in the same run, JetStream's own election: a bare publisher to a stream of
three other servers, whose leader is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from rich.console import Console

from palaver.storage.partitioning import partition_of
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part, Target
from palaver.supervisors.cli.bench.cluster.outages import Confirmed, details_of, outage_s
from palaver.supervisors.cli.bench.cluster.servers import (
    REPLICAS,
    NatsServers,
    bare_stream,
    leader_of,
)
from palaver.supervisors.cli.bench.procfs import process_tree
from palaver.supervisors.cli.bench.report import Tell
from palaver.supervisors.cli.cluster.processes import ClusterProcesses
from palaver.supervisors.cli.demo_stage import Device, Stage
from palaver.supervisors.cli.node_process import NodeProcess
from palaver.supervisors.trees.nats_monitor import MonitorFailed, fetch
from palaver.transport.http.cluster_port import ClusterStatus

__all__ = ["FailoverPlan", "Tries", "Try", "failover_figures", "leaders_in", "measure_failover"]

MOST_S: Final = 5.0
"""Wanted of the time without service after an owner's kill."""

_PHONES: Final = ("+491701234567", "+491701234568", "+491701234569")
_EVERY_S: Final = 0.01
_POLL_S: Final = 0.05
_WAIT_S: Final = 60.0
_CALM_S: Final = 0.5
"""People write undisturbed for so long before a kill."""
_TRY_S: Final = 0.25
"""The bare publisher gives up an attempt after so long, and tries again."""

_ON: Final = (
    "three node processes, each with its nats-server, TLS between them, and their clients, all on "
    "this machine; clients of the nodes that live"
)


@dataclass(frozen=True, slots=True)
class FailoverPlan:
    """How often each is killed.

    Attributes:
        owner_kills: of the node that owns a partition, with its NATS server.
        leader_kills: of the NATS server alone that leads the partition's journal.
        bare_kills: of the server that leads the bare publisher's stream.
    """

    owner_kills: int = 10
    leader_kills: int = 10
    bare_kills: int = 10


@dataclass(frozen=True, slots=True)
class Try:
    """One kill: seconds without service, and what the killed server led of what is needed."""

    outage_s: float
    led: Sequence[str] = ()


@dataclass(slots=True)
class Tries:
    """All kills.

    Attributes:
        owner: of a partition's owner, with its NATS server.
        leader: of the NATS server that led the journal.
        bare: of the leader of the bare publisher's stream.
    """

    owner: list[Try] = field(default_factory=list)
    leader: list[Try] = field(default_factory=list)
    bare: list[Try] = field(default_factory=list)


async def measure_failover(plan: FailoverPlan, folder: Path, tell: Tell) -> list[ClusterFigure]:
    """Measure all kinds of kills, in turns.

    Raises:
        BenchFailed: no nats-server, or service did not come back within a minute.
        CommandError: a node did not start, or the cluster did not become whole again.
    """
    tries = Tries()
    tell("failover: starting three nodes, and three NATS servers beside them")
    with NatsServers(folder) as servers:
        async with _publisher(servers) as bare, _town(folder) as town:
            kills = max(plan.owner_kills, plan.leader_kills, plan.bare_kills)
            for number in range(1, kills + 1):
                if number <= plan.bare_kills:
                    tell(f"failover: {number}/{kills}, the leader of a bare stream is killed")
                    tries.bare.append(await bare.kill_leader())
                if number <= plan.leader_kills:
                    tell(f"failover: {number}/{kills}, the NATS server that leads is killed")
                    tries.leader.append(await town.kill_leader())
                if number <= plan.owner_kills:
                    tell(f"failover: {number}/{kills}, the owner is killed")
                    tries.owner.append(await town.kill_owner())
                    if number < kills:
                        await town.restore()
    return failover_figures(tries)


def failover_figures(tries: Tries) -> list[ClusterFigure]:
    """Reckon the figures; one of which there were no kills is left out."""
    no_service = "seconds without service for a partition when"
    most, added = Target("greatest", at_most=MOST_S), Target("added", at_most=MOST_S)
    told = (
        (
            "failover_owner_s",
            tries.owner,
            f"{no_service} its owner's node, with its NATS server, is killed",
            most,
        ),
        (
            "failover_owner_no_election_s",
            [each for each in tries.owner if not each.led],
            "the same, of the kills where that server led nothing that is needed",
            most,
        ),
        (
            "failover_owner_election_s",
            [each for each in tries.owner if each.led],
            "the same, of the kills after which JetStream had to elect a leader",
            added,
        ),
        (
            "failover_nats_leader_s",
            tries.leader,
            f"{no_service} the NATS server that leads its journal is killed, and no node",
            added,
        ),
    )
    elections = [each.outage_s for each in tries.bare]
    return [
        ClusterFigure(
            Part.FAILOVER,
            name,
            "s",
            "lower",
            about,
            _ON,
            [each.outage_s for each in kills],
            "election",
            "a bare publisher of nats-py to a stream with the same settings on three other "
            f"servers, whose leader is killed; it tries again every {_TRY_S:g} s",
            elections,
            paired=False,
            target=target,
            details={
                **details_of([each.outage_s for each in kills]),
                "led": [list(each.led) for each in kills],
                "election": details_of(elections) if elections else None,
            },
        )
        for name, kills, about, target in told
        if kills
    ]


# -- the cluster ---------------------------------------------------------------------------------


@asynccontextmanager
async def _town(folder: Path) -> AsyncIterator[_Town]:
    cluster = ClusterProcesses(folder, options=["--set", "reconnect_spread_s=0.2"])
    town = _Town(cluster, Stage(folder, Console(quiet=True), next(iter(cluster.nodes.values()))))
    try:
        await town.begin()
        yield town
    finally:
        await town.end()


class _Town:
    """A cluster, and people at each of its nodes who write to one group without pause."""

    def __init__(self, cluster: ClusterProcesses, stage: Stage) -> None:
        self._cluster = cluster
        self._stage = stage
        self._confirmed: dict[str, list[Confirmed]] = {name: [] for name in cluster.nodes}
        self._at: dict[str, Device] = {}
        self._writers: list[asyncio.Task[None]] = []
        self._number = 0
        self._killed: NodeProcess | None = None

    async def begin(self) -> None:
        """Found the cluster, sign up, make the group, begin to write."""
        await self._cluster.start()
        urls = self._cluster.urls
        for at, (name, phone) in enumerate(zip(self._cluster.nodes, _PHONES, strict=True)):
            mine = urls[at:] + urls[:at]
            device = await Device.sign_up(self._stage, name, "phone", phone, mine)
            await device.connect()
            self._at[name] = device
        first, *others = self._at.values()
        made = await first.live.create_group("Kills", [other.account for other in others])
        self._number = partition_of(made.conv, len((await self._cluster.status()).partitions))
        loop = asyncio.get_running_loop()
        self._writers = [
            loop.create_task(self._write(name, device, made.conv))
            for name, device in self._at.items()
        ]

    async def end(self) -> None:
        """End the writers, the clients and the nodes."""
        for writer in self._writers:
            writer.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)
        for device in self._stage.devices:
            await device.disconnect()
        await self._cluster.close()

    async def _write(self, name: str, device: Device, conv: bytes) -> None:
        """Write one message after the other, each when the one before is confirmed."""
        confirmed = self._confirmed[name]
        while True:
            sent_s = monotonic()
            await device.live.enqueue_message(device.account, conv, "text", "tick").acked
            confirmed.append(Confirmed(sent_s, monotonic()))
            device.received.clear()
            await asyncio.sleep(_EVERY_S)

    async def kill_owner(self) -> Try:
        """Kill the node that owns the group."""
        owner = self._cluster.owner_of(await self._calm(), self._number)
        name = next(name for name, node in self._cluster.nodes.items() if node is owner)
        led = [what for what, leader in (await self._leaders()).items() if leader == name]
        self._killed = owner
        return Try(await self._outage(owner.kill, without=name), sorted(led))

    async def restore(self) -> None:
        """Start the node again that was killed, and wait until nothing is wrong."""
        assert self._killed is not None
        await self._killed.start()
        await self._calm()

    async def kill_leader(self) -> Try:
        """Kill the NATS server that leads the group's journal; its node starts it again."""
        await self._calm()
        leaders = await self._leaders()
        name = leaders["journal"]
        led = [what for what, leader in leaders.items() if leader == name]
        pid = await asyncio.to_thread(_nats_under, self._cluster.nodes[name].pid)

        async def kill() -> None:
            os.kill(pid, signal.SIGKILL)

        return Try(await self._outage(kill), sorted(led))

    async def _outage(
        self, kill: Callable[[], Awaitable[None]], *, without: str | None = None
    ) -> float:
        """Kill something while people write; for how long nothing was confirmed."""
        for confirmed in self._confirmed.values():
            confirmed.clear()
        await asyncio.sleep(_CALM_S)
        killed_s = monotonic()
        await kill()
        dead_s = monotonic()
        while True:
            for writer in self._writers:
                if writer.done():
                    raise BenchFailed(f"a message was refused: {writer.exception()!r}")
            lived = [
                each
                for name, confirmed in self._confirmed.items()
                if name != without
                for each in confirmed
            ]
            found = outage_s(lived, killed_s, dead_s)
            if found is not None:
                return found
            if monotonic() - dead_s > _WAIT_S:
                raise BenchFailed(f"nothing was confirmed for {_WAIT_S:.0f} s after a kill")
            await asyncio.sleep(_POLL_S)

    async def _calm(self) -> ClusterStatus:
        """Wait until nothing is wrong, neither with the nodes nor with their NATS servers."""
        folders = [node.data for node in self._cluster.nodes.values()]
        deadline_s = monotonic() + _WAIT_S
        while not await asyncio.to_thread(_healthy, folders):
            if monotonic() > deadline_s:
                raise BenchFailed(f"the NATS servers were not equal within {_WAIT_S:.0f} s")
            await asyncio.sleep(_POLL_S)
        return await self._cluster.whole()

    async def _leaders(self) -> dict[str, str]:
        """Which nodes' NATS servers lead what the group needs; see `leaders_in`."""
        folders = [node.data for node in self._cluster.nodes.values()]
        return await asyncio.to_thread(_ask_leaders, folders, self._number)


def _nats_under(pid: int) -> int:
    """The process number of the NATS server that runs under a node."""
    for each in process_tree(pid):
        with suppress(OSError):
            if Path(f"/proc/{each}/comm").read_text().strip() == "nats-server":
                return each
    raise BenchFailed("a node has no NATS server")


def _monitors(folders: Sequence[Path]) -> list[str]:
    """Where the nodes' NATS servers tell of themselves."""
    urls = []
    for folder in folders:
        for file in (folder / "nats" / "run").glob("*.ports"):
            with suppress(OSError, ValueError, KeyError):
                urls += json.loads(file.read_text())["monitoring"]
    return urls


def _healthy(folders: Sequence[Path]) -> bool:
    """Whether every NATS server has caught up with all that it keeps; it blocks."""
    urls = _monitors(folders)
    try:
        return len(urls) == len(folders) and all(
            fetch(url, "/healthz", 2.0).get("status") == "ok" for url in urls
        )
    except MonitorFailed:
        return False


def _ask_leaders(folders: Sequence[Path], partition: int) -> dict[str, str]:
    """Ask the NATS servers who leads what; it blocks.

    Raises:
        BenchFailed: none of them says so.
    """
    for url in _monitors(folders):
        with suppress(MonitorFailed, KeyError):
            return leaders_in(fetch(url, "/jsz?accounts=true&streams=true", 2.0), partition)
    raise BenchFailed("no NATS server says who leads what")


def leaders_in(said: Mapping[str, Any], partition: int) -> dict[str, str]:
    """Read who leads a partition's `journal`, the `registers` of owners, and `jetstream` itself.

    Args:
        said: what a server says of its JetStream, with accounts and streams.
        partition: which one.

    Raises:
        KeyError: that is not said.
    """
    streams = {
        stream["name"]: str(stream["cluster"]["leader"])
        for account in said["account_details"]
        for stream in account["stream_detail"]
    }
    found = {"jetstream": str(said["meta_cluster"]["leader"])}
    for name, leader in streams.items():
        if name.startswith("PALAVER_") and name.endswith(f"_{partition}"):
            found["journal"] = leader
        elif name.startswith("KV_palaver-"):
            found["registers"] = leader
    if len(found) < 3:
        raise KeyError("journal" if "registers" in found else "registers")
    return found


# -- bare JetStream ------------------------------------------------------------------------------


@asynccontextmanager
async def _publisher(servers: NatsServers) -> AsyncIterator[_Publisher]:
    config = bare_stream("elections")
    async with servers.connect_bare() as client:
        await client.jetstream(timeout=_WAIT_S).add_stream(config)
        yield _Publisher(servers, str(config.name))


class _Publisher:
    """Publishes to a stream without pause, while the server that leads it is killed."""

    def __init__(self, servers: NatsServers, stream: str) -> None:
        self._servers = servers
        self._stream = stream
        self._confirmed: list[Confirmed] = []

    async def kill_leader(self) -> Try:
        """Kill the leader, and start it again when another one has been found; the outage."""
        servers = self._servers
        async with servers.connect_bare() as client:
            info = await client.jetstream(timeout=_WAIT_S).stream_info(self._stream)
            leader = leader_of(servers, info)
        # Connected to a server that lives: what is measured is the election.
        async with servers.connect_bare((leader + 1) % REPLICAS) as client:
            self._confirmed.clear()
            task = asyncio.create_task(self._publish(client.jetstream(timeout=_TRY_S)))
            try:
                await asyncio.sleep(_CALM_S)
                killed_s = monotonic()
                servers.kill(leader)
                dead_s = monotonic()
                while (found := outage_s(self._confirmed, killed_s, dead_s)) is None:
                    if monotonic() - dead_s > _WAIT_S:
                        raise BenchFailed(f"no leader was found within {_WAIT_S:.0f} s")
                    await asyncio.sleep(_POLL_S)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        servers.start(leader)
        await asyncio.to_thread(servers.until_ready)
        return Try(found, ["stream"])

    async def _publish(self, js: JetStreamContext) -> None:
        while True:
            sent_s = monotonic()
            try:
                await js.publish(f"bare.{self._stream}", b"tick")
            except (NatsError, TimeoutError):
                await asyncio.sleep(_EVERY_S)
                continue
            self._confirmed.append(Confirmed(sent_s, monotonic()))
            await asyncio.sleep(_EVERY_S)
