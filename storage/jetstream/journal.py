"""The journal of one partition: a JetStream stream, published to and followed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamInfo

from palaver.storage.jetstream.answers import Answers, Unanswered
from palaver.storage.jetstream.consumer import Broken, Delivered, deliver, heed_cancellation
from palaver.storage.jetstream.errors import (
    EntryTooLarge,
    JournalDeleted,
    JournalLost,
    JournalMissing,
    JournalReplaced,
    NotStored,
    api_error,
    refusal,
    unavailable,
)
from palaver.storage.replicated.ports import (
    Entry,
    JournalError,
    JournalTruncated,
    JournalUnavailable,
)

__all__ = ["IDENTITY", "JetStreamFollow", "JetStreamJournal", "JournalLimits", "identity_of"]

log = structlog.get_logger("palaver.storage.jetstream")

IDENTITY = "palaver-identity"
"""Where a stream's metadata says which one it is."""
_NO_RESPONDERS = "503"
_SETTLE_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """How long things may take, and how much there may be.

    Attributes:
        publish_timeout_s: after so long without an answer the outcome of a publish is unknown.
        request_timeout_s: for every other question to JetStream.
        max_waiting: publishes of a node that may wait for their answers.
        max_entry_bytes: of an entry's body.
        max_bytes: of a journal on each server; None: as much as the server has.
        duplicate_window_s: an id that comes again within it is kept once; the server holds the
            ids of that time in memory, some 100 bytes each.
        heartbeat_s: how often a server shows that a follower is still served; at least 0.1.
        silence_s: a follower that hears nothing for so long has failed.
        forget_s: how long a server keeps what it knows of a follower that has gone.
        settle_s: how long a journal may seem shorter than it was known to be, or not to be there,
            while a new leader applies what it has; after that entries are lost, or the journal.
    """

    publish_timeout_s: float = 2.0
    request_timeout_s: float = 3.0
    max_waiting: int = 65536
    max_entry_bytes: int = (1 << 20) + (1 << 16)
    max_bytes: int | None = None
    duplicate_window_s: float = 30.0
    heartbeat_s: float = 0.75
    silence_s: float = 2.0
    forget_s: float = 5.0
    settle_s: float = 10.0


