"""What is exported of a node's part in its cluster, and that each of it is documented."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from palaver.actors.chat.stats import ChatStats
from palaver.actors.cluster.events import ClusterStats
from palaver.storage.jetstream.answers import AnswerStats
from palaver.storage.replicated.settings import ReplicaState
from palaver.supervisors.trees.cluster_metrics import ClusterNumbers
from palaver.supervisors.trees.metrics import MetricSources, registry_of
from palaver.transport.fabric import FabricStats, NatsStats

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

REPLICA = ReplicaState(
    3, 17, 5, 4, "a@h", leading=True, following=True, catching_up=False, behind=2,
    digests=(), first=1, last=19, trouble="", backlog=6,
)  # fmt: skip


def numbers() -> ClusterNumbers:
    cluster = ClusterStats(alarms=2, nodes_up=3, owned=1, replicas=4, ownerless=1, takeover_s=0.25)
    cluster.events.update({"leading": 5, "node lost": 1, "replicas differ": 1, "rebuilt": 1})
    cluster.snapshots_fetched = 7
    fabric = FabricStats(connected=2, downs=5, silent=2, gaps=1, packets_out=9)
    journal = AnswerStats(waiting=3, unanswered=1)
    journal.seconds[3] = 4
    journal.seconds[-1] = 1
    journal.seconds_sum = 5.5
    failing = REPLICA._replace(partition=0, leading=False, trouble="the disk is full")
    return ClusterNumbers(
        cluster, [failing, REPLICA], fabric, NatsStats(disconnects=1), True, journal
    )


def exported() -> dict[tuple[str, str], float]:
    registry = registry_of(MetricSources(chat=ChatStats, cluster=numbers))
    text = generate_latest(registry).decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("palaver_cluster_")
    }


def test_each_number_has_its_place() -> None:
    seen = exported()
    for name, label, value in (
        ("nodes_up", "", 3), ("partitions_owned", "", 1), ("partitions_ownerless", "", 1),
        ("takeover_seconds", "", 0.25), ("takeovers_total", "", 5), ("nodes_lost_total", "", 1),
        ("replicas_differ_total", "", 1), ("replicas_rebuilt_total", "", 1),
        ("alarms_total", "", 2), ("events_total", "leading", 5),
        ("snapshots_total", "fetched", 7), ("snapshots_total", "sent", 0),
        ("epoch", "3", 4), ("leads", "3", 1), ("leads", "0", 0), ("position", "3", 17),
        ("behind", "3", 2), ("trouble", "3", 0), ("trouble", "0", 1), ("backlog", "3", 6),
        ("links", "", 2), ("links_lost_total", "silent", 2), ("links_lost_total", "other", 2),
        ("packets_out_total", "", 9), ("nats_connected", "", 1), ("nats_disconnects_total", "", 1),
        ("journal_waiting", "", 3), ("journal_unanswered_total", "", 1),
        ("journal_seconds_count", "", 5), ("journal_seconds_bucket", "0.001", 4),
        ("journal_seconds_sum", "", 5.5),
    ):  # fmt: skip
        assert seen[f"palaver_cluster_{name}", label] == value, name


def test_a_node_that_stands_alone_or_has_not_joined_exports_none() -> None:
    registry = registry_of(MetricSources(chat=ChatStats))
    assert b"palaver_cluster_" not in generate_latest(registry)


def test_each_metric_is_in_the_operator_s_table() -> None:
    found = re.findall(r"palaver_cluster_[a-z_]+", OPERATIONS.read_text("utf-8"))
    documented = {re.sub("_(bucket|sum|count)$", "", name) for name in found}
    names = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in exported()}
    assert names <= documented, names - documented
    assert documented <= names, documented - names
