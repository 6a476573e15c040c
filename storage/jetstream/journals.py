"""The journals of all partitions in one JetStream: found, opened, looked after.

A stream per partition, `PALAVER_<cluster>_<partition>`, and no consumer that outlives who uses it:
neither streams nor consumers grow with the number of users.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo

from palaver.storage.jetstream.answers import Answers, AnswerStats
from palaver.storage.jetstream.errors import JournalMissing
from palaver.storage.jetstream.journal import (
    IDENTITY,
    JetStreamJournal,
    JournalLimits,
    identity_of,
)
from palaver.storage.jetstream.streams import again, checked_name, is_led, make_stream, refused
from palaver.storage.replicated.ports import JournalGone, JournalUnavailable

__all__ = ["Identities", "JetStreamJournals"]

log = structlog.get_logger("palaver.storage.jetstream")

_HEADERS_BYTES: Final = 1024
"""What the headers of an entry may add to its body."""
_AT_ONCE: Final = 8
"""Streams that are made or looked for at the same time."""


class Identities(Protocol):
    """Where it is kept which journals this node has followed; `JournalIdentities` is one."""

    def get(self, partition: int) -> str | None:
        """Return the identity of a partition's journal, None if none was followed yet."""

    def remember(self, partition: int, identity: str) -> None:
        """Keep an identity; on the disk when this returns."""


