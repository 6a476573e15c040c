from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from palaver.actors.chat.stats import ChatStats, Histogram
from palaver.actors.runtime import NodeStats
from palaver.storage.stats import StoreStats
from palaver.supervisors.trees.metrics import MetricSources, registry_of
from palaver.transport.edge import EdgeStats


def scraped(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(registry).decode()
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def node_stats() -> NodeStats:
    numbers: dict[str, Any] = {name: i for i, name in enumerate(NodeStats.__annotations__, 10)}
    return NodeStats(**numbers)


def test_every_source_is_read_at_the_scrape() -> None:
    chat, store, edge = ChatStats(), StoreStats(), EdgeStats()
    registry = registry_of(
        MetricSources(
            chat=lambda: chat, runtime=node_stats, store=lambda: store, edge=lambda: edge,
            version="9.9", started_s=123.0,
        )
    )  # fmt: skip
    before = scraped(registry)
    assert before["palaver_messages_in_total", ()] == 0
    chat.messages_in = 5
    chat.ack_seconds.observe_many(0.003, 4)
    chat.queue_depth.observe(0)
    chat.queue_depth.observe(50)
    chat.cache_hits["recent_peers"] += 3
    chat.bad_input["tag"] += 1
    edge.bad_input_total["tag"] = 2
    edge.bad_input_total["text_frame"] = 1
    edge.connections_open = 7
    edge.closed(4401)
    edge.refused("max_connections")
    store.commands = 8
    store.committed(8, 0.0004)
    after = scraped(registry)
    assert after["palaver_messages_in_total", ()] == 5
    assert after["palaver_ack_seconds_bucket", (("le", "0.002"),)] == 0
    assert after["palaver_ack_seconds_bucket", (("le", "0.005"),)] == 4
    assert after["palaver_ack_seconds_bucket", (("le", "+Inf"),)] == 4
    assert after["palaver_ack_seconds_count", ()] == 4
    assert after["palaver_ack_seconds_sum", ()] == pytest.approx(0.012)
    assert after["palaver_queue_depth_bucket", (("le", "0.0"),)] == 1
    assert after["palaver_queue_depth_bucket", (("le", "100.0"),)] == 2
    assert after["palaver_cache_hits_total", (("cache", "recent_peers"),)] == 3
    assert after["palaver_bad_input_total", (("kind", "tag"),)] == 3
    assert after["palaver_bad_input_total", (("kind", "text_frame"),)] == 1
    assert after["palaver_connections", (("kind", "websocket"),)] == 7
    assert after["palaver_connections_closed_total", (("code", "4401"),)] == 1
    assert after["palaver_connections_refused_total", (("reason", "max_connections"),)] == 1
    assert after["palaver_commit_batch_commands_bucket", (("le", "8.0"),)] == 1
    assert after["palaver_commit_batch_commands_sum", ()] == 8
    assert after["palaver_commit_seconds_count", ()] == 1
    assert after["palaver_build_info", (("version", "9.9"),)] == 1
    assert after["palaver_start_time_seconds", ()] == 123


def test_a_source_that_is_absent_is_left_out_and_two_nodes_do_not_mix() -> None:
    one, two = ChatStats(messages_in=1), ChatStats(messages_in=2)
    first, second = (
        scraped(registry_of(MetricSources(chat=lambda s=s: s)))  # type: ignore[misc]
        for s in (one, two)
    )
    assert first["palaver_messages_in_total", ()] == 1
    assert second["palaver_messages_in_total", ()] == 2
    assert not any("commit" in name or "mailbox" in name for name, _ in first)


@given(st.lists(st.floats(0, 20)), st.floats(0, 1))
def test_a_histogram_counts_everything_once(values: list[float], q: float) -> None:
    h = Histogram()
    for value in values:
        h.observe(value)
    assert h.count == len(values) == sum(h.counts)
    assert math.isclose(h.total, sum(values), abs_tol=1e-9)
    for bound, count in zip(h.bounds, h.counts, strict=False):
        lower = max((b for b in h.bounds if b < bound), default=-1.0)
        assert count == sum(lower < v <= bound for v in values)
    assert h.quantile(q) in h.bounds


def test_bounds_must_rise() -> None:
    for bounds in ([], [1.0, 1.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="rise"):
            Histogram(bounds)
