"""Three real NATS servers on the loopback, for as long as a part is measured."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Self

import nats
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StorageType, StreamConfig, StreamInfo

from palaver.storage.jetstream import JournalLimits
from palaver.supervisors.cli.bench.children import BenchFailed, Child
from palaver.supervisors.cli.bench.procfs import Cores
from palaver.supervisors.cli.cluster.processes import free_ports
from palaver.supervisors.trees.nats_binary import NatsBinary, NatsServerMissing, find_nats_server
from palaver.supervisors.trees.nats_config import CLIENT_USER, NatsConfig
from palaver.supervisors.trees.nats_monitor import MonitorFailed, fetch, server_state
from palaver.transport.fabric.nats import NatsConnection
from palaver.transport.fabric.nats_settings import NatsSettings

__all__ = ["REPLICAS", "NatsServers", "bare_stream", "leader_of", "nats_program"]

REPLICAS: Final = 3
"""Servers, and copies of each stream."""

_READY_S: Final = 60.0
_POLL_S: Final = 0.02
_MAX_FILE_BYTES: Final = 64 << 30
_PASSWORD: Final = "loopback"  # noqa: S105 - protects nothing, as everything here


def nats_program() -> NatsBinary:
    """Find the program that the cluster's parts need.

    Raises:
        BenchFailed: it is not there; the text says how to get it.
    """
    try:
        return find_nats_server()
    except NatsServerMissing as missing:
        raise BenchFailed(str(missing)) from missing


class NatsServers:
    """Servers of one JetStream cluster, configured as a node configures its own, without TLS.

    A context manager: they run within it. Each is a process, on all cores.

    Args:
        folder: of their data; a disk, not memory.
        cluster: the cluster's name.
    """

    def __init__(self, folder: Path, cluster: str = "bench") -> None:
        self.binary = nats_program()
        ports = free_ports(3 * REPLICAS)
        clients, routes, monitors = (ports[n : n + REPLICAS] for n in (0, REPLICAS, 2 * REPLICAS))
        self._configs = [
            NatsConfig(
                node=f"{cluster}-{n}",
                cluster=cluster,
                folder=folder / f"nats-{n}",
                passwords=lambda _: _PASSWORD,
                client_port=clients[n],
                cluster_port=routes[n],
                routes=tuple(f"127.0.0.1:{port}" for port in routes),
                monitor_port=monitors[n],
                max_file_bytes=_MAX_FILE_BYTES,
            )
            for n in range(REPLICAS)
        ]
        self._running: dict[int, Child] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._end)
            for n in range(REPLICAS):
                self.start(n)
            self.until_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for n in list(self._running):
            self.kill(n)

    def start(self, n: int) -> None:
        """Start a server, on the data that it has."""
        config = self._configs[n]
        file = config.write()
        self._running[n] = Child(
            [str(self.binary.path), "-c", str(file)],
            cores=Cores.all(),
            log_path=config.folder / "server.log",
        )

    def kill(self, n: int) -> None:
        """Kill a server with -9."""
        self._running.pop(n).kill()

    def until_ready(self, wait_s: float = _READY_S) -> None:
        """Wait until all answer, know who leads JetStream and have caught up; it blocks.

        Raises:
            BenchFailed: they do not within `wait_s`, or one has ended.
        """
        deadline = time.monotonic() + wait_s
        while not all(self._ready(n) for n in range(REPLICAS)):
            for n, child in self._running.items():
                if child.process.poll() is not None:
                    raise BenchFailed(f"nats-server {n} has ended: {child.tail()}")
            if time.monotonic() > deadline:
                tails = "\n".join(child.tail(size_bytes=500) for child in self._running.values())
                raise BenchFailed(f"JetStream has no leader within {wait_s:.0f} s:\n{tails}")
            time.sleep(_POLL_S)

    def _ready(self, n: int) -> bool:
        url = f"http://127.0.0.1:{self._configs[n].monitor_port}"
        try:
            return (
                server_state(url, 1.0).ready and fetch(url, "/healthz", 1.0).get("status") == "ok"
            )
        except MonitorFailed:
            return False

    def number(self, name: str) -> int:
        """Return which server has this name."""
        return next(n for n, config in enumerate(self._configs) if config.node == name)

    def _urls(self, first: int) -> list[str]:
        order = [(first + n) % REPLICAS for n in range(REPLICAS)]
        return [f"nats://127.0.0.1:{self._configs[n].client_port}" for n in order]

    @asynccontextmanager
    async def connect(self, first: int = 0) -> AsyncIterator[Client]:
        """Keep a connection as a node does: to this server while it runs, else to another."""
        connection = await NatsConnection.open(
            NatsSettings(
                urls=tuple(self._urls(first)),
                name="bench",
                user=CLIENT_USER,
                password=_PASSWORD,
                connect_timeout_s=1.0,
            )
        )
        try:
            yield connection.client
        finally:
            await connection.close()

    @asynccontextmanager
    async def connect_bare(self, first: int = 0) -> AsyncIterator[Client]:
        """Keep a connection of bare nats-py, which tries the other servers when this one ends."""
        client = await nats.connect(
            self._urls(first),
            user=CLIENT_USER,
            password=_PASSWORD,
            dont_randomize=True,
            connect_timeout=1,
            reconnect_time_wait=0.1,
            max_reconnect_attempts=-1,
            error_cb=_unheard,
        )
        try:
            yield client
        finally:
            await client.close()


async def _unheard(_: Exception) -> None:
    """Stand in for the log of bare nats-py: servers are killed here on purpose."""


def bare_stream(name: str) -> StreamConfig:
    """Return the settings of a stream for bare nats-py: those that matter are a journal's."""
    return StreamConfig(
        name=name,
        subjects=[f"bare.{name}"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=REPLICAS,
        duplicate_window=JournalLimits().duplicate_window_s,
    )


def leader_of(servers: NatsServers, info: StreamInfo) -> int:
    """Return the server that leads a stream.

    Raises:
        BenchFailed: nobody does.
    """
    if info.cluster is None or not info.cluster.leader:
        raise BenchFailed(f"nobody leads the stream {info.config.name}")
    return servers.number(info.cluster.leader)
