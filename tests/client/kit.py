"""The server as the client's tests see it: pure, small, and right.

`ModelServer` holds what survives a connection; `Line` is one connection to it. The same model
answers the core's tests (bytes in memory) and the shell's (real sockets, `FakeServer`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from palaver.transport import wire
from palaver.transport.client import Backoff, Client, Identity, Timeouts, new_key

NONCE = bytes(range(32))
ME = "+491701234567"
PEER = "+491707654321"
DEVICE = 3


@dataclass
class ModelServer:
    """One device's server: its queue, the answers it was given, and how it misbehaves."""

    public_key: bytes | None = None
    verify: bool = True
    position: int = 0
    queue: dict[int, bytes] = field(default_factory=dict)
    answers: dict[int, tuple[bytes, int, int]] = field(default_factory=dict)
    floor: int = 0
    stored: list[tuple[int, Any]] = field(default_factory=list)
    seqs: dict[bytes, int] = field(default_factory=dict)
    acked: int = 0
    requests: list[wire.ClientOp] = field(default_factory=list)
    marks: dict[bytes, list[tuple[str, int, int]]] = field(default_factory=dict)
    refuse: Callable[[wire.Request], bytes | None] = lambda _op: None
    online: list[Line] = field(default_factory=list)
    code: str = "123456"
    deaf_acks: int = 0

    def next_seq(self, conv: bytes) -> int:
        self.seqs[conv] = self.seqs.get(conv, 0) + 1
        return self.seqs[conv]

    def deliver(self, body: bytes = b"hello", sender: str = PEER, kind: str = "text") -> int:
        """Put a message from a peer into the device's queue; returns its position."""
        conv = wire.direct_conversation(ME, sender)
        seq = self.next_seq(conv)
        event = wire.message_event(
            conv, seq, seq << 16, 0, sender, 1, self.position + 1, ME, kind, body, None
        )
        return self.deliver_event(event)

    def deliver_event(self, event: bytes) -> int:
        self.position += 1
        self.queue[self.position] = event
        for line in self.online:
            line.push_from(self.position)
        return self.position

    def take_ack(self, position: int) -> None:
        if self.deaf_acks:
            self.deaf_acks -= 1
            return
        self.acked = max(self.acked, min(position, self.position))
        for gone in [each for each in self.queue if each <= position]:
            del self.queue[gone]

    def send(self, op: wire.Send | wire.Group | wire.Members) -> bytes:
        """Accept a command once, whatever the number of tries."""
        assert op.low >= self.floor, "low never goes back"
        self.floor = op.low
        if op.cid < self.floor:
            return wire.error(op.id, wire.ErrorCode.STALE_ID, "forgotten")
        known = self.answers.get(op.cid)
        if known is None:
            conv = self._conversation(op)
            seq = self.next_seq(conv)
            known = self.answers[op.cid] = (conv, seq, seq << 16)
            self.stored.append((op.cid, op))
        for gone in [each for each in self.answers if each < op.low]:
            del self.answers[gone]
        return wire.sent(op.id, *known)

    @staticmethod
    def _conversation(op: wire.Send | wire.Group | wire.Members) -> bytes:
        if isinstance(op, wire.Send):
            return wire.direct_conversation(ME, op.to) if isinstance(op.to, str) else op.to
        return op.conv if isinstance(op, wire.Members) else op.cid.to_bytes(16, "big")