class JetStreamJournal:
    """The journal of a partition; `JetStreamJournals` makes it.

    Args:
        nc, js: the connection.
        answers: of the connection's publishes.
        stream: the stream's name.
        prefix: of the stream's subject; its identity is behind that, so that nothing published to
            a stream that was deleted can get into one that was made anew.
        limits: of all journals of this node.
    """

    __slots__ = (
        "_answers",
        "_closed",
        "_headers",
        "_identity",
        "_js",
        "_limits",
        "_missing_since_s",
        "_nc",
        "_prefix",
        "_subject",
        "_tasks",
        "stream",
    )

    def __init__(
        self,
        nc: Client,
        js: JetStreamContext,
        answers: Answers,
        *,
        stream: str,
        prefix: str,
        limits: JournalLimits,
    ) -> None:
        self.stream = stream
        self._nc = nc
        self._js = js
        self._answers = answers
        self._prefix = prefix
        self._limits = limits
        self._identity: str | None = None
        self._subject = ""
        self._headers = {"Nats-Expected-Stream": stream}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._missing_since_s: float | None = None

    @property
    def identity(self) -> str | None:
        """Which stream this is; None as long as nobody knows."""
        return self._identity

    def subject_of(self, identity: str) -> str:
        """Return the subject of the stream that has this identity."""
        return f"{self._prefix}.{identity}"

    def recognise(self, identity: str) -> None:
        """Take this identity for the journal's, from now on.

        Raises:
            JournalReplaced: it is known by another one.
        """
        if self._identity is None:
            self._identity = identity
            self._subject = self.subject_of(identity)
        elif identity != self._identity:
            raise JournalReplaced(self.stream, self._identity, identity)

    async def close(self) -> None:
        """End every follower and refuse everything from now on; harmless when repeated."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- publishing --------------------------------------------------------------------------------

    def publish(self, id: str, body: bytes, done: Callable[[int | JournalError], None]) -> None:  # noqa: A002
        """Append an entry; see the port.

        `done` is given, beyond `JournalUnavailable`: `NotStored` (a `JournalUnavailable` of which
        it is certain that nothing was stored), `JournalFull`, `EntryTooLarge`, `JournalRefused`.
        """
        loop = asyncio.get_running_loop()
        if len(body) > self._limits.max_entry_bytes:
            loop.call_soon(done, EntryTooLarge(len(body), self._limits.max_entry_bytes))
            return
        if not self._subject or self._closed:
            why = "is closed" if self._closed else "has not been found yet"
            loop.call_soon(done, NotStored(f"the journal {self.stream} {why}"))
            return
        self._answers.publish(
            self._subject,
            body,
            {"Nats-Msg-Id": id, **self._headers},
            lambda answer: done(self._outcome(answer)),
        )

    def _outcome(self, answer: Msg | Unanswered) -> int | JournalError:
        if isinstance(answer, Unanswered):
            kind = JournalUnavailable if answer.is_sent else NotStored
            return kind(f"{self.stream}: {answer.why}")
        if answer.headers is not None and answer.headers.get("Status") == _NO_RESPONDERS:
            return NotStored(f"{self.stream}: nobody leads it just now, or it does not exist")
        try:
            said = json.loads(answer.data)
            if "error" in said:
                error = said["error"]
                text = error.get("description", "")
                return refusal(self.stream, error.get("code", 0), error.get("err_code", 0), text)
            return int(said["seq"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return JournalUnavailable(f"{self.stream}: an answer that is none: {error!r}")

    # -- following ---------------------------------------------------------------------------------

    def follow(
        self,
        after: int,
        deliver: Callable[[list[Entry]], None],
        failed: Callable[[JournalError], None],
    ) -> JetStreamFollow:
        """Deliver every entry behind a position; see the port.

        `failed` is given, beyond `JournalTruncated` and `JournalUnavailable`: `JournalReplaced`,
        `JournalDeleted`, `JournalLost`.
        """
        follow = JetStreamFollow(self, after, deliver)
        task = asyncio.get_running_loop().create_task(self._follow(follow, failed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        follow.task = task
        return follow

    async def _follow(
        self, follow: JetStreamFollow, failed: Callable[[JournalError], None]
    ) -> None:
        try:
            while True:
                await self._check(follow.position)
                before = follow.position
                broken = await self._serve(follow)
                log.debug("a follower is served no more", stream=self.stream, why=str(broken))
                if broken.is_silent or follow.position == before:
                    await self._check(follow.position)  # it may have been truncated meanwhile
                    raise JournalUnavailable(f"{self.stream}: {broken}")
        except JournalError as error:
            if not follow.closed:
                follow.closed = True
                failed(error)

    async def _serve(self, follow: JetStreamFollow) -> Broken:
        """Deliver until something is wrong."""
        limits = self._limits
        try:
            return await deliver(
                self._nc,
                self._js,
                self.stream,
                follow.take,
                start=follow.position + 1,
                heartbeat_s=limits.heartbeat_s,
                silence_s=limits.silence_s,
                forget_s=limits.forget_s,
            )
        except (NatsError, TimeoutError) as error:
            raise unavailable(api_error(self.stream, error)) from error

    async def _check(self, after: int) -> None:
        """See to it that the entry behind `after` is there or to come.

        Raises:
            JournalTruncated, JournalGone, JournalLost, JournalUnavailable.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.settle_s
        while True:
            first, last = await self.bounds()
            if first > after + 1:
                raise JournalTruncated(first)
            if last >= after:
                return
            # A leader that was elected just now may not have applied all that it has.
            if loop.time() >= deadline:
                raise JournalLost(self.stream, after, last)
            await asyncio.sleep(_SETTLE_POLL_S)

    # -- the rest ----------------------------------------------------------------------------------

    async def info(self) -> StreamInfo:
        """Ask the stream's leader about it.

        Raises:
            JournalReplaced: it is another one than was known.
            JournalDeleted: the one that was known has not been there for `settle_s`.
            JournalUnavailable: no answer; `JournalMissing`: there is none.
        """
        try:
            info = await self._js.stream_info(self.stream)
        except (NatsError, TimeoutError) as error:
            raise self._missing(unavailable(api_error(self.stream, error))) from error
        heed_cancellation()
        self._missing_since_s = None
        self.recognise(identity_of(info))
        return info

    def _missing(self, error: JournalUnavailable) -> JournalError:
        """See for how long nothing else was answered than that a known stream does not exist."""
        if not isinstance(error, JournalMissing) or self._identity is None:
            self._missing_since_s = None
            return error
        now_s = asyncio.get_running_loop().time()
        if self._missing_since_s is None:
            self._missing_since_s = now_s
        if now_s - self._missing_since_s < self._limits.settle_s:
            return error
        return JournalDeleted(self.stream, self._limits.settle_s)

    async def bounds(self) -> tuple[int, int]:
        """Return (first position, last position); (n + 1, n) if it is empty. See the port."""
        state = (await self.info()).state
        first = state.first_seq if state.messages else state.last_seq + 1
        return first, state.last_seq

    async def truncate(self, up_to: int) -> None:
        """Forget entries up to a position, but never the last one. See the port.

        The last entry stays, whatever is asked for: a stream that has an entry cannot begin to
        count anew.
        """
        first, last = await self.bounds()
        keep_from = min(up_to + 1, last)
        # Up to server 2.9 to purge what is before position 1 was to purge everything.
        if keep_from <= max(first, 1):
            return
        try:
            await self._js.purge_stream(self.stream, seq=keep_from)
        except (NatsError, TimeoutError) as error:
            raise unavailable(api_error(self.stream, error)) from error


def identity_of(info: StreamInfo) -> str:
    """Return the identity that a stream was given when it was made."""
    return (info.config.metadata or {}).get(IDENTITY, "nobody's")


class JetStreamFollow:
    """One follower; ended by `close`.

    Attributes:
        position: of what was delivered last.
    """

    __slots__ = ("_deliver", "_journal", "closed", "position", "task")

    def __init__(
        self, journal: JetStreamJournal, after: int, deliver: Callable[[list[Entry]], None]
    ) -> None:
        self._journal = journal
        self._deliver = deliver
        self.position = after
        self.closed = False
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Deliver nothing more; harmless when repeated."""
        self.closed = True
        if self.task is not None:
            self.task.cancel()

    def take(self, batch: list[Delivered]) -> bool:
        """Deliver what has come; False if it does not go on where the last ended."""
        entries = []
        position = self.position
        for each in batch:
            if each.position != position + 1:
                break
            position += 1
            id_ = (each.msg.headers or {}).get("Nats-Msg-Id", "")
            entries.append(Entry(position, id_, each.msg.data))
        if entries and not self.closed:
            self.position = position
            self._deliver(entries)
        return len(entries) == len(batch)
