"""The node's metrics in Prometheus' terms, read from plain counters when someone scrapes.

The message path only increments integers; names, labels and buckets are made here, once a scrape.
A source that is absent is left out. Counters begin at zero when the node starts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from palaver.actors.chat.media import MediaService
from palaver.actors.chat.media_ports import MediaStats
from palaver.actors.chat.stats import ChatStats, Histogram
from palaver.actors.runtime import NodeStats
from palaver.storage.stats import BATCH_BUCKETS, SECONDS_BUCKETS, StoreStats
from palaver.supervisors.trees.cluster_metrics import ClusterNumbers, cluster_metrics
from palaver.transport.edge import EdgeStats


@dataclass(frozen=True, slots=True)
class MetricSources:
    """Where the numbers come from; each is called at a scrape, on the event loop's thread."""

    chat: Callable[[], ChatStats]
    runtime: Callable[[], NodeStats] | None = None
    store: Callable[[], StoreStats] | None = None
    edge: Callable[[], EdgeStats] | None = None
    media: Callable[[], MediaService] | None = None
    cluster: Callable[[], ClusterNumbers | None] = lambda: None
    version: str = "unknown"
    started_s: float = 0.0  # unix time; 0 leaves the metric out


def registry_of(sources: MetricSources) -> CollectorRegistry:
    """A registry of its own with all metrics of one node; several nodes may share a process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(sources))
    return registry


class _NodeCollector(Collector):
    def __init__(self, sources: MetricSources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        # Registration must not read the sources: the node may not be up yet.
        return []

    def collect(self) -> Iterator[Metric]:
        s = self._sources
        info = GaugeMetricFamily("palaver_build_info", "Always 1.", labels=["version"])
        info.add_metric([s.version], 1)
        yield info
        if s.started_s:
            yield _gauge("palaver_start_time_seconds", "When the node started.", s.started_s)
        yield _counter(
            "palaver_cpu_seconds", "Processor time of this process.", time.process_time()
        )
        chat = s.chat()
        edge = s.edge() if s.edge is not None else None
        yield from _chat(chat)
        yield _bad_input(chat, edge)
        if s.runtime is not None:
            yield from _runtime(s.runtime())
        if s.store is not None:
            yield from _store(s.store())
        if s.media is not None:
            media = s.media()
            yield from _media(media.stats, media.open_uploads)
        if edge is not None:
            yield from _edge(edge)
        cluster = s.cluster()
        if cluster is not None:
            yield from cluster_metrics(cluster)


def _chat(c: ChatStats) -> Iterator[Metric]:
    yield _gauge("palaver_sessions", "Authenticated connections.", c.sessions_now)
    yield _gauge("palaver_accounts_online", "Accounts with a session.", c.accounts_online_now)
    yield _counter("palaver_messages_in", "Messages accepted, durable and acked.", c.messages_in)
    yield _counter("palaver_messages_out", "Messages pushed to devices.", c.messages_out)
    yield _counter("palaver_events_acked", "Events that devices acknowledged.", c.events_acked)
    yield _counter("palaver_hints_out", "Receipts and typing hints pushed.", c.hints_out)
    yield _counter("palaver_presence_out", "Presence changes pushed.", c.presence_out)
    yield _by("palaver_requests", "Requests, by operation.", "operation", c.requests)
    yield _by("palaver_errors", "Errors answered, by code.", "code", c.errors)
    yield _counter("palaver_logins", "Devices authenticated.", c.logins)
    yield _counter("palaver_login_failures", "Authentications refused.", c.login_failures)
    yield _counter("palaver_signups", "Devices signed up.", c.signups)
    yield _counter("palaver_codes_sent", "Sign-up codes sent.", c.codes_sent)
    yield _histogram(
        "palaver_ack_seconds", "From a message read to its durable ack written.", c.ack_seconds
    )
    yield _histogram(
        "palaver_queue_depth", "Undelivered events of a device when it connects.", c.queue_depth
    )
    yield _by("palaver_cache_hits", "Lookups that a cache answered.", "cache", c.cache_hits)
    yield _by("palaver_cache_misses", "Lookups that it did not.", "cache", c.cache_misses)
    failing = 1 if c.storage_failing else 0
    yield _gauge("palaver_storage_failing", "1 while commits cannot be made.", failing)


def _media(m: MediaStats, open_uploads: int) -> Iterator[Metric]:
    yield _gauge("palaver_uploads", "Unfinished uploads.", open_uploads)
    yield _counter("palaver_media_bytes_in", "Bytes of media received.", m.received_bytes)
    yield _counter("palaver_media_bytes_out", "Bytes of media sent.", m.sent_bytes)
    yield _counter("palaver_uploads_finished", "Uploads that became files.", m.uploads_finished)
    yield _counter("palaver_uploads_expired", "Uploads given up by their time.", m.uploads_expired)
    yield _by("palaver_media_refused", "Media requests refused, by code.", "code", m.refused)


def _runtime(n: NodeStats) -> Iterator[Metric]:
    yield _gauge("palaver_processes", "Actors alive.", n.processes)
    yield _gauge("palaver_run_queue", "Actors waiting for their turn.", n.run_queue)
    yield _gauge("palaver_mailbox_length_max", "Length of the longest mailbox.", n.mailbox_max)
    yield _counter("palaver_actor_messages", "Messages that actors handled.", n.messages_total)
    yield _counter("palaver_actors_spawned", "Actors spawned.", n.spawned_total)
    yield _counter("palaver_actors_exited", "Actors exited, for any reason.", n.exited_total)
    yield _counter("palaver_actor_restarts", "Restarts by supervisors.", n.restarts_total)


def _store(s: StoreStats) -> Iterator[Metric]:
    yield _gauge("palaver_commit_backlog", "Commands waiting for a commit.", s.backlog)
    yield _counter("palaver_commands", "Commands applied.", s.commands)
    yield _counter("palaver_commands_rejected", "Commands that the tables refused.", s.rejected)
    yield _counter("palaver_commands_failed", "Commands that failed.", s.failed)
    yield _counter("palaver_commands_no_space", "Commands refused for lack of space.", s.full)
    yield _counter("palaver_overloaded", "Appends refused for a full backlog.", s.overloaded)
    yield _buckets(
        "palaver_commit_batch_commands", "Commands in one durable commit.",
        BATCH_BUCKETS, s.batch_sizes, s.commands,
    )  # fmt: skip
    yield _buckets(
        "palaver_commit_seconds", "Time of one durable commit.",
        SECONDS_BUCKETS, s.commit_seconds, s.commit_seconds_sum,
    )  # fmt: skip
    yield _counter("palaver_apply_seconds", "Time spent applying commands.", s.apply_seconds_sum)
    yield _counter("palaver_storage_reads", "Read jobs done.", s.reads)
    yield _counter("palaver_commit_late_turns", "Turns the loop did not wait for.", s.late_turns)
    yield _counter("palaver_map_growths", "Times that a table file was grown.", s.growths)
    yield _gauge("palaver_map_bytes", "Address space of the tables.", s.map_bytes)
    yield _gauge("palaver_used_bytes", "Bytes of the tables in use.", s.used_bytes)


def _edge(e: EdgeStats) -> Iterator[Metric]:
    open_now = GaugeMetricFamily(
        "palaver_connections", "Open connections, by what they are.", labels=["kind"]
    )
    for kind, count in (
        ("websocket", e.connections_open), ("http", e.http_open), ("new", e.heads_open)
    ):  # fmt: skip
        open_now.add_metric([kind], count)
    yield open_now
    yield _counter("palaver_connections_opened", "WebSockets opened.", e.opened_total)
    yield _counter("palaver_http_connections", "HTTP connections accepted.", e.http_total)
    yield _counter("palaver_frames_in", "WebSocket messages received.", e.frames_in)
    yield _counter("palaver_frames_out", "WebSocket messages sent.", e.frames_out)
    yield _counter("palaver_bytes_in", "Bytes received.", e.bytes_in)
    yield _counter("palaver_bytes_out", "Bytes sent.", e.bytes_out)
    yield _counter("palaver_pings_sent", "Pings sent to silent connections.", e.pings_sent)
    yield _by("palaver_connections_refused", "Connections turned away.", "reason", e.refused_total)
    yield _by(
        "palaver_connections_closed", "WebSockets closed, by close code.", "code", e.closed_total
    )


def _bad_input(c: ChatStats, e: EdgeStats | None) -> Metric:
    kinds = Counter(c.bad_input)
    if e is not None:
        kinds.update(e.bad_input_total)
    return _by("palaver_bad_input", "Bad input, by kind.", "kind", kinds)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, counts: Mapping[str, int] | Mapping[int, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, count in sorted((str(k), v) for k, v in counts.items()):
        family.add_metric([key], count)
    return family


def _histogram(name: str, text: str, h: Histogram) -> Metric:
    return _buckets(name, text, h.bounds, h.counts, h.total)


def _buckets(
    name: str, text: str, bounds: Sequence[float], counts: Sequence[int], total: float
) -> Metric:
    # `counts` has one bucket more than `bounds`; Prometheus wants them cumulative.
    rows: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip([*map(repr, map(float, bounds)), "+Inf"], counts, strict=True):
        seen += count
        rows.append((bound, seen))
    return HistogramMetricFamily(name, text, buckets=rows, sum_value=total)
