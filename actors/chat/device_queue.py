"""The process of a connected device's queue: it pushes, in order, within a window.

Events arrive from the partition as they become durable, or are read from the table when the
device was away or slow. At most :data:`WINDOW_EVENTS` events or :data:`WINDOW_BYTES` bytes are on
their way without an acknowledgement; beyond that the process only remembers that there is more,
so a slow reader costs the window and nothing else.

It runs where the connection is; its partition may be on another node, and may move. When the
partition's process ends, this one asks the next where the device's queue stands, whether the device
was revoked meanwhile, repeats an acknowledgement that was lost, and reads what it missed. The
client notices nothing of it. Only where no process of the partition is found for
:data:`PATIENCE_S` is the client told to come back.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from palaver.actors.chat.messages import (
    AckUpTo,
    Answer,
    Ask,
    AttachAgain,
    AttachQueue,
    ClientAck,
    Close,
    Missed,
    NewEvents,
    Revoked,
)
from palaver.actors.chat.names import partition_name
from palaver.actors.chat.queries import Login
from palaver.actors.chat.stats import ChatStats
from palaver.actors.runtime import NORMAL, Down, GenServer, Pid, Stop
from palaver.transport import wire
from palaver.transport.edge import Connection
from palaver.transport.wire import CloseCode

__all__ = ["PATIENCE_S", "WINDOW_BYTES", "WINDOW_EVENTS", "DeviceQueue", "come_back"]

WINDOW_EVENTS = 512
WINDOW_BYTES = 256 * 1024

_READ_EVENTS = 256
_READ_BYTES = 64 * 1024

#: What the partition is asked.
_EVENTS, _STANDS = "events", "stands"

#: After a failed read (an overload) the next try comes so late.
_RETRY_S = 0.5

#: For so long a queue looks for the next process of its partition.
PATIENCE_S = 30.0

#: The first try is spread over so long, so that not all queues of a partition ask at once; each
#: further one over twice as long, up to the second.
_SPREAD_S = 0.2
_MAX_SPREAD_S = 2.0


class _Retry:
    __slots__ = ()


class _LookAgain:
    __slots__ = ()


def come_back() -> Close:
    """Ask the client to connect again, soon."""
    return Close(CloseCode.GOING_AWAY, "something here begins anew; connect again", 100)


class DeviceQueue(GenServer):
    """Pushes one device's queue over its connection; ends with the device's session."""

    __slots__ = (
        "_account",
        "_acked",
        "_attached",
        "_behind",
        "_connection",
        "_device",
        "_in_flight",
        "_in_flight_bytes",
        "_log",
        "_log_ref",
        "_looks",
        "_next",
        "_reading",
        "_session",
        "_since_s",
        "_stats",
        "_tries",
    )

    def init(
        self,
        session: Pid,
        connection: Connection,
        account: str,
        device: int,
        partition: int,
        login: Login,
        stats: ChatStats,
    ) -> None:
        """Push what lies after the device's last acknowledgement, and what comes."""
        self._connection = connection
        self._account = account
        self._device = device
        self._session = session
        self._log = partition_name(partition)
        self._stats = stats
        self._acked = login.acked
        self._next = login.acked + 1
        self._in_flight: deque[tuple[int, int]] = deque()  # last position, bytes
        self._in_flight_bytes = 0
        self._reading = False
        self._looks = 0  # how often a process of the partition was looked for
        # What was queued before the attachment is in the table.
        self._behind = login.last > login.acked
        self._attached = True
        self._since_s = 0.0  # when the partition was lost
        self._tries = 0
        self.monitor(session)
        self._log_ref: Any = self.monitor(self._log)
        self.send(self._log, AttachQueue(account, device, self.pid, login.as_of))
        self._read_on()

    def handle_info(self, message: Any) -> Stop | None:
        """Take new events, the device's acknowledgement, or an answer of the partition."""
        kind = type(message)
        if kind is NewEvents:
            first, events = message
            caught_up = not self._behind and not self._reading
            if first == self._next and caught_up and self._has_room():
                self._push_live(first, events)
            elif first + len(events) > self._next:
                self._behind = True
                self._read_on()
        elif kind is ClientAck:
            self._acknowledged(message.position)
        elif kind is Answer:
            what, look = message.tag
            if look != self._looks:
                pass  # of a process that has been given up: it may be late, and old
            elif what == _STANDS:
                self._stands(message.value, message.error)
            else:
                self._read(message.value, message.error)
        elif kind is Down:
            if message.ref is not self._log_ref:
                return Stop(NORMAL)  # the session
            self._log_ref = None
            self._lost()
        elif kind is _Retry or kind is Missed:
            self._behind = True
            self._read_on()
        else:
            self._take_rare(message)
        return None

    def _take_rare(self, message: Any) -> None:
        kind = type(message)
        if kind is AttachAgain:
            self._attached = False
            self._since_s = self.clock.monotonic()
            self._look_again()
        elif kind is _LookAgain:
            self._look_again()
        elif kind is Revoked:
            self._revoked()
        else:
            super().handle_info(message)

    # -- the partition's process ---------------------------------------------------------------

    def _lost(self) -> None:
        """The partition's process has ended: find the next one."""
        if self._attached:
            self._attached = False
            self._since_s = self.clock.monotonic()
            self._tries = 0
        self._forget_answers()
        self._look_later()

    def _forget_answers(self) -> None:
        """Whatever is still answered to what was asked before this does not count."""
        self._looks += 1
        self._reading = False

    def _look_later(self) -> None:
        if self.clock.monotonic() - self._since_s > PATIENCE_S:
            self.send(self._session, come_back())
            return
        spread_s = min(_SPREAD_S * 2**self._tries, _MAX_SPREAD_S)
        self._tries += 1
        self.send_after(self.random.uniform(0.0, spread_s), self.pid, _LookAgain())

    def _look_again(self) -> None:
        """Ask where the device's queue stands, and whether the device still may connect."""
        self._forget_answers()
        if self._log_ref is None:
            self._log_ref = self.monitor(self._log)
        who = (self._account, self._device)
        self.send(self._log, Ask(self.pid, (_STANDS, self._looks), "login", who))

    def _stands(self, login: Login | None, error: BaseException | None) -> None:
        if login is None or error is not None:
            self._look_later()
        elif login.public_key is None:
            self._revoked()
        elif max(login.acked, login.last) < self._next - 1:
            # What was pushed is not there: the tables are older than this connection.
            self.send(self._session, come_back())
        else:
            self._attached = True
            self._tries = 0
            attach = AttachQueue(self._account, self._device, self.pid, login.as_of)
            self.send(self._log, attach)
            if self._acked > login.acked:
                self.send(self._log, AckUpTo(self._account, self._device, self._acked))
            self._behind = True
            self._read_on()

    def _revoked(self) -> None:
        self.send(self._session, Close(CloseCode.REVOKED, "this device was revoked", None))

    # -- pushing -----------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return self._next - 1 - self._acked < WINDOW_EVENTS and self._in_flight_bytes < WINDOW_BYTES

    def _push_live(self, first: int, events: list[bytes]) -> None:
        """Push what a commit brought, as far as one operation should carry it; read the rest."""
        size_bytes = len(events[0])
        for count in range(1, len(events)):
            size_bytes += len(events[count])
            if count >= _READ_EVENTS or size_bytes > _READ_BYTES:
                self._push(first, events[:count])
                self._behind = True
                self._read_on()
                return
        self._push(first, events)

    def _push(self, first: int, events: list[bytes]) -> None:
        op = wire.push(first, events)
        self._next = first + len(events)
        self._in_flight.append((self._next - 1, len(op)))
        self._in_flight_bytes += len(op)
        self._stats.messages_out += len(events)
        self._connection.send(op)

    def _read_on(self) -> None:
        if self._behind and not self._reading and self._attached and self._has_room():
            self._reading = True
            self._behind = False
            args = (self._account, self._device, self._next, _READ_EVENTS, _READ_BYTES)
            self.send(self._log, Ask(self.pid, (_EVENTS, self._looks), "drain", args))

    def _read(self, value: tuple[int, list[bytes]] | None, error: BaseException | None) -> None:
        self._reading = False
        if error is not None or value is None:
            self._behind = True
            self.send_after(_RETRY_S, self.pid, _Retry())
            return
        first, events = value
        if events:
            # There may be more: only an empty read, or live events in order, end catching up.
            self._behind = True
            self._push(first, events)
        self._read_on()

    # -- acknowledgements --------------------------------------------------------------------

    def _acknowledged(self, position: int) -> None:
        position = min(position, self._next - 1)
        if position <= self._acked:
            return
        before, self._acked = self._acked, position
        in_flight = self._in_flight
        while in_flight and in_flight[0][0] <= position:
            self._in_flight_bytes -= in_flight.popleft()[1]
        self._stats.events_acked += position - before
        # Nobody waits for this: it rides with the partition's next commit.
        self.send(self._log, AckUpTo(self._account, self._device, position))
        self._read_on()
