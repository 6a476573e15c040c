"""Real NATS servers as processes, to be killed, paused, wiped; and nodes that use them."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from nats.aio.client import Client

import standing
from palaver.storage.jetstream import JetStreamJournals, JetStreamRegisters, JournalLimits
from palaver.storage.jetstream.journal import JetStreamJournal
from palaver.supervisors.trees.nats_binary import find_nats_server
from palaver.supervisors.trees.nats_config import CLIENT_USER, SYSTEM_USER, NatsConfig
from palaver.supervisors.trees.nats_monitor import MonitorFailed, fetch, server_state
from palaver.transport.fabric.nats import NatsConnection
from palaver.transport.fabric.nats_settings import NatsSettings

PATIENCE_S = 60.0

QUICK = JournalLimits(
    publish_timeout_s=1.0, request_timeout_s=1.0, heartbeat_s=0.25, silence_s=1.0, settle_s=2.0
)
"""A node that loses patience early, so that the tests are short."""


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


class Servers:
    """Servers of one cluster, or one alone."""

    name = "n"

    def __init__(self, folder: Path, count: int) -> None:
        ports = free_ports(3 * count)
        self.binary = find_nats_server().path
        self.client_ports = ports[:count]
        self.monitor_ports = ports[2 * count :]
        self.configs = [
            NatsConfig(
                node=f"{self.name}{n}",
                cluster="town",
                folder=folder / f"n{n}",
                passwords=lambda role: f"secret-{role}",
                client_port=ports[n],
                cluster_port=ports[count + n] if count > 1 else None,
                routes=tuple(f"127.0.0.1:{port}" for port in ports[count : 2 * count]),
                monitor_port=ports[2 * count + n],
                max_file_bytes=1 << 30,
            )
            for n in range(count)
        ]
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for n in range(len(self.configs)):
            self.start(n)
        self.until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for n in list(self._running):
            self.kill(n)

    @property
    def count(self) -> int:
        return len(self.configs)

    def start(self, n: int) -> None:
        """Start a server; it may have run before."""
        assert n not in self._running
        file = self.configs[n].write()
        file.write_text(self.adjusted(file.read_text()))
        with (self.configs[n].folder / "log").open("ab") as log:
            self._running[n] = subprocess.Popen(
                [self.binary, "-c", str(file)], stdout=log, stderr=log, start_new_session=True
            )

    def adjusted(self, text: str) -> str:
        """A server's configuration; a subclass may have it otherwise."""
        return text

    def kill(self, n: int) -> None:
        """Kill -9 a server."""
        process = self._running.pop(n)
        process.kill()
        process.wait()

    def pause(self, n: int) -> None:
        """Stop a server for a while."""
        standing.stop(self._running[n].pid)

    def resume(self, n: int) -> None:
        """Let a paused server go on."""
        standing.go_on(self._running[n].pid)

    def wipe(self, n: int) -> None:
        """Remove all data of a server that does not run."""
        shutil.rmtree(self.configs[n].folder / "store")

    def monitor(self, n: int) -> str:
        return f"http://127.0.0.1:{self.monitor_ports[n]}"

    def until_ready(self, *servers: int) -> None:
        """Wait until servers, or all, answer and know the leader of JetStream."""

        def ready() -> bool:
            try:
                return all(
                    server_state(self.monitor(n), 1.0).ready and self.healthy(n)
                    for n in servers or range(self.count)
                )
            except MonitorFailed:
                return False

        until(ready, "JetStream has a leader")

    def healthy(self, n: int) -> bool:
        """Whether a server has caught up with all that it keeps."""
        try:
            return fetch(self.monitor(n), "/healthz", 1.0).get("status") == "ok"
        except MonitorFailed:
            return False

    def number(self, name: str) -> int:
        """Which server has this name."""
        return next(n for n, config in enumerate(self.configs) if config.node == name)

    @asynccontextmanager
    async def connect(
        self, servers: Sequence[int] | None = None, user: str = CLIENT_USER
    ) -> AsyncIterator[Client]:
        """A connection to one of some servers, or of all, which is kept."""
        which = range(self.count) if servers is None else servers
        role = "system" if user == SYSTEM_USER else "node"

        connection = await NatsConnection.open(
            NatsSettings(
                urls=tuple(f"nats://127.0.0.1:{self.client_ports[n]}" for n in which),
                name="test",
                user=user,
                password=f"secret-{role}",
                connect_timeout_s=1.0,
            )
        )
        try:
            yield connection.client
        finally:
            await connection.close()


class Town:
    """Nodes that use servers: each has a connection of its own."""

    def __init__(
        self, servers: Servers, name: str, replicas: int, limits: JournalLimits = QUICK
    ) -> None:
        self.servers = servers
        self._name = name
        self._replicas = replicas
        self._limits = limits
        self._stack = contextlib.AsyncExitStack()
        self._clients: dict[str, Client] = {}
        self._journals: dict[str, JetStreamJournals] = {}
        self._registers: dict[str, JetStreamRegisters] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for journals in self._journals.values():
            await journals.close()
        for registers in self._registers.values():
            await registers.close()
        await self._stack.aclose()

    async def client(self, node: str) -> Client:
        if node not in self._clients:
            # Nodes are spread over the servers.
            first = sum(node.encode()) % self.servers.count
            order = [(first + n) % self.servers.count for n in range(self.servers.count)]
            connecting = self.servers.connect(order)
            self._clients[node] = await self._stack.enter_async_context(connecting)
        return self._clients[node]

    async def journals(self, node: str) -> JetStreamJournals:
        if node not in self._journals:
            self._journals[node] = JetStreamJournals(
                await self.client(node), self._name, replicas=self._replicas, limits=self._limits
            )
        return self._journals[node]

    async def journal(self, node: str, partition: int) -> JetStreamJournal:
        """A node's way to a journal, which is made if there is none."""
        journals = await self.journals(node)
        await journals.found([partition])
        return journals(partition)

    async def registers(self, node: str) -> JetStreamRegisters:
        if node not in self._registers:
            registers = JetStreamRegisters(
                await self.client(node), self._name, replicas=self._replicas
            )
            await registers.found()
            self._registers[node] = registers
        return self._registers[node]

    async def delete(self, partition: int) -> None:
        """Delete a journal."""
        client = next(iter(self._clients.values()))
        stream = next(iter(self._journals.values()))(partition).stream
        await client.jetstream().delete_stream(stream)

    async def leader(self, journal: JetStreamJournal) -> int:
        """The server that leads a journal."""
        cluster = (await journal.info()).cluster
        assert cluster is not None
        assert cluster.leader is not None
        return self.servers.number(cluster.leader)
