"""The simulated network: hosts by name, ports, and links that are slow, cut or clogged.

Faults are those of a real network under TCP: bytes come late and in other pieces, connections are
lost, whole ways are cut for a while, in one direction or both. Bytes are never changed, doubled
or put in another order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from palaver.actors.simulation.world.place import HERE, Place
from palaver.actors.simulation.world.sockets import SimulatedSocket
from palaver.actors.simulation.world.transports import SimulatedTransport

if TYPE_CHECKING:
    from palaver.actors.simulation.world.loop import SimulatedLoop
    from palaver.actors.simulation.world.tape import Tape
    from palaver.actors.simulation.world.trace import Trace

__all__ = ["Link", "Network", "SimulatedServer"]

LATENCY_S: Final = 0.001
"""How long bytes need from one host to another when all is well."""

#: By how much longer: the options of a delay.
_DELAYS: Final = (0.0, 0.0005, 0.002, 0.01, 0.05, 0.25, 1.0)

#: When a connection that is not answered is tried again, and when it is given up (Linux).
_SYN_S: Final = (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
_CONNECT_GIVES_UP_S: Final = 127.0

_FIRST_FREE_PORT: Final = 49152
_SPLITS: Final = 8


class Link:
    """The way from one host to another.

    Attributes:
        cuts: how many faults cut it now; nothing passes while there are any.
        clogged_until_s: nothing passes before this time.
    """

    def __init__(self, network: Network, source: str, target: str) -> None:
        self.source, self.target = source, target
        self.cuts = 0
        self.clogged_until_s = 0.0
        self._network = network
        tape = network.tape
        self._delay = tape.stream(f"delay/{source}>{target}", rate=0.05)
        self._split = tape.stream(f"split/{source}>{target}", rate=0.02)
        self._loss = tape.stream(f"loss/{source}>{target}", rate=0.3)
        self._stuck: dict[SimulatedTransport, None] = {}

    @property
    def is_blocked(self) -> bool:
        """Whether nothing passes now."""
        return self.cuts > 0 or self.clogged_until_s > self._network.loop.time()

    def latency_s(self) -> float:
        """How long the next thing is under way: a choice."""
        return LATENCY_S + _DELAYS[self._delay.choose(len(_DELAYS))]

    def arrival_s(self) -> float | None:
        """When something sent now arrives; None while nothing passes."""
        if self.is_blocked:
            return None
        return self._network.loop.time() + self.latency_s()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """How the bytes of one write arrive: as one piece, or as two, cut at a choice."""
        cut = self._split.choose(_SPLITS) if len(data) > 1 else 0
        if not cut:
            yield data
            return
        at = 1 if cut == 1 else max(1, len(data) * (cut - 1) // (_SPLITS - 1))
        yield data[:at]
        if at < len(data):
            yield data[at:]

    def loses(self) -> bool:
        """Whether bytes that were on their way are lost when a reset follows: a choice."""
        return self._loss.choose(2) == 1

    def stuck(self, transport: SimulatedTransport) -> None:
        """Something waits at this end until the way is free."""
        self._stuck[transport] = None

    def free(self) -> None:
        """Let go what waits, if the way is free."""
        if self.is_blocked:
            return
        waiting, self._stuck = self._stuck, {}
        for transport in waiting:
            transport.schedule()

    def clog(self, seconds: float) -> None:
        """Let nothing pass for a while."""
        until_s = self._network.loop.time() + seconds
        if until_s > self.clogged_until_s:
            self.clogged_until_s = until_s
            self._network.later(seconds, self.free)

    def unclog(self) -> None:
        """End the clog there is."""
        self.clogged_until_s = 0.0
        self.free()

    def reset(self, target: SimulatedTransport) -> None:
        """Bring a reset to an end of a connection; lost while nothing passes."""
        arrives_s = self.arrival_s()
        if arrives_s is not None:
            error = ConnectionResetError(104, "Connection reset by peer")
            self._network.loop.deliver_at(arrives_s, target.place, partial(target.reset, error))

    def reset_answer(self, sender: SimulatedTransport) -> None:
        """What was sent comes to a kernel that does not know the connection: a reset comes back."""
        if not self.is_blocked:
            self._network.link(self.target, self.source).reset(sender)


class SimulatedServer(asyncio.AbstractServer):
    """A listening port."""

    def __init__(self, network: Network, place: Place, factory: Any, port: int) -> None:
        self.place = place
        self.port = port
        self.factory = factory
        self._network = network
        self._closed = asyncio.Event()

    @property
    def sockets(self) -> tuple[SimulatedSocket, ...]:
        """The one socket; none once it is closed."""
        if self._closed.is_set():
            return ()
        return (SimulatedSocket((self.place.name, self.port)),)

    def is_serving(self) -> bool:
        """Whether connections are taken."""
        return not self._closed.is_set()

    def close(self) -> None:
        """Take no more connections; those there are go on."""
        if not self._closed.is_set():
            self._network.unlisten(self)
            self._closed.set()

    async def start_serving(self) -> None:
        """It does from the start."""

    async def serve_forever(self) -> None:
        """Wait until it is closed."""
        await self._closed.wait()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await self._closed.wait()

    def get_loop(self) -> Any:
        """The simulated loop."""
        return self._network.loop


class Network:
    """All links, ports and connections of a world."""

    def __init__(self, loop: SimulatedLoop, tape: Tape, trace: Trace) -> None:
        self.loop = loop
        self.tape = tape
        self.trace = trace
        self.machines: dict[str, Place | None] = {}
        """The place at each host name now; None while the machine is without power."""
        self._links: dict[tuple[str, str], Link] = {}
        self._servers: dict[tuple[str, int], SimulatedServer] = {}
        self._ends: dict[SimulatedTransport, None] = {}
        self._ports: dict[str, int] = {}

    def later(self, seconds: float, fn: Callable[[], object]) -> None:
        """Do something of the network's own after a while; no fault touches it."""
        self.loop.deliver_at(self.loop.time() + seconds, self.loop.outside, fn)

    def link(self, source: str, target: str) -> Link:
        """The way from one host to another."""
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = Link(self, source, target)
        return link

    # -- faults --------------------------------------------------------------------------------

    def cut(
        self, some: Collection[str], others: Collection[str], *, both_ways: bool = True
    ) -> Callable[[], None]:
        """Cut every way from `some` hosts to `others`; the function returned heals it."""
        links = [self.link(a, b) for a in some for b in others if a != b]
        if both_ways:
            links += [self.link(b, a) for a in some for b in others if a != b]
        for link in links:
            link.cuts += 1

        def heal() -> None:
            while links:
                link = links.pop()
                link.cuts -= 1
                link.free()

        return heal

    def unclog(self) -> None:
        """End every clog there is."""
        for link in self._links.values():
            link.unclog()

    def connections(self, host: str) -> list[SimulatedTransport]:
        """The ends of open connections at a host, the oldest first."""
        return [end for end in self._ends if end.place.name == host and not end.closed]

    def drop(self, end: SimulatedTransport) -> None:
        """Reset a connection at both ends, as a box in between does that forgot about it."""
        other = end.peer
        for one in (end, other):
            one.reset(ConnectionResetError(104, "Connection reset by peer"))

    # -- hosts come and go ---------------------------------------------------------------------

    def came(self, place: Place) -> None:
        """A host is up (again)."""
        self.machines[place.name] = place

    def went(self, place: Place, *, power: bool, reset: bool) -> None:
        """A program has ended: its kernel closes what it had open, unless the power is gone too."""
        if power:
            self.machines[place.name] = None
        for server in [one for one in self._servers.values() if one.place is place]:
            self.unlisten(server)
        for end in [end for end in self._ends if end.place is place]:
            del self._ends[end]
            if power:
                end.vanish()
            else:
                end.end(reset=reset)

    def answer_orphans(self, name: str) -> None:
        """A machine is up again: it answers whatever still comes for what it has forgotten."""
        for end in [end for end in self._ends if end.peer.place.name == name]:
            if not end.peer.place.alive:
                end.forgotten()

    def close(self) -> None:
        """The world has ended: nothing is open any more."""
        for end in self._ends:
            end.vanish()
        self._ends.clear()
        self._servers.clear()

    def ended(self, end: SimulatedTransport) -> None:
        """An end is closed."""
        self._ends.pop(end, None)

    # -- ports ---------------------------------------------------------------------------------

    def free_port(self, host: str) -> int:
        """A port that was not used before."""
        port = self._ports.get(host, _FIRST_FREE_PORT)
        self._ports[host] = port + 1
        return port

    def listen(self, factory: Any, port: int) -> SimulatedServer:
        """Listen at the caller's host; raises OSError if the port is in use."""
        place = HERE.get(self.loop.outside)
        port = port or self.free_port(place.name)
        if (place.name, port) in self._servers:
            raise OSError(98, f"error while attempting to bind on {place.name}:{port}: in use")
        server = self._servers[place.name, port] = SimulatedServer(self, place, factory, port)
        return server

    def unlisten(self, server: SimulatedServer) -> None:
        """Take no more connections at this port."""
        self._servers.pop((server.place.name, server.port), None)

    async def connect(self, factory: Any, host: str, port: int) -> tuple[Any, Any]:
        """Connect from the caller's host; raises OSError as a kernel would."""
        place = HERE.get(self.loop.outside)
        if host not in self.machines:
            raise OSError(-2, f"Name or service not known: {host!r}")
        began_s = self.loop.time()
        out, back = self.link(place.name, host), self.link(host, place.name)
        for again_s in (*_SYN_S, _CONNECT_GIVES_UP_S):
            if not (out.is_blocked or back.is_blocked or self.machines[host] is None):
                await asyncio.sleep(out.latency_s())
                if self.machines[host] is not None:
                    server = self._servers.get((host, port))
                    if server is None:
                        await asyncio.sleep(back.latency_s())
                        raise ConnectionRefusedError(111, f"Connect call failed {(host, port)!r}")
                    return await self._establish(place, factory, server, back)
            await asyncio.sleep(max(0.0, began_s + again_s - self.loop.time()))
        raise TimeoutError(110, f"Connect call failed {(host, port)!r}")

    async def _establish(
        self, place: Place, factory: Any, server: SimulatedServer, back: Link
    ) -> tuple[Any, Any]:
        here = (place.name, self.free_port(place.name))
        there = (server.place.name, server.port)
        near = SimulatedTransport(self, place, self.link(here[0], there[0]), here, there)
        far = SimulatedTransport(self, server.place, back, there, here)
        near.peer, far.peer = far, near
        self._ends[near] = self._ends[far] = None
        # Until it is accepted it reads nothing; what arrives waits in the kernel.
        accept = partial(self._accept, far, server.factory)
        self.loop.call_soon(accept, context=server.place.context)
        try:
            await asyncio.sleep(back.latency_s())
        except asyncio.CancelledError:
            near.reset_peer()
            near.closed = True
            self.ended(near)
            raise
        protocol = factory()
        near.set_protocol(protocol)
        protocol.connection_made(near)
        near.begin()
        return near, protocol

    def _accept(self, end: SimulatedTransport, factory: Any) -> None:
        protocol = factory()
        end.set_protocol(protocol)
        protocol.connection_made(end)
        end.begin()
