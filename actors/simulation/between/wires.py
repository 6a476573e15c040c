"""A connection between two nodes: a TCP connection of the simulated network, and its heartbeat.

What crosses the network are numbers, in frames of eight bytes; the signals they stand for, copied
and checked, or their packets, lie in the sender's outbox, from which the receiver takes them when
their number arrives. So bytes are late, cut off and lost as the network will have it.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import structlog

from palaver.actors.distribution.signals import TICK, Hello, Signal

if TYPE_CHECKING:
    from palaver.actors.runtime import TimerRef
    from palaver.actors.simulation.between.station import Station

__all__ = ["Outboxes", "Wire"]

log = structlog.get_logger("palaver.actors")

Parcel: TypeAlias = Signal | bytes
"""A signal, or the packet of one where messages cross as bytes."""

_FRAME: Final = struct.Struct("!Q")
_TICK: Final = 0
_TICKS: Final = 4
"""How many intervals of silence end a connection; as Erlang's net_ticktime is divided."""

MAX_RETIRED: Final = 1000
"""Outboxes of ended connections that are kept for what is still under way from them."""


class Outboxes:
    """What lies ready to be taken, by connection; shared by all nodes of a fabric."""

    def __init__(self) -> None:
        self._outboxes: dict[int, dict[int, Parcel]] = {}
        self._owners: dict[int, str] = {}
        self._retired: dict[int, None] = {}
        self._last = 0

    def open(self, owner: str) -> tuple[int, dict[int, Parcel]]:
        """A new one of a node: its number, and itself."""
        self._last += 1
        outbox: dict[int, Parcel] = {}
        self._outboxes[self._last] = outbox
        self._owners[self._last] = owner
        return self._last, outbox

    def get(self, number: int) -> dict[int, Parcel] | None:
        """The one of this number; None if there is none (any more)."""
        return self._outboxes.get(number)

    def retire(self, number: int) -> None:
        """The connection is over: keep it for a while."""
        if self._owners.pop(number, None) is None:
            return
        self._retired[number] = None
        if len(self._retired) > MAX_RETIRED:
            oldest = next(iter(self._retired))
            del self._retired[oldest], self._outboxes[oldest]

    def retire_all(self, owner: str) -> None:
        """A node has a new incarnation: the connections of the last one are over."""
        for number in [each for each, name in self._owners.items() if name == owner]:
            self.retire(number)


class Wire(asyncio.Protocol):
    """One end of a connection.

    Args:
        station: whose end.
        dialled: the node that was called; None if the other side has called.
        attempt: which attempt it is, for who has called.
    """

    def __init__(self, station: Station, dialled: str | None, attempt: int = 0) -> None:
        self.station = station
        self.dialled = dialled
        self.attempt = attempt
        self.peer: Hello | None = None  # who is there, once that is known
        self.over = False
        self._transport: asyncio.Transport
        self._number, self._outbox = station.fabric.outboxes.open(station.name)
        self._inbox: dict[int, Parcel] | None = None
        self._buffer = bytearray()
        self._sent = 0
        self._has_sent = self._has_heard = False
        self._silent = 0
        self._timer: TimerRef | None = None

    # -- out -----------------------------------------------------------------------------------

    def send(self, signal: Parcel) -> None:
        """Send a signal; dropped if the connection is over.

        One that does not take what is sent is given up when its outbox is full.
        """
        if self.over:
            return
        if len(self._outbox) >= self.station.fabric.max_waiting:
            log.warning("a connection is too slow", node=self.station.name, peer=str(self.peer))
            self._transport.abort()
            self.over = True
            return
        self._sent += 1
        self._outbox[self._sent] = signal
        self._write(self._sent)

    def _write(self, number: int) -> None:
        self._has_sent = True
        self._transport.write(_FRAME.pack(number))

    def close(self) -> None:
        """End it, after what was sent."""
        self.over = True
        self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        self.over = True
        self._transport.abort()

    # -- in ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._write(self._number)
        station = self.station
        self._timer = station.node.timers.add(station.fabric.setup_s, self._too_late)
        if self.dialled is not None:
            self.send(station.hello(self.attempt))

    def data_received(self, data: bytes) -> None:
        """Take the signals whose numbers have come."""
        self._has_heard = True
        buffer = self._buffer
        buffer += data
        whole = len(buffer) // _FRAME.size * _FRAME.size
        numbers = [number for (number,) in _FRAME.iter_unpack(bytes(buffer[:whole]))]
        del buffer[:whole]
        for number in numbers:
            if self.over:
                return
            if self._inbox is None:
                self._inbox = self.station.fabric.outboxes.get(number)
                signal: Parcel | None = None if self._inbox is None else TICK
            else:
                signal = TICK if number == _TICK else self._inbox.pop(number, None)
            if signal is None:
                self.abort()  # what it stands for is gone long since
            elif signal is not TICK:
                self._take(signal)

    def _take(self, signal: Parcel) -> None:
        if self.peer is not None:
            self.station.arrived(self, signal)
        elif isinstance(signal, Hello) and self.station.accepts(self, signal):
            self._stop_timer()
            if self.dialled is None:
                self.send(self.station.hello(signal.attempt))
            self.peer = signal
            self._arm()
            self.station.up(self, signal)
        else:
            self.abort()

    def eof_received(self) -> None:
        """The other side has closed it: nothing that is sent now would arrive."""
        self.over = True

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""
        self.over = True
        self._stop_timer()
        self.station.fabric.outboxes.retire(self._number)
        self.station.lost(self)

    # -- time ----------------------------------------------------------------------------------

    def _arm(self) -> None:
        station = self.station
        interval_s = station.fabric.net_ticktime_s / _TICKS
        self._timer = station.node.timers.add(interval_s, self._tick)

    def _tick(self) -> None:
        self._silent = 0 if self._has_heard else self._silent + 1
        self._has_heard = False
        if self._silent >= _TICKS:
            self.abort()
            self.station.lost(self)
            return
        if not self._has_sent and not self.over:
            self._write(_TICK)
        self._has_sent = False
        self._arm()

    def _too_late(self) -> None:
        """The other side has not said who it is."""
        self._timer = None
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self.station.node.timers.cancel(self._timer)
            self._timer = None
