"""A chat node on a simulated host: the real tree, listener and state machine on simulated ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from palaver.actors.chat import names, queries
from palaver.actors.chat.accounts import CodeSender
from palaver.actors.chat.context import Acceptor
from palaver.actors.chat.presence import WhoIsOnline
from palaver.actors.chat.registry import MemoryRegistry
from palaver.actors.chat.state import ChatMachine
from palaver.actors.chat.state.tables import PAIR
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import Node, Observer, StartError
from palaver.actors.simulation import Host, World
from palaver.storage import Machine, ReadTxn, StoreError
from palaver.storage.partitioning import partition_of
from palaver.storage.replicated import ReplicatedStore
from palaver.storage.simulated import DiskHabits, SimulatedDisk, SimulatedStore
from palaver.supervisors.trees.listener import ListenerPort
from palaver.supervisors.trees.running import ChatPorts, RunningChat, StorePort, edge_limits
from palaver.supervisors.trees.settings import Settings
from palaver.transport.edge import EdgeStats
from palaver.transport.wire import CloseCode

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PORT", "ChatNode", "NoMedia", "WorldFaults"]

PORT = 4400

#: A service manager starts a node that has ended again after so many seconds.
_RESTART_S = 1.0

#: Processes that a node has for its connections, by the last part of their behaviour's name.
_FOR_CONNECTIONS = frozenset({"Session", "DeviceQueue"})


#: Close codes of the edge that tell of something interesting.
_CLOSED = {
    int(CloseCode.REPLACED): "a session was replaced by a newer one",
    int(CloseCode.REVOKED): "a revoked device was disconnected",
    int(CloseCode.GOING_AWAY): "a connection was asked to come back",
    int(CloseCode.INTERNAL): "a connection lost its session",
    int(CloseCode.TOO_SLOW): "a connection was too slow",
}


class NoMedia:
    """Media where none are: a token that is good for nothing, nothing to sweep."""

    def issue_token(self, account: str, device: int) -> tuple[str, int]:
        """A token that no server takes."""
        return f"{account}.{device}", 0

    async def sweep(self, now_ms: int) -> int:
        """Nothing has expired."""
        return 0


@dataclass(frozen=True, slots=True)
class WorldFaults:
    """A disk's way to the tape of a world.

    Attributes:
        world: whose.
        call: calls back on the host whose disk it is.
    """

    world: World
    call: Callable[[float, Callable[[], None]], object]

    def choose(self, name: str, options: int, rate: float) -> int:
        """One of so many ways; 0 is the quiet one."""
        return self.world.tape.choose(name, options, rate)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> object:
        """Call a function once, on the disk's host."""
        return self.call(delay_s, fn)

    def now_s(self) -> float:
        """Virtual time."""
        return self.world.now_s


