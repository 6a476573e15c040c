"""What the tests of the edge share: an owner that records, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self

from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from palaver.transport import edge, wire

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Owner:
    """An acceptor that records what happens and lets a test wait for it."""

    def __init__(self) -> None:
        self.opened: list[edge.Connection] = []
        self.frames: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.writable = 0
        self.on_open_hook: Callable[[edge.Connection], None] = lambda c: c.resume_reading()
        self.on_frame_hook: Callable[[edge.Connection, bytes], None] = lambda c, d: None
        self.on_writable_hook: Callable[[edge.Connection], None] = lambda c: None
        self._changed = asyncio.Event()

    def on_open(self, conn: edge.Connection) -> None:
        self.opened.append(conn)
        self._changed.set()
        self.on_open_hook(conn)

    def on_frame(self, conn: edge.Connection, data: bytes) -> None:
        self.frames.append(data)
        self._changed.set()
        self.on_frame_hook(conn, data)

    def on_close(self, conn: edge.Connection, code: int, reason: str) -> None:
        self.closed.append((code, reason))
        self._changed.set()

    def on_writable(self, conn: edge.Connection) -> None:
        self.writable += 1
        self._changed.set()
        self.on_writable_hook(conn)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition`, which depends on what this owner was told."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()


def echo(conn: edge.Connection, data: bytes) -> None:
    for op in wire.decode_frame(data):
        conn.send(wire.encode(op))


@contextlib.asynccontextmanager
async def listening(
    owner: Owner, app: web.Application | None = None, ssl: Any = None, **limits: Any
) -> AsyncIterator[edge.Listener]:
    limits.setdefault("close_timeout_s", 2.0)
    listener = await edge.listen(
        owner, app, host="127.0.0.1", port=0, ssl=ssl, limits=edge.EdgeLimits(**limits)
    )
    try:
        yield listener
    finally:
        await listener.close()
        assert listener.stats.connections_open == 0
        assert listener.stats.heads_open == 0
        assert listener.stats.http_open == 0
        assert len(owner.closed) == len(owner.opened)


def url(listener: edge.Listener) -> str:
    return f"ws://127.0.0.1:{listener.port}/ws"


def open_client(listener: edge.Listener, **options: Any) -> connect:
    """A well-behaved client."""
    return connect(url(listener), compression=None, ping_interval=None, proxy=None, **options)


def ops(*values: Any) -> bytes:
    return wire.frame([wire.encode([1, value]) for value in values])


class RawClient:
    """A client that sends whatever bytes it is told to, and reads only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, listener: edge.Listener, *, upgrade: bool = True) -> RawClient:
        self = cls(*await asyncio.open_connection("127.0.0.1", listener.port))
        if upgrade:
            self.send(HEAD)
            head = await self.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
        return self

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def send_frame(self, opcode: int, data: bytes, *, fin: bool = True) -> None:
        self.send(masked(opcode, data, fin=fin))

    async def frame(self) -> tuple[int, bytes]:
        """Read one frame of the server; control frames too."""
        head = await self.reader.readexactly(2)
        size = head[1]
        if size == 126:
            size = struct.unpack("!H", await self.reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", await self.reader.readexactly(8))[0]
        return head[0] & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Read up to the closing frame, and that nothing comes behind it."""
        while True:
            opcode, data = await self.frame()
            if opcode == Opcode.CLOSE:
                with contextlib.suppress(ConnectionError):
                    self.send_frame(opcode, data)
                assert await self.reader.read() == b""
                return int(struct.unpack("!H", data[:2])[0])

    async def ended(self) -> bytes:
        """Read until the server ends the connection, in whatever way."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await self.reader.read(65536):
                data += chunk
        return data

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def masked(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), data, fin).serialize(mask=True)


async def http_exchange(listener: edge.Listener, request: bytes) -> bytes:
    """Send bytes, read until the server hangs up."""
    async with await RawClient.connect(listener, upgrade=False) as client:
        client.send(request)
        return await client.ended()


async def all_of(awaitables: Iterable[Any]) -> list[Any]:
    return list(await asyncio.gather(*awaitables))


__all__ = [
    "HEAD",
    "ClientConnection",
    "Owner",
    "RawClient",
    "all_of",
    "echo",
    "http_exchange",
    "listening",
    "masked",
    "open_client",
    "ops",
    "url",
]
