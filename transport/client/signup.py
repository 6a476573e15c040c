"""Signing up: the two requests that need no identity.

Each uses a connection of its own: between them a person waits for a code, longer than a server
keeps a connection that does not say who it is.
"""

from __future__ import annotations

import asyncio
import random as random_module
import ssl as ssl_module
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from palaver.transport import wire
from palaver.transport.client.core import Timeouts, check
from palaver.transport.client.errors import (
    ConnectionFailed,
    ProtocolViolation,
    UnsupportedVersion,
    server_error,
)
from palaver.transport.client.identity import Identity, new_key
from palaver.transport.client.link import Proxy, open_websocket
from palaver.transport.client.servers import server_urls

__all__ = ["SignUp"]

R = TypeVar("R")
_AGENT = "palaver-python"


class SignUp:
    """Asks a server for a code and registers a device with it.

    Of several servers of one cluster it takes the first that can be reached and speaks a version of
    the protocol that is known here, from a place drawn by ``random`` on.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        ssl: ssl_module.SSLContext | None = None,
        proxy: Proxy = True,
        timeouts: Timeouts | None = None,
        random: random_module.Random | None = None,
    ) -> None:
        urls = server_urls(url)
        start = 0
        if len(urls) > 1:
            start = (random or random_module.SystemRandom()).randrange(len(urls))
        self._urls = urls[start:] + urls[:start]
        self._ssl = ssl
        self._proxy: Proxy = proxy
        self._timeouts = timeouts or Timeouts()

    async def request_code(self, phone: str) -> None:
        """Have a one-time code sent to a phone number in E.164 form.

        Raises:
            RateLimited: Too many codes were asked for.
            BadMessage: ``phone`` is not a phone number.
            ConnectionFailed: The server could not be reached, or went away.
        """
        await self._ask(wire.Code(1, phone))

    async def register(
        self, phone: str, code: str, device_name: str, key: Ed25519PrivateKey | None = None
    ) -> Identity:
        """Register a device with the code that was sent, and return its identity.

        Raises:
            CodeWrong, CodeExpired, RateLimited, TooMany: The server refused.
            BadMessage: An argument is not fit to be sent.
            ConnectionFailed: The server could not be reached, or went away.
        """
        key = key or new_key()
        public = key.public_key().public_bytes_raw()
        result = await self._ask(wire.SignUp(1, phone, code, public, device_name))
        if not isinstance(result, wire.SignedUp):
            raise ProtocolViolation("SIGNUP was answered with something else")
        return Identity(result.account, result.device, key)

    async def _open(self) -> ClientConnection:
        patient, last = self._timeouts, self._urls[-1]
        open_s = min(patient.handshake_s, patient.next_server_s)
        unreachable: ConnectionFailed | None = None
        for url in self._urls:
            timeouts = patient if url == last else patient._replace(handshake_s=open_s)
            try:
                return await self._begin(url, timeouts)
            except ConnectionFailed as error:
                unreachable = error
            except UnsupportedVersion:
                if url == last and unreachable is None:
                    raise
        # Where some are of another version and some do not answer, it may help to try again.
        assert unreachable is not None, "there is at least one URL"
        raise unreachable

    async def _begin(self, url: str, timeouts: Timeouts) -> ClientConnection:
        """Connect and agree on a version; nothing was asked for yet: another one may be tried."""
        websocket = await open_websocket(url, ssl=self._ssl, proxy=self._proxy, timeouts=timeouts)
        try:
            async with _errors(timeouts.handshake_s):
                hello = wire.Hello(0, (wire.PROTOCOL_VERSION,), _AGENT)
                await websocket.send(wire.frame([wire.encode_request(hello)]))
                await _answer(websocket, 0, wire.HELLO)
        except BaseException:
            await websocket.close()
            raise
        return websocket

    async def _ask(self, op: wire.Request) -> wire.Result:
        check(op)
        websocket = await self._open()
        try:
            async with _errors(self._timeouts.request_s):
                await websocket.send(wire.frame([wire.encode_request(op)]))
                return await _answer(websocket, op.id, wire.OPCODES[type(op)])
        finally:
            await websocket.close()


@asynccontextmanager
async def _errors(timeout_s: float) -> AsyncIterator[None]:
    """What may go wrong on a connection, in the words of this package."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (ConnectionClosed, TimeoutError) as error:
        raise ConnectionFailed(f"the server did not answer: {error}") from error
    except wire.BadFrame as error:
        raise ProtocolViolation(str(error)) from error


async def _answer(websocket: ClientConnection, request_id: int, opcode: int) -> wire.Result:
    while True:
        for op in wire.decode_frame(await websocket.recv(decode=False)):
            reply = wire.parse_reply(op)
            if isinstance(reply, wire.Error) and reply.id == request_id:
                raise server_error(reply.code, reply.text, reply.retry_after_ms)
            if isinstance(reply, wire.Ok) and reply.id == request_id:
                return wire.parse_result(opcode, reply.result)
