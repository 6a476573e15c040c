from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.supervisors.cli.estimate import (
    BENCH_NAMES,
    Assumptions,
    Estimate,
    Figures,
    estimate,
    figures_from_bench,
)

LIMITS = {"daily_users": 1e9, "messages": 1000, "media": 100, "media_bytes": 1e9, "spare_nodes": 9}


def numbers(f: Any) -> st.SearchStrategy[float]:
    high = min(f.metadata["high"], LIMITS.get(f.name, 100.0))
    return st.floats(f.metadata["low"], max(high, f.metadata["low"]))


assumptions = st.builds(Assumptions, **{f.name: numbers(f) for f in fields(Assumptions)})
figures = st.builds(
    Figures, **{f.name: st.floats(0.1, 1e5) for f in fields(Figures) if f.name != "source"}
)

# More of one of these never needs less of anything.
DEMANDS = [
    "daily_users", "messages", "recipients", "devices", "body_bytes", "media", "media_bytes",
    "media_downloads", "media_days", "offline_hours", "online_share", "logins", "peak",
    "wire_bytes", "receipt_bytes", "stored_bytes", "replicas", "spare_nodes", "media_on_nodes",
]  # fmt: skip
# More of one of these never needs more nodes.
ROOM = ["load", "node_memory_gb", "node_network_mbps", "node_disk_tb"]


def amounts(e: Estimate) -> dict[str, float]:
    return {name: value for name, value in asdict(e).items() if name != "bottleneck"}


@given(assumptions, figures, st.sampled_from(DEMANDS), st.floats(1, 10))
def test_more_demand_never_needs_less(a: Assumptions, f: Figures, name: str, factor: float) -> None:
    limit = next(x.metadata["high"] for x in fields(Assumptions) if x.name == name)
    more = replace(a, **{name: min(getattr(a, name) * factor, limit)})
    before, after = amounts(estimate(a, f)), amounts(estimate(more, f))
    for quantity, value in before.items():
        assert after[quantity] >= value * (1 - 1e-9), quantity


@given(assumptions, figures, st.sampled_from(ROOM), st.floats(1, 10))
def test_more_room_never_needs_more_nodes(
    a: Assumptions, f: Figures, name: str, factor: float
) -> None:
    limit = next(x.metadata["high"] for x in fields(Assumptions) if x.name == name)
    more = replace(a, **{name: min(getattr(a, name) * factor, limit)})
    assert estimate(more, f).nodes <= estimate(a, f).nodes


@given(assumptions, figures, st.sampled_from(["message_cpu_us", "connection_kb"]))
def test_a_slower_node_never_needs_fewer(a: Assumptions, f: Figures, name: str) -> None:
    slower = replace(f, **{name: getattr(f, name) * 2})
    assert estimate(a, slower).nodes >= estimate(a, f).nodes


@given(assumptions, figures)
def test_peaks_nodes_and_the_bottleneck_hold_together(a: Assumptions, f: Figures) -> None:
    e = estimate(a, f)
    for mean, peak in [
        (e.sends_mean_per_s, e.sends_peak_per_s),
        (e.requests_mean_per_s, e.requests_peak_per_s),
        (e.in_mean_mbps, e.in_peak_mbps),
    ]:
        assert math.isclose(mean * a.peak, peak, rel_tol=1e-9, abs_tol=1e-9)
    each = {"cpu": e.nodes_cpu, "memory": e.nodes_memory, "network": e.nodes_network,
            "disk": e.nodes_disk}  # fmt: skip
    assert each[e.bottleneck] == max(each.values())
    assert e.nodes >= max(each.values()) + a.spare_nodes
    assert e.nodes >= a.replicas + a.spare_nodes
    assert all(math.isfinite(v) and v >= 0 for v in amounts(e).values())
    json.dumps(asdict(e))


@given(assumptions, figures)
def test_nobody_needs_no_traffic(a: Assumptions, f: Figures) -> None:
    e = estimate(replace(a, daily_users=0), f)
    assert e.requests_peak_per_s == e.in_peak_mbps == e.media_tb == e.connections_peak == 0
    assert e.nodes >= 1


def test_units_by_hand() -> None:
    # 86,400 people send 10 messages a day, each to one person with one device.
    a = Assumptions(
        daily_users=86_400, messages=10, recipients=1, devices=1, body_bytes=150, wire_bytes=100,
        receipt_bytes=0, stored_bytes=350, media=1, media_bytes=1e6, media_downloads=2,
        media_days=10, offline_share=0.5, offline_hours=12, online_share=0.5, logins=1, peak=2,
        replicas=1,
    )  # fmt: skip
    e = estimate(a, Figures(connection_kb=10, kernel_connection_kb=10))
    assert e.sends_mean_per_s == pytest.approx(10)
    assert e.sends_peak_per_s == pytest.approx(20)
    assert e.deliveries_mean_per_s == pytest.approx(10)
    # sends 10 + acks 10 + reads 10 + logins 1 + uploads 2 x 1 + downloads 2
    assert e.requests_mean_per_s == pytest.approx(35)
    assert e.in_mean_mbps == pytest.approx((10 * 250 + 1e6) * 8 / 1e6)
    assert e.out_mean_mbps == pytest.approx((10 * 250 + 2e6) * 8 / 1e6)
    assert e.messages_gb_per_day == pytest.approx(864_000 * 500 / 1e9)
    assert e.media_gb_per_day == pytest.approx(86.4)
    assert e.stored_tb_per_year == pytest.approx((0.432 + 86.4) * 365 / 1000)
    assert e.queues_gb == pytest.approx(0.432 * 0.5 * 0.5)
    assert e.media_tb == pytest.approx(0.864)
    assert e.connections_peak == pytest.approx(43_200)
    assert e.connections_memory_gb == pytest.approx(0.864)


@pytest.mark.parametrize(
    ("name", "value"),
    [("daily_users", -1), ("offline_share", 1.1), ("devices", 0), ("peak", math.nan), ("load", 0)],
)
def test_impossible_assumptions_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Assumptions(**{name: value})
    with pytest.raises(ValueError, match="logins_per_s"):
        Figures(logins_per_s=0)


def test_figures_of_a_bench_replace_the_shipped_ones() -> None:
    rows = [{"name": name, "value": 7, "unit": "?"} for name in BENCH_NAMES]
    f = figures_from_bench({"machine": {"cores": 2}, "figures": [*rows, {"name": "other"}]})
    assert {getattr(f, name) for name in BENCH_NAMES.values()} == {7.0}
    assert f.source == "measured on a machine with 2 cores"
    assert f.process_mb == Figures().process_mb


@pytest.mark.parametrize(
    "report",
    [{}, {"figures": 3}, {"figures": []}, {"figures": [{"name": "logins_per_s"}]},
     {"figures": [{"name": "logins_per_s", "value": -1}]}],
)  # fmt: skip
def test_what_is_no_bench_report_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"figure"):
        figures_from_bench(report)