class JetStreamJournals:
    """The journals of a cluster, as one node uses them.

    Args:
        nc: a connection to NATS, kept by somebody else; it must outlive this.
        cluster: the cluster's name: letters, digits, "-" and "_".
        replicas: copies of each journal, on as many servers; 3, or 1 where there is one server.
        identities: what this node knows of the journals; None: nothing, it is told nothing either.
        limits: for all journals.
        new_identity: names a stream that is made.
    """

    def __init__(
        self,
        nc: Client,
        cluster: str,
        *,
        replicas: int = 3,
        identities: Identities | None = None,
        limits: JournalLimits | None = None,
        new_identity: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._nc = nc
        self._cluster = checked_name(cluster)
        self._replicas = replicas
        self._identities = identities
        self._limits = limits or JournalLimits()
        self._new_identity = new_identity
        self._js = nc.jetstream(timeout=self._limits.request_timeout_s)
        self._answers = Answers(
            nc,
            timeout_s=self._limits.publish_timeout_s,
            max_waiting=self._limits.max_waiting,
        )
        self._journals: dict[int, JetStreamJournal] = {}
        self._listening = False

    def __call__(self, partition: int) -> JetStreamJournal:
        """Return a partition's journal, always the same; it refuses until `found` or `open`."""
        journal = self._journals.get(partition)
        if journal is None:
            journal = self._journals[partition] = JetStreamJournal(
                self._nc,
                self._js,
                self._answers,
                stream=f"PALAVER_{self._cluster}_{partition}",
                prefix=f"palaver.{self._cluster}.journal.{partition}",
                limits=self._limits,
            )
            known = self._identities.get(partition) if self._identities is not None else None
            if known is not None:
                journal.recognise(known)
        return journal

    @property
    def waiting(self) -> int:
        """How many publishes wait for their answers."""
        return self._answers.waiting

    def stats(self) -> AnswerStats:
        """Return what the publishes have counted."""
        return self._answers.stats()

    async def found(self, partitions: Iterable[int], *, timeout_s: float = 30.0) -> None:
        """Make the journals that do not exist, and open all: for a cluster that is being founded.

        Harmless when repeated, and when several nodes do it at once. A cluster that has been
        founded uses `open`, which makes nothing: a journal that has gone must be noticed.

        Raises:
            NotEnoughServers: fewer servers than `replicas`, after `timeout_s`; the text says what
                to do.
            JournalReplaced: this node knows another stream of that name.
            JournalUnavailable: not within `timeout_s`; the text is that of the last failure.
        """
        await self._each(partitions, self._make, timeout_s)

    async def open(
        self,
        partitions: Iterable[int],
        *,
        timeout_s: float = 30.0,
        gone: Callable[[int, JournalGone], None] | None = None,
    ) -> None:
        """Wait until the journals exist and are led, and know them from now on.

        Args:
            partitions: whose.
            timeout_s: for each of them.
            gone: told of a journal that is gone, so that the others can be used; such a journal
                refuses everything. None: that is raised.

        Raises:
            JournalReplaced: this node knows another stream of that name.
            JournalDeleted: one that this node knows does not exist.
            JournalMissing: it does not exist, after `timeout_s`.
            JournalUnavailable: nobody leads it, after `timeout_s`.
        """
        await self._each(partitions, self._find, timeout_s, gone)

    async def set_replicas(
        self, partitions: Iterable[int], replicas: int, *, timeout_s: float = 30.0
    ) -> None:
        """Keep so many copies of the journals from now on; copies are made while they serve.

        Harmless when repeated. `lagging` tells when the copies are there.

        Raises:
            NotEnoughServers: fewer servers than that, after `timeout_s`.
            JournalUnavailable: no answer, after `timeout_s`.
        """
        self._replicas = replicas
        await self._each(partitions, self._change, timeout_s)

    async def _change(self, partition: int) -> StreamInfo:
        journal = self(partition)
        info = await journal.info()
        config = self._config(journal, identity_of(info), self._replicas)
        if info.config.num_replicas == config.num_replicas:
            return info
        log.info("journal changes its replicas", stream=journal.stream, replicas=self._replicas)
        try:
            return await self._js.update_stream(config)
        except (NatsError, TimeoutError) as error:
            raise refused(config, error) from error

    async def lagging(self, partition: int) -> list[str]:
        """Return the servers whose copy of a journal is not up to date; empty when all are.

        Raises:
            JournalUnavailable: no answer, or no leader.
        """
        info = await self(partition).info()
        if info.cluster is None or not info.cluster.leader:
            raise JournalUnavailable(f"{self(partition).stream}: nobody leads it")
        peers = info.cluster.replicas or []
        missing = (info.config.num_replicas or 1) - 1 - len(peers)
        behind = [peer.name or "a server" for peer in peers if not peer.current or peer.offline]
        return behind + ["a server that is to be chosen"] * missing

    async def close(self) -> None:
        """End all followers, give up what waits; harmless when repeated."""
        for journal in self._journals.values():
            await journal.close()
        await self._answers.close()
        self._listening = False

    # -- how ---------------------------------------------------------------------------------------

    async def _each(
        self,
        partitions: Iterable[int],
        step: Callable[[int], Coroutine[Any, Any, StreamInfo]],
        timeout_s: float,
        gone: Callable[[int, JournalGone], None] | None = None,
    ) -> None:
        """Do a step for each partition, again until it succeeds or the time is up."""
        if not self._listening:
            self._listening = True
            await self._answers.open()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(partition: int) -> None:
            async def step_and_learn() -> None:
                async with gate:
                    self._learn(partition, await step(partition))

            try:
                await again(step_and_learn, timeout_s)
            except JournalGone as error:
                if gone is None:
                    raise
                gone(partition, error)

        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(one(partition)) for partition in partitions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _learn(self, partition: int, info: StreamInfo) -> None:
        """Know a stream from now on, if it is led and no other is known."""
        journal = self(partition)
        if not is_led(info):
            raise JournalUnavailable(f"{journal.stream}: nobody leads it")
        identity = identity_of(info)
        journal.recognise(identity)
        if self._identities is not None:
            self._identities.remember(partition, identity)

    async def _find(self, partition: int) -> StreamInfo:
        return await self(partition).info()

    async def _make(self, partition: int) -> StreamInfo:
        journal = self(partition)
        try:
            return await journal.info()
        except JournalMissing:
            if journal.identity is not None:  # it was there
                raise
        config = self._config(journal, self._new_identity(), self._replicas)
        return await make_stream(self._js, config)

    def _config(self, journal: JetStreamJournal, identity: str, replicas: int) -> StreamConfig:
        limits = self._limits
        return StreamConfig(
            name=journal.stream,
            subjects=[journal.subject_of(identity)],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=replicas,
            discard=DiscardPolicy.NEW,  # when full, refuse: never forget what was confirmed
            max_msgs=-1,
            max_bytes=-1 if limits.max_bytes is None else limits.max_bytes,
            max_msg_size=limits.max_entry_bytes + _HEADERS_BYTES,
            max_consumers=-1,
            duplicate_window=limits.duplicate_window_s,
            deny_delete=True,
            allow_direct=False,
            metadata={IDENTITY: identity},
        )
