"""A node's end of the fabric: `Core` on a connection to NATS and the loop's clock.

    fabric = Fabric(connection, cluster="town", name="a@host", creation=creation, told=carrier)
    await fabric.start()
    fabric.send("b@host", packet)
    ...
    await fabric.stop()

Packets to one node arrive in the order sent, and all up to the moment at which the connection is
over, of which both sides hear: at once as a rule, within `net_ticktime_s` and a little in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from .core import Core, meet_all
from .errors import NatsTooBig, PacketTooBig
from .events import Arrived, Down, Event, Heard, Up
from .limits import FabricLimits, FabricStats
from .link import Link
from .nats import NatsConnection, NatsSubscription
from .neighbours import Known
from .subjects import Subjects

__all__ = ["Fabric", "Told"]

log = structlog.get_logger("palaver.fabric")


class Told(Protocol):
    """Who is told what happens; on the loop, and never from within a method of the fabric.

    An exception of its own is logged, and ends the connection that it was told of.
    """

    def up(self, node_name: str, creation: int, greeting: bytes) -> None:
        """There is a connection to a node, which has greeted; to one at a time of each name."""

    def arrived(self, node_name: str, packet: bytes) -> None:
        """A packet has come over that connection."""

    def down(self, node_name: str, reason: str) -> None:
        """The connection is over."""


class Fabric:
    """Connections to the other nodes of a cluster; the port `Links` of the distribution.

    Args:
        connection: to NATS; no two fabrics may have the same one.
        cluster: the cluster's name; nodes of another are not heard.
        name: this node's.
        creation: which of its incarnations this is; greater than all before, also after the clock
            was set back, else the others take it for what is left of an earlier one.
        told: hears of connections and packets.
        greeting: what the other side gets with `up`; at most 64 KiB.
        limits: times and sizes.
        meets: whether to be connected to a node of this name that announces this; by it the nodes
            of an island keep to themselves. Both sides must come to the same answer.
        heard: is told (name, creation, what it announces) of each heartbeat of another node.
    """

    def __init__(
        self,
        connection: NatsConnection,
        *,
        cluster: str,
        name: str,
        creation: int,
        told: Told,
        greeting: bytes = b"",
        limits: FabricLimits | None = None,
        meets: Callable[[str, bytes], bool] = meet_all,
        heard: Callable[[str, int, bytes], None] | None = None,
    ) -> None:
        self.name = name
        self.limits = limits or FabricLimits()
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._subjects = Subjects(cluster)
        self._told = told
        self._heard = heard
        self._core = Core(
            name, creation, self.limits, self._frame_bytes(), self._loop.time(), meets, greeting
        )
        self._subscriptions: list[NatsSubscription] = []
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._telling = False
        self._forget_change: Callable[[], None] = lambda: None
        self._emptied: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<fabric of {self.name}, {len(self._core.links)} connections>"

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and tell the others that this node is here; raises `NatsClosed`."""
        listen, receive = self._connection.listen, self._receive
        self._subscriptions += [
            await listen(self._subjects.node(self.name).decode(), receive),
            await listen(self._subjects.everybody.decode(), receive),
        ]
        # Nobody may answer before the server knows that this node listens.
        await self._connection.flush(self.limits.setup_s)
        self._forget_change = self._connection.on_change(self._changed)
        self._beat()

    async def stop(self, reason: str = "the node stops") -> None:
        """Send what is queued, within `stop_timeout_s`, and end all connections."""
        self._settle()
        if self._waits():
            self._emptied = self._loop.create_future()
            await asyncio.wait((self._emptied,), timeout=self.limits.stop_timeout_s)
        self._core.stop(reason)
        self._settle()
        if self._timer is not None:
            self._timer.cancel()
        self._forget_change()
        for subscription in self._subscriptions:
            await subscription.close()
        self._subscriptions.clear()
        await self._connection.flush(self.limits.stop_timeout_s)

    # -- what the owner asks -------------------------------------------------------------------

    @property
    def stats(self) -> FabricStats:
        """Counters, for the metrics."""
        return self._core.stats

    def nodes(self) -> list[str]:
        """The nodes to which there is a connection."""
        return list(self._core.links)

    def known(self) -> list[Known]:
        """The nodes that were heard of, connected or not, this one not among them."""
        return self._core.neighbours.all()

    def waiting_bytes(self, node_name: str) -> int:
        """What waits here to be sent to a node, and what is under way to it."""
        link = self._core.links.get(node_name)
        return 0 if link is None else link.waiting_bytes + link.unacked_bytes

    def send(self, node_name: str, packet: bytes) -> None:
        """Queue a packet to a connected node; dropped if there is no connection.

        What is queued in one turn of the loop leaves together. If more waits than the hard limit
        allows, the connection is given up.

        Raises:
            PacketTooBig: larger than `max_packet_bytes`; it is not sent, and all else goes on.
        """
        if len(packet) > self.limits.max_packet_bytes:
            raise PacketTooBig(len(packet), self.limits.max_packet_bytes)
        if self._core.send(node_name, packet):
            self._schedule()

    def disconnect(self, node_name: str, reason: str = "disconnected") -> None:
        """Give up the connection to a node; both sides hear of it."""
        self._core.disconnect(node_name, reason)
        self._schedule()

    def connect(self, node_name: str) -> None:
        """Be connected to a node from now on, though `meets` says no; `up` tells when it is so."""
        self._core.want(node_name, self._loop.time())
        self._schedule()

    def announce(self, payload: bytes) -> None:
        """Tell all nodes something, now and with each heartbeat; `ValueError` above 4 KiB."""
        self._core.announce(payload, self._loop.time())
        self._schedule()

    def greet(self, greeting: bytes) -> None:
        """Change the greeting for connections to come; raises `ValueError` above 64 KiB."""
        self._core.greet(greeting)

    # -- the loop ------------------------------------------------------------------------------

    def _frame_bytes(self) -> int:
        return min(self.limits.frame_bytes, self._connection.max_payload_bytes)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._settle)

    def _receive(self, raw: bytes) -> None:
        core = self._core
        core.receive(raw, self._loop.time())
        if core.events:
            self._tell()
        if core.out:
            self._leave()

    def _settle(self) -> None:
        """Send what was queued in this turn, and tell what has happened."""
        self._scheduled = False
        self._core.flush(self._loop.time())
        self._leave()
        self._tell()

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self.limits.beat_s, self._beat)
        self._core.look(self._loop.time())
        self._leave()
        self._tell()

    def _changed(self, connected: bool) -> None:
        """NATS has been lost or found again; what waits goes on, or ends by the silence."""
        if connected:
            self._core.frame_bytes = self._frame_bytes()
            self._leave()

    def _leave(self) -> None:
        """Give what is to be sent to NATS, as much as it takes; the rest waits for a beat."""
        core, post, node = self._core, self._connection.post, self._subjects.node
        everybody = self._subjects.everybody
        while core.out:
            left = core.out
            core.out = []
            for position, (name, frame) in enumerate(left):
                try:
                    taken = post(everybody if name is None else node(name), frame)
                except NatsTooBig as exc:  # it will be missed, which ends the connection
                    log.error("fabric frame lost", node=self.name, peer=name, error=str(exc))
                    continue
                if not taken:
                    core.out = left[position:] + core.out
                    core.writable(False, self._loop.time())
                    return
            core.writable(True, self._loop.time())
        emptied = self._emptied
        if emptied is not None and not emptied.done() and not self._waits():
            emptied.set_result(None)

    def _waits(self) -> bool:
        return any(link.waiting_bytes for link in self._core.links.values())

    def _tell(self) -> None:
        if self._telling:
            return  # the one that tells goes on with it
        self._telling = True
        try:
            events = self._core.events
            while events:
                self._tell_one(events.popleft())
        finally:
            self._telling = False

    def _tell_one(self, event: Event) -> None:
        link: Link | None = None if isinstance(event, Heard) else event.link
        try:
            if isinstance(event, Arrived):
                self._deliver(event.link, event.packets)
            elif isinstance(event, Up):
                up = event.link
                log.info("node up", node=self.name, peer=up.name, creation=up.creation)
                self._told.up(up.name, up.creation, up.greeting)
            elif isinstance(event, Down):
                log.info("node down", node=self.name, peer=event.link.name, reason=event.reason)
                self._told.down(event.link.name, event.reason)
            elif self._heard is not None:
                self._heard(*event)
        except Exception as exc:
            log.exception("what the fabric told was not taken", node=self.name)
            if link is not None:
                self._core.give_up(link, f"internal error: {type(exc).__name__}")
                self._schedule()

    def _deliver(self, link: Link, packets: list[bytes]) -> None:
        arrived, name = self._told.arrived, link.name
        for packet in packets:
            if link.over:  # whoever got the one before has ended it
                return
            arrived(name, packet)
