"""A TCP proxy on the loopback that does to connections what networks do.

::

    async with FaultProxy(lambda: ("127.0.0.1", port)) as proxy:
        ...connect to proxy.port...
        proxy.change("down", Conditions(delay_s=0.05))      # all connections, and those to come
        proxy.passages[0].way("up").end_after(10, "reset")  # one: in the middle of a frame
        proxy.refuse()                                      # connection refused, until accept()
        proxy.calm()

Only what TCP allows happens: a way loses, doubles or reorders nothing while its connection lives;
where bytes were swallowed, the connection ends by a reset. Everything is done on the running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import Literal, Self

from fault_way import CHUNK_BYTES, Conditions, End, Way

Name = Literal["up", "down"]
"""A way's name: "up" goes from who connected to who listens."""

WAYS: tuple[Name, Name] = ("up", "down")
_RESET = struct.pack("ii", 1, 0)
_BACKLOG = 128
Where = Callable[[], tuple[str, int]]


class Passage:
    """One connection through the proxy."""

    __slots__ = ("_client", "_done", "_end", "_proxy", "_pumps", "_server", "_ways", "number")

    def __init__(self, proxy: FaultProxy, number: int, client: socket.socket) -> None:
        self.number = number
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._ways: dict[Name, Way] = {}
        self._pumps: list[asyncio.Task[None]] = []
        self._end: End | None = None
        self._done = asyncio.Event()

    # What the tester calls.

    def way(self, name: Name) -> Way:
        """One of its directions; `KeyError` while it is not connected through."""
        return self._ways[name]

    @property
    def through(self) -> bool:
        """Whether both sides are connected, and nothing has ended it."""
        return bool(self._ways) and self._end is None

    def change(self, name: Name, conditions: Conditions) -> None:
        """Treat one direction in another way from now on."""
        if self._ways:
            self._ways[name].change(conditions)

    def cut(self) -> None:
        """Close both sides in order (FIN); what is held is lost, what they still say is too."""
        self._finish("cut")

    def reset(self) -> None:
        """Reset both sides (RST); what is held is lost."""
        self._finish("reset")

    def half_close(self, name: Name) -> None:
        """End one direction behind what is held; the other goes on."""
        if self._ways:
            self._ways[name].close()
            self._proxy.counts["half_close"] += 1

    async def gone(self) -> None:
        """Wait until both sockets are closed."""
        await self._done.wait()

    # Its life.

    def _finish(self, end: End) -> None:
        if self._end is None:
            self._end = end
            self._proxy.counts[end] += 1
            for pump in self._pumps:
                pump.cancel()

    def _way_ended(self, end: End) -> None:
        if end == "half_close":
            self._proxy.counts[end] += 1
        else:
            self._finish(end)

    async def run(self) -> None:
        """Connect through, carry, and end as told; the proxy runs it."""
        try:
            if await self._connect():
                await self._carry()
                if self._end == "cut":
                    await self._part()
        finally:
            if self._end == "reset":
                for side in self._sides():
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()

    def close(self) -> None:
        """Close both sockets; the proxy calls it too, for one whose life never began."""
        for side in self._sides():
            side.close()
        self._done.set()

    def _sides(self) -> list[socket.socket]:
        return [side for side in (self._client, self._server) if side is not None]

    async def _connect(self) -> bool:
        self._server = _new_socket()
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(self._server, self._proxy.target())
        except OSError:
            self._finish("reset")
        if self._end is not None:  # Ended by the tester meanwhile.
            return False
        for name in WAYS:
            sides = (self._client, self._server)
            source, sink = sides if name == "up" else sides[::-1]
            conditions = self._proxy.conditions[name]
            self._ways[name] = Way(source, sink, conditions, self._proxy.chance, self._way_ended)
        if self._proxy.on_passage is not None:
            self._proxy.on_passage(self)
        self._proxy.note()
        return True

    async def _carry(self) -> None:
        ways = self._ways.values()
        try:
            async with asyncio.TaskGroup() as group:
                self._pumps = [group.create_task(run()) for w in ways for run in (w.take, w.give)]
        except* OSError:
            # One side was reset: so is the other.
            self._end = self._end or "reset"

    async def _part(self) -> None:
        """Say goodbye to both sides and wait for theirs, so that no close becomes a reset."""
        await asyncio.gather(*(self._say_goodbye(side) for side in self._sides()))

    async def _say_goodbye(self, side: socket.socket) -> None:
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_WR)
            while await asyncio.get_running_loop().sock_recv(side, CHUNK_BYTES):
                pass


class FaultProxy:
    """Listens on the loopback and carries what comes to where `target` says at that moment.

    Attributes:
        port: where to connect to; the same for the whole life.
        conditions: of new connections, by way.
        passages: the connections that live, oldest first.
        counts: how many connections there were, and how each kind of end came about.
        on_passage: called with each new connection, before anything passes.
    """

    def __init__(self, target: Where, *, chance: random.Random | None = None) -> None:
        self.target = target
        self.chance = chance or random.Random(0)
        self.port = 0
        self.conditions: dict[Name, Conditions] = {name: Conditions() for name in WAYS}
        self.counts: Counter[str] = Counter()
        self.on_passage: Callable[[Passage], None] | None = None
        self._lives: dict[Passage, asyncio.Task[None]] = {}
        self._socket: socket.socket | None = None
        self._changed = asyncio.Event()

    # Life.

    async def close(self) -> None:
        """End everything at once."""
        self.refuse()
        lives = list(self._lives.values())
        for task in lives:
            task.cancel()
        await asyncio.gather(*lives, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What the tester calls.

    @property
    def passages(self) -> list[Passage]:
        """The connections that live and are connected through."""
        return [passage for passage in self._lives if passage.through]

    @property
    def accepting(self) -> bool:
        """Whether new connections are taken."""
        return self._socket is not None

    def refuse(self) -> None:
        """Listen no more: who connects is refused by the operating system."""
        sock, self._socket = self._socket, None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
            self.counts["refuse"] += 1

    def accept(self) -> None:
        """Listen (again), on a free port the first time."""
        if self._socket is not None:
            return
        self._socket = sock = _new_socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        sock.listen(_BACKLOG)
        self.port = sock.getsockname()[1]
        asyncio.get_running_loop().add_reader(sock, self._take, sock)

    def change(self, name: Name, conditions: Conditions) -> None:
        """Treat one direction of all connections, and of those to come, in another way."""
        self.conditions[name] = conditions
        for passage in self.passages:
            passage.change(name, conditions)

    def calm(self) -> None:
        """Let everything pass as it comes; where something was swallowed, a reset follows."""
        for name in WAYS:
            self.change(name, Conditions())

    def cut(self) -> None:
        """Close every connection in order."""
        for passage in self.passages:
            passage.cut()

    def reset(self) -> None:
        """Reset every connection."""
        for passage in self.passages:
            passage.reset()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition over the connections: how many there are, and which."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def note(self) -> None:
        """A connection came through or ended."""
        self._changed.set()

    # Connections.

    def _take(self, sock: socket.socket) -> None:
        try:
            client, _ = sock.accept()
        except OSError:  # It was gone before it was taken.
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counts["connect"] += 1
        passage = Passage(self, self.counts["connect"], client)
        task = asyncio.create_task(passage.run())
        self._lives[passage] = task
        task.add_done_callback(self._ended(passage))

    def _ended(self, passage: Passage) -> Callable[[asyncio.Task[None]], None]:
        def done(task: asyncio.Task[None]) -> None:
            del self._lives[passage]
            passage.close()
            self.note()
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error  # A fault of the proxy itself: the loop's exception handler reports it.

        return done


def _new_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
