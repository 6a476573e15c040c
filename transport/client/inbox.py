"""The inbox: what arrived, each event once, in order, until the application is past it.

Positions of a device's queue only go up. Three marks divide them::

    handled <= position   |  handed out, not yet handled  |  waiting  <= received  |  unknown

The server delivers everything after the last acknowledgement again on each new connection; what
is at or below ``received`` was seen and is dropped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heappop, heappush
from typing import NamedTuple

from palaver.transport.client.model import Event, Message

__all__ = ["Inbox", "Knowledge", "Skipped"]

_EVENT_OVERHEAD_BYTES = 512


class Skipped(NamedTuple):
    """An event of a kind that this version does not know; it only holds its position."""

    position: int


class Inbox:
    """Arrived events that the application has not consumed.

    ``full`` becomes true at ``max_events`` or ``max_bytes``; one more frame may still be admitted,
    so the limit is exceeded by at most a frame.
    """

    __slots__ = ("_bytes", "_done", "_out", "_waiting", "max_bytes", "max_events", "position",
                 "received")  # fmt: skip

    def __init__(self, position: int, *, max_events: int, max_bytes: int) -> None:
        self.position = position
        self.received = position
        self.max_events = max_events
        self.max_bytes = max_bytes
        self._waiting: deque[Event | Skipped] = deque()
        self._out: deque[int] = deque()
        self._done: set[int] = set()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more should be read until something is taken."""
        return len(self._waiting) >= self.max_events or self._bytes >= self.max_bytes

    @property
    def unhandled(self) -> int:
        """How many events arrived that the application is not past yet."""
        return len(self._waiting) + len(self._out)

    def rewind(self, position: int) -> None:
        """Take a lower position: the server's queue was set back and counts from there.

        What waits here is of the queue as it was; it is still shown, but has no position in the
        queue as it is now.
        """
        self.position = self.received = position
        self._waiting = deque(event._replace(position=0) for event in self._waiting)
        self._out.clear()
        self._done.clear()

    def admit(self, event: Event | Skipped) -> bool:
        """Take an event that arrived; False where it was here before."""
        if event.position <= self.received:
            return False
        self.received = event.position
        self._waiting.append(event)
        self._bytes += _size(event)
        return True

    def take(self) -> Event | Skipped | None:
        """Hand out the next event; it counts as handled when ``handled`` says so."""
        if not self._waiting:
            return None
        event = self._waiting.popleft()
        self._bytes -= _size(event)
        if event.position:
            self._out.append(event.position)
        return event

    def handled(self, position: int) -> bool:
        """The application is past this event; True where ``position`` moved up by it."""
        if position <= self.position:
            return False
        self._done.add(position)
        moved = False
        while self._out and self._out[0] in self._done:
            self.position = self._out.popleft()
            self._done.discard(self.position)
            moved = True
        return moved


def _size(event: Event | Skipped) -> int:
    return _EVENT_OVERHEAD_BYTES + (len(event.body) if isinstance(event, Message) else 0)


class Knowledge:
    """What this device has seen, for the causal order: per conversation a seq, and one stamp.

    ``seen`` of a conversation is the last seq up to which everything was shown here or written
    here. An own message counts once everything before it was shown. At most
    ``max_conversations`` are remembered; the one not used for longest is given up, and its next
    message says "nothing seen", which is true of less but never wrong.
    """

    __slots__ = ("_own", "_seen", "after", "max_conversations")

    _MAX_OWN = 1_000

    def __init__(self, after: int, seen: dict[bytes, int], *, max_conversations: int) -> None:
        self.after = after
        self.max_conversations = max_conversations
        self._seen: OrderedDict[bytes, int] = OrderedDict(seen)
        self._own: dict[bytes, list[int]] = {}

    def seen(self, conv: bytes) -> int:
        """The last seq seen in a conversation, 0 where nothing was."""
        return self._seen.get(conv, 0)

    def shown(self, conv: bytes, seq: int, stamp: int) -> None:
        """An event of a conversation was handed to the application."""
        self.after = max(self.after, stamp)
        self._advance(conv, max(seq, self.seen(conv)))

    def wrote(self, conv: bytes, seq: int, stamp: int) -> None:
        """An own message was given its place."""
        self.after = max(self.after, stamp)
        own = self._own.setdefault(conv, [])
        if len(own) < self._MAX_OWN:
            heappush(own, seq)
        self._advance(conv, self.seen(conv))

    def _advance(self, conv: bytes, seen: int) -> None:
        own = self._own.get(conv, [])
        while own and own[0] <= seen + 1:
            seen = max(seen, heappop(own))
        if not own:
            self._own.pop(conv, None)
        self._seen[conv] = seen
        self._seen.move_to_end(conv)

    def evict(self) -> list[bytes]:
        """Give up what is beyond the limit and return it."""
        gone = []
        while len(self._seen) > self.max_conversations:
            conv, _ = self._seen.popitem(last=False)
            self._own.pop(conv, None)
            gone.append(conv)
        return gone
