"""What the connections of one listener share: limits, counters, deadlines, the flush, the owner."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from palaver.transport.wire.constants import MAX_FRAME_BYTES

from .limits import EdgeLimits, EdgeStats
from .wheel import Wheel

if TYPE_CHECKING:
    from .connection import Connection
    from .head import HeadReader
    from .outgoing import Outgoing


class Acceptor(Protocol):
    """The owner of a listener's connections; every method is called on the loop.

    An exception from any of them is handed to the loop's exception handler and closes the
    connection with 4500; it disturbs no other connection.
    """

    def on_open(self, conn: Connection) -> None:
        """A WebSocket is open. Nothing is read from it before `conn.resume_reading()`."""

    def on_frame(self, conn: Connection, data: bytes) -> None:
        """A whole binary message has arrived. Not called any more once `conn` is closing."""

    def on_close(self, conn: Connection, code: int, reason: str) -> None:
        """The connection is gone: once for each `on_open`, also after `conn.close()`.

        `code` is what the side that closed first said, 1006 if neither said anything.
        """

    def on_writable(self, conn: Connection) -> None:
        """`conn.writable` was false and is true again."""


class Hub:
    """The shared part of a listener; a connection holds one reference to it."""

    __slots__ = (
        "_dirty",
        "_patient",
        "_per_address",
        "acceptor",
        "connections",
        "crowd_bytes",
        "gone",
        "heads",
        "limits",
        "logger",
        "loop",
        "refusing",
        "stats",
        "stopping",
        "transports",
        "wheel",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        acceptor: Acceptor,
        limits: EdgeLimits,
        stats: EdgeStats,
    ) -> None:
        self.loop = loop
        self.acceptor = acceptor
        self.limits = limits
        self.stats = stats
        self.crowd_bytes = min(limits.write_high_water_bytes, MAX_FRAME_BYTES - 3)
        """From here on what is sent in one turn is looked at more closely."""
        # websockets tells every opening and closing at INFO; only what went wrong is of interest.
        self.logger = logging.Logger(  # noqa: LOG001 - its level is no matter of configuration
            "palaver.transport.edge", logging.WARNING
        )
        self.logger.parent = logging.getLogger("palaver")
        self.wheel = Wheel(loop, limits.tick_s)
        # Dicts, not sets: their order is the same in every run.
        self.connections: dict[Connection, None] = {}
        self.heads: dict[HeadReader, None] = {}
        self.transports = 0
        """Transports that exist: heads being read, WebSockets, HTTP, refusals."""
        self.refusing = 0
        self.stopping = False
        self.gone = asyncio.Event()
        """Set while no transport exists."""
        self.gone.set()
        self._dirty: list[Outgoing] = []
        self._patient: list[Outgoing] = []
        self._per_address: dict[str, int] = {}

    def arrive(self, address: str) -> str | None:
        """Count a new transport; return why it must be refused, or None."""
        self.transports += 1
        self.gone.clear()
        limits = self.limits
        if self.stopping:
            return "stopping"
        if self.transports - self.refusing > limits.max_connections:
            return "max_connections"
        if limits.max_connections_per_address is not None:
            here = self._per_address.get(address, 0)
            self._per_address[address] = here + 1
            if here >= limits.max_connections_per_address:
                return "max_per_address"
        return None

    def depart(self, address: str) -> None:
        """Uncount a transport that is gone."""
        self.transports -= 1
        here = self._per_address.get(address)
        if here == 1:
            del self._per_address[address]
        elif here is not None:
            self._per_address[address] = here - 1
        if not self.transports:
            self.gone.set()

    def mark_dirty(self, conn: Outgoing) -> None:
        """Have `conn` flushed at the end of this turn of the loop, with all others."""
        dirty = self._dirty
        if not dirty:
            self.loop.call_soon(self._flush)
        dirty.append(conn)

    def mark_patient(self, conn: Outgoing) -> None:
        """Have `conn` flushed a little later, with all others that can wait."""
        patient = self._patient
        if not patient:
            self.loop.call_later(self.limits.patience_s, self._flush_patient)
        patient.append(conn)

    def _flush_patient(self) -> None:
        patient, self._patient = self._patient, []
        for conn in patient:
            conn.flush()  # nothing happens if it was flushed with something urgent

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for conn in dirty:
            conn.flush()

    def report(self, message: str, exc: Exception, conn: Connection) -> None:
        """Hand an exception of the owner's code to the loop's exception handler."""
        self.loop.call_exception_handler(
            {"message": f"{message} ({conn.peer})", "exception": exc, "protocol": conn}
        )
