"""Durable replicated messages, beside bare JetStream publishing with the same window.

Three servers, R3 streams, `sync_interval: always`. In each round and for each window both do the
same for the same time, one right after the other: so many messages are outstanding, and as soon as
one is confirmed the next goes out. Palaver's is confirmed when the journal's quorum and the owner's
own tables have it on disk.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from nats.js import JetStreamContext

from palaver.storage import Outcome
from palaver.storage.batch import Result
from palaver.storage.jetstream import JetStreamJournals
from palaver.storage.replicated import Limits, ReplicatedStore
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part, Target
from palaver.supervisors.cli.bench.cluster.messages import (
    MessageCodec,
    count_messages,
    open_tables,
)
from palaver.supervisors.cli.bench.cluster.servers import (
    REPLICAS,
    NatsServers,
    bare_stream,
    leader_of,
)
from palaver.supervisors.cli.bench.report import Tell
from palaver.supervisors.cli.bench.stats import percentile

__all__ = [
    "ReplicatedPlan",
    "Sample",
    "append_for",
    "figures_of",
    "measure_replicated",
    "owner_of_tables",
]

LEAST_RATIO: Final = 0.5
"""Wanted of bare JetStream publishing, in messages a second."""
MOST_ADDED_MS: Final = 3.0
"""Wanted of what is added to its p50."""

_SETTLE_S: Final = 30.0
_ON: Final = (
    "an owner's tables in this process, three nats-server processes on this machine, R3, "
    "sync_interval always, connected to the server that leads the stream"
)
_BESIDE: Final = (
    "js.publish of nats-py from as many tasks as the window, a stream with the same settings, "
    "connected to the server that leads it"
)


@dataclass(frozen=True, slots=True)
class ReplicatedPlan:
    """How much is measured.

    Attributes:
        windows: messages outstanding at a time.
        rounds: of each window.
        round_s: for how long each of both publishes in a round.
        warmup_s: before the first round.
        message_bytes: of a body.
    """

    windows: Sequence[int] = (1, 16, 64, 256)
    rounds: int = 5
    round_s: float = 2.0
    warmup_s: float = 0.5
    message_bytes: int = 1000


@dataclass(slots=True)
class Sample:
    """What one of both did in one round: a message's times in seconds, and how long it took."""

    took_s: float
    latencies_s: array[float] = field(default_factory=lambda: array("d"))

    @property
    def per_s(self) -> float:
        """Confirmed messages a second."""
        return len(self.latencies_s) / self.took_s

    def latency_ms(self, share: float) -> float:
        """The time below which this share of the messages stayed, in ms."""
        return percentile(self.latencies_s, share) * 1000


async def measure_replicated(plan: ReplicatedPlan, folder: Path, tell: Tell) -> list[ClusterFigure]:
    """Measure all windows, with servers of their own.

    Raises:
        BenchFailed: no nats-server, no leader, or a message was refused.
    """
    tell("replicated: starting three NATS servers")
    body = bytes(plan.message_bytes)
    ours: dict[int, list[Sample]] = {window: [] for window in plan.windows}
    theirs: dict[int, list[Sample]] = {window: [] for window in plan.windows}
    with NatsServers(folder) as servers:
        async with (
            owner_of_tables(servers, folder / "tables") as store,
            _publisher(servers) as (js, subject),
        ):
            warm = []
            for window in plan.windows:
                warm.append(await append_for(store, window, plan.warmup_s, body))
                await _publish_for(js, subject, window, plan.warmup_s, body)
            for number in range(1, plan.rounds + 1):
                for window in plan.windows:
                    tell(f"replicated: round {number}/{plan.rounds}, {window} outstanding")
                    ours[window].append(await append_for(store, window, plan.round_s, body))
                    theirs[window].append(
                        await _publish_for(js, subject, window, plan.round_s, body)
                    )
            _check(store, [*warm, *(sample for each in ours.values() for sample in each)])
    return [
        figure
        for window in plan.windows
        for figure in figures_of(window, plan.message_bytes, ours[window], theirs[window])
    ]


def figures_of(
    window: int, message_bytes: int, ours: Sequence[Sample], theirs: Sequence[Sample]
) -> list[ClusterFigure]:
    """Reckon a window's figures: messages a second, p50 and p99."""
    details = {"window": window, "message_bytes": message_bytes}

    def latency(share: float, target: Target | None) -> ClusterFigure:
        return ClusterFigure(
            Part.REPLICATED,
            f"replicated_p{share * 100:.0f}_ms_{window}",
            "ms",
            "lower",
            f"from handing a message over to its confirmation, {window} outstanding",
            _ON,
            [sample.latency_ms(share) for sample in ours],
            "jetstream",
            _BESIDE,
            [sample.latency_ms(share) for sample in theirs],
            target=target,
            details=details,
        )

    return [
        ClusterFigure(
            Part.REPLICATED,
            f"replicated_per_s_{window}",
            "1/s",
            "higher",
            f"messages of {message_bytes} bytes, {window} outstanding, durable on a quorum and in "
            "the owner's tables",
            _ON,
            [sample.per_s for sample in ours],
            "jetstream",
            _BESIDE,
            [sample.per_s for sample in theirs],
            target=Target("ratio", at_least=LEAST_RATIO),
            details=details,
        ),
        latency(0.5, Target("added", at_most=MOST_ADDED_MS)),
        latency(0.99, None),
    ]


