"""An ephemeral push consumer of a stream, which notices by itself when anything is missing.

The server numbers what it delivers, and says in its heartbeats how far it is. A number that is left
out, a heartbeat that is ahead of what came, or silence ends the consumer: whoever wanted it makes
another one where this one stopped. Nothing of it is kept by the server: it is in memory, belongs to
one server, and is forgotten when nobody listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

__all__ = ["Broken", "Delivered", "deliver", "heed_cancellation"]


class Delivered(NamedTuple):
    """A message of a stream.

    Attributes:
        position: its sequence number in the stream.
        pending: how many more the server had for this consumer when it sent this one.
        msg: what was published.
    """

    position: int
    pending: int
    msg: Msg


class Broken(NamedTuple):
    """A consumer delivers no more, or has left something out.

    Attributes:
        why: for people.
        is_silent: nothing came, not even a heartbeat; else something is missing.
    """

    why: str
    is_silent: bool

    def __str__(self) -> str:
        return self.why


def heed_cancellation() -> None:
    """Raise `CancelledError` if this task has been cancelled and a library has swallowed that.

    In Python 3.11 `asyncio.wait_for`, which every request to NATS goes through, does so when the
    answer comes in the same turn of the loop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


Tell: TypeAlias = Callable[[list[Delivered]], bool]


async def deliver(
    nc: Client,
    js: JetStreamContext,
    stream: str,
    tell: Tell,
    *,
    start: int | None = None,
    latest_of: str | None = None,
    heartbeat_s: float,
    silence_s: float,
    forget_s: float,
    begun: Callable[[int], None] | None = None,
) -> Broken:
    """Tell what a stream holds and what comes, until something is wrong or this is cancelled.

    Args:
        nc: the connection.
        js: JetStream over it, with the time that a request may take.
        stream: the stream's name.
        tell: called with what came in one turn of the loop; False: something is missing in it.
        start: from this sequence number on; else `latest_of`.
        latest_of: a subject with wildcards: the last message of each subject, then what comes.
        heartbeat_s: how often the server shows that it is there when it has nothing else to say.
        silence_s: after so long without anything the consumer is broken.
        forget_s: how long the server keeps a consumer to which nobody listens.
        begun: called with how many messages wait when the consumer has been made.

    Returns:
        Why nothing more will come, or that something was left out.

    Raises:
        NatsError, TimeoutError: the consumer could not be made.
    """
    intake = _Intake(nc, tell, silence_s)
    inbox = nc.new_inbox()
    sub = await nc.subscribe(inbox, cb=intake.take)
    try:
        info = await js.add_consumer(
            stream,
            ConsumerConfig(
                deliver_policy=(
                    DeliverPolicy.BY_START_SEQUENCE if start else DeliverPolicy.LAST_PER_SUBJECT
                ),
                opt_start_seq=start or None,
                filter_subject=latest_of,
                ack_policy=AckPolicy.NONE,
                max_deliver=1,
                mem_storage=True,
                num_replicas=1,
                flow_control=True,
                idle_heartbeat=heartbeat_s,
                inactive_threshold=forget_s,
                deliver_subject=inbox,
            ),
        )
        heed_cancellation()
        if begun is not None:
            begun(info.num_pending or 0)
        return await intake.until_broken()
    finally:
        intake.close()
        await _unsubscribe(nc, sub)


async def _unsubscribe(nc: Client, sub: Subscription) -> None:
    if not nc.is_closed and not nc.is_draining:
        await sub.unsubscribe()


class _Intake:
    """What comes for one consumer: checked, collected for a turn of the loop, told."""

    __slots__ = (
        "_broken",
        "_buffer",
        "_closed",
        "_heard_at",
        "_loop",
        "_nc",
        "_number",
        "_silence_s",
        "_tell",
        "_timer",
    )

    def __init__(self, nc: Client, tell: Tell, silence_s: float) -> None:
        self._nc = nc
        self._tell = tell
        self._silence_s = silence_s
        self._loop = asyncio.get_running_loop()
        self._broken: asyncio.Future[Broken] = self._loop.create_future()
        self._buffer: list[Delivered] = []
        self._number = 0
        self._closed = False
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(silence_s, self._listen)

    async def until_broken(self) -> Broken:
        return await self._broken

    def close(self) -> None:
        self._closed = True
        self._timer.cancel()
        self._buffer.clear()
        self._broken.cancel()

    def _break(self, why: str, *, is_silent: bool = False) -> None:
        if not self._closed and not self._broken.done():
            self._flush()
            self._closed = True
            self._broken.set_result(Broken(why, is_silent))

    def _listen(self) -> None:
        left_s = self._heard_at + self._silence_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._listen)
        else:
            self._break(f"nothing was heard for {self._silence_s:g} s", is_silent=True)

    async def take(self, msg: Msg) -> None:
        if self._closed:
            return
        self._heard_at = self._loop.time()
        if msg.headers is not None and "Status" in msg.headers:
            await self._control(msg, msg.headers)
            return
        position, number, pending = numbers_of(msg.reply)
        if number != self._number + 1:
            self._break(f"delivery {self._number + 1} was left out")
            return
        self._number = number
        if not self._buffer:
            self._loop.call_soon(self._flush)
        self._buffer.append(Delivered(position, pending, msg))

    async def _control(self, msg: Msg, headers: dict[str, str]) -> None:
        if headers["Status"] != "100":
            self._break(f"{headers['Status']} {headers.get('Description', '')}")
            return
        if msg.reply:  # the server asks whether we keep up; all before this has been taken in
            await self._nc.publish(msg.reply)
            return
        if stalled := headers.get("Nats-Consumer-Stalled"):
            await self._nc.publish(stalled)
        if int(headers.get("Nats-Last-Consumer", self._number)) != self._number:
            self._break(f"what came after delivery {self._number} is missing")

    def _flush(self) -> None:
        if self._buffer and not self._closed:
            batch, self._buffer = self._buffer, []
            if not self._tell(batch):
                self._break("a message of the stream was left out")


def numbers_of(reply: str) -> tuple[int, int, int]:
    """Read (sequence in the stream, number of the delivery, how many wait) from a reply subject.

    `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<number>.<time>.<pending>`, or with domain and
    account behind `ACK` and perhaps more at the end (ADR-15 of NATS).
    """
    parts = reply.split(".")
    first = 5 if len(parts) == 9 else 7
    return int(parts[first]), int(parts[first + 1]), int(parts[first + 3])
