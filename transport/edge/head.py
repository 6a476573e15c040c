"""The part of a connection before it is known what it is, and the way to the HTTP server.

The head of the first request is read here, with a limit on its size and its time. An upgrade to
a WebSocket on the right path goes to `Connection`; anything else is handed to aiohttp's protocol
on the same transport, together with the bytes already read.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, cast

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from palaver.transport.wire.constants import WEBSOCKET_PATH

from .connection import Connection
from .hub import Hub

_WEBSOCKET_UPGRADE: Final = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
_REQUEST_LINE: Final = re.compile(rb"[A-Z]{1,32} ([^ ]+) HTTP/1\.[01]\r\n")
_PATH: Final = WEBSOCKET_PATH.encode()


class HeadReader(asyncio.Protocol):
    """Reads a request's head and passes the transport on, or answers and hangs up."""

    __slots__ = (
        "_answered", "_buffer", "_due_at", "_http", "_hub", "_refusal", "_transport", "address",
        "due_tick", "peer",
    )  # fmt: skip

    def __init__(self, hub: Hub, http: Callable[[], asyncio.Protocol] | None) -> None:
        self._hub = hub
        self._http = http
        self._buffer = bytearray()
        self._answered = False
        self._refusal: str | None = None
        self._due_at = 0.0
        self.due_tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A transport was accepted."""
        hub = self._hub
        self._transport = cast("asyncio.Transport", transport)
        self.address, self.peer = _names(self._transport)
        hub.heads[self] = None
        hub.stats.heads_open += 1
        self._refusal = hub.arrive(self.address)
        if self._refusal is not None:
            hub.stats.refused(self._refusal)
            hub.refusing += 1
            if hub.refusing > hub.limits.max_refusals:
                self._transport.abort()
                return
        self._due_at = hub.loop.time() + hub.limits.head_timeout_s
        hub.wheel.schedule(self, self._due_at)

    def data_received(self, data: bytes) -> None:
        """Bytes of the head."""
        if self._answered:
            return
        buffer = self._buffer
        seen = max(0, len(buffer) - 3)
        buffer += data
        self._hub.stats.bytes_in += len(data)
        end = buffer.find(b"\r\n\r\n", seen)
        limit = self._hub.limits.head_bytes
        if (end if end >= 0 else len(buffer)) > limit:
            self._bad("head_too_large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif not 65 <= buffer[0] <= 90:  # Not a capital letter: no method begins like this.
            self._bad("not_http", HTTPStatus.BAD_REQUEST)
        elif end >= 0:
            self._route(bytes(buffer[: end + 4]))

    def _route(self, head: bytes) -> None:
        line = _REQUEST_LINE.match(head)
        if line is None:
            self._bad("not_http", HTTPStatus.BAD_REQUEST)
        elif self._refusal is not None or self._hub.stopping:
            wait = str(self._hub.limits.retry_after_s)
            self._answer(_response(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": wait}))
        elif line[1].partition(b"?")[0] == _PATH:
            self._upgrade(head)
        elif _WEBSOCKET_UPGRADE.search(head):
            self._bad("bad_upgrade", HTTPStatus.NOT_FOUND)
        elif self._http is None:
            self._answer(_response(HTTPStatus.NOT_FOUND))
        else:
            self._hand_to_http(self._http())

    def _upgrade(self, head: bytes) -> None:
        ws = ServerProtocol(logger=self._hub.logger)
        ws.receive_data(head)
        for request in ws.events_received():
            assert isinstance(request, Request)
            response = ws.accept(request)
            if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                self._hand_to_websocket(response.serialize(), bytes(self._buffer[len(head) :]))
            else:
                self._hub.stats.bad_input("bad_upgrade")
                self._answer(response)
            return
        self._bad("bad_upgrade", HTTPStatus.BAD_REQUEST)

    def _hand_to_websocket(self, response: bytes, rest: bytes) -> None:
        conn = Connection(self._hub, self._transport, self.address, self.peer)
        self._leave()
        self._transport.set_protocol(conn)
        self._transport.write(response)
        conn.opened(rest)

    def _hand_to_http(self, handler: asyncio.Protocol) -> None:
        bridge = HttpBridge(self._hub, handler, self.address)
        self._leave()
        self._transport.set_protocol(bridge)
        bridge.connection_made(self._transport)
        bridge.data_received(bytes(self._buffer))

    def _leave(self) -> None:
        self._hub.wheel.cancel(self)
        self._hub.heads.pop(self, None)
        self._hub.stats.heads_open -= 1

    def _bad(self, kind: str, status: HTTPStatus) -> None:
        self._hub.stats.bad_input(kind)
        self._answer(_response(status))

    def _answer(self, response: Response) -> None:
        """Answer and hang up; what the peer still sends is read and dropped until it is gone.

        Closing with unread bytes would make the kernel reset the connection, and the peer might
        lose the answer.
        """
        if self._transport.is_closing():
            return
        data = response.serialize()
        self._answered = True
        self._buffer.clear()
        self._hub.stats.bytes_out += len(data)
        self._transport.write(data)
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._due_at = self._hub.loop.time() + self._hub.limits.close_timeout_s
            self._hub.wheel.schedule(self, self._due_at)
        else:
            self._transport.close()

    def on_due(self) -> None:
        """The head took too long, or the goodbye did."""
        if self._hub.loop.time() < self._due_at:
            self._hub.wheel.schedule(self, self._due_at)
        elif self._answered:
            self._transport.abort()
        else:
            self._bad("head_timeout", HTTPStatus.REQUEST_TIMEOUT)

    def abort(self) -> None:
        """Give up: the listener is closing."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone before it became anything."""
        self._leave()
        if self._refusal is not None:
            self._hub.refusing -= 1
        self._hub.depart(self.address)


class HttpBridge(asyncio.Protocol):
    """Passes a transport's events on to aiohttp's protocol, and counts the connection."""

    __slots__ = ("_address", "_handler", "_hub")

    def __init__(self, hub: Hub, handler: asyncio.Protocol, address: str) -> None:
        self._hub = hub
        self._handler = handler
        self._address = address
        hub.stats.http_open += 1
        hub.stats.http_total += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the transport to the handler."""
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        """The peer writes no more."""
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        """The transport's buffer is above its mark."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """The transport's buffer is below its mark."""
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._hub.stats.http_open -= 1
        self._handler.connection_lost(exc)
        self._hub.depart(self._address)


def _names(transport: asyncio.Transport) -> tuple[str, str]:
    peername = transport.get_extra_info("peername")
    if not isinstance(peername, tuple):
        return "unknown", "unknown"
    host, port = peername[:2]
    return str(host), f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _response(status: HTTPStatus, more: dict[str, str] | None = None) -> Response:
    body = f"{status.phrase}.\n".encode()
    headers = Headers(
        {
            "Date": email.utils.formatdate(usegmt=True),
            "Connection": "close",
            "Content-Length": str(len(body)),
            "Content-Type": "text/plain; charset=utf-8",
            **(more or {}),
        }
    )
    return Response(status, status.phrase, headers, body)
