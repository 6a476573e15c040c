"""One node's end of a fabric: it listens, calls the others, and keeps the connections."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from palaver.actors.distribution.distribution import Distribution
from palaver.actors.distribution.links import LinkCarrier
from palaver.actors.distribution.signals import Hello, Signal
from palaver.actors.runtime import SHUTDOWN, GenServer, Node, NodeStopped, Pid, Ref, TimerRef
from palaver.actors.runtime.lifecycle import watchers_of
from palaver.actors.simulation.between.wires import Wire

if TYPE_CHECKING:
    from palaver.actors.simulation.between.fabric import Fabric

__all__ = ["NetKernel", "Station"]


class NetKernel(GenServer):
    """The process `net_kernel`: while it lives, the node is connected.

    It has nothing to do; its end tells that the node stops. If it is killed, there is a new one.
    """

    __slots__ = ()


class Station(Ref):
    """Keeps the connections of one node; a `Carrier`, or the `Links` of one.

    Of two nodes, the one whose name comes first calls the other, again and again until it answers.
    So there is never more than one connection between two nodes, and who is to make it is clear.
    """

    __slots__ = (
        "_attempts",
        "_carrier",
        "_closed",
        "_dialling",
        "_latest",
        "_redials",
        "_server",
        "_wires",
        "creation",
        "distribution",
        "fabric",
        "name",
        "node",
    )

    def __init__(self, fabric: Fabric, node: Node, creation: int) -> None:
        self.fabric = fabric
        self.node = node
        self.name = node.name
        self.creation = creation
        vocabulary = fabric.vocabulary
        self._carrier: LinkCarrier | None = None
        if vocabulary is None:
            self.distribution = Distribution(node, creation, self)
        else:
            self._carrier = LinkCarrier(node, creation, vocabulary)
            self._carrier.open(self)
            self.distribution = self._carrier.distribution
        self._server: asyncio.AbstractServer
        self._wires: dict[str, Wire] = {}
        # By node: the last connection that it has made, by its creation and attempt.
        self._latest: dict[str, tuple[int, int]] = {}
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._redials: dict[str, TimerRef] = {}
        self._attempts = 0
        self._closed = False

    # -- life ----------------------------------------------------------------------------------

    async def open(self) -> tuple[str, int]:
        """Listen; the address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Wire(self, None), "127.0.0.1", 0)
        self._spawn_kernel()
        address: Any = self._server.sockets[0].getsockname()
        return address[0], address[1]

    def _spawn_kernel(self) -> None:
        kernel = self.node.spawn(NetKernel, name="net_kernel")
        assert kernel.process_ is not None
        watchers_of(kernel.process_)[self] = self

    def down(self, pid: Pid, reason: object) -> None:
        """`net_kernel` has exited."""
        if self._closed:
            return
        if reason is not SHUTDOWN:
            try:
                self._spawn_kernel()
            except NodeStopped:
                pass
            else:
                return
        self.close()

    def close(self) -> None:
        """Close every connection, and make no more."""
        self._closed = True
        self._server.close()
        for task in self._dialling.values():
            task.cancel()
        for timer in self._redials.values():
            self.node.timers.cancel(timer)
        for wire in self._wires.values():
            wire.close()

    # -- to call others ------------------------------------------------------------------------

    def meet(self, name: str, delay_s: float = 0.0) -> None:
        """Call a node after a while, if that is this node's part and it is not connected."""
        if (
            name <= self.name
            or self._closed
            or name in self._wires
            or name in self._redials
            or name in self._dialling
        ):
            return
        self._redials[name] = self.node.timers.add(delay_s, partial(self._call, name))

    def _call(self, name: str) -> None:
        del self._redials[name]
        self._dialling[name] = asyncio.get_running_loop().create_task(self._dial(name))

    async def _dial(self, name: str) -> None:
        self._attempts += 1
        host, port = self.fabric.address(name)
        try:
            async with asyncio.timeout(self.fabric.setup_s):
                await asyncio.get_running_loop().create_connection(
                    partial(Wire, self, name, self._attempts), host, port
                )
        except OSError:  # TimeoutError is one
            del self._dialling[name]
            self.meet(name, self.fabric.retry_s)

    # -- what wires tell -----------------------------------------------------------------------

    def hello(self, attempt: int) -> Hello:
        """What is said first on a connection."""
        greeting = b"" if self._carrier is None else self._carrier.greeting
        return Hello(self.name, self.creation, attempt, greeting)

    def accepts(self, wire: Wire, hello: Hello) -> bool:
        """Whether a connection is what it should be, and newer than what is known of that node."""
        if self._closed or hello.node_name == self.name:
            return False
        mark = (hello.creation, hello.attempt)
        if wire.dialled is not None:
            # The other side repeats our attempt; only its creation counts.
            return hello.node_name == wire.dialled and hello.attempt == wire.attempt
        if mark <= self._latest.get(hello.node_name, (0, 0)):
            return False  # of an earlier life, or an attempt that was given up: it came late
        self._latest[hello.node_name] = mark
        return True

    def up(self, wire: Wire, hello: Hello) -> None:
        """A connection is made; it takes the place of an earlier one."""
        earlier = self._wires.get(hello.node_name)
        if earlier is not None:
            earlier.abort()
            self._end(earlier, hello.node_name)
        self._dialling.pop(hello.node_name, None)
        self._wires[hello.node_name] = wire
        if self._carrier is None:
            self.distribution.up(hello.node_name, hello.creation)
        else:
            self._carrier.up(hello.node_name, hello.creation, hello.greeting)

    def arrived(self, wire: Wire, signal: Signal | bytes) -> None:
        """A signal, or its packet, has come."""
        assert wire.peer is not None
        if self._wires.get(wire.peer.node_name) is not wire:
            return
        if self._carrier is None:
            self.distribution.arrived(wire.peer.node_name, cast("Signal", signal))
        else:
            self._carrier.arrived(wire.peer.node_name, cast("bytes", signal))

    def lost(self, wire: Wire) -> None:
        """A connection is over, made or half made; harmless when repeated."""
        if wire.peer is None:
            if wire.dialled is not None:
                self._dialling.pop(wire.dialled, None)
                self.meet(wire.dialled, self.fabric.retry_s)
            return
        name = wire.peer.node_name
        if self._wires.get(name) is wire:
            self._end(wire, name)
            self.meet(name, self.fabric.retry_s)

    def _end(self, wire: Wire, name: str) -> None:
        del self._wires[name]
        if self._carrier is None:
            self.distribution.down(name)
        else:
            self._carrier.down(name, "lost")

    # -- what the distribution asks ------------------------------------------------------------

    def send(self, node_name: str, signal: Signal | bytes) -> None:
        """Send to a connected node."""
        self._wires[node_name].send(signal)

    def disconnect(self, node_name: str) -> None:
        """Give up the connection to a node."""
        wire = self._wires.get(node_name)
        if wire is not None:
            wire.abort()
