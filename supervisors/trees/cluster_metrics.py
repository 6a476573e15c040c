"""What a node's part in its cluster counts, in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from palaver.storage.stats import SECONDS_BUCKETS

if TYPE_CHECKING:  # their packages are an extra
    from palaver.actors.cluster.events import ClusterStats
    from palaver.storage.jetstream.answers import AnswerStats
    from palaver.storage.replicated.settings import ReplicaState
    from palaver.transport.fabric import FabricStats, NatsStats

__all__ = ["ClusterNumbers", "cluster_metrics"]


@dataclass(frozen=True, slots=True)
class ClusterNumbers:
    """Where a cluster's numbers are, at a scrape.

    Attributes:
        cluster: of the cluster's processes.
        replicas: the partitions of which the node keeps a copy.
        fabric: of the connections to other nodes.
        nats: of the connection to NATS.
        connected: whether there is one now.
        journal: of the publishes to the journals.
    """

    cluster: ClusterStats
    replicas: Sequence[ReplicaState]
    fabric: FabricStats
    nats: NatsStats
    connected: bool
    journal: AnswerStats


def cluster_metrics(n: ClusterNumbers) -> Iterator[Metric]:
    """All metrics of a node of a cluster."""
    yield from _cluster(n.cluster)
    yield from _replicas(n.replicas)
    yield from _fabric(n.fabric)
    yield from _nats(n)


def _cluster(c: ClusterStats) -> Iterator[Metric]:
    yield _gauge("nodes_up", "Nodes that this one is connected with, itself included.", c.nodes_up)
    yield _gauge("partitions_owned", "Partitions that this node leads.", c.owned)
    yield _gauge("partitions_replicated", "Partitions that it keeps a copy of.", c.replicas)
    yield _gauge("partitions_ownerless", "Partitions that nobody leads.", c.ownerless)
    yield _gauge("takeover_seconds", "How long the last take-over took.", c.takeover_s)
    happened = c.events
    yield _counter("takeovers", "Partitions that this node began to lead.", happened["leading"])
    yield _counter("nodes_lost", "Connections to nodes lost.", happened["node lost"])
    differ = happened["replicas differ"]
    yield _counter("replicas_differ", "Copies found to differ from the others.", differ)
    yield _counter("replicas_rebuilt", "Copies made anew from another node's.", happened["rebuilt"])
    yield _counter("alarms", "Events that need somebody.", c.alarms)
    events = CounterMetricFamily(f"{_PREFIX}events", "Events, by what.", labels=["what"])
    for what, count in sorted(happened.items()):
        events.add_metric([what], count)
    yield events
    snapshots = CounterMetricFamily(
        f"{_PREFIX}snapshots", "Snapshots of partitions, by direction.", labels=["direction"]
    )
    snapshots.add_metric(["sent"], c.snapshots_sent)
    snapshots.add_metric(["fetched"], c.snapshots_fetched)
    yield snapshots
    yield _counter("snapshot_bytes", "Bytes of snapshots sent.", c.snapshot_bytes)


def _replicas(states: Sequence[ReplicaState]) -> Iterator[Metric]:
    families = [
        GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=["partition"])
        for name, text in (
            ("epoch", "Current epoch of a partition, as its copy here has read."),
            ("leads", "1 where this node leads the partition."),
            ("position", "Entry of the journal up to which the copy here is applied."),
            ("behind", "Entries of the journal that the copy here lacks."),
            ("trouble", "1 while the copy here cannot go on; the log says why."),
            ("backlog", "Commands of this node that wait for their answers."),
        )
    ]
    for each in states:
        values = (
            each.epoch, each.leading, each.position, each.behind, bool(each.trouble), each.backlog,
        )  # fmt: skip
        for family, value in zip(families, values, strict=True):
            family.add_metric([str(each.partition)], value)
    yield from families


def _fabric(f: FabricStats) -> Iterator[Metric]:
    yield _gauge("links", "Connections to other nodes.", f.connected)
    lost = CounterMetricFamily(
        f"{_PREFIX}links_lost", "Connections to nodes given up, by why.", labels=["why"]
    )
    reasons = (("silent", f.silent), ("gap", f.gaps), ("overflow", f.overflows))
    for why, count in (*reasons, ("other", f.downs - sum(count for _, count in reasons))):
        lost.add_metric([why], max(0, count))
    yield lost
    yield _counter("packets_in", "Packets from other nodes.", f.packets_in)
    yield _counter("packets_out", "Packets to other nodes.", f.packets_out)
    yield _counter("bytes_in", "Bytes from other nodes.", f.bytes_in)
    yield _counter("bytes_out", "Bytes to other nodes.", f.bytes_out)
    yield _counter("bad_frames", "What came from nodes and was none of theirs.", f.bad_frames)
    yield _counter("name_conflicts", "Signs of another node of this name.", f.conflicts)


def _nats(n: ClusterNumbers) -> Iterator[Metric]:
    yield _gauge("nats_connected", "1 while there is a connection to NATS.", n.connected)
    yield _counter("nats_disconnects", "Connections to NATS lost.", n.nats.disconnects)
    yield _counter("nats_errors", "Errors that NATS told.", n.nats.errors)
    yield _counter("nats_dropped", "Messages that came faster than read.", n.nats.slow_consumers)
    yield _counter("nats_refused", "Messages that could not be sent.", n.nats.refused)
    yield _gauge("journal_waiting", "Entries that wait for the journal.", n.journal.waiting)
    yield _counter("journal_unanswered", "Entries without an answer.", n.journal.unanswered)
    rows: list[tuple[str, float]] = []
    seen = 0
    bounds = [*map(repr, SECONDS_BUCKETS), "+Inf"]
    for bound, count in zip(bounds, n.journal.seconds, strict=True):
        seen += count
        rows.append((bound, seen))
    yield HistogramMetricFamily(
        f"{_PREFIX}journal_seconds", "Round trip of one entry: on a majority of disks.",
        buckets=rows, sum_value=n.journal.seconds_sum,
    )  # fmt: skip


_PREFIX = "palaver_cluster_"


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}{name}", text, value=value)
