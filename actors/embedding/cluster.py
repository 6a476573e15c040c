"""`cluster_node`: a node and its connections to others, from start to stop.

    async with cluster_node(Node("a@host"), connect, creation=creation) as distribution:
        await distribution.node.call(distribution.at("b@host", "bank"), Deposit(5))

where `connect` makes what connects nodes, as the fabric over NATS:

    def connect(carrier):
        return Fabric(nats, cluster="shop", name=carrier.name, creation=creation, told=carrier,
                      greeting=carrier.greeting)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from palaver.actors.distribution import Distribution, LinkCarrier, Links, Vocabulary
from palaver.actors.distribution.packing import MAX_MESSAGE_BYTES
from palaver.actors.runtime import Node

__all__ = ["NodeLinks", "cluster_node"]


class NodeLinks(Links, Protocol):
    """`Links` with a life; see `palaver.actors.distribution.links`."""

    async def start(self) -> None:
        """Connect to the other nodes, now and whenever there are new ones."""

    async def stop(self) -> None:
        """Send what is to be sent, and end all connections."""


@asynccontextmanager
async def cluster_node(
    node: Node,
    connect: Callable[[LinkCarrier], NodeLinks],
    *,
    creation: int,
    vocabulary: Vocabulary | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    stop_timeout_s: float = 10.0,
) -> AsyncIterator[Distribution]:
    """Run a node that is connected to others; stop it, and then its connections.

    The node's processes end first, so others hear with which reasons, and then `noconnection`.
    `RpcServer`, `GlobalServer` and process groups belong into the program's own supervision tree.

    Args:
        node: not started yet.
        connect: makes the links that bring packets for a carrier, and tell it what comes.
        creation: which incarnation of its name this node is; greater than those before.
        vocabulary: what messages may consist of, beside the runtime's own.
        max_message_bytes: the most that a message to another node may take; the links must bring
            packets of 64 KiB more.
        stop_timeout_s: how long the processes may take to stop.
    """
    carrier = LinkCarrier(node, creation, vocabulary, max_message_bytes=max_message_bytes)
    links = connect(carrier)
    carrier.open(links)
    await node.start()
    try:
        await links.start()
        try:
            yield carrier.distribution
        finally:
            try:
                await node.stop(timeout_s=stop_timeout_s)
            finally:
                await links.stop()
    finally:
        await node.stop(timeout_s=stop_timeout_s)  # harmless if it was