class ChatNode:
    """A machine with a chat node; it survives whatever happens to its host.

    Args:
        world: where.
        name: of the host; clients connect to ``ws://NAME:4400/ws``.
        code_sender: brings one-time codes to phones.
        settings: of the node; its folder and addresses are not used.
        habits: of its disk.
    """

    def __init__(
        self,
        world: World,
        name: str,
        *,
        code_sender: CodeSender,
        settings: Settings,
        habits: DiskHabits,
    ) -> None:
        self.world = world
        self.settings = settings
        self.host = world.host(name, self._boot)
        self.stats = ChatStats()
        self.edge_stats = EdgeStats()
        self.registries: dict[int, MemoryRegistry] = {}
        self.node: Node | None = None
        self.store: SimulatedStore | ReplicatedStore | None = None
        self.chat: RunningChat | None = None
        self._shape: tuple[tuple[str, ...], int] = ((), 0)
        self._stopping = False
        self._code_sender = code_sender
        self._habits = habits
        self._marks: dict[bytes, tuple[int, int]] = {}

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://{self.host.name}:{PORT}/ws"

    @property
    def is_up(self) -> bool:
        """Whether its tree runs, as far as an operator sees."""
        return self.host.alive and self.chat is not None and self.chat.is_alive

    def calm_disk(self) -> None:
        """Let nothing more be wrong with its disk."""
        disk: SimulatedDisk | None = self.host.disk.get("disk")
        if disk is not None:
            disk.habits = DiskHabits(slow=0.0, stall=0.0, late=0.0, slow_read=0.0)

    def wall_ms(self) -> int:
        """Its host's wall clock."""
        return self.host.clock.time_ms()

    # -- life ----------------------------------------------------------------------------------

    async def _boot(self, host: Host) -> None:
        self._stopping = False
        try:
            await self._start(host)
        except (StoreError, StartError) as error:
            self.world.reach("a node could not start")
            self._ended(host, f"cannot start: {error}")
            return
        host.spawn(self._watch(host))

    async def _start(self, host: Host) -> None:
        world, loop = self.world, asyncio.get_running_loop()
        disk = host.disk.get("disk")
        if disk is None:
            disk = host.disk["disk"] = self._new_disk(host)
        host.on_end.append(lambda power: disk.power_off() if power else disk.killed())
        host.on_end.append(lambda power: self._gone())
        store = self._open(disk, loop)
        self.stats = ChatStats()
        self.edge_stats = EdgeStats()
        self.registries = {}
        node = self.node = await host.node(observer=_Counting(world))
        await self._run(node, store)
        self._shape = self._shape_now()

    async def _run(self, node: Node, store: SimulatedStore) -> None:
        """Start what makes a node of a host with tables."""
        self.store = store
        self.chat = await RunningChat.start(self.settings, self._ports(node, store))

    def _ports(self, node: Node, store: StorePort) -> ChatPorts:
        return ChatPorts(
            node=node,
            store=store,
            registries=self._new_registry,
            code_sender=self._code_sender,
            media=NoMedia(),
            listener=self._listener,
            stats=self.stats,
            server="palaver/simulated",
        )

    def _gone(self) -> None:
        """Count what there was, and let go of it: nobody looks into what has ended."""
        self.count_reached()
        self.node = self.store = self.chat = None

    def _new_registry(self, number: int) -> MemoryRegistry:
        registry = self.registries[number] = MemoryRegistry()
        return registry

    def _new_disk(self, host: Host) -> SimulatedDisk:
        faults = WorldFaults(self.world, lambda delay_s, fn: host.clock.call_later(delay_s, fn))
        return SimulatedDisk(faults, host.name, habits=self._habits)

    def _open(self, disk: SimulatedDisk, loop: asyncio.AbstractEventLoop) -> SimulatedStore:
        partitions = self.settings.partitions
        return SimulatedStore.open(
            disk, self._machine, partitions=partitions, call_later=loop.call_later
        )

    def _machine(self, number: int) -> Machine:
        return ChatMachine(number, self.settings.partitions)

    def _listener(self, acceptor: Acceptor) -> ListenerPort:
        return ListenerPort(
            acceptor,
            lambda: None,
            host=self.host.name,
            port=PORT,
            ssl=None,
            limits=edge_limits(self.settings),
            stats=self.edge_stats,
        )

    async def _watch(self, host: Host) -> None:
        """Do as a service manager does: start the node again when its tree has given up."""
        reason = await self._wait_failed()
        if self._stopping:
            return
        self.world.reach("a node's supervisors gave up")
        self._ended(host, reason)

    async def _wait_failed(self) -> str:
        assert self.chat is not None
        return await self.chat.wait_failed()

    def _ended(self, host: Host, reason: str) -> None:
        world = self.world
        world.trace.note("node", host.name, f"ends: {reason}")
        world.network.later(0.0, host.crash)
        world.network.later(_RESTART_S, host.boot)

    def stop(self, host: Host) -> None:
        """Begin to drain and to stop in order, as an operator has it done; it starts again."""
        if self.is_up and not self._stopping:
            self._stopping = True
            host.spawn(self._stop(host))

    async def _stop(self, host: Host) -> None:
        chat, node, store = self.chat, self.node, self.store
        assert chat is not None
        assert node is not None
        assert store is not None
        self.world.trace.note("node", host.name, "is drained and stopped")
        await chat.drain()
        await chat.listener.close()
        await node.stop()
        await store.close()
        if list(node.processes()) or self.edge_stats.connections_open:
            self.world.fail("a stopped node leaves nothing behind", f"{list(node.processes())}")
        self.world.reach("a node was drained and stopped")
        self._ended(host, "was stopped")

    # -- to look into it -----------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """Whether its tree has the processes that it was started with."""
        return self.is_up and self._shape_now() == self._shape

    @property
    def is_well(self) -> bool:
        """Whether it is whole, and can store things, as its health page says."""
        return self.is_whole and not self.stats.storage_failing

    def _shape_now(self) -> tuple[tuple[str, ...], int]:
        """The registered names, and how many supervisors there are."""
        assert self.node is not None
        infos = list(self.node.processes())
        supervisors = sum(info.behaviour.endswith(".Supervisor") for info in infos)
        return tuple(sorted(info.name for info in infos if info.name)), supervisors

    def head(self, conversation: bytes) -> int:
        """The last seq of a conversation, as its tables have it."""
        assert self.store is not None
        partition = partition_of(conversation, self.settings.partitions)
        raw = self.store.view(partition, lambda txn: txn.get("heads", conversation))
        return 0 if raw is None else PAIR.unpack(raw)[0]

    @property
    def is_readable(self) -> bool:
        """Whether its tables can be read: a store whose disk failed has to come back."""
        store = self.store
        if store is None:
            return False
        try:
            for number in range(self.settings.partitions):
                store.view(number, bool)
        except StoreError:
            return False
        return True

    def violations(self) -> Iterator[str]:
        """What is wrong with the rows of its tables, and between its partitions."""
        store = self.store
        if store is None:
            return
        for number in range(self.settings.partitions):
            found = store.view(number, partial(self._check, number))
            yield from (f"{self.host.name}/{number}: {text}" for text in found)

    def _check(self, number: int, txn: ReadTxn) -> list[str]:
        return list(ChatMachine(number, self.settings.partitions).check(txn, number))

    def count_reached(self) -> None:
        """Count in the world's coverage what this run of the node has met; at its end."""
        reach = self.world.reach
        for code, name in _CLOSED.items():
            if self.edge_stats.closed_total.get(code):
                reach(name)
        for error in self.stats.errors:
            reach(f"answered: {error}")
        if self.stats.cache_hits["recent_peers"]:
            reach("a gateway knew where a recent peer is")

    def count_outboxes(self) -> None:
        """Count whether its partitions have sent each other anything."""
        if self.store is not None:
            for number in range(self.settings.partitions):
                if self.store.view(number, lambda txn: txn.first("inlast")) is not None:
                    self.world.reach("partitions sent each other commands")

    def has_device(self, account: str, device: int) -> bool:
        """Whether its tables know a device; True if they cannot be read now."""
        store = self.store
        if store is None:
            return True
        number = names.Places(self.settings.partitions).number_of(account)
        try:
            rows = store.view(number, lambda txn: queries.devices(txn, account))
        except StoreError:
            return True
        return any(row.device == device for row in rows)

    def fallen_marks(self) -> list[str]:
        """Watermarks that are lower in its tables than they were at the last look."""
        store, before = self.store, self._marks
        if store is None or not self.host.alive:
            return []
        now: dict[bytes, tuple[int, int]] = {}
        for number in range(self.settings.partitions):
            try:
                rows = store.view(number, lambda txn: list(txn.range("marks", b"")))
            except StoreError:
                return []
            now.update((key, PAIR.unpack(raw)) for key, raw in rows)
        self._marks = now
        return [
            f"{key[16:].decode()} in {key[:16].hex()[:6]}: {then} fell to {now.get(key)}"
            for key, then in before.items()
            if key not in now or now[key][0] < then[0] or now[key][1] < then[1]
        ]

    def mark(self, conversation: bytes, account: str) -> tuple[int, int]:
        """How far an account is, as its tables say; (0, 0) if they cannot be read now."""
        if self.store is None:
            return 0, 0
        number = names.Places(self.settings.partitions).number_of(conversation)
        key = conversation + account.encode()
        try:
            raw = self.store.view(number, lambda txn: txn.get("marks", key))
        except StoreError:
            return 0, 0
        return PAIR.unpack(raw) if raw else (0, 0)

    async def left_behind(self, accounts: Sequence[str]) -> list[str]:
        """What a node without connections still has of them; empty where it let go of all."""
        node = self.node
        assert node is not None
        found = [
            f"process {info.name or info.pid} ({info.behaviour})"
            for info in node.processes()
            if info.behaviour.rpartition(".")[2] in _FOR_CONNECTIONS
        ]
        places = names.Places(self.settings.partitions)
        for account in accounts:
            registry = self.registries.get(places.number_of(account))
            if registry is not None and await registry.gateways(account):
                found.append(f"registry entry of {account}")
            if await node.call(places.presence_of(account), WhoIsOnline((account,))):
                found.append(f"{account} counts as online")
        if self.stats.sessions_now:
            found.append(f"{self.stats.sessions_now} sessions are counted")
        if self.edge_stats.connections_open:
            found.append(f"{self.edge_stats.connections_open} connections are open")
        return found


class _Counting(Observer):
    """Counts what the tree did in the world's coverage."""

    def __init__(self, world: World) -> None:
        self._world = world

    def process_crashed(self, report: object) -> None:
        """The host's own observer keeps it."""

    def child_restarted(self, supervisor: object, child_id: object, reason: object) -> None:
        """A supervisor did its work."""
        self._world.reach("a child was restarted")

    def supervisor_gave_up(self, supervisor: object, reason: object) -> None:
        """It did not help."""
        self._world.reach("a supervisor gave up")

    def handler_slow(self, pid: object, seconds: float) -> None:
        """In virtual time no handler is."""