class Line:
    """One connection: operations in, operations out."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.out: list[bytes] = []
        self.ready = False
        self.close_code: int | None = None

    def frames(self) -> list[bytes]:
        """Take what the server says, a frame for each operation."""
        out, self.out = self.out, []
        return [wire.frame([op]) for op in out]

    def push_from(self, first: int) -> None:
        if self.ready:
            for position, event in sorted(self.server.queue.items()):
                if position >= first:
                    self.out.append(wire.push(position, [event]))

    def received(self, data: bytes) -> None:
        for raw in wire.decode_frame(data):
            op = wire.parse_request(raw)
            self.server.requests.append(op)
            if isinstance(op, wire.Ack):
                self.server.take_ack(op.pos)
            elif not isinstance(op, wire.Typing):
                refusal = self.server.refuse(op)
                if refusal is None:
                    self.out.append(self._answer(op))
                    if isinstance(op, wire.Auth) and self.ready:
                        self.push_from(0)
                elif refusal:
                    self.out.append(refusal)

    def _answer(self, op: wire.Request) -> bytes:
        server = self.server
        match op:
            case wire.Hello():
                return wire.welcome(op.id, 1, "model", NONCE, {})
            case wire.Code():
                return wire.ok_null(op.id)
            case wire.SignUp():
                if op.code != server.code:
                    return wire.error(op.id, wire.ErrorCode.CODE_WRONG, "another code was sent")
                server.public_key = op.public_key
                return wire.ok(op.id, [op.phone, DEVICE])
            case wire.Auth():
                return self._auth(op)
            case wire.Send() | wire.Group() | wire.Members():
                return server.send(op)
            case wire.Marks():
                return wire.ok(op.id, [list(each) for each in server.marks.get(op.conv, [])])
            case wire.Conversations():
                conv = wire.direct_conversation(ME, PEER)
                return wire.ok(op.id, [[conv, 0, "", [ME, PEER], 7]])
            case wire.Watch():
                return wire.ok(op.id, [True, None])
            case wire.Devices():
                return wire.ok(op.id, [[DEVICE, "laptop", 1000, None, True]])
            case wire.Token():
                return wire.ok(op.id, ["secret-token", 2**60])
            case _:
                return wire.ok_null(op.id)

    def _auth(self, op: wire.Auth) -> bytes:
        server = self.server
        if server.verify and server.public_key is not None:
            payload = wire.auth_payload(NONCE, op.account, op.device)
            try:
                key = Ed25519PublicKey.from_public_bytes(server.public_key)
                key.verify(op.signature, payload)
            except InvalidSignature:
                return wire.error(op.id, wire.ErrorCode.AUTH_FAILED, "wrong signature")
        self.ready = True
        server.online.append(self)
        pending = len(server.queue)
        next_pos = server.position - pending + 1
        return wire.ok(op.id, [pending, next_pos, 1_700_000_000_000])

    def lost(self) -> None:
        self.ready = False
        if self in self.server.online:
            self.server.online.remove(self)


class FakeServer:
    """The model on a real socket."""

    def __init__(self, model: ModelServer | None = None) -> None:
        self.model = model or ModelServer()
        self.lines: dict[ServerConnection, Line] = {}
        self.connections = 0
        self.changed = asyncio.Event()
        self.port = 0
        self.on_open: Callable[[ServerConnection], Coroutine[Any, Any, None]] | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def start(self) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", self.port, compression=None, ping_interval=None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            for connection in list(self.lines):
                connection.transport.abort()
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, connection: ServerConnection) -> None:
        line = self.lines[connection] = Line(self.model)
        self.connections += 1
        self._note()
        try:
            if self.on_open is not None:
                await self.on_open(connection)
            while True:
                data = await connection.recv()
                assert isinstance(data, bytes)
                line.received(data)
                await self.flush()
                self._note()
        except ConnectionClosed:
            pass
        finally:
            line.lost()
            del self.lines[connection]
            self._note()

    def _note(self) -> None:
        self.changed.set()

    async def flush(self) -> None:
        """Send what the model has to say."""
        for connection, line in list(self.lines.items()):
            for frame in line.frames():
                with suppress(ConnectionClosed):
                    await connection.send(frame)

    async def deliver(self, *bodies: bytes) -> None:
        for body in bodies:
            self.model.deliver(body)
        await self.flush()

    async def say(self, op: bytes) -> None:
        for connection in list(self.lines):
            await connection.send(wire.frame([op]))

    def cut(self) -> None:
        """Break every connection without a word."""
        for connection in list(self.lines):
            connection.transport.abort()

    async def close(self, code: int, reason: str = "") -> None:
        for connection in list(self.lines):
            await connection.close(code, reason)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition over the model holds."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()


class QuickClock:
    """Real time, but no delay is longer than a hundredth of a second; the asked ones are noted."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.loop = asyncio.get_running_loop()

    def monotonic(self) -> float:
        return self.loop.time()

    def time_ms(self) -> int:
        return 1_700_000_000_000

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> asyncio.TimerHandle:
        self.asked.append(delay_s)
        return self.loop.call_later(min(delay_s, 0.01), fn)


def new_client(server: FakeServer, **options: Any) -> Client:
    """A client of the fake server that reconnects at once."""
    identity = Identity(ME, DEVICE, options.pop("key", None) or new_key())
    server.model.public_key = server.model.public_key or identity.public_key
    options.setdefault("backoff", Backoff(base_s=0.001, cap_s=0.01))
    options.setdefault("timeouts", Timeouts(ping_s=5.0, close_s=1.0))
    options.setdefault("random", random.Random(7))
    return Client(server.url, identity, **options)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; a hang is a failure."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main

    asyncio.run(bounded())
