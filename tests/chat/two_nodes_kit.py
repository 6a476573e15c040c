"""Two chat nodes in this process, with one store: what is not about replicas, but about distance.

Each has a runtime node of its own, its gateways and its listener; what their processes tell each
other becomes bytes and comes from bytes, as if a network were between them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

from chat_kit import PATIENCE_S, Codes, Device, Line
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kill_kit import Crashes

from palaver.actors.chat.accounts import SignUpLimits
from palaver.actors.chat.context import Acceptor
from palaver.actors.chat.crossing import CROSSING
from palaver.actors.chat.names import Places
from palaver.actors.chat.registry import MemoryRegistry
from palaver.actors.chat.state import ChatMachine
from palaver.actors.chat.stats import ChatStats
from palaver.actors.distribution.distribution import Distribution
from palaver.actors.distribution.links import LinkCarrier
from palaver.actors.distribution.vocabulary import Vocabulary
from palaver.actors.runtime import Node, SystemClock
from palaver.storage import Store
from palaver.supervisors.trees.listener import ListenerPort
from palaver.supervisors.trees.running import ChatPorts, RunningChat, edge_limits
from palaver.supervisors.trees.settings import Settings
from palaver.transport import wire
from palaver.transport.edge import EdgeStats

PARTITIONS = 4


class Wires:
    """Carries packets between the nodes of this process, each in its own turn of the loop."""

    def __init__(self) -> None:
        self.ends: dict[str, LinkCarrier] = {}
        self._life = 0
        self._up = False

    def join(self, node: Node) -> Distribution:
        """Make a node part of it; it is connected by `connect`."""
        end = self.ends[node.name] = LinkCarrier(node, 1, Vocabulary().add(*CROSSING))
        end.open(_Links(self, node.name))
        return end.distribution

    def connect(self) -> None:
        """Connect every node with every other."""
        self._up = True
        for one, other in self._pairs():
            one.up(other.name, 1, other.greeting)

    def cut(self) -> None:
        """Lose all connections, with what is under way."""
        self._up = False
        self._life += 1
        for one, other in self._pairs():
            one.down(other.name, "cut")

    def _pairs(self) -> Iterator[tuple[LinkCarrier, LinkCarrier]]:
        return permutations(self.ends.values(), 2)

    def send(self, source: str, target: str, packet: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._arrive, self._life, source, target, packet)

    def _arrive(self, life: int, source: str, target: str, packet: bytes) -> None:
        if self._up and life == self._life:
            self.ends[target].arrived(source, packet)


class _Links:
    def __init__(self, wires: Wires, name: str) -> None:
        self._wires = wires
        self._name = name

    def send(self, node_name: str, packet: bytes) -> None:
        self._wires.send(self._name, node_name, packet)

    def disconnect(self, node_name: str) -> None:
        raise AssertionError(f"{self._name} does not understand {node_name}")


class _Ahead(SystemClock):
    """A clock whose wall time is ahead."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def time_ms(self) -> int:
        return super().time_ms() + self._ahead_ms


class NoMedia:
    def issue_token(self, account: str, device: int) -> tuple[str, int]:
        return f"{account}.{device}", 0

    async def sweep(self, now_ms: int) -> int:
        return 0


class Cell:
    """One chat node."""

    def __init__(self, name: str, node: Node, chat: RunningChat, stats: ChatStats) -> None:
        self.name = name
        self.node = node
        self.chat = chat
        self.stats = stats

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.chat.listener.port}/ws"