# -- Palaver -------------------------------------------------------------------------------------


@asynccontextmanager
async def owner_of_tables(
    servers: NatsServers, folder: Path, *, limits: Limits | None = None
) -> AsyncIterator[ReplicatedStore]:
    """Lead the only partition of a replicated store, connected to the server that leads it."""
    async with servers.connect() as client:
        journals = JetStreamJournals(client, "bench", replicas=REPLICAS)
        await journals.found([0])
        leader = leader_of(servers, await journals(0).info())
        await journals.close()
    async with servers.connect(leader) as client:
        journals = JetStreamJournals(client, "bench", replicas=REPLICAS)
        await journals.open([0])
        store = ReplicatedStore(
            open_tables(folder), journals, MessageCodec(), node_name="owner", limits=limits
        )
        try:
            store.follow(0)
            await store.lead(0, 1)
            yield store
        finally:
            await store.close()
            await journals.close()


async def append_for(store: ReplicatedStore, window: int, round_s: float, body: bytes) -> Sample:
    """Keep so many messages outstanding for so long; what came of it.

    Raises:
        BenchFailed: one was refused, or none is confirmed any more.
    """
    return await _Appending(store, window, body).run(round_s)


class _Appending:
    """Appends that follow each other: as soon as one is durable, the next goes out."""

    def __init__(self, store: ReplicatedStore, window: int, body: bytes) -> None:
        self._store = store
        self._body = body
        self._window = window
        self._open = 0
        self._ends_s = 0.0
        self._sample = Sample(0.0)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, round_s: float) -> Sample:
        began_s = perf_counter()
        self._ends_s = began_s + round_s
        for _ in range(self._window):
            self._send()
        try:
            await asyncio.wait_for(self._over, round_s + _SETTLE_S)
        except TimeoutError:
            raise BenchFailed(f"{self._open} messages were not confirmed") from None
        self._sample.took_s = perf_counter() - began_s
        return self._sample

    def _send(self) -> None:
        began_s = perf_counter()
        self._open += 1
        self._store.append(0, [(self._body,)], self._answer(began_s))

    def _answer(self, began_s: float) -> Callable[[list[Result]], None]:
        def done(results: list[Result]) -> None:
            now_s = perf_counter()
            self._open -= 1
            if self._over.done():
                return
            if not isinstance(results[0], Outcome):
                self._over.set_exception(BenchFailed(f"a message was refused: {results[0]!r}"))
            else:
                self._sample.latencies_s.append(now_s - began_s)
                if now_s < self._ends_s:
                    self._send()
                elif not self._open:
                    self._over.set_result(None)

        return done


def _check(store: ReplicatedStore, samples: Sequence[Sample]) -> None:
    """See that what was confirmed is there, each message once."""
    confirmed = sum(len(sample.latencies_s) for sample in samples)
    kept = store.view(0, count_messages)
    if kept != confirmed:
        raise BenchFailed(f"{confirmed} messages were confirmed, {kept} are there")


# -- bare JetStream ------------------------------------------------------------------------------


@asynccontextmanager
async def _publisher(servers: NatsServers) -> AsyncIterator[tuple[JetStreamContext, str]]:
    """Make a stream, and connect to the server that leads it."""
    config = bare_stream("publishing")
    async with servers.connect_bare() as client:
        js = client.jetstream(timeout=_SETTLE_S)
        leader = leader_of(servers, await js.add_stream(config))
    async with servers.connect_bare(leader) as client:
        yield client.jetstream(timeout=_SETTLE_S), f"bare.{config.name}"


async def _publish_for(
    js: JetStreamContext, subject: str, window: int, round_s: float, body: bytes
) -> Sample:
    sample = Sample(0.0)
    began_s = perf_counter()
    ends_s = began_s + round_s

    async def one() -> None:
        now_s = perf_counter()
        while now_s < ends_s:
            sent_s = now_s
            await js.publish(subject, body)
            now_s = perf_counter()
            sample.latencies_s.append(now_s - sent_s)

    await asyncio.gather(*(one() for _ in range(window)))
    sample.took_s = perf_counter() - began_s
    return sample
