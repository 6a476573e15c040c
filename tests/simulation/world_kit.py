"""Small programs for worlds: a counter behind a port, and clients that count on it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from palaver.actors.runtime import CallFailed, GenServer, StartError
from palaver.actors.simulation import Faults, Host, World

ALL_FAULTS = Faults(
    crash=0.01, power=0.01, kill=0.01, partition=0.01, oneway=0.01, clog=0.01, reset=0.01,
    pause=0.01, jump=0.01,
)  # fmt: skip


class Counter(GenServer):
    """Counts."""

    def init(self) -> None:
        self.count = 0

    def handle_cast(self, message: int) -> None:
        self.count += message

    def handle_call(self, request: Any, from_: Any) -> int:
        return self.count


async def counting_server(host: Host) -> None:
    """A node whose counter is raised by a line on port 80, and answers with where it stands."""
    node = await host.node()
    while node.whereis("counter") is None:
        with contextlib.suppress(StartError):  # killed before it had begun
            await node.start_server(Counter, name="counter")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, CallFailed):
            while line := await reader.readline():
                node.cast("counter", int(line))
                writer.write(b"%d\n" % await node.call("counter", "count"))
                await writer.drain()
        writer.close()

    await asyncio.start_server(serve, "0.0.0.0", 80)


async def counting_client(host: Host) -> None:
    """Raises the counter of host "a" a few times; keeps how often it was answered."""
    host.disk.setdefault("answers", [])
    for _ in range(20):
        with contextlib.suppress(OSError):
            async with asyncio.timeout(5):  # a machine without power says nothing
                host.disk["answers"].append(await count_once())
        await asyncio.sleep(1)


async def count_once() -> int:
    reader, writer = await asyncio.open_connection("a", 80)
    try:
        writer.write(b"1\n")
        return int(await reader.readline() or 0)
    finally:
        writer.close()


async def counting(world: World) -> None:
    """A server and three clients under every fault."""
    server = world.host("a", counting_server)
    await server.start()
    clients = [world.host(f"c{number}", counting_client) for number in range(3)]
    world.nemesis(ALL_FAULTS)
    for client in clients:
        client.boot()
    await world.sleep(25)
    await world.calm()
    await world.sleep(86_400)
