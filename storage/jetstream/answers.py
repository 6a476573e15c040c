"""Publishes that wait for their answers: one subscription, no task and no future for a message.

An answer comes to `<inbox>.<token>`; the token leads to the callback. All publishes have the same
time to be answered, so that the oldest is always the next to time out and one timer will do.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from palaver.storage.stats import SECONDS_BUCKETS

__all__ = ["AnswerStats", "Answers", "Done", "Unanswered"]


@dataclass(slots=True)
class AnswerStats:
    """Plain counters, for the metrics to read.

    Attributes:
        waiting: publishes that wait now.
        unanswered: how many were given up, or not sent.
        seconds: the others, by the time to their answer, in `SECONDS_BUCKETS`; one more above.
        seconds_sum: the sum of these times.
    """

    waiting: int = 0
    unanswered: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(SECONDS_BUCKETS) + 1))
    seconds_sum: float = 0.0


class Unanswered(NamedTuple):
    """A publish has no answer.

    Attributes:
        why: for people.
        is_sent: whether it may have reached a server all the same.
    """

    why: str
    is_sent: bool


Done: TypeAlias = Callable[[Msg | Unanswered], None]

_SLACK_S: Final = 0.05
"""Timeouts are looked at no more often than this."""


class _Outgoing(NamedTuple):
    token: str
    subject: str
    body: bytes
    headers: dict[str, str]


class Answers:
    """The publishes of a connection that wait for an answer.

    Args:
        nc: a connection to NATS, kept by somebody else.
        timeout_s: how long a publish waits; after that its outcome is unknown.
        max_waiting: how many may wait; more are refused at once.
    """

    __slots__ = (
        "_loop",
        "_max_waiting",
        "_nc",
        "_next",
        "_outbox",
        "_prefix",
        "_pump",
        "_stats",
        "_sub",
        "_timeout_s",
        "_timer",
        "_waiting",
    )

    def __init__(self, nc: Client, *, timeout_s: float, max_waiting: int) -> None:
        self._nc = nc
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._loop = asyncio.get_running_loop()
        self._prefix = nc.new_inbox()
        self._sub: Subscription | None = None
        self._next = 0
        self._stats = AnswerStats()
        # In the order in which they were sent, and so of their deadlines.
        self._waiting: dict[str, tuple[float, Done]] = {}
        self._outbox: deque[_Outgoing] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many publishes wait for their answers."""
        return len(self._waiting)

    def stats(self) -> AnswerStats:
        """Return what was counted."""
        self._stats.waiting = len(self._waiting)
        return self._stats

    async def open(self) -> None:
        """Begin to listen for answers; before that everything is refused."""
        self._sub = await self._nc.subscribe(f"{self._prefix}.*", cb=self._answered)

    async def close(self) -> None:
        """Give up what waits, listen no more; harmless when repeated."""
        sub, self._sub = self._sub, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pump is not None:
            self._pump.cancel()
        self._outbox.clear()
        waiting, self._waiting = self._waiting, {}
        for _, done in waiting.values():
            done(Unanswered("the node closes its journals", is_sent=True))
        if sub is not None and not self._nc.is_closed:
            await sub.unsubscribe()

    def publish(self, subject: str, body: bytes, headers: dict[str, str], done: Done) -> None:
        """Publish; `done` is told the answer, or why there is none, later in this loop."""
        why = self._refuses()
        if why:
            self._stats.unanswered += 1
            self._loop.call_soon(done, Unanswered(why, is_sent=False))
            return
        self._next += 1
        token = str(self._next)
        self._waiting[token] = (self._loop.time() + self._timeout_s, done)
        self._outbox.append(_Outgoing(token, subject, body, headers))
        if self._pump is None:
            self._pump = self._loop.create_task(self._send())
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._expire)

    def _refuses(self) -> str:
        if self._sub is None:
            return "the journals are not open"
        if not self._nc.is_connected:
            return "there is no connection to NATS"
        if len(self._waiting) >= self._max_waiting:
            return f"{self._max_waiting} entries wait for NATS already"
        return ""

    async def _send(self) -> None:
        """Hand over what is in the outbox; one task for all that one turn of the loop brought."""
        try:
            while self._outbox:
                item = self._outbox.popleft()
                try:
                    await self._nc.publish(
                        item.subject,
                        item.body,
                        reply=f"{self._prefix}.{item.token}",
                        headers=item.headers,
                    )
                except NatsError as error:  # raised before anything is sent
                    self._finish(item.token, Unanswered(str(error), is_sent=False))
        finally:
            self._pump = None

    async def _answered(self, msg: Msg) -> None:
        self._finish(msg.subject[len(self._prefix) + 1 :], msg)

    def _finish(self, token: str, answer: Msg | Unanswered) -> None:
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            return
        deadline, done = waiting
        if isinstance(answer, Unanswered):
            self._stats.unanswered += 1
        else:
            took_s = self._loop.time() - deadline + self._timeout_s
            self._stats.seconds[bisect_left(SECONDS_BUCKETS, took_s)] += 1
            self._stats.seconds_sum += took_s
        done(answer)

    def _expire(self) -> None:
        """Give up what has waited for too long, and look again when the next one would have."""
        now = self._loop.time()
        late = []
        self._timer = None
        for token, (deadline, _) in self._waiting.items():
            if deadline > now:
                delay_s = max(_SLACK_S, deadline - now)
                self._timer = self._loop.call_later(delay_s, self._expire)
                break
            late.append(token)
        for token in late:
            self._finish(token, Unanswered(f"no answer for {self._timeout_s:g} s", is_sent=True))
