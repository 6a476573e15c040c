"""A server that is killed without warning: as a child process, or on a simulated host.

As a program: `python killed_program.py BEHAVIOUR [PORT]` prints its port when it listens.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

MUCH = 500_000
"""Bytes: more than a connection takes whose other side does not read."""


class Server(asyncio.Protocol):
    """One connection: `echo` answers what comes, `mute` reads nothing, `talk` answers much."""

    def __init__(self, behaviour: str, much: int) -> None:
        self.behaviour = behaviour
        self.much = much
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.behaviour == "mute":
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"x" * self.much if self.behaviour == "talk" else data)


async def serve(behaviour: str, host: str, port: int, much: int = MUCH) -> int:
    """Listen; returns the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(behaviour, much), host, port)
    return int(server.sockets[0].getsockname()[1])


async def main(behaviour: str, port: str = "0") -> None:
    print(await serve(behaviour, "127.0.0.1", int(port), 64 * MUCH), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
