"""From ports to a running tree: how the parts of a chat node are put together, once.

`ChatSystem` gives it a folder's store and a machine's sockets, a simulation gives it simulated
ones; what is between them is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from palaver.actors.chat import names
from palaver.actors.chat.accounts import CodeSender, SignUpLimits
from palaver.actors.chat.context import Acceptor, SessionContext, SessionLimits, TokenIssuer
from palaver.actors.chat.media_sweeper import Sweepable
from palaver.actors.chat.messages import Drain, Welcome
from palaver.actors.chat.names import Places
from palaver.actors.chat.presence import WriteLastSeen
from palaver.actors.chat.registry import ConnectionRegistry
from palaver.actors.chat.stamps import StampClock
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import SHUTDOWN, Dest, Node, Pid, RuntimeFault
from palaver.supervisors import Supervisor
from palaver.supervisors.trees.chat import ChatParts, tree
from palaver.supervisors.trees.listener import ListenerPort
from palaver.supervisors.trees.partitions import PartitionHost
from palaver.supervisors.trees.settings import Settings
from palaver.supervisors.trees.store_port import StorePort
from palaver.transport.edge import EdgeLimits

__all__ = ["ChatPorts", "MediaParts", "RunningChat", "StorePort", "edge_limits"]

log = structlog.get_logger("palaver")

#: Clients of a draining node come back after at least this.
_RECONNECT_LEAST_MS = 200


class MediaParts(TokenIssuer, Sweepable, Protocol):
    """What the tree needs of media: tokens for clients, and something to sweep."""


@dataclass(frozen=True, slots=True)
class ChatPorts:
    """What a chat node takes from the world outside of its processes.

    Attributes:
        node: a node that runs; its clock and randomness are the tree's.
        store: the tables, opened.
        registries: makes what keeps the connections of a partition's accounts; each manager that
            begins has a new one.
        code_sender: brings one-time codes to phones.
        media: uploads and downloads.
        listener: makes the port of the listening socket, for the acceptor of its connections.
        stats: where the processes count.
        server: what the node calls itself to its clients.
        owned: the partitions that it owns from the start; None: all.
        at: the address of a name on another node; None on a single node.
    """

    node: Node
    store: StorePort
    registries: Callable[[int], ConnectionRegistry]
    code_sender: CodeSender
    media: MediaParts
    listener: Callable[[Acceptor], ListenerPort]
    stats: ChatStats
    server: str
    owned: Iterable[int] | None = None
    at: Callable[[str, str], Dest] | None = None


class RunningChat:
    """The processes of a chat node, from start to drain.

    Attributes:
        root: the root supervisor.
        listener: the listening socket.
        stamps: the node's hybrid logical clock.
        partitions: starts and stops what the node has of the partitions.
        draining: whether it is about to stop.
        away: whether its clients are sent to other nodes.
    """

    def __init__(
        self,
        settings: Settings,
        node: Node,
        root: Pid,
        listener: ListenerPort,
        stamps: StampClock,
        partitions: PartitionHost,
        acceptor: Acceptor,
    ) -> None:
        self.root = root
        self._acceptor = acceptor
        self.listener = listener
        self.stamps = stamps
        self.partitions = partitions
        self.draining = self.away = False
        self._settings = settings
        self._node = node

    @classmethod
    async def start(cls, settings: Settings, ports: ChatPorts) -> RunningChat:
        """Put the parts together and start the tree; returns when it listens.

        Raises:
            StartError: a process of the tree could not begin; those before it were stopped.
        """
        node, store = ports.node, ports.store
        places = Places(settings.partitions)
        stamps = StampClock(node.clock.time_ms)
        context = SessionContext(
            server=ports.server,
            places=places,
            stamps=stamps,
            stats=ports.stats,
            tokens=ports.media,
            limits=SessionLimits(authenticate_s=settings.auth_timeout_s),
        )
        acceptor = Acceptor(node, settings.gateways, context.limits)
        listener = ports.listener(acceptor)
        parts = ChatParts(
            store=store,
            registries=ports.registries,
            code_sender=ports.code_sender,
            sign_up_limits=SignUpLimits(
                code_ttl_s=settings.code_ttl_s,
                attempts_per_code=settings.code_attempts,
                codes_per_phone_per_hour=settings.codes_per_hour,
                codes_per_address_per_hour=settings.codes_per_hour_per_address,
            ),
            media=ports.media,
            listener=listener,
            acceptor=acceptor,
            context=context,
            gateways=settings.gateways,
        )
        partitions = PartitionHost(node, parts, store, ports.at)
        try:
            partitions.begin(range(settings.partitions) if ports.owned is None else ports.owned)
            root = await node.start_server(
                Supervisor, tree(parts, partitions), intensity=20, period_s=10.0, name="root"
            )
        except BaseException:
            await listener.close()
            raise
        return cls(settings, node, root, listener, stamps, partitions, acceptor)

    async def drain(self) -> None:
        """Take no new connection, answer what was accepted, tell every client to come back.

        Takes at most `drain_s` seconds; what is still connected then is closed with the listener.
        In a cluster the node's partitions should be moved away before.
        """
        if self.draining:
            return
        self.draining = True
        self.listener.stop_accepting()
        settings, node = self._settings, self._node
        try:
            async with asyncio.timeout(settings.drain_s):
                await self._all_leave()
                for number in self.partitions.owned:
                    await node.call(names.presence_name(number), WriteLastSeen(), timeout_s=None)
        except TimeoutError:
            log.warning(
                "drain_timeout", drain_s=settings.drain_s,
                connections=self.listener.open_connections,
            )  # fmt: skip
        except RuntimeFault as error:
            log.warning("last_seen_not_written", reason=str(error))

    async def send_away(self) -> None:
        """Send every client to another node of the cluster, and take no new one until `welcome`.

        They are told one after the other over `reconnect_spread_s`; who has not gone after
        `drain_s` is cut off. What the node does else goes on.
        """
        self.away = True
        self._acceptor.turning_away = True
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await self._all_leave()
        except TimeoutError:
            log.warning("clients stay", connections=self.listener.open_connections)
        except RuntimeFault as error:
            log.warning("clients were not told", reason=str(error))
        self._acceptor.hang_up_all()

    def welcome(self) -> None:
        """Take clients again."""
        self.away = False
        self._acceptor.turning_away = False
        for number in range(self._settings.gateways):
            self._node.send(names.gateway_name(number), Welcome())

    async def _all_leave(self) -> None:
        settings, node = self._settings, self._node
        order = Drain(
            _RECONNECT_LEAST_MS, int(settings.reconnect_spread_s * 1000), settings.clustered
        )
        gateways = [names.gateway_name(number) for number in range(settings.gateways)]
        await asyncio.gather(*(node.call(name, order, timeout_s=None) for name in gateways))

    async def end(self) -> None:
        """End every process of the tree, the last first; before what it stands on is closed."""
        self._node.exit(self.root, SHUTDOWN)
        await self._node.wait(self.root)

    async def wait_failed(self) -> str:
        """Wait until the tree has ended by itself (its supervisors gave up); the reason."""
        return str(await self._node.wait(self.root))

    @property
    def is_alive(self) -> bool:
        """Whether the root supervisor runs."""
        return self._node.is_alive(self.root)


def edge_limits(settings: Settings) -> EdgeLimits:
    """The limits of the listener that an operator's settings ask for."""
    return EdgeLimits(
        head_timeout_s=settings.head_timeout_s,
        ping_s=settings.ping_s,
        pong_timeout_s=settings.pong_timeout_s,
        half_message_timeout_s=settings.half_message_timeout_s,
        write_high_water_bytes=settings.write_high_bytes,
        write_hard_limit_bytes=settings.write_hard_bytes,
        write_timeout_s=settings.write_timeout_s,
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_address,
    )
