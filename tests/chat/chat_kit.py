"""What the tests of the message path share: a node in this process, and clients of bare frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from palaver.supervisors.trees.settings import Settings
from palaver.supervisors.trees.system import ChatSystem
from palaver.transport import wire

PATIENCE_S = 20.0


def phone(number: int) -> str:
    """A German mobile number."""
    return f"+4915112345{number:03d}"


class Codes:
    """A code sender that keeps what it was given to send."""

    def __init__(self) -> None:
        self._sent: dict[str, asyncio.Future[str]] = {}

    async def send(self, phone: str, code: str) -> None:
        if self._of(phone).done():  # nobody waited for the one before
            del self._sent[phone]
        self._of(phone).set_result(code)

    async def next_for(self, phone: str) -> str:
        code = await asyncio.wait_for(self._of(phone), PATIENCE_S)
        del self._sent[phone]
        return code

    def _of(self, phone: str) -> asyncio.Future[str]:
        return self._sent.setdefault(phone, asyncio.get_running_loop().create_future())


class Refused(Exception):
    """An ERROR answer."""

    def __init__(self, reply: list[Any]) -> None:
        super().__init__(*reply[2:])
        self.code, self.text, self.retry_after_ms = reply[2:5]


class Device:
    """A registered device: it connects, asks, and remembers what it was pushed."""

    def __init__(self, url: str, account: str, number: int, key: Ed25519PrivateKey) -> None:
        self.url = url
        self.account = account
        self.number = number
        self.key = key
        self.position = 0  # acknowledged
        self.events: list[list[Any]] = []  # shown once each, in order
        self.repeats = 0
        self.hints: list[list[Any]] = []
        self.auto_ack = True
        self.next_cid = 1
        self.line: Line | None = None

    async def connect(self) -> list[Any]:
        """Open a connection and authenticate; the answer to AUTH."""
        self.line = line = await Line.open(self.url, self._take)
        welcome = await line.ask(wire.HELLO, [1], "test")
        payload = wire.auth_payload(welcome[2], self.account, self.number)
        return await line.ask(wire.AUTH, self.account, self.number, self.key.sign(payload))

    async def _take(self, op: list[Any]) -> None:
        if op[0] != wire.PUSH:
            self.hints.append(op)
            return
        first, events = op[1], op[2]
        for position, event in enumerate(events, first):
            if position <= self.seen:
                self.repeats += 1
                continue
            assert position == self.seen + 1, f"position {position} after {self.seen}"
            self.events.append(event)
        if self.auto_ack:
            await self.ack()

    @property
    def seen(self) -> int:
        return len(self.events)

    async def ack(self, position: int | None = None) -> None:
        assert self.line is not None
        self.position = self.seen if position is None else position
        await self.line.say(wire.ACK, self.position)

    async def ask(self, opcode: int, *args: Any) -> Any:
        assert self.line is not None
        return await self.line.ask(opcode, *args)

    async def send(self, to: str | bytes, body: bytes, **more: Any) -> list[Any]:
        """Send a message under the next client id; [conversation, seq, stamp]."""
        cid = more.pop("cid", None)
        if cid is None:
            cid, self.next_cid = self.next_cid, self.next_cid + 1
        defaults = {"low": cid, "seen": 0, "after": 0, "type": "text", "file": None}
        f = defaults | more
        return await self.ask(
            wire.SEND, to, cid, f["low"], f["seen"], f["after"], f["type"], body, f["file"]
        )

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something that this connection is told makes the condition true."""
        assert self.line is not None
        await self.line.until(condition)

    async def hang_up(self) -> None:
        assert self.line is not None
        await self.line.close()

    @property
    def bodies(self) -> list[bytes]:
        return [event[10] for event in self.events if event[0] == wire.EVENT_MESSAGE]


class Line:
    """One WebSocket, with answers matched to requests."""

    def __init__(self, ws: ClientConnection, take: Callable[[list[Any]], Any]) -> None:
        self.ws = ws
        self._take = take
        self._next_id = 0
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def open(cls, url: str, take: Callable[[list[Any]], Any] | None = None) -> Line:
        async def nothing(_: list[Any]) -> None:
            return None

        return cls(await connect(url, compression=None, ping_interval=None), take or nothing)

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.ws:
                assert isinstance(frame, bytes)
                for op in wire.decode_frame(frame):
                    if op[0] in (wire.OK, wire.ERROR):
                        answer = self._open.pop(op[1])  # exactly one answer to each request
                        if not answer.done():
                            if op[0] == wire.OK:
                                answer.set_result(op[2])
                            else:
                                answer.set_exception(Refused(op))
                    else:
                        await self._take(op)
                self._changed.set()
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the connection ended"))
        self._changed.set()

    def begin(self, opcode: int, *args: Any) -> tuple[list[Any], asyncio.Future[Any]]:
        """A request that is not sent yet, and its answer."""
        self._next_id += 1
        future = asyncio.get_running_loop().create_future()
        self._open[self._next_id] = future
        return [opcode, self._next_id, *args], future

    async def ask(self, opcode: int, *args: Any) -> Any:
        op, answer = self.begin(opcode, *args)
        await self.ws.send(wire.encode([op]))
        return await asyncio.wait_for(answer, PATIENCE_S)

    async def say(self, *op: Any) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.ws.send(wire.encode([list(op)]))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                if self._reader.done():
                    self._reader.result()
                    raise ConnectionError(f"closed {self.ws.close_code} {self.ws.close_reason}")
                self._changed.clear()
                await self._changed.wait()

    async def closed(self) -> int:
        """Wait until the server has closed the connection; the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), PATIENCE_S)
        await self.ws.wait_closed()
        assert self.ws.close_code is not None
        return self.ws.close_code

    async def close(self) -> None:
        await self.ws.close()
        await self._reader


class Place:
    """A running node and the ways into it."""

    def __init__(self, system: ChatSystem, codes: Codes) -> None:
        self.system = system
        self.codes = codes
        self.devices: list[Device] = []

    @property
    def url(self) -> str:
        return self.system.ws_url

    async def sign_up(self, account: str, name: str = "phone") -> Device:
        """Register a device by the real sign-up; it is not connected yet."""
        key = Ed25519PrivateKey.generate()
        line = await Line.open(self.url)
        await line.ask(wire.HELLO, [1], "test")
        await line.ask(wire.CODE, account)
        code = await self.codes.next_for(account)
        public = key.public_key().public_bytes_raw()
        answer = await line.ask(wire.SIGNUP, account, code, public, name)
        await line.close()
        device = Device(self.url, answer[0], answer[1], key)
        self.devices.append(device)
        return device

    async def online(self, account: str, name: str = "phone") -> Device:
        """Register a device and connect it."""
        device = await self.sign_up(account, name)
        await device.connect()
        return device


@contextlib.asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Place]:
    """A node over a data folder, stopped in order at the end."""
    codes = Codes()
    chosen = {"codes_per_hour": 1000, "codes_per_hour_per_address": 100_000} | settings
    system = ChatSystem(
        Settings(data_dir=folder, port=0, admin_port=0, **chosen), code_sender=codes
    )
    await system.start()
    place = Place(system, codes)
    try:
        yield place
    finally:
        for device in place.devices:
            if device.line is not None:
                await device.line.close()
        await system.stop()
