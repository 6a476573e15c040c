"""The load client for Palaver's own wire: CBOR operations in WebSocket messages.

WebSocket frames and SEND operations are put together from prepared bytes, because a load client
must cost less than the server it measures. Frames are masked, as clients must, with a key of
zeros, which leaves the bytes as they are and costs the server what any key costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, cast

from cbor2 import CBORDecodeError, loads
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palaver.supervisors.cli.bench.identities import account, device_key
from palaver.supervisors.cli.bench.load import (
    BODY_BYTES,
    NUMBER_DIGITS,
    Flow,
    LoadFault,
    message_body,
)
from palaver.transport import wire

_AGENT: Final = "palaver-bench"
_TYPE: Final = "text"
_UPGRADE: Final = (
    "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: cGFsYXZlciBpcyBiZW5jaA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_HEAD_BYTES: Final = 16 * 1024
_NO_MASK: Final = b"\0\0\0\0"
_BINARY, _CLOSE, _PING, _PONG = 0x82, 0x88, 0x89, 0x8A
_STEP_TIMEOUT_S: Final = 30.0


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """Return a WebSocket frame of a client: final, masked with a key of zeros."""
    size = len(payload)
    if size < 126:
        head = bytes((opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + _NO_MASK + payload


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Split what a server has sent into whole frames (first byte, payload) and the rest.

    Raises:
        LoadFault: for a masked frame, which a server may not send.
    """
    frames: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, head = data[at + 1], 2
        if size >= 126:
            if size > 127:
                raise LoadFault("the server masks its frames")
            head = 4 if size == 126 else 10
            if end - at < head:
                break
            size = int.from_bytes(data[at + 2 : at + head], "big")
        if end - at < head + size:
            break
        frames.append((data[at], data[at + head : at + head + size]))
        at += head + size
    return frames, data[at:]


