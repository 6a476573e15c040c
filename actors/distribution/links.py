"""The distribution over bytes: what a real network between nodes has to do, and gets.

A `Links` keeps the connections, and moves packets; `transport/fabric` has one over NATS, and the
simulation one over its network. A `LinkCarrier` makes packets of signals, and signals of packets.

    carrier = LinkCarrier(node, creation, vocabulary)
    links = SomeLinks(..., told=carrier)         # says carrier.greeting to whom it connects
    carrier.open(links)
    carrier.distribution.at("b@host", "bank")
"""

from __future__ import annotations

from typing import Protocol

import structlog

from palaver.actors.distribution.decoding import Dialect, greeting_of
from palaver.actors.distribution.distribution import Distribution
from palaver.actors.distribution.encoding import BadPacket
from palaver.actors.distribution.packets import Packets
from palaver.actors.distribution.packing import MAX_MESSAGE_BYTES
from palaver.actors.distribution.signals import Signal
from palaver.actors.distribution.vocabulary import Vocabulary
from palaver.actors.runtime import Node

__all__ = ["LinkCarrier", "Links", "LinksTold"]

log = structlog.get_logger("palaver.actors")


class Links(Protocol):
    """Connections to other nodes over which packets go.

    It promises what a `Carrier` does: packets to one node arrive whole, once, in the order sent,
    all up to the moment at which the connection is lost, of which both sides hear in bounded time.
    """

    def send(self, node_name: str, packet: bytes) -> None:
        """Send to a connected node; dropped if the connection is being lost. Does not wait."""

    def disconnect(self, node_name: str) -> None:
        """Give up the connection to a node; harmless if there is none."""


class LinksTold(Protocol):
    """What a `Links` tells, in the thread of the node, and never from within its own methods."""

    @property
    def greeting(self) -> bytes:
        """What to say first on every connection."""

    def up(self, node_name: str, creation: int, greeting: bytes) -> None:
        """There is a connection to a node; after an earlier one only once that was `down`."""

    def arrived(self, node_name: str, packet: bytes) -> None:
        """A packet has come from a connected node."""

    def down(self, node_name: str, reason: str) -> None:
        """The connection to a node is lost."""


class _NoLinks:
    """Before there is a network."""

    def send(self, node_name: str, packet: bytes) -> None:
        """There is no connection yet."""

    def disconnect(self, node_name: str) -> None:
        """There is no connection yet."""


class LinkCarrier:
    """Carries the signals of a node over `Links`; a `Carrier`, and what the links tell.

    What another node says cannot end this one. A packet that is none, or says what its sender has
    no right to say, is logged and ends the connection, as does a greeting that is none. A message
    of which this node does not know a class is dropped and logged; if it is a call, that fails
    with `Unreadable`.

    Args:
        node: whose.
        creation: which of its incarnations this is; greater than those before.
        vocabulary: what messages may consist of; complete from now on.
        max_message_bytes: the most that a message may take; a greater one raises `CannotCross`.
    """

    def __init__(
        self,
        node: Node,
        creation: int,
        vocabulary: Vocabulary | None = None,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self.name = node.name
        self.vocabulary = vocabulary or Vocabulary()
        self.greeting = greeting_of(self.vocabulary)
        self.distribution = Distribution(
            node, creation, self, self.vocabulary, max_message_bytes=max_message_bytes
        )
        self._packets = Packets()
        self._links: Links = _NoLinks()
        # The incarnation of each connected node; None: it is not understood, and given up.
        self._creations: dict[str, int | None] = {}

    def __repr__(self) -> str:
        return f"<carrier of {self.name}>"

    def open(self, links: Links) -> None:
        """Send by these from now on."""
        self._links = links

    # -- what the distribution asks ------------------------------------------------------------

    def send(self, node_name: str, signal: Signal) -> None:
        """Send to a connected node."""
        if self._creations.get(node_name) is not None:
            self._links.send(node_name, self._packets.packet(signal))

    def disconnect(self, node_name: str) -> None:
        """Give up the connection to a node."""
        self._links.disconnect(node_name)

    # -- what the links tell -------------------------------------------------------------------

    def up(self, node_name: str, creation: int, greeting: bytes) -> None:
        """There is a connection to a node."""
        try:
            found = self.distribution.directory.found
            dialect = Dialect(greeting, self.vocabulary, found)
        except BadPacket as error:
            self._give_up(node_name, str(error))
            return
        self._creations[node_name] = creation
        self.distribution.up(node_name, creation, dialect)

    def arrived(self, node_name: str, packet: bytes) -> None:
        """A packet has come."""
        creation = self._creations.get(node_name)
        if creation is None:
            return
        try:
            signal = self._packets.signal(packet, node_name, creation)
        except BadPacket as error:
            self.distribution.down(node_name)
            self._give_up(node_name, str(error))
            return
        self.distribution.arrived(node_name, signal)

    def down(self, node_name: str, reason: str) -> None:
        """The connection to a node is lost."""
        if self._creations.pop(node_name, None) is not None:
            log.info("connection to a node lost", node=self.name, peer=node_name, reason=reason)
            self.distribution.down(node_name)

    def _give_up(self, node_name: str, why: str) -> None:
        log.error("a node is not understood", node=self.name, peer=node_name, why=why)
        self._creations[node_name] = None
        self._links.disconnect(node_name)
