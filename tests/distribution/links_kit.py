"""Links in memory: packets arrive later, in order; a connection may be dropped at any point."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from palaver.actors.distribution import Distribution, LinkCarrier, LinksTold, Vocabulary
from palaver.actors.embedding import cluster_node
from palaver.actors.runtime import GenServer, Node


class Hub:
    """Connects nodes, and brings what they send, one packet or piece of news at a time."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[int, LinksTold]] = {}
        self.up: set[frozenset[str]] = set()
        self.news: deque[Callable[[], None]] = deque()
        self.packets = 0
        self.drop_after: int | None = None
        self._armed = False

    def later(self, news: Callable[[], None]) -> None:
        self.news.append(news)
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._one)

    def _one(self) -> None:
        self._armed = False
        self.news.popleft()()
        if self.news and not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._one)

    def connect(self, one: str, other: str) -> None:
        self.up.add(frozenset((one, other)))
        for here, there in ((one, other), (other, one)):
            creation, told = self.told[there]
            self.later(self._telling(here, "up", there, creation, told.greeting))

    def drop(self, one: str, other: str) -> None:
        """Lose a connection, and what is under way on it."""
        pair = frozenset((one, other))
        if pair not in self.up:
            return
        self.up.discard(pair)
        for here, there in ((one, other), (other, one)):
            self.later(self._telling(here, "down", there, "dropped"))

    def _telling(self, here: str, what: str, *args: Any) -> Callable[[], None]:
        told = self.told[here][1]
        return lambda: getattr(told, what)(*args)

    def send(self, sender: str, node_name: str, packet: bytes) -> None:
        pair = frozenset((sender, node_name))
        if pair not in self.up:
            return
        self.packets += 1
        if self.packets == self.drop_after:
            self.drop(sender, node_name)
            return

        def arrive() -> None:
            if pair in self.up:
                self.told[node_name][1].arrived(sender, packet)

        self.later(arrive)


class MemoryLinks:
    """One node's end of it."""

    def __init__(self, hub: Hub, carrier: LinkCarrier) -> None:
        self.hub = hub
        self.name = carrier.name
        self.carrier = carrier

    async def start(self) -> None:
        others = list(self.hub.told)
        self.hub.told[self.name] = (self.carrier.distribution.creation, self.carrier)
        for other in others:
            self.hub.connect(self.name, other)

    async def stop(self) -> None:
        for other in list(self.hub.told):
            self.hub.drop(self.name, other)
        del self.hub.told[self.name]

    def send(self, node_name: str, packet: bytes) -> None:
        self.hub.send(self.name, node_name, packet)

    def disconnect(self, node_name: str) -> None:
        self.hub.drop(self.name, node_name)


class Two:
    """Two connected nodes, with an `Echo` each."""

    def __init__(self, hub: Hub, nodes: list[Node], distributions: list[Distribution]) -> None:
        self.hub = hub
        self.a, self.b = nodes
        self.da, self.db = distributions

    def echo(self) -> Any:
        """The echo of b, as a calls it."""
        pid = self.b.whereis("echo")
        assert pid is not None
        return self.da.directory.found(self.db.directory.where(pid))

    async def connected(self) -> None:
        await until(lambda: bool(self.da.nodes() and self.db.nodes()))


class Echo(GenServer):
    def init(self) -> None:
        self.trap_exit = True
        self.got: list[Any] = []

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "got":
            return list(self.got)
        return request

    def handle_cast(self, message: Any) -> None:
        self.got.append(("cast", message))

    def handle_info(self, message: Any) -> None:
        self.got.append(message)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def two(
    vocabulary: Vocabulary | None = None, other: Vocabulary | None = None
) -> AsyncIterator[Two]:
    hub = Hub()
    a, b = Node("a"), Node("b")
    async with (
        cluster_node(a, lambda c: MemoryLinks(hub, c), creation=1, vocabulary=vocabulary) as da,
        cluster_node(
            b, lambda c: MemoryLinks(hub, c), creation=1, vocabulary=other or vocabulary
        ) as db,
    ):
        for node in (a, b):
            await node.start_server(Echo, name="echo")
        both = Two(hub, [a, b], [da, db])
        await both.connected()
        yield both
