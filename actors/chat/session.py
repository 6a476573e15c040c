"""The process of one connection: it authenticates a device, then does what the device asks.

Everything a client says is handled here, one frame after another; whatever it gets wrong ends
this process at the worst. Identity comes from the `handshake` alone: no frame names its sender.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from palaver.actors.chat import handshake, requests
from palaver.actors.chat.accounts import SignUpAnswer
from palaver.actors.chat.context import Inbox, SessionContext
from palaver.actors.chat.device_queue import DeviceQueue, come_back
from palaver.actors.chat.handshake import Handshake
from palaver.actors.chat.lanes import Lanes
from palaver.actors.chat.messages import (
    Answer,
    Applied,
    Ask,
    ClientAck,
    Close,
    ConnectionEnded,
    PresenceIs,
    RegisterSession,
    Rewatch,
    SequencerIs,
    SessionOp,
    Watched,
    Writable,
)
from palaver.actors.chat.queries import Login
from palaver.actors.chat.refusals import RequestTimeout, Unavailable, refusal_of
from palaver.actors.runtime import NORMAL, Down, GenServer, Pid, Response, Stop
from palaver.supervisors import ChildSpec, StartChild
from palaver.transport import wire
from palaver.transport.edge import Connection
from palaver.transport.wire import CloseCode, ErrorCode

__all__ = ["Session"]

Continuation = Callable[[Any, "BaseException | None"], None]


class _Flush(NamedTuple):
    pass


class _FlushTimeout(NamedTuple):
    pass


class _Overdue(NamedTuple):
    """Look whether a question to another process was never answered."""


class Session(GenServer):
    """One connection of one device."""

    __slots__ = (
        "_acked",
        "_closing",
        "_connection",
        "_continuations",
        "_directs",
        "_flush_due",
        "_handshake",
        "_hung_up",
        "_inbox",
        "_lanes",
        "_late",
        "_open",
        "_queue",
        "_queue_ref",
        "_queues",
        "_tag",
        "account",
        "context",
        "device",
        "gateway",
        "watching",
    )

    def init(
        self, connection: Connection, gateway: Pid, queues: str, context: SessionContext
    ) -> Stop | None:
        """Serve `connection`, which `gateway` admitted; `queues` starts its device's queue."""
        self._connection = connection
        self.gateway = gateway
        self.context = context
        self.account = ""
        self.device = 0
        self.watching: dict[str, requests.Watching] | None = None
        self._handshake: Handshake | None = Handshake(self)
        self._acked = 0
        self._flush_due = False
        self._tag = 0
        self._open: set[int] = set()
        self._continuations: dict[int, tuple[Continuation, float, Any]] = {}
        self._lanes: Lanes | None = None
        self._late: dict[Any, bytes] | None = None
        self._directs: dict[str, tuple[tuple[str, str], bytes]] | None = None
        self._queues = queues
        self._queue: Pid | None = None
        self._queue_ref: Any = None
        self._closing: Close | None = None
        self._hung_up = False
        self._inbox = Inbox(self.pid)
        if not connection.is_open:
            return Stop(NORMAL)
        connection.attachment = self._inbox
        connection.set_deadline(context.limits.authenticate_s)
        connection.resume_reading()
        return None

    def terminate(self, reason: Any) -> None:
        """Close the connection, whatever ended the session."""
        self._connection.close(CloseCode.INTERNAL, "the session ended")

    def handle_info(self, message: Any) -> Stop | None:
        """Take a frame, an answer from inside, something for the client, or the end."""
        kind = type(message)
        if kind is bytes:
            self._frame(message)
        elif kind is Applied or kind is Answer:
            self._answered(message.tag, message.value, message.error)
        elif kind is _Flush:
            self._flush()
        elif kind is SessionOp:
            self.forward(message.key, message.op)
        else:
            return self._take_rare(message)
        return Stop(NORMAL) if self._hung_up else None

    def _take_rare(self, message: Any) -> Stop | None:
        match message:
            case SequencerIs():
                if self._lanes is not None:
                    self._lanes.found(message)
            case SignUpAnswer():
                self._answered(message.tag, message, None)
            case Response(_, value, error):
                self._queue_started(value, error)
            case Watched() | PresenceIs() | Rewatch():
                requests.presence_says(self, message)
            case Writable():
                self._flush_late()
            case Down(ref, _, _):
                self._down(ref)
            case Close():
                self._begin_close(message)
            case ConnectionEnded():
                self._hung_up = True
            case _Overdue():
                self._give_up_overdue()
            case _FlushTimeout():
                self._finish_close()
            case _:
                super().handle_info(message)
        return Stop(NORMAL) if self._hung_up else None

    # -- frames ------------------------------------------------------------------------------------

    def _frame(self, data: bytes) -> None:
        inbox = self._inbox
        inbox.waiting_bytes -= len(data)
        if self._closing is not None or self._hung_up:
            return
        try:
            ops = wire.decode_frame(data)
        except wire.BadFrame as error:
            self.context.stats.bad_input["bad_frame"] += 1
            self.hang_up(CloseCode.BAD_FRAME, str(error))
            return
        for op in ops:
            try:
                request = wire.parse_request(op)
            except wire.BadRequest as error:
                if not self._refuse(error):
                    return
                continue
            kind = type(request)
            if kind is wire.Ack:
                self._acked = request.pos  # type: ignore[union-attr]
            elif kind is wire.Typing:
                if self._handshake is None:
                    self.lanes.hint(request.to, request.on)  # type: ignore[union-attr]
            elif not self._request(kind, request):
                return
        if self._acked or self._lanes is not None:
            self.flush_soon()
        self._sync_reading()

    def flush_soon(self) -> None:
        """Pass on what has come, behind the frames that have come already.

        They become one batch with it, so that a session that falls behind becomes cheaper.
        """
        if not self._flush_due:
            self._flush_due = True
            self.send(self.pid, _Flush())

    def _flush(self) -> None:
        self._flush_due = False
        if self._acked:
            if self._queue is not None:
                self.send(self._queue, ClientAck(self._acked))
            self._acked = 0
        if self._lanes is not None:
            self._lanes.flush()

    def _refuse(self, error: wire.BadRequest) -> bool:
        self.context.stats.bad_input[str(error.code)] += 1
        if error.request_id is None or error.request_id in self._open:
            self.hang_up(CloseCode.BAD_FRAME, error.text)
            return False
        self._open.add(error.request_id)
        self.answer_error(error.request_id, error.code, error.text)
        return True

    def _request(self, kind: type, request: Any) -> bool:
        request_id = request.id
        if request_id in self._open:
            self.context.stats.bad_input["id_in_use"] += 1
            self.hang_up(CloseCode.BAD_FRAME, f"request {request_id} is open already")
            return False
        self._open.add(request_id)
        self.context.stats.requests[_NAMES[kind]] += 1
        if self._handshake is not None:
            self._handshake.take(request)
        elif kind is wire.Send:
            self.lanes.add(request)
        elif kind in handshake.REQUESTS:
            text = "this connection is authenticated"
            self.answer_error(request_id, ErrorCode.ALREADY_AUTHENTICATED, text)
        else:
            requests.HANDLERS[kind](self, request)
        return not self._hung_up

    def _sync_reading(self) -> None:
        """Read on, unless too much is open or unhandled."""
        if self._closing is not None:
            return
        limits = self.context.limits
        if len(self._open) >= limits.open_requests:
            self._connection.pause_reading()
        elif self._inbox.waiting_bytes <= limits.backlog_bytes:
            self._connection.resume_reading()

    # -- answers -----------------------------------------------------------------------------------

    def answer(self, request_id: int, op: bytes) -> None:
        """Give a request its one answer."""
        self._open.discard(request_id)
        self._connection.send(op)
        if len(self._open) == self.context.limits.open_requests - 1:
            self._sync_reading()
        if self._closing is not None and not self._open:
            self._finish_close()

    def answer_error(
        self, request_id: int, code: ErrorCode, text: str, retry_after_ms: int | None = None
    ) -> None:
        """Answer a request with an error."""
        self.context.stats.errors[str(code)] += 1
        self.answer(request_id, wire.error(request_id, code, text, retry_after_ms))

    def expect(self, place: str, then: Continuation) -> int:
        """A tag for a question to a named process; `then` gets the value or the error.

        If that process ends first, the error is `Unavailable`.
        """
        tag = self.new_tag()
        if not self._continuations:
            self.send_after(self.context.limits.request_s, self.pid, _Overdue())
        self._continuations[tag] = (then, self.clock.monotonic(), self.monitor(place))
        return tag

    def _give_up_overdue(self) -> None:
        """Answer what a process left unanswered."""
        limit_s = self.context.limits.request_s
        now_s = self.clock.monotonic()
        for tag, (_, since_s, _) in list(self._continuations.items()):
            if since_s + limit_s <= now_s:
                self._continue(tag, None, RequestTimeout())
        if self._continuations:
            self.send_after(limit_s, self.pid, _Overdue())

    @property
    def address(self) -> str:
        """The network address of the client."""
        return self._connection.address

    def new_tag(self) -> int:
        """A number that this session has not used yet."""
        self._tag += 1
        return self._tag

    def ask(self, request_id: int, key: str | bytes, query: str, args: tuple[Any, ...],
            then: Callable[[Any], None]) -> None:  # fmt: skip
        """Ask the partition of `key` for a request; an error is answered, `then` gets the value."""
        place = self.context.places.of(key)
        tag = self.expect(place, self.or_error(request_id, then))
        self.send(place, Ask(self.pid, tag, query, args))

    def or_error(self, request_id: int, then: Callable[[Any], None]) -> Continuation:
        """Go on with the value, or answer the request with the error."""

        def go_on(value: Any, error: BaseException | None) -> None:
            if error is None:
                then(value)
            else:
                self.answer_error(request_id, *refusal_of(error))

        return go_on

    def _answered(self, tag: int, value: Any, error: BaseException | None) -> None:
        if self._lanes is not None and self._lanes.answered(tag, value, error):  # type: ignore[arg-type]
            return
        self._continue(tag, value, error)

    def _continue(self, tag: int, value: Any, error: BaseException | None) -> None:
        known = self._continuations.pop(tag, None)
        if known is not None:
            then, _, ref = known
            self.demonitor(ref)
            then(value, error)

    # -- the ready session -------------------------------------------------------------------------

    def enter(self, account: str, device: int, login: Login, request_id: int) -> None:
        """Answer AUTH, tell the gateway, let the queue push; the client hears AUTH first."""
        self.account, self.device = account, device
        self._handshake = None
        self._connection.set_deadline(None)
        stats = self.context.stats
        stats.logins += 1
        stats.queue_depth.observe(login.last - login.acked)
        result = [login.last - login.acked, login.acked + 1, self.clock.time_ms()]
        self.answer(request_id, wire.ok(request_id, result))
        self.send(self.gateway, RegisterSession(account, device, self.pid, self._connection))
        partition = self.context.places.number_of(self.account)
        spec = ChildSpec(
            id=(self.account, self.device, self.pid),
            start=DeviceQueue,
            args=(
                self.pid, self._connection, self.account, self.device, partition, login, stats,
            ),
            restart="temporary",
        )  # fmt: skip
        self.send_request(self._queues, StartChild(spec))

    def _queue_started(self, queue: Any, error: BaseException | None) -> None:
        if error is not None:
            self._begin_close(come_back())
        else:
            self._queue = queue
            self._queue_ref = self.monitor(queue)

    @property
    def lanes(self) -> Lanes:
        """The sending side, made when it is first used: most connections are quiet."""
        if self._lanes is None:
            self._lanes = Lanes(self)
        return self._lanes

    def direct(self, other: str) -> tuple[tuple[str, str], bytes]:
        """The two of a direct conversation in order, and its id."""
        if self._directs is None:
            self._directs = {}
        known = self._directs.get(other)
        if known is None:
            if len(self._directs) >= self.context.limits.lanes:
                self._directs.clear()
            mine = self.account
            pair = (mine, other) if mine < other else (other, mine)
            known = self._directs[other] = (pair, wire.direct_conversation(mine, other))
        return known

    def forward(self, key: Any, op: bytes) -> None:
        """Send a hint; for a slow reader keep only the latest of each kind."""
        if self._connection.writable and self._late is None:
            self._connection.send(op)
            return
        if self._late is None:
            self._late = {}
        self._late.pop(key, None)
        self._late[key] = op
        if len(self._late) > self.context.limits.late_ops:
            self._begin_close(come_back())

    def _flush_late(self) -> None:
        while self._late:
            if not self._connection.writable:
                return
            self._connection.send(self._late.pop(next(iter(self._late))))
        self._late = None

    def _down(self, ref: Any) -> None:
        if ref is self._queue_ref:
            self._queue = None
            self._begin_close(come_back())
        elif self._lanes is None or not self._lanes.lost(ref):
            for tag, (_, _, asked) in list(self._continuations.items()):
                if asked is ref:
                    self._continue(tag, None, Unavailable())

    # -- the end -----------------------------------------------------------------------------------

    def _begin_close(self, close: Close) -> None:
        """Stop listening; wait a little for the answers to what was accepted; then close."""
        if self._closing is not None:
            return
        self._closing = close
        self._connection.pause_reading()
        if close.reconnect_after_ms is None or not self._open:
            self._finish_close()
        else:
            self.send_after(self.context.limits.flush_s, self.pid, _FlushTimeout())

    def _finish_close(self) -> None:
        close = self._closing
        if close is None or self._hung_up:
            return
        if close.reconnect_after_ms is not None:
            self._connection.send(wire.going(close.reason, close.reconnect_after_ms))
        self.hang_up(close.code, close.reason)

    def hang_up(self, code: int, reason: str) -> None:
        """Close the connection after what was sent, and end."""
        self._connection.close(code, reason)
        self._hung_up = True


_NAMES: Mapping[type, str] = {
    kind: kind.__name__.lower() for kind in (*handshake.REQUESTS, wire.Send, *requests.HANDLERS)
}
