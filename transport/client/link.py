"""One connection after the other: opening, reading as fast as is consumed, writing, backing off."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
import weakref
from collections.abc import Callable
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidURI,
    WebSocketException,
)

from palaver.transport import wire
from palaver.transport.client.board import Board
from palaver.transport.client.core import Core, Timeouts
from palaver.transport.client.errors import ClientError, ConnectionFailed, Misuse
from palaver.transport.client.ports import Clock

__all__ = ["Link", "Proxy", "open_websocket", "pause"]

Proxy = str | Literal[True] | None
"""A proxy's URL, True for the system's own setting, None for none."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_REASON_BYTES: Final = 123  # RFC 6455, section 5.5


async def open_websocket(
    url: str, *, ssl: ssl_module.SSLContext | None, proxy: Proxy, timeouts: Timeouts
) -> ClientConnection:
    """Open a WebSocket as this client uses it.

    Raises:
        Misuse: ``url`` is not a WebSocket URL.
        ConnectionFailed: It cannot be opened; the reason is the cause.
    """
    extra: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
    try:
        opening = connect(
            url,
            # A proxy cannot reach this machine's own loopback.
            proxy=None if urlsplit(url).hostname in _LOOPBACK else proxy,
            compression=None,
            max_size=wire.MAX_FRAME_BYTES,
            max_queue=4,
            open_timeout=timeouts.handshake_s,
            ping_interval=timeouts.ping_s,
            ping_timeout=timeouts.ping_s,
            close_timeout=timeouts.close_s,
            **extra,
        )
    except (InvalidURI, ValueError) as error:
        raise Misuse(f"not a WebSocket URL: {url!r}") from error
    try:
        return await opening
    except (OSError, TimeoutError, EOFError, WebSocketException) as error:
        raise ConnectionFailed(f"cannot connect to {url}: {error}") from error


async def pause(clock: Clock, delay_s: float) -> None:
    """Wait for so many seconds of the clock."""
    over = asyncio.Event()
    timer = clock.call_later(delay_s, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


class Link:
    """Keeps a core connected until it fails or ``close`` is called."""

    def __init__(
        self,
        core: Core,
        board: Board,
        clock: Clock,
        touch: Callable[[], None],
        *,
        ssl: ssl_module.SSLContext | None,
        proxy: Proxy,
    ) -> None:
        self.last_failure: ClientError | None = None
        self.consumers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._core = core
        self._board = board
        self._clock = clock
        self._touch = touch
        self._ssl = ssl
        self._proxy: Proxy = proxy
        self._websocket: ClientConnection | None = None
        self._dirty = asyncio.Event()
        self._room = asyncio.Event()
        self._stuck: asyncio.Future[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._runner = asyncio.create_task(self._run(), name="palaver-client")

    async def last_words(self) -> None:
        """Send what may be sent, in a bounded time."""
        websocket = self._websocket
        if websocket is None:
            return
        try:
            async with asyncio.timeout(self._core.timeouts.close_s):
                await self._write_out(websocket)
        except (ConnectionClosed, TimeoutError):
            return

    async def close(self) -> None:
        """Disconnect, for good."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def drop(self, code: int, reason: str) -> None:
        """Close the present connection; the next one follows unless the core failed."""
        self._room.set()
        if self._websocket is not None:
            short = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
            task = asyncio.create_task(self._websocket.close(code, short))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def wake_writer(self) -> None:
        """There may be something to send."""
        self._dirty.set()

    # -- connections ---------------------------------------------------------------------------

    async def _run(self) -> None:
        core = self._core
        while core.failed is None:
            code: int | None = None
            reason = ""
            try:
                await self._wait_for_room()
                code, reason = await self._one_connection()
            except Misuse as error:
                core.fail(error)
            except ConnectionFailed as error:
                self.last_failure = error
            self._board.set_online(False)
            core.disconnected(code, reason, self._clock.monotonic())
            self._touch()
            if core.failed is None:
                await pause(self._clock, core.reconnect_delay_s())

    async def _one_connection(self) -> tuple[int | None, str]:
        core = self._core
        timeouts = core.timeouts
        if core.servers.several:
            open_s = min(timeouts.handshake_s, timeouts.next_server_s)
            timeouts = timeouts._replace(handshake_s=open_s)
        websocket = await open_websocket(
            core.servers.current, ssl=self._ssl, proxy=self._proxy, timeouts=timeouts
        )
        writer = asyncio.create_task(self._write(websocket), name="palaver-client-writer")
        self._websocket = websocket
        try:
            core.connected(self._clock.monotonic())
            self._touch()
            while core.failed is None:
                data = await websocket.recv(decode=False)
                core.received(data, self._clock.monotonic())
                self._touch()
                await self._wait_for_room()
        except ConnectionClosed as error:
            self.last_failure = ConnectionFailed(f"the connection was closed: {error}")
        finally:
            self._websocket = None
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await websocket.close()
        return websocket.close_code, websocket.close_reason or ""

    async def _write(self, websocket: ClientConnection) -> None:
        try:
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                # A turn wakes this writer: one for nothing would lead to the next, without end.
                if await self._write_out(websocket):
                    self._touch()  # What was sent has a time limit now.
        except ConnectionClosed:
            return  # The reader hears it too, and says so.

    async def _write_out(self, websocket: ClientConnection) -> bool:
        wrote = False
        while (data := self._core.transmit(self._clock.monotonic())) is not None:
            await websocket.send(data)
            wrote = True
        return wrote

    # -- backpressure --------------------------------------------------------------------------

    async def _wait_for_room(self) -> None:
        """Return when the application has taken enough of what arrived."""
        while self._core.inbox.full and self._core.failed is None and not self._closing:
            self._room.clear()
            if not self.consumers and self._stuck is not None and not self._stuck.done():
                self._stuck.set_result(None)
            await self._room.wait()

    def taken(self) -> None:
        """The application took something."""
        if not self._core.inbox.full:
            self._room.set()

    @property
    def stuck(self) -> asyncio.Future[None]:
        """Done when nothing can be read because nobody consumes what arrived."""
        blocked = self._core.inbox.full and not self.consumers
        if self._stuck is None or (self._stuck.done() and not blocked):
            self._stuck = asyncio.get_running_loop().create_future()
        if blocked and not self._stuck.done():
            self._stuck.set_result(None)
        return self._stuck
