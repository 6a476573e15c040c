"""Nodes on real NATS servers, and what their owners were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from palaver.transport.fabric import Fabric, FabricLimits, NatsConnection, NatsSettings

QUICK = FabricLimits(net_ticktime_s=0.8, heartbeat_s=0.1, setup_s=0.5)
"""Short times, so that the tests are."""


class Owner:
    """Records what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.heard: list[tuple[str, int, bytes]] = []
        self.on_arrived: Callable[[str, bytes], None] = lambda name, packet: None
        self._waiters: list[tuple[Callable[[], object], asyncio.Future[None]]] = []

    def up(self, node_name: str, creation: int, greeting: bytes) -> None:
        self.told.append(("up", node_name, creation, greeting))
        self._wake()

    def arrived(self, node_name: str, packet: bytes) -> None:
        self.told.append(("arrived", node_name, packet))
        self._wake()
        self.on_arrived(node_name, packet)

    def down(self, node_name: str, reason: str) -> None:
        self.told.append(("down", node_name, reason))
        self._wake()

    def on_heard(self, node_name: str, creation: int, payload: bytes) -> None:
        if (node_name, creation, payload) not in self.heard:
            self.heard.append((node_name, creation, payload))
        self._wake()

    def _wake(self) -> None:
        for condition, waiter in self._waiters:
            if not waiter.done() and condition():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something that depends on what this owner was told."""
        if not condition():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((condition, waiter))
            await waiter

    def of(self, what: str, name: str | None = None) -> list[tuple[Any, ...]]:
        return [each for each in self.told if each[0] == what and name in (None, each[1])]

    def is_up(self, name: str) -> bool:
        return len(self.of("up", name)) > len(self.of("down", name))

    def packets(self, name: str) -> list[bytes]:
        return [each[2] for each in self.of("arrived", name)]


class Member:
    """One node: its connection, its fabric, its owner."""

    def __init__(self, connection: NatsConnection, fabric: Fabric, owner: Owner) -> None:
        self.connection = connection
        self.fabric = fabric
        self.owner = owner
        self.name = fabric.name

    async def until_up(self, *names: str) -> None:
        await self.owner.until(lambda: all(self.owner.is_up(name) for name in names))

    async def until_down(self, *names: str) -> None:
        await self.owner.until(lambda: not any(self.owner.is_up(name) for name in names))

    async def crash(self) -> None:
        """End as a process does that is killed: without a word."""
        fabric: Any = self.fabric
        fabric._timer.cancel()
        for subscription in fabric._subscriptions:
            await subscription.close()
        self.connection.client.abort()
        await self.connection.close()


@asynccontextmanager
async def town(*urls: str, cluster: str = "town") -> AsyncIterator[Callable[..., Any]]:
    """Gives a function that makes nodes, and stops them all in the end."""
    members: list[Member] = []

    async def join(name: str, creation: int = 1, to: tuple[str, ...] = urls, **more: Any) -> Member:
        settings = {"ping_s": 0.2, "connect_timeout_s": 0.5} | more.pop("nats", {})
        connection = await NatsConnection.open(NatsSettings(urls=to, name=name, **settings))
        owner = Owner()
        options = {"limits": QUICK, "greeting": f"I am {name}".encode(), "heard": owner.on_heard}
        fabric = Fabric(
            connection,
            cluster=more.pop("cluster", cluster),
            name=name,
            creation=creation,
            told=owner,
            **(options | more),
        )
        member = Member(connection, fabric, owner)
        members.append(member)
        await fabric.start()
        return member

    try:
        yield join
    finally:
        for member in members:
            await member.fabric.stop()
            await member.connection.close()
