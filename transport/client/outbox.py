"""The outbox: commands that wait for their answer, sent in the order of their ids.

An entry goes through these states, and never back but for RETRY and a lost connection::

    UNSAVED ──kept──> READY ──sent──> SENT ──answered──> ANSWERED ──kept──> (gone)
                        ^──transient error, lost──┘

`low`, which every command carries, is the smallest id still here. An answered entry stays until
its removal is durable: only then may the server forget the answer.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from enum import IntEnum

from palaver.transport.client.errors import OutboxFull
from palaver.transport.client.state import OutboxItem

__all__ = ["Entry", "EntryState", "Outbox"]


class EntryState(IntEnum):
    """Where an entry stands."""

    UNSAVED = 0
    READY = 1
    SENT = 2
    ANSWERED = 3


class Entry:
    """One command in the outbox."""

    __slots__ = ("attempts", "item", "sent_at_s", "state")

    def __init__(self, item: OutboxItem, state: EntryState) -> None:
        self.item = item
        self.state = state
        self.attempts = 0
        self.sent_at_s = 0.0


class Outbox:
    """The commands of one device that have no durable answer yet.

    At ``max_items`` entries or ``max_bytes`` of arguments ``add`` raises OutboxFull. At most
    ``max_in_flight`` are sent and unanswered at once. The server keeps the order within a
    conversation: where it refuses one for a while, it refuses what comes behind it too.
    """

    __slots__ = (
        "_bytes",
        "_entries",
        "_in_flight",
        "_order",
        "_ready",
        "hold_until_s",
        "max_bytes",
        "max_in_flight",
        "max_items",
    )

    def __init__(
        self,
        items: Iterable[OutboxItem],
        *,
        max_items: int,
        max_bytes: int,
        max_in_flight: int,
    ) -> None:
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.max_in_flight = max_in_flight
        self.hold_until_s = 0.0
        self._entries: dict[int, Entry] = {}
        self._order: deque[int] = deque()
        self._ready: list[int] = []
        # In the order sent, so that the first is the one that waits longest.
        self._in_flight: dict[int, Entry] = {}
        self._bytes = 0
        for item in sorted(items):
            self._insert(item, EntryState.READY)
            self._ready.append(item.cid)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, cid: int) -> bool:
        return cid in self._entries

    @property
    def cids(self) -> list[int]:
        """The ids in the outbox, lowest first."""
        return [cid for cid in self._order if cid in self._entries]

    @property
    def in_flight(self) -> int:
        """How many commands are sent and unanswered."""
        return len(self._in_flight)

    @property
    def oldest_sent_s(self) -> float | None:
        """When the command that waits longest for its answer was sent."""
        return next((entry.sent_at_s for entry in self._in_flight.values()), None)

    def low(self) -> int:
        """The smallest id that has no durable answer; every id below it has one."""
        while self._order[0] not in self._entries:
            self._order.popleft()
        return self._order[0]

    def add(self, item: OutboxItem) -> None:
        """Take a command whose id is greater than all before; it waits to be kept.

        Raises:
            OutboxFull: The limit of entries or bytes is reached.
        """
        if len(self._entries) >= self.max_items:
            raise OutboxFull(f"{self.max_items} messages wait for their acknowledgement")
        if self._bytes + len(item.args) > self.max_bytes:
            raise OutboxFull(f"{self.max_bytes} bytes wait for their acknowledgement")
        assert not self._order or item.cid > self._order[-1], "message ids go up"
        self._insert(item, EntryState.UNSAVED)

    def _insert(self, item: OutboxItem, state: EntryState) -> None:
        self._entries[item.cid] = Entry(item, state)
        self._order.append(item.cid)
        self._bytes += len(item.args)

    def kept(self, cid: int) -> None:
        """The entry is durable: it may be sent."""
        entry = self._entries[cid]
        if entry.state is EntryState.UNSAVED:
            self._make_ready(entry)

    def _make_ready(self, entry: Entry) -> None:
        entry.state = EntryState.READY
        heapq.heappush(self._ready, entry.item.cid)

    def next_ready(self, now_s: float) -> Entry | None:
        """The command to send next, or None while there is none, no room or a pause."""
        if not self._ready or now_s < self.hold_until_s:
            return None
        if len(self._in_flight) >= self.max_in_flight:
            return None
        return self._entries[self._ready[0]]

    def sent(self, entry: Entry, now_s: float) -> None:
        """The command that ``next_ready`` gave is on its way."""
        assert self._ready[0] == entry.item.cid
        heapq.heappop(self._ready)
        entry.state = EntryState.SENT
        entry.sent_at_s = now_s
        self._in_flight[entry.item.cid] = entry

    def answered(self, cid: int) -> Entry:
        """The command was answered for good; it stays until ``forget``."""
        entry = self._in_flight.pop(cid)
        entry.state = EntryState.ANSWERED
        return entry

    def forget(self, cid: int) -> None:
        """The answer is durable: the command is done."""
        entry = self._entries.pop(cid)
        assert entry.state is EntryState.ANSWERED
        self._bytes -= len(entry.item.args)
        while self._order and self._order[0] not in self._entries:
            self._order.popleft()

    def retry(self, cid: int, until_s: float) -> None:
        """Send the command again with the same id, and nothing at all before ``until_s``."""
        entry = self._in_flight.pop(cid)
        self._make_ready(entry)
        self.hold_until_s = max(self.hold_until_s, until_s)

    def attempts(self, cid: int) -> int:
        """Count one more transient refusal of a command and return how many there were before."""
        entry = self._entries[cid]
        entry.attempts += 1
        return entry.attempts - 1

    def lost(self) -> None:
        """The connection is gone: what was in flight is sent again, in order, on the next."""
        for entry in self._in_flight.values():
            self._make_ready(entry)
        self._in_flight.clear()
        self.hold_until_s = 0.0

    def next_deadline_s(self, answer_timeout_s: float, now_s: float) -> float | None:
        """When something is due: the end of a pause, or an answer that did not come."""
        due = []
        oldest = self.oldest_sent_s
        if oldest is not None:
            due.append(oldest + answer_timeout_s)
        if self._ready and self.hold_until_s > now_s:
            due.append(self.hold_until_s)
        return min(due, default=None)
