"""One connection's conversation with the server: handshake, request ids, and what goes out next.

    OFFLINE ──connected──> GREETING ──welcome──> SIGNING_IN ──accepted──> READY ──GOING──> LEAVING
       ^─────────────────────────────── lost, from anywhere ──────────────────────────────────┘

While LEAVING only acknowledgements go out; what was asked is still answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

import cbor2

from palaver.transport.client.errors import ProtocolViolation
from palaver.transport.client.outbox import Entry, Outbox
from palaver.transport.client.requests import Requests
from palaver.transport.client.state import OutboxItem
from palaver.transport.wire import (
    AUTH,
    GROUP,
    HELLO,
    MAX_FRAME_BYTES,
    MAX_FRAME_OPS,
    MAX_OPEN_REQUESTS,
    MAX_REQUEST_ID,
    MEMBERS,
    OPCODES,
    PROTOCOL_VERSION,
    SEND,
    Ack,
    Auth,
    Group,
    Hello,
    Members,
    Request,
    Send,
    Typing,
    Welcome,
    auth_payload,
    encode_request,
    frame,
)

__all__ = ["Opened", "Phase", "Session", "command"]

# An array's head has at most three bytes.
_HEAD_BYTES: Final = 3
# Any single operation fits into this; a server that announces less is not taken at its word.
_LEAST_FRAME_BYTES: Final = 80 * 1024
_MAX_TYPING: Final = 32


class Phase(IntEnum):
    """How far a connection is."""

    OFFLINE = 0
    GREETING = 1
    SIGNING_IN = 2
    READY = 3
    LEAVING = 4


class Opened(NamedTuple):
    """A request that was sent and not answered: a command's cid or a request's token, or none."""

    opcode: int
    cid: int = 0
    token: int = 0


def command(item: OutboxItem, request_id: int, low: int) -> Request:
    """Return the request that an outbox item stands for."""
    args = cbor2.loads(item.args)
    if item.op == SEND:
        to, seen, after, kind, body, file = args
        return Send(request_id, to, item.cid, low, seen, after, kind, body, file)
    if item.op == GROUP:
        return Group(request_id, item.cid, low, args[0], tuple(args[1]))
    assert item.op == MEMBERS, item.op
    return Members(request_id, item.cid, low, args[0], tuple(args[1]), tuple(args[2]))


class _Packer:
    """Operations for one frame, within its limits."""

    __slots__ = ("_max_bytes", "_max_ops", "ops", "size_bytes")

    def __init__(self, max_ops: int, max_bytes: int) -> None:
        self._max_ops = max_ops
        self._max_bytes = max_bytes - _HEAD_BYTES
        self.ops: list[bytes] = []
        self.size_bytes = 0

    def add(self, op: bytes) -> bool:
        if len(self.ops) >= self._max_ops or self.size_bytes + len(op) > self._max_bytes:
            return False
        self.ops.append(op)
        self.size_bytes += len(op)
        return True


class Session:
    """The state of one connection after the other."""

    __slots__ = (
        "_account",
        "_ack_sent",
        "_agent",
        "_control",
        "_device",
        "_max_bytes",
        "_max_open",
        "_max_ops",
        "_next_id",
        "_sign",
        "_typing",
        "deadline_s",
        "open",
        "phase",
        "timeout_s",
    )

    def __init__(
        self,
        account: str,
        device: int,
        sign: Callable[[bytes], bytes],
        *,
        agent: str,
        timeout_s: float,
    ) -> None:
        self.phase = Phase.OFFLINE
        self.open: dict[int, Opened] = {}
        self.deadline_s: float | None = None
        self.timeout_s = timeout_s
        self._account = account
        self._device = device
        self._sign = sign
        self._agent = agent
        self._next_id = 1
        self._control: deque[bytes] = deque()
        self._typing: deque[Typing] = deque(maxlen=_MAX_TYPING)
        self._ack_sent = 0
        self._max_open = MAX_OPEN_REQUESTS
        self._max_ops = MAX_FRAME_OPS
        self._max_bytes = MAX_FRAME_BYTES

    @property
    def ready(self) -> bool:
        """Whether requests may be sent."""
        return self.phase is Phase.READY

    def connected(self, now_s: float) -> None:
        """A connection is open: greet."""
        assert self.phase is Phase.OFFLINE
        self.phase = Phase.GREETING
        self.deadline_s = now_s + self.timeout_s
        request_id = self._open(Opened(HELLO))
        self._control.append(encode_request(Hello(request_id, (PROTOCOL_VERSION,), self._agent)))

    def welcomed(self, welcome: Welcome) -> None:
        """The server greeted back: sign in."""
        if self.phase is not Phase.GREETING or welcome.version != PROTOCOL_VERSION:
            raise ProtocolViolation(f"the server chose protocol version {welcome.version}")
        self.phase = Phase.SIGNING_IN
        limits = welcome.limits
        self._max_open = max(1, min(MAX_OPEN_REQUESTS, limits.get("open_requests", 1 << 30)))
        self._max_ops = max(2, min(MAX_FRAME_OPS, limits.get("frame_ops", 1 << 30)))
        frame_bytes = min(MAX_FRAME_BYTES, limits.get("frame_bytes", 1 << 30))
        self._max_bytes = max(_LEAST_FRAME_BYTES, frame_bytes)
        signature = self._sign(auth_payload(welcome.nonce, self._account, self._device))
        request_id = self._open(Opened(AUTH))
        self._control.append(
            encode_request(Auth(request_id, self._account, self._device, signature))
        )

    def accepted(self) -> None:
        """The server accepted the signature."""
        self.phase = Phase.READY
        self.deadline_s = None
        self._ack_sent = 0

    def leave(self, now_s: float) -> None:
        """The server said that it goes: ask nothing more of it, and do not wait for long."""
        self.phase = Phase.LEAVING
        self.deadline_s = now_s + self.timeout_s

    def lost(self) -> None:
        """The connection is gone."""
        self.phase = Phase.OFFLINE
        self.deadline_s = None
        self.open.clear()
        self._control.clear()
        self._typing.clear()

    def repeat_ack(self, position: int) -> None:
        """The server sends again what was acknowledged from this position on: say so once more."""
        self._ack_sent = min(self._ack_sent, position - 1)

    def hint(self, typing: Typing) -> None:
        """Say that a person is typing, if it can be said now; hints are never kept."""
        if self.ready:
            self._typing.append(typing)

    def answered(self, request_id: int) -> Opened:
        """Take the request that an answer belongs to.

        Raises:
            ProtocolViolation: There is no such open request.
        """
        opened = self.open.pop(request_id, None)
        if opened is None:
            raise ProtocolViolation(f"an answer to request {request_id}, which is not open")
        return opened

    def _open(self, opened: Opened) -> int:
        request_id = self._next_id
        while request_id in self.open:
            request_id = request_id % MAX_REQUEST_ID + 1
        self._next_id = request_id % MAX_REQUEST_ID + 1
        self.open[request_id] = opened
        return request_id

    def transmit(
        self, now_s: float, outbox: Outbox, requests: Requests, position: int
    ) -> bytes | None:
        """Return the next frame to send, or None where there is nothing to say."""
        packer = _Packer(self._max_ops, self._max_bytes)
        while self._control:
            packer.add(self._control.popleft())
        if self.phase in (Phase.READY, Phase.LEAVING) and position > self._ack_sent:
            self._ack_sent = position
            packer.add(encode_request(Ack(position)))
        if self.ready:
            while self._typing and packer.add(encode_request(self._typing[0])):
                self._typing.popleft()
            self._pack_requests(packer, now_s, requests)
            self._pack_commands(packer, now_s, outbox)
        return frame(packer.ops) if packer.ops else None

    def _pack_requests(self, packer: _Packer, now_s: float, requests: Requests) -> None:
        while len(self.open) < self._max_open:
            pending = requests.next_ready(now_s)
            if pending is None:
                return
            opened = Opened(OPCODES[type(pending.op)], token=pending.token)
            request_id = self._open(opened)
            if not packer.add(encode_request(pending.op._replace(id=request_id))):
                del self.open[request_id]
                requests.unsend(pending)
                return

    def _pack_commands(self, packer: _Packer, now_s: float, outbox: Outbox) -> None:
        while len(self.open) < self._max_open:
            entry = outbox.next_ready(now_s)
            if entry is None or not self._pack_command(packer, entry, outbox.low()):
                return
            outbox.sent(entry, now_s)

    def _pack_command(self, packer: _Packer, entry: Entry, low: int) -> bool:
        request_id = self._open(Opened(entry.item.op, cid=entry.item.cid))
        if packer.add(encode_request(command(entry.item, request_id, low))):
            return True
        del self.open[request_id]
        return False