class Cluster:
    """The nodes `a` and `b`, and the ways into them."""

    def __init__(self, store: Store, wires: Wires, codes: Codes) -> None:
        self.store = store
        self.wires = wires
        self.codes = codes
        self.cells: dict[str, Cell] = {}
        self.devices: list[Device] = []
        self.crashes = Crashes()
        self.places = Places(PARTITIONS)

    async def add(self, name: str, ahead_ms: int = 0, **settings: Any) -> Cell:
        """Start a node that owns nothing, and whose wall clock is so far ahead."""
        chosen = Settings(partitions=PARTITIONS, port=0, host="127.0.0.1", **settings)
        node = Node(name, observer=self.crashes, clock=_Ahead(ahead_ms))
        await node.start()
        stats = ChatStats()

        def listener(acceptor: Acceptor) -> ListenerPort:
            return ListenerPort(
                acceptor, lambda: None, host=chosen.host, port=0, ssl=None,
                limits=edge_limits(chosen), stats=EdgeStats(),
            )  # fmt: skip

        chat = await RunningChat.start(
            chosen,
            ChatPorts(
                node=node,
                store=self.store,
                registries=lambda number: MemoryRegistry(),
                code_sender=self.codes,
                media=NoMedia(),
                listener=listener,
                stats=stats,
                server=f"palaver/{name}",
                owned=(),
                at=self.wires.join(node).at,
            ),
        )
        cell = self.cells[name] = Cell(name, node, chat, stats)
        return cell

    async def give(self, number: int, owner: str | None) -> None:
        """Let a node own a partition (None: nobody), and all know it."""
        for cell in self.cells.values():
            if cell.name != owner and number in cell.chat.partitions.owned:
                await cell.chat.partitions.start_proxy(number, None)
        for cell in self.cells.values():
            if cell.name == owner:
                await cell.chat.partitions.start_owner(number)
        for cell in self.cells.values():
            if cell.name != owner:
                await cell.chat.partitions.start_proxy(number, owner)

    async def give_all(self, owners: Iterable[str | None]) -> None:
        """Let the partitions be owned by these, one after the other."""
        for number, owner in enumerate(owners):
            await self.give(number, owner)

    async def sign_up(self, cell: str, account: str, name: str = "phone") -> Device:
        """Register a device by the sign-up at a node; it is not connected yet."""
        key = Ed25519PrivateKey.generate()
        line = await Line.open(self.cells[cell].url)
        await line.ask(wire.HELLO, [1], "test")
        await line.ask(wire.CODE, account)
        code = await self.codes.next_for(account)
        public = key.public_key().public_bytes_raw()
        answer = await line.ask(wire.SIGNUP, account, code, public, name)
        await line.close()
        device = Device(self.cells[cell].url, answer[0], answer[1], key)
        self.devices.append(device)
        return device

    async def online(self, cell: str, account: str, name: str = "phone") -> Device:
        """Register a device at a node, and connect it there."""
        device = await self.sign_up(cell, account, name)
        await device.connect()
        return device

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what nobody tells of."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def two_nodes(
    folder: Path,
    owners: Iterable[str | None] = ("a", "b", "a", "b"),
    b_ahead_ms: int = 0,
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """A cluster of two, stopped in order at the end; nothing in it may have crashed."""
    loop = asyncio.get_running_loop()
    store = Store.open(
        folder,
        lambda number: ChatMachine(number, PARTITIONS),
        partitions=PARTITIONS,
        post=loop.call_soon_threadsafe,
        defer=loop.call_soon,
    )
    codes = Codes()
    chosen = {"codes_per_hour": SignUpLimits().remembered} | settings
    cluster = Cluster(store, Wires(), codes)
    try:
        for name, ahead_ms in (("a", 0), ("b", b_ahead_ms)):
            await cluster.add(name, ahead_ms, codes_per_hour_per_address=100_000, **chosen)
        cluster.wires.connect()
        await cluster.give_all(owners)
        yield cluster
        assert not cluster.crashes.reports, "\n".join(map(str, cluster.crashes.reports))
        assert not cluster.crashes.gave_up
    finally:
        for device in cluster.devices:
            if device.line is not None:
                await device.line.close()
        for cell in cluster.cells.values():
            await cell.chat.listener.close()
            await cell.node.stop()
        await store.close()
