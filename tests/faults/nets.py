"""Where connections are made: real sockets under a real loop, or the simulated network."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import killed_program
import uvloop
from endpoints import Endpoint, Listening, connect

import standing
from palaver.actors.simulation.world.sources import Quiet, Seeded
from palaver.actors.simulation.world.tape import Tape
from palaver.actors.simulation.world.world import World

T = TypeVar("T")
Main = Callable[[], Coroutine[Any, Any, None]]

PATIENCE_S = 30.0

#: Late and cut bytes much more often than in a scenario.
RATES = {"delay": 0.3, "split": 0.3, "turn": 0.3, "late": 0.2}


class Net(Protocol):
    """One of them.

    Attributes:
        host: where the server is, as a client names it.
        address: the same, as a transport names it.
        bind: where a server listens.
        far_more: bytes, more than kernels and transports hold.
        talk: bytes that a program writes that talks.
    """

    host: str
    address: str
    bind: str
    far_more: int
    talk: int

    def run(self, main: Main) -> None:
        """Run a test, in every way there is."""

    def listening(self, *, keep_open: bool = False) -> Listening:
        """A server to be opened."""

    async def connect(self, port: int, *, keep_open: bool = False, host: str = "") -> Endpoint:
        """Connect from the client's side."""

    async def there(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something at the server's side."""

    async def here(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something at the client's side."""

    async def a_moment(self) -> None:
        """Let whatever is on its way arrive."""

    async def arrived(self, end: Endpoint) -> None:
        """Wait until there is something to read at an end that reads nothing."""

    def reset(self, end: Endpoint) -> None:
        """End the connection here, and have the other side get a reset."""

    async def a_while(self) -> None:
        """Let another program do what it is about to do."""

    async def program(self, behaviour: str, port: int = 0) -> int:
        """Start the program of `killed_program`, and return its port."""

    async def kill(self) -> None:
        """End the program by SIGKILL."""

    def stop(self) -> None:
        """Let the program stand still (SIGSTOP)."""

    def go_on(self) -> None:
        """Let it go on (SIGCONT); a simulated one does after a while."""


class Opened:
    """What a test has opened, to be closed also when it fails: uvloop hangs on what is left."""

    host: str

    def __init__(self) -> None:
        self._servers: list[Listening] = []
        self._clients: list[Endpoint] = []

    def listening(self, *, keep_open: bool = False) -> Listening:
        self._servers.append(Listening(keep_open=keep_open))
        return self._servers[-1]

    async def here(self, work: Coroutine[Any, Any, T]) -> T:
        return await work

    async def connect(self, port: int, *, keep_open: bool = False, host: str = "") -> Endpoint:
        client = await self.here(connect(host or self.host, port, keep_open=keep_open))
        self._clients.append(client)
        return client

    async def close_all(self) -> None:
        ends = [end for server in self._servers for end in server.ends] + self._clients
        for end in ends:
            if end.transport is not None and not end.is_lost:
                end.transport.abort()
        for server in self._servers:
            if server.server is not None:
                server.server.close()
        self._servers.clear()
        self._clients.clear()


class RealNet(Opened):
    """The loopback, under a loop."""

    host = address = bind = "127.0.0.1"
    far_more = 16 * 1024 * 1024
    talk = 64 * killed_program.MUCH

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._process: asyncio.subprocess.Process | None = None
        self._factory: Any = uvloop.new_event_loop if kind == "uvloop" else asyncio.new_event_loop

    def run(self, main: Main) -> None:
        async def bounded() -> None:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await main()
            finally:
                await self.close_all()
                await self.a_moment()
                await self.kill()

        with asyncio.Runner(loop_factory=self._factory) as runner:
            runner.run(bounded())

    async def there(self, work: Coroutine[Any, Any, T]) -> T:
        return await work

    async def a_moment(self) -> None:
        # What the kernel has is seen in the next turn of the loop; on the loopback it has it.
        for _ in range(5):
            await asyncio.sleep(0)

    async def arrived(self, end: Endpoint) -> None:
        poll = select.poll()
        poll.register(end.transport.get_extra_info("socket").fileno(), select.POLLIN)
        while not poll.poll(0):
            await asyncio.sleep(0)

    def reset(self, end: Endpoint) -> None:
        sock = end.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.transport.abort()

    async def a_while(self) -> None:
        # Its own doing cannot be seen from here: what it did shows in what its kernel says, later.
        await asyncio.sleep(0.1)

    async def program(self, behaviour: str, port: int = 0) -> int:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, killed_program.__file__, behaviour, str(port), stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        return int(await self._process.stdout.readline())

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()
            if process.stdout is not None:
                await process.stdout.read()

    def stop(self) -> None:
        assert self._process is not None
        standing.stop(self._process.pid)

    def go_on(self) -> None:
        assert self._process is not None
        standing.go_on(self._process.pid)


class SimulatedNet(Opened):
    """Two hosts in a world; a test runs in a quiet world and in many that are not."""

    host = address = "server"
    bind = "0.0.0.0"
    far_more = 500_000
    talk = killed_program.MUCH

    def __init__(self, seeds: int) -> None:
        super().__init__()
        self._seeds = seeds
        self._world: World

    def run(self, main: Main) -> None:
        for source in (Quiet(), *(Seeded(seed, rates=RATES) for seed in range(self._seeds))):
            with World(Tape(source), max_virtual_s=10_000) as world:
                self._world = world
                for name in ("server", "client"):
                    world.host(name).boot()
                try:
                    world.run(main())
                except BaseException as error:
                    error.add_note(f"{type(source).__name__}, seed {source.seed}")
                    raise
                self._servers.clear()
                self._clients.clear()

    async def _at(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        return await self._world.hosts[name].spawn(work)

    async def there(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._at("server", work)

    async def here(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._at("client", work)

    async def a_moment(self) -> None:
        await asyncio.sleep(5.0)

    async def arrived(self, end: Endpoint) -> None:
        await asyncio.sleep(5.0)

    def reset(self, end: Endpoint) -> None:
        end.transport.reset_peer()
        end.transport.abort()

    async def a_while(self) -> None:
        await asyncio.sleep(5.0)

    async def program(self, behaviour: str, port: int = 0) -> int:
        self._world.hosts["server"].boot()
        return await self.there(killed_program.serve(behaviour, self.bind, port))

    async def kill(self) -> None:
        self._world.hosts["server"].crash()

    def stop(self) -> None:
        self._world.hosts["server"].pause(60.0)

    def go_on(self) -> None:
        pass
