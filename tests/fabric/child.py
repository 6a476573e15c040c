"""A node as a process of its own: it echoes, and prints what it is told."""

from __future__ import annotations

import asyncio
import sys

from palaver.transport.fabric import Fabric, FabricLimits, NatsConnection, NatsSettings


class Echo:
    fabric: Fabric

    def up(self, node_name: str, creation: int, greeting: bytes) -> None:
        print("up", node_name, flush=True)

    def arrived(self, node_name: str, packet: bytes) -> None:
        self.fabric.send(node_name, packet)

    def down(self, node_name: str, reason: str) -> None:
        print("down", node_name, reason, flush=True)


async def main(url: str, name: str) -> None:
    settings = NatsSettings(urls=(url,), name=name, ping_s=0.2)
    connection = await NatsConnection.open(settings)
    echo = Echo()
    echo.fabric = Fabric(
        connection,
        cluster="town",
        name=name,
        creation=1,
        told=echo,
        limits=FabricLimits(net_ticktime_s=0.8, heartbeat_s=0.1, setup_s=0.5),
    )
    await echo.fabric.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
