"""One WebSocket: what its owner holds, and the way in, the end and the deadlines of it.

The bytes that come in are read by `websockets`' Sans-I/O protocol, begun in its open state after
the handshake: the object that did the handshake, with its request and response, is not kept. The
way out is `Outgoing`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, State
from websockets.protocol import Protocol as WebSocket

from palaver.transport.wire.constants import CloseCode

from .framing import short_reason
from .hub import Hub
from .outgoing import CLOSED, CLOSING, OPEN, Outgoing

_BINARY: Final = Opcode.BINARY
_FAILURES: Final = {1002: "protocol_error", 1007: "bad_utf8", 1009: "too_big"}


class Connection(Outgoing):
    """A WebSocket as its owner sees it; also the asyncio protocol of its transport.

    Use it on its loop only. Nothing here raises for a connection that has ended meanwhile: what
    is sent to it is dropped, and `Acceptor.on_close` tells.
    """

    __slots__ = (
        "_close_at", "_deadline", "_ended", "_half_since", "_heard", "_held", "_paused", "_pinged",
        "_unfinished", "_ws", "address", "attachment", "peer",
    )  # fmt: skip

    def __init__(self, hub: Hub, transport: asyncio.Transport, address: str, peer: str) -> None:
        super().__init__(hub, transport)
        self.peer = peer
        """The peer's address and port, for logs."""
        self.address = address
        """The peer's address alone."""
        self.attachment: Any = None
        """Whatever the owner wants to find here; dropped after `on_close`."""
        self._ws = WebSocket(
            SERVER, state=State.OPEN, max_size=hub.limits.max_frame_bytes, logger=hub.logger
        )
        self._paused = True  # by the owner
        self._held: list[Frame] | None = None  # read, not delivered: the owner paused
        self._unfinished: bytearray | None = None  # the fragments of a message so far
        self._ended: tuple[int, str] | None = None  # why, if the WebSocket itself cannot tell
        self._heard = hub.wheel.now
        # Times at which something began, 0.0 while it is not so.
        self._pinged = 0.0
        self._half_since = 0.0
        self._close_at = 0.0
        self._deadline = 0.0

    # What the owner calls.

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Send what was sent so far, say goodbye, and end within `close_timeout_s`.

        No frame is delivered any more. A second call changes nothing.
        """
        if self._state != OPEN:
            return
        self.flush()
        if self._state == OPEN:
            # What the peer did later in the same packet may have closed the WebSocket already.
            if self._ws.state is State.OPEN:
                self._ws.send_close(code, short_reason(reason))
                self._write_protocol()
            self._begin_closing()

    def abort(self, reason: str = "aborted") -> None:
        """End at once; what was not written yet is lost."""
        if self._state == CLOSED:
            return
        if self._ended is None and self._state == OPEN:
            self._ended = (int(CloseCode.ABNORMAL), reason)
        self._state = CLOSING
        self._transport.abort()

    def pause_reading(self) -> None:
        """Stop delivering frames, and reading them; a ping is not missed meanwhile."""
        self._paused = True
        self._sync_reading()

    def resume_reading(self) -> None:
        """Deliver frames again, first those that were read before the pause."""
        if not self._paused:
            return
        self._paused = False
        if self._held is not None:
            self._hub.loop.call_soon(self._deliver_held)
        self._sync_reading()

    def set_deadline(self, after_s: float | None) -> None:
        """Close with 4408 after so many seconds unless this is called again; None ends that.

        For what a peer must do in time, as saying hello; it costs no timer.
        """
        if after_s is None:
            self._deadline = 0.0
            return
        self._deadline = self._hub.loop.time() + after_s
        if self._state == OPEN:
            self._hub.wheel.sooner(self, self._deadline)

    def _tell_writable(self) -> None:
        try:
            self._hub.acceptor.on_writable(self)
        except Exception as exc:  # noqa: BLE001 - reported; the owner's fault ends one connection
            self._owner_failed("on_writable failed", exc)

    # In.

    def _sync_reading(self) -> None:
        """Bring the transport to read what may be read: all while closing, to see the goodbye."""
        want = self._state != OPEN or not (self._paused or self._write_paused)
        if want == self._reading or self._transport.is_closing():
            return
        self._reading = want
        if want:
            self._heard = self._hub.loop.time()
            if self._half_since:  # The time in which nothing was read is not the peer's.
                self._half_since = self._heard
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def opened(self, rest: bytes) -> None:
        """Begin, right after the handshake; `rest` is what came in behind it."""
        hub = self._hub
        hub.connections[self] = None
        hub.stats.connections_open += 1
        hub.stats.opened_total += 1
        self._transport.set_write_buffer_limits(hub.limits.write_high_water_bytes)
        self._sync_reading()
        hub.wheel.schedule(self, self._heard + hub.limits.ping_s)
        try:
            hub.acceptor.on_open(self)
        except Exception as exc:  # noqa: BLE001 - reported; the owner's fault ends one connection
            self._owner_failed("on_open failed", exc)
        if rest:
            self.data_received(rest)

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        hub = self._hub
        hub.stats.bytes_in += len(data)
        self._heard = hub.wheel.now
        self._pinged = 0.0
        ws = self._ws
        ws.receive_data(data)
        events = ws.events_received()
        if ws.writes:
            self._write_protocol()
        if self._state == OPEN:
            if self._held is not None:
                self._held.extend(events)  # type: ignore[arg-type]
            elif events:
                self._deliver(events)  # type: ignore[arg-type]
        if self._state == OPEN:
            if ws.state is not State.OPEN:
                self._ws_closing()
            else:
                self._note_half()

    def _note_half(self) -> None:
        """See whether a message is begun and not finished.

        A header of which not even the length arrived can hide behind a whole frame in the same
        packet; such a peer cannot answer a ping, so it ends a little later.
        """
        ws = self._ws
        if ws.reader.buffer or ws.current_size is not None:
            if not self._half_since:
                self._half_since = self._hub.loop.time()
                limit = self._hub.limits.half_message_timeout_s
                self._hub.wheel.sooner(self, self._half_since + limit)
        else:
            self._half_since = 0.0

    def _deliver(self, frames: list[Frame]) -> None:
        for i, frame in enumerate(frames):
            if self._state != OPEN:
                return
            if self._paused:
                self._held = frames[i:]
                return
            if frame.opcode is _BINARY and frame.fin:
                self._deliver_message(bytes(frame.data))
            else:
                self._other_frame(frame)

    def _deliver_held(self) -> None:
        if self._held is not None and not self._paused:
            frames, self._held = self._held, None
            self._deliver(frames)

    def _deliver_message(self, data: bytes) -> None:
        self._hub.stats.frames_in += 1
        self._half_since = 0.0
        try:
            self._hub.acceptor.on_frame(self, data)
        except Exception as exc:  # noqa: BLE001 - reported; the owner's fault ends one connection
            self._owner_failed("on_frame failed", exc)

    def _other_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT:
            self._hub.stats.bad_input("text_frame")
            self.fail(CloseCode.TEXT_FRAME, "only binary messages")
        elif frame.opcode is _BINARY:
            self._unfinished = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._unfinished is not None:
            self._unfinished += frame.data
            if frame.fin:
                data, self._unfinished = bytes(self._unfinished), None
                self._deliver_message(data)

    # The end.

    def _write_protocol(self) -> None:
        """Write what the WebSocket itself has to say: pongs, pings, the closing frame, the end."""
        for data in self._ws.data_to_send():
            if self._transport.is_closing():
                return
            if data:
                self._hub.stats.bytes_out += len(data)
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    def fail(self, code: int, reason: str) -> None:
        """Close because of what the peer did: whatever it says from now on is not listened to."""
        if self._state == OPEN:
            self.flush()
            self._ws.fail(code, short_reason(reason))
            self._write_protocol()
            self._begin_closing()

    def _ws_closing(self) -> None:
        """Go along with a close that the WebSocket has answered or begun by itself."""
        sent = self._ws.close_sent
        if sent is not None and not self._ws.close_rcvd:
            self._hub.stats.bad_input(_FAILURES.get(sent.code, "protocol_error"))
        self._begin_closing()

    def _begin_closing(self) -> None:
        if self._state == OPEN:
            self._state = CLOSING
            self._out = self._held = self._unfinished = None
            self._out_bytes = 0
            self._close_at = self._hub.loop.time() + self._hub.limits.close_timeout_s
            self._hub.wheel.schedule(self, self._close_at)
            self._sync_reading()

    def _owner_failed(self, message: str, exc: Exception) -> None:
        self._hub.report(message, exc, self)
        self.close(CloseCode.INTERNAL, "internal error")

    def eof_received(self) -> None:
        """The peer writes no more; the transport closes itself after this."""
        self._ws.receive_eof()
        self._ws.data_to_send()  # Nothing can be said any more.
        self._begin_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        hub = self._hub
        self._state = CLOSED
        hub.wheel.cancel(self)
        hub.connections.pop(self, None)
        code, reason = self._verdict(exc)
        hub.stats.connections_open -= 1
        hub.stats.closed(code)
        try:
            hub.acceptor.on_close(self, code, reason)
        except Exception as error:  # noqa: BLE001 - reported; the rest of the end must happen
            hub.report("on_close failed", error, self)
        self._out = self._held = self._unfinished = self.attachment = None
        hub.depart(self.address)

    def _verdict(self, exc: Exception | None) -> tuple[int, str]:
        if self._ended is not None:
            return self._ended
        sent, received = self._ws.close_sent, self._ws.close_rcvd
        if received is not None and (sent is None or self._ws.close_rcvd_then_sent):
            return int(received.code), received.reason
        if sent is not None:
            return int(sent.code), sent.reason
        return int(CloseCode.ABNORMAL), str(exc) if exc is not None else "connection lost"

    # The clock.

    def on_due(self) -> None:
        """Look at what is overdue; the wheel calls it."""
        now, limits, stats = self._hub.loop.time(), self._hub.limits, self._hub.stats
        if self._state != OPEN:
            if self._close_at and now < self._close_at:
                self._hub.wheel.schedule(self, self._close_at)
            else:
                self._transport.abort()
        elif self._stuck_since and now >= self._stuck_since + limits.write_timeout_s:
            stats.bad_input("write_timeout")
            self.abort("does not read")
        elif self._overdue_half(now):
            stats.bad_input("half_message")
            self.fail(CloseCode.TOO_SLOW, "message not finished in time")
        elif self._deadline and now >= self._deadline:
            stats.bad_input("deadline")
            self.close(CloseCode.TOO_SLOW, "deadline passed")
        elif self._pinged and self._reading and now >= self._pinged + limits.pong_timeout_s:
            stats.bad_input("pong_timeout")
            self.abort("no answer to a ping")
        else:
            self._look_again(now)

    def _overdue_half(self, now: float) -> bool:
        since = self._half_since
        limit = self._hub.limits.half_message_timeout_s
        return since != 0.0 and self._reading and now >= since + limit

    def _look_again(self, now: float) -> None:
        limits = self._hub.limits
        if not self._reading:  # A pong would not be seen.
            self._pinged, self._heard = 0.0, now
        elif not self._pinged and now >= self._heard + limits.ping_s:
            self._pinged = now
            self._hub.stats.pings_sent += 1
            self._ws.send_ping(b"")
            self._write_protocol()
        due = self._heard + limits.ping_s
        if self._pinged:
            due = self._pinged + limits.pong_timeout_s
        if self._stuck_since:
            due = min(due, self._stuck_since + limits.write_timeout_s)
        if self._half_since and self._reading:
            due = min(due, self._half_since + limits.half_message_timeout_s)
        if self._deadline:
            due = min(due, self._deadline)
        self._hub.wheel.schedule(self, due)
