"""The way out of a connection: what one turn of the loop says leaves as one message."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Final

from palaver.transport.wire.constants import MAX_FRAME_BYTES, MAX_FRAME_OPS

from .framing import message, split
from .hub import Hub

OPEN: Final = 0
CLOSING: Final = 1
CLOSED: Final = 2


class Outgoing(asyncio.Protocol):
    """Collects operations, writes them once a turn, and knows when the peer does not keep up."""

    __slots__ = (
        "_full", "_hub", "_marked", "_out", "_out_bytes", "_reading", "_state", "_stuck_since",
        "_transport", "_write_paused", "due_tick",
    )  # fmt: skip

    def __init__(self, hub: Hub, transport: asyncio.Transport) -> None:
        self.due_tick = 0
        self._hub = hub
        self._transport = transport
        self._state = OPEN
        self._reading = True  # what the transport was told last
        self._out: list[bytes] | None = None
        self._out_bytes = 0
        self._marked = False  # to be flushed at the end of this turn
        self._full = False  # more waits for the flush than the mark
        self._write_paused = False  # the transport's buffer is above its mark
        self._stuck_since = 0.0  # since when it is not writable, 0.0 while it is

    @abstractmethod
    def abort(self, reason: str = "aborted") -> None:
        """End at once."""

    @abstractmethod
    def _sync_reading(self) -> None:
        """Bring the transport to read what may be read now."""

    @abstractmethod
    def _tell_writable(self) -> None:
        """Tell the owner that `writable` is true again."""

    @abstractmethod
    def on_due(self) -> None:
        """Look at what is overdue."""

    @property
    def is_open(self) -> bool:
        """Whether what is sent now can still go out."""
        return self._state == OPEN

    @property
    def writable(self) -> bool:
        """Whether the peer keeps up: less than the high-water mark waits to be written.

        An owner that sends only while this is true costs at most the mark and one operation.
        """
        return not (self._full or self._write_paused)

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent by the owner that the operating system has not taken yet."""
        if self._state == CLOSED:
            return 0
        return self._out_bytes + self._transport.get_write_buffer_size()

    def send(self, op: bytes) -> None:
        """Send one encoded operation.

        All that is sent to a connection in one turn of the loop leaves as one message and one
        write (more only above 256 operations or 256 KiB). Above `write_hard_limit_bytes` the
        connection is aborted.

        Raises:
            ValueError: the operation is too large for a frame.
        """
        if self._state != OPEN:
            return
        size = self._out_bytes + len(op)
        if size > self._hub.crowd_bytes and not self._room_for(op):
            return
        self._out_bytes = size
        if self._out is None:
            self._out = [op]
        else:
            self._out.append(op)
        if not self._marked:
            self._marked = True
            self._hub.mark_dirty(self)

    def send_patiently(self, op: bytes) -> None:
        """Send an operation that can wait for company: `EdgeLimits.patience_s` at most.

        It leaves with whatever else is sent to this connection meanwhile, and costs no frame and
        no write of its own then. The order with what is sent by `send` is kept.
        """
        size = self._out_bytes + len(op)
        if self._state != OPEN or size > self._hub.crowd_bytes:
            self.send(op)
            return
        self._out_bytes = size
        if self._out is None:
            self._out = [op]
            self._hub.mark_patient(self)
        else:
            self._out.append(op)

    def _room_for(self, op: bytes) -> bool:
        """Note that more than the mark waits for the flush; abort if it is far too much."""
        if len(op) > MAX_FRAME_BYTES - 3:
            raise ValueError(f"an operation of {len(op)} bytes fits in no frame")
        self._full = True
        self._mark_stuck()
        if self.buffered_bytes + len(op) > self._hub.limits.write_hard_limit_bytes:
            self._hub.stats.bad_input("write_overflow")
            self.abort("too much waits to be written")
            return False
        return True

    def flush(self) -> None:
        """Write what this turn has sent; the hub calls it."""
        out, size = self._out, self._out_bytes
        if out is None:
            return
        self._out, self._out_bytes = None, 0
        self._marked = False
        if self._state != OPEN or self._transport.is_closing():
            return
        stats = self._hub.stats
        if len(out) <= MAX_FRAME_OPS and size <= MAX_FRAME_BYTES - 3:
            data = message(out, size)
            stats.frames_out += 1
        else:
            messages = [message(part, sum(map(len, part))) for part in split(out)]
            data = b"".join(messages)
            stats.frames_out += len(messages)
        stats.bytes_out += len(data)
        self._transport.write(data)
        if self._full:
            self._full = False
            if not self._write_paused:
                self._flowing()

    def pause_writing(self) -> None:
        """The transport's buffer is above the mark."""
        self._write_paused = True
        self._mark_stuck()
        self._sync_reading()

    def resume_writing(self) -> None:
        """The transport's buffer is well below the mark again."""
        self._write_paused = False
        if not self._full:
            self._flowing()

    def _mark_stuck(self) -> None:
        if not self._stuck_since and self._state == OPEN:
            self._stuck_since = self._hub.loop.time()
            self._hub.wheel.sooner(self, self._stuck_since + self._hub.limits.write_timeout_s)

    def _flowing(self) -> None:
        self._stuck_since = 0.0
        self._sync_reading()
        if self._state == OPEN:
            self._tell_writable()
