"""The two ends of a connection as a test sees them: an asyncio protocol that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Endpoint(asyncio.Protocol):
    """One end: what arrived, in the order of the callbacks, and a way to wait for more.

    Attributes:
        calls: the names of the callbacks so far, without those of data.
        data: all bytes.
        sizes: the size of each piece of them.
        lost_with: what `connection_lost` said.
    """

    def __init__(self, *, keep_open: bool = False) -> None:
        self.transport: Any = None
        self.calls: list[str] = []
        self.data = bytearray()
        self.sizes: list[int] = []
        self.lost_with: Exception | None = None
        self.keep_open = keep_open
        self.on_data: Callable[[bytes], None] | None = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._called("connection_made")

    def data_received(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.data += data
        self.sizes.append(len(data))
        self._changed.set()
        if self.on_data is not None:
            self.on_data(data)

    def eof_received(self) -> bool:
        self._called("eof_received")
        return self.keep_open

    def pause_writing(self) -> None:
        self._called("pause_writing")

    def resume_writing(self) -> None:
        self._called("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_with = exc
        self._called("connection_lost")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self._changed.set()

    @property
    def is_lost(self) -> bool:
        return "connection_lost" in self.calls

    @property
    def has_eof(self) -> bool:
        return "eof_received" in self.calls

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a callback has made a condition true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def until_data(self, count: int) -> None:
        await self.until(lambda: len(self.data) >= count)

    async def until_lost(self) -> None:
        await self.until(lambda: self.is_lost)

    async def until_eof(self) -> None:
        await self.until(lambda: self.has_eof)


class Listening:
    """A server whose connections are `Endpoint`s, oldest first."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.ends: list[Endpoint] = []
        self.keep_open = keep_open
        self.server: Any = None
        self._changed = asyncio.Event()

    def _new(self) -> Endpoint:
        end = Endpoint(keep_open=self.keep_open)
        self.ends.append(end)
        self._changed.set()
        return end

    async def open(self, host: str, port: int = 0, **options: Any) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self._new, host, port, **options)
        return int(self.server.sockets[0].getsockname()[1])

    async def end(self, number: int = 0) -> Endpoint:
        """The connection with this number, once it is made."""
        while len(self.ends) <= number or self.ends[number].transport is None:
            self._changed.clear()
            if len(self.ends) > number:
                await self.ends[number].until(lambda: self.ends[number].transport is not None)
            else:
                await self._changed.wait()
        return self.ends[number]

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        self.server.close()
        for end in self.ends:
            if end.transport is not None and not end.is_lost:
                end.transport.abort()
                await end.until_lost()
        await self.server.wait_closed()


async def connect(host: str, port: int, *, keep_open: bool = False, **options: Any) -> Endpoint:
    """Connect as an `Endpoint`."""
    loop = asyncio.get_running_loop()
    _, end = await loop.create_connection(
        lambda: Endpoint(keep_open=keep_open), host, port, **options
    )
    return end
