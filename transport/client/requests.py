"""Requests that may be repeated: everything but messages, whose ids make repeating safe.

All of them have the same effect once or twice, so a request that was sent on a connection that
broke is sent again on the next one, until its time limit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from palaver.transport.client.errors import RequestsFull
from palaver.transport.wire import Request

__all__ = ["Pending", "Requests"]


@dataclass(slots=True)
class Pending:
    """A request without an answer."""

    token: int
    op: Request
    deadline_s: float | None
    """When it fails; None for the client's own, which live until they are answered."""
    not_before_s: float = 0.0
    attempts: int = 0
    open: bool = False


class Requests:
    """Requests in the order they were made; at ``max_requests`` ``add`` raises RequestsFull."""

    __slots__ = ("_next_token", "_pending", "_queue", "max_requests")

    def __init__(self, max_requests: int) -> None:
        self.max_requests = max_requests
        self._next_token = 1
        self._pending: dict[int, Pending] = {}
        self._queue: deque[Pending] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, op: Request, deadline_s: float | None) -> int:
        """Take a request and return the token that its answer carries."""
        if deadline_s is not None and len(self._pending) >= self.max_requests:
            raise RequestsFull(f"{self.max_requests} requests wait for an answer")
        token, self._next_token = self._next_token, self._next_token + 1
        pending = self._pending[token] = Pending(token, op, deadline_s)
        self._queue.append(pending)
        return token

    def next_ready(self, now_s: float) -> Pending | None:
        """The request to send next; it is open from then on."""
        for _ in range(len(self._queue)):
            pending = self._queue.popleft()
            if pending.token not in self._pending:
                continue
            if pending.not_before_s <= now_s:
                pending.open = True
                return pending
            self._queue.append(pending)
        return None

    def unsend(self, pending: Pending) -> None:
        """The request that ``next_ready`` gave did not fit: it is the next one again."""
        pending.open = False
        self._queue.appendleft(pending)

    def done(self, token: int) -> Pending | None:
        """Remove a request; None where it was given up before."""
        return self._pending.pop(token, None)

    def get(self, token: int) -> Pending | None:
        """Look a request up."""
        return self._pending.get(token)

    def retry(self, pending: Pending, until_s: float) -> None:
        """Send it again after a pause."""
        pending.open = False
        pending.attempts += 1
        pending.not_before_s = until_s
        self._queue.append(pending)

    def lost(self) -> None:
        """The connection is gone: everything is sent again, in the order it was made."""
        self._queue = deque(self._pending.values())
        for pending in self._queue:
            pending.open = False
            pending.not_before_s = 0.0

    def expired(self, now_s: float) -> list[Pending]:
        """Remove and return the requests whose time is over."""
        late = [
            each
            for each in self._pending.values()
            if each.deadline_s is not None and each.deadline_s <= now_s
        ]
        for each in late:
            del self._pending[each.token]
        return late

    def clear(self) -> list[Pending]:
        """Remove and return all of them."""
        everything = list(self._pending.values())
        self._pending.clear()
        self._queue.clear()
        return everything

    def next_deadline_s(self, now_s: float) -> float | None:
        """When something is due: a time limit, or the end of a pause."""
        due = [each.deadline_s for each in self._pending.values() if each.deadline_s is not None]
        due += [each.not_before_s for each in self._queue if each.not_before_s > now_s]
        return min(due, default=None)