class WireSession(asyncio.Protocol):
    """One device's connection to a Palaver node."""

    __slots__ = (
        "_answers",
        "_closed",
        "_last_seq",
        "_next_id",
        "_next_pos",
        "_open",
        "_receipted_seq",
        "_rest",
        "_send_head",
        "_send_to",
        "_sent_seq",
        "_stamp",
        "_transport",
        "_upgraded",
        "alive",
        "inbox",
        "outbox",
        "user",
    )

    def __init__(self, user: int, inbox: Flow | None) -> None:
        """Stand for a user; nothing happens before the connection is made."""
        self.user = user
        self.inbox = inbox
        self.outbox: Flow | None = None
        self.alive = False
        self._rest = b""
        self._upgraded: asyncio.Future[None] | None = None
        self._closed = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 1  # numbers of messages begin far above
        self._open: dict[int, None] = {}  # unanswered sends, oldest first
        self._next_pos = 0  # of our queue; 0: not known yet
        self._last_seq = 0  # of the inbox's conversation; 0: not known yet
        self._sent_seq = 0  # the last seq our sends were given
        self._receipted_seq = 0
        self._stamp = 0
        self._send_head = b""
        self._send_to = b""

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not registered
        self._upgraded = asyncio.get_running_loop().create_future()
        self.alive = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self.alive = False
        self._closed.set()
        waiting = list(self._answers.values())
        if self._upgraded is not None:
            waiting.append(self._upgraded)
        for future in waiting:
            if not future.done():
                future.set_exception(LoadFault(f"user {self.user}: connection lost"))
        self._fault("connection lost")

    def data_received(self, data: bytes) -> None:
        """Take what the server has sent."""
        data = self._rest + data if self._rest else data
        if self._upgraded is not None:
            self._take_head(data)
            return
        try:
            frames, self._rest = split_frames(data)
            for first, payload in frames:
                if first == _BINARY:
                    self._take(loads(payload))
                elif first == _PING:
                    self._transport.write(masked_frame(_PONG, payload))
                elif first == _CLOSE:
                    self._closing(payload)
                elif first != _PONG:
                    raise LoadFault(f"a frame that begins with {first:#x}")
        except (LoadFault, CBORDecodeError, ValueError, IndexError, TypeError) as error:
            self._fault(f"{type(error).__name__}: {error}")
            self._transport.abort()

    def _take_head(self, data: bytes) -> None:
        assert self._upgraded is not None
        end = data.find(b"\r\n\r\n")
        if end < 0 and len(data) < _HEAD_BYTES:
            self._rest = data
            return
        upgraded, self._upgraded, self._rest = self._upgraded, None, b""
        if not data.startswith(b"HTTP/1.1 101 "):
            upgraded.set_exception(LoadFault(f"no WebSocket: {data[:200]!r}"))
            return
        upgraded.set_result(None)
        if len(data) > end + 4:
            self.data_received(data[end + 4 :])

    def _closing(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big")
        self._fault(f"closed by the server: {code} {payload[2:].decode(errors='replace')}")
        self._transport.write(masked_frame(_CLOSE, payload[:2]))

    def _take(self, operations: list[list[Any]]) -> None:
        now_s = perf_counter()
        arrived = 0
        for op in operations:
            code = op[0]
            if code == wire.OK:
                number = op[1]
                if number in self._open:
                    del self._open[number]
                    _, self._sent_seq, self._stamp = op[2]
                    assert self.outbox is not None
                    self.outbox.answered(number, now_s)
                else:
                    self._answer(number, op[2])
            elif code == wire.PUSH:
                arrived += self._take_events(op[1], op[2], now_s)
            elif code == wire.RECEIPT:
                self._receipted_seq = max(self._receipted_seq, op[3])
            elif code in (wire.ERROR, wire.GOING):
                self._refused(op)
        if arrived:
            pos = self._next_pos - 1
            self._transport.write(masked_frame(_BINARY, b"\x81\x82\x18\x20" + wire.uint(pos)))
            if self.inbox is not None:
                self.inbox.confirmed(arrived)

    def _take_events(self, first_pos: int, events: Sequence[Any], now_s: float) -> int:
        inbox = self.inbox
        if inbox is None:
            raise LoadFault("an event where none was expected")
        if first_pos != self._next_pos and self._next_pos:
            raise LoadFault(f"position {first_pos} where {self._next_pos} was next")
        self._next_pos = first_pos + len(events)
        for event in events:
            kind, _, seq, _, _, _, _, cid, _, _, body, _ = event
            if kind != wire.EVENT_MESSAGE or len(body) != BODY_BYTES:
                raise LoadFault(f"not a message of the load: {event!r:.300}")
            if int(body[:NUMBER_DIGITS]) != cid:
                raise LoadFault(f"the body of message {cid} is that of {body[:NUMBER_DIGITS]!r}")
            if seq != self._last_seq + 1 and self._last_seq and not inbox.gaps_allowed:
                raise LoadFault(f"seq {seq} follows {self._last_seq}")
            self._last_seq = seq
            inbox.arrived(cid, now_s)
        return len(events)

    def _answer(self, number: int, result: Any) -> None:
        future = self._answers.pop(number, None)
        if future is None:
            raise LoadFault(f"an answer to request {number}, which is not open")
        if not future.done():
            future.set_result(result)

    def _refused(self, op: list[Any]) -> None:
        fault = LoadFault(f"user {self.user}: the server says {op[1:]!r:.300}")
        future = self._answers.pop(op[1], None) if op[0] == wire.ERROR else None
        if future is None:
            raise fault
        if not future.done():
            future.set_exception(fault)

    def _fault(self, what: str) -> None:
        for flow in (self.inbox, self.outbox):
            if flow is not None:
                flow.broken(f"user {self.user}: {what}")

    # -- the load's side

    def submit(self, first: int, count: int) -> None:
        """Send messages as operations of one frame (or as few frames as may be)."""
        if not self._send_head:
            assert self.outbox is not None
            to = wire.encode(account(self.outbox.to_user))
            self._send_head = b"\x8a" + wire.uint(wire.SEND)
            self._send_to = to
        self._open.update(dict.fromkeys(range(first, first + count)))
        low = wire.uint(next(iter(self._open)))
        causes = low + wire.uint(self._sent_seq) + wire.uint(self._stamp) + wire.encode(_TYPE)
        head, to = self._send_head, self._send_to
        ops = []
        for number in range(first, first + count):
            cid = wire.uint(number)
            body = b"\x58\xc8" + message_body(number)
            ops.append(b"".join((head, cid, to, cid, causes, body, b"\xf6")))
        for at in range(0, count, wire.MAX_FRAME_OPS):
            frame = wire.frame(ops[at : at + wire.MAX_FRAME_OPS])
            self._transport.write(masked_frame(_BINARY, frame))

    @property
    def missing_receipts(self) -> int:
        """How many messages the delivered receipts do not cover yet; they are cumulative."""
        return max(0, self._sent_seq - self._receipted_seq)

    async def request(self, make: wire.ClientOp) -> Any:
        """Send a request (its id is ours to choose) and wait for its result."""
        number = self._next_id
        self._next_id += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        op = wire.encode_request(make._replace(id=number))  # type: ignore[call-arg]
        self._transport.write(masked_frame(_BINARY, wire.frame([op])))
        return await asyncio.wait_for(future, _STEP_TIMEOUT_S)

    async def barrier(self) -> None:
        """Ask for something small: what was written before it has been taken in when it comes."""
        await self.request(wire.Devices(0))

    async def close(self) -> None:
        """Close the WebSocket and wait for the end of the connection."""
        self.inbox = self.outbox = None
        if self.alive:
            self._transport.write(masked_frame(_CLOSE, (1000).to_bytes(2, "big")))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), 5)
            self._transport.close()

    async def upgrade(self, host: str, port: int) -> None:
        """Open the WebSocket."""
        assert self._upgraded is not None
        self._transport.write(_UPGRADE.format(host=host, port=port).encode())
        await asyncio.wait_for(self._upgraded, _STEP_TIMEOUT_S)

    async def authenticate(self, device: int, key: Ed25519PrivateKey) -> None:
        """Say hello and sign the challenge."""
        welcome = await self.request(wire.Hello(0, (wire.PROTOCOL_VERSION,), _AGENT))
        name = account(self.user)
        signature = key.sign(wire.auth_payload(welcome[2], name, device))
        await self.request(wire.Auth(0, name, device, signature))


class WireDriver:
    """The load users of a Palaver node, whose devices have been imported."""

    name = "palaver"

    def __init__(self, host: str, port: int, devices: Sequence[int]) -> None:
        """Talk to the node at this address; `devices[user]` is the number of a user's device."""
        self._host = host
        self._port = port
        self._devices = devices

    async def login(self, user: int, *, inbox: Flow | None = None) -> WireSession:
        """Open a WebSocket, say hello and authenticate."""
        loop = asyncio.get_running_loop()
        try:
            _, session = await loop.create_connection(
                lambda: WireSession(user, inbox), self._host, self._port
            )
            await session.upgrade(self._host, self._port)
            await session.authenticate(self._devices[user], device_key(user))
        except (OSError, TimeoutError) as error:
            raise LoadFault(f"user {user}: {str(error) or 'timed out'}") from error
        return session
