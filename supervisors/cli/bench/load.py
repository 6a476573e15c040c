"""The load that a messaging server is put under, whatever protocol it speaks.

A `LoadDriver` logs users in; a `Session` is one authenticated connection; a `Flow` is what
one session sends to another user. Flows number their messages and check each answer and each
arrival: a server is only measured while nothing is lost, doubled or out of order.

All of it runs on one event loop in a process of its own, so plain callbacks are enough.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

BODY_BYTES = 200
NUMBER_DIGITS = 12
_FILLER = "Palaver measures with bodies of two hundred bytes. " * 4

NUMBERS_PER_EPOCH = 1 << 24
"""A load client numbers its messages from `epoch` times this: numbers are never used twice."""


class LoadFault(Exception):
    """The server broke a promise, or answered what the load does not expect."""


def message_body(number: int) -> bytes:
    """Return the 200-byte body that carries a message's number."""
    return (f"{number:0{NUMBER_DIGITS}d}" + _FILLER)[:BODY_BYTES].encode()


class Meter:
    """Counts and latencies of one measured window (seconds)."""

    __slots__ = ("ack_s", "acked", "deliver_s", "delivered", "fault", "recording")

    def __init__(self) -> None:
        """Begin with nothing recorded."""
        self.recording = False
        self.fault: str | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the window."""
        self.acked = 0
        self.delivered = 0
        self.ack_s = array("d")
        self.deliver_s = array("d")

    def broken(self, what: str) -> None:
        """Keep the first broken promise; `check` raises it."""
        if self.fault is None:
            self.fault = what

    def check(self) -> None:
        """Raise LoadFault when a promise was broken anywhere."""
        if self.fault is not None:
            raise LoadFault(self.fault)


class Session(Protocol):
    """One authenticated connection of a user."""

    user: int
    inbox: Flow | None
    """The flow whose messages arrive here."""
    outbox: Flow | None
    """The flow that is sent from here."""
    alive: bool
    """Whether the connection stands."""

    @property
    def missing_receipts(self) -> int:
        """How many of the messages sent are not known to be delivered; 0 without receipts."""

    def submit(self, first: int, count: int) -> None:
        """Send messages number `first` .. `first + count - 1` to the outbox's user, in one write.

        The session tells its outbox of every durable answer (`answered`), and its inbox of
        every arrival (`arrived`) and of every acknowledgement it has written (`confirmed`).
        """

    async def barrier(self) -> None:
        """Wait until the server has taken in all that this session has written so far."""

    async def close(self) -> None:
        """End the session in order."""


class LoadDriver(Protocol):
    """The users of one server, by number."""

    name: str

    async def login(self, user: int, *, inbox: Flow | None = None) -> Session:
        """Connect and authenticate a user, up to where messages may be sent and arrive.

        What is queued for the user may arrive before this returns; it goes to `inbox`.

        Raises:
            LoadFault: when the server refuses or ends the connection.
        """


class Flow:
    """The numbered messages from one session to one user, checked on both ends."""

    __slots__ = (
        "_next",
        "_sent_at_s",
        "answered_count",
        "arrived_count",
        "base",
        "confirmed_count",
        "from_user",
        "gaps_allowed",
        "meter",
        "receiver_away",
        "sender",
        "sent_count",
        "to_user",
        "wake",
    )

    def __init__(
        self,
        from_user: int,
        to_user: int,
        base: int,
        meter: Meter,
        *,
        wake: Callable[[Flow], None] | None = None,
        sent_count: int = 0,
    ) -> None:
        """Number messages from `base`; `sent_count` of them were sent by an earlier process."""
        self.from_user = from_user
        self.to_user = to_user
        self.base = base
        self.meter = meter
        self.sender: Session | None = None
        self.sent_count = sent_count
        self.answered_count = 0
        self.arrived_count = 0
        self.confirmed_count = 0
        self.gaps_allowed = False
        """Whether messages may be missing: after a kill, what is lost is counted instead."""
        self.receiver_away = False
        """Whether the receiver is not connected while this is sent."""
        self._next = 0
        self._sent_at_s = array("d", bytes(8 * sent_count))
        self.wake = wake

    def send(self, count: int, now_s: float) -> None:
        """Send the next `count` messages, in one write."""
        assert self.sender is not None
        first = self.base + self.sent_count
        self._sent_at_s.extend([now_s] * count)
        self.sent_count += count
        self.sender.submit(first, count)

    def answered(self, number: int, now_s: float) -> None:
        """Take note that the server has acknowledged a message as stored."""
        index = number - self.base
        if not 0 <= index < self.sent_count or self.answered_count >= self.sent_count:
            self.broken(f"an answer to message {index}, which was not open")
            return
        self.answered_count += 1
        meter = self.meter
        if meter.recording:
            meter.acked += 1
            meter.ack_s.append(now_s - self._sent_at_s[index])
        if self.wake is not None:
            self.wake(self)

    def arrived(self, number: int, now_s: float) -> None:
        """Take note that a message has reached its receiver; it must be the next one."""
        index = number - self.base
        due = self._next
        if (index != due and not (self.gaps_allowed and due < index)) or index >= self.sent_count:
            self.broken(f"message {index} arrived where {due} was next")
            return
        self._next = index + 1
        self.arrived_count += 1
        meter = self.meter
        if meter.recording:
            meter.deliver_s.append(now_s - self._sent_at_s[index])
        if self.wake is not None:
            self.wake(self)

    def confirmed(self, count: int) -> None:
        """Take note that the receiver has written its acknowledgement of `count` more messages."""
        self.confirmed_count += count
        if self.meter.recording:
            self.meter.delivered += count

    def broken(self, what: str) -> None:
        """Report a broken promise to the meter."""
        self.meter.broken(f"user {self.from_user} to {self.to_user}: {what}")

    @property
    def unsettled(self) -> int:
        """How many that were sent are not answered, or have not arrived and been acknowledged."""
        return self.sent_count - min(self.answered_count, self.arrived_count, self.confirmed_count)


class ClosedLoop:
    """Keeps a number of messages in flight on each flow: as one is done, the next goes out.

    All that becomes possible within one turn of the event loop goes out together, as one
    write for each flow.
    """

    __slots__ = (
        "_answers_only",
        "_dirty",
        "_loop",
        "_refill",
        "_scheduled",
        "_upto",
        "_window",
        "running",
    )

    def __init__(
        self, window: int, *, refill: int = 1, upto: int | None = None, answers_only: bool = False
    ) -> None:
        """Keep `window` in flight until `upto` are sent on a flow.

        A message is done when it is answered and has arrived, or with `answers_only` (its
        receiver is away) when it is answered.
        """
        self._window = window
        self._upto = upto
        self._refill = refill
        self._dirty: list[Flow] = []
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        self._answers_only = answers_only
        self.running = False

    def start(self, flows: Sequence[Flow]) -> None:
        """Begin to send, on all flows."""
        self.running = True
        for flow in flows:
            self.wake(flow)

    def wake(self, flow: Flow) -> None:
        """Let a flow send what it may, at the end of this turn of the loop."""
        if self.running:
            self._dirty.append(flow)
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        dirty, self._dirty = self._dirty, []
        now_s = perf_counter()
        for flow in dirty:
            done = flow.answered_count
            if not self._answers_only and flow.arrived_count < done:
                done = flow.arrived_count
            room = self._window - (flow.sent_count - done)
            if room < self._refill:
                continue
            if self._upto is not None and room > self._upto - flow.sent_count:
                room = self._upto - flow.sent_count
            if room > 0 and self.running:
                flow.send(room, now_s)


async def until_none(
    missing: Callable[[], int], meter: Meter, *, timeout_s: float, what: str
) -> None:
    """Wait until nothing is missing, looking every 2 ms.

    Raises:
        LoadFault: when something still is after that time, or as soon as a promise is broken.
    """
    deadline_s = perf_counter() + timeout_s
    while True:
        meter.check()
        if (count := missing()) == 0:
            return
        if perf_counter() > deadline_s:
            raise LoadFault(f"{count} {what} within {timeout_s:g} s")
        await asyncio.sleep(0.002)
