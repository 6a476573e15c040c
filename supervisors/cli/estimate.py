"""How much hardware a number of people needs: from users to requests, megabits, terabytes, nodes.

Pure functions over two tables: `Assumptions`, what people do, and `Figures`, what one node does as
`palaver bench chat --json` measured it. Every number of the answer follows from these two by the
few lines below, and every one of them can be overridden. Decimal units throughout: a Mb is 10^6
bits, a GB 10^9 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

DAY_S = 86_400.0
YEAR_DAYS = 365.0


def _is(text: str, *, unit: str, low: float = 0.0, high: float = math.inf) -> dict[str, Any]:
    return {"help": text, "unit": unit, "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What people do in a day, and how much room the operator wants to keep."""

    daily_users: float = field(
        default=100_000, metadata=_is("people who use it on a day", unit="people")
    )
    messages: float = field(
        default=40, metadata=_is("messages one person sends in a day", unit="1/day")
    )
    recipients: float = field(
        default=1.5,
        metadata=_is("people who get one message (groups raise it)", unit="people", low=1),
    )
    devices: float = field(
        default=1.3, metadata=_is("devices of one person", unit="devices", low=1)
    )
    body_bytes: float = field(
        default=200, metadata=_is("size of one message's body", unit="B", high=65_536)
    )
    media: float = field(
        default=2, metadata=_is("pictures and videos one person sends in a day", unit="1/day")
    )
    media_bytes: float = field(default=400_000, metadata=_is("size of one of them", unit="B"))
    media_downloads: float = field(
        default=1.5, metadata=_is("times that one of them is fetched", unit="times")
    )
    media_days: float = field(default=365, metadata=_is("days that media are kept", unit="days"))
    offline_share: float = field(
        default=0.6,
        metadata=_is("share of deliveries whose device is offline", unit="share", high=1),
    )
    offline_hours: float = field(
        default=8, metadata=_is("hours that such a message waits", unit="h")
    )
    online_share: float = field(
        default=0.4,
        metadata=_is("share of the devices that are connected at the peak", unit="share", high=1),
    )
    logins: float = field(
        default=12, metadata=_is("times that one device connects in a day", unit="1/day")
    )
    peak: float = field(
        default=3, metadata=_is("busiest second against the day's mean", unit="times", low=1)
    )
    replicas: float = field(
        default=1,
        metadata=_is("copies of every message and file on different nodes", unit="copies", low=1),
    )
    wire_bytes: float = field(
        default=120,
        metadata=_is("bytes around a body on the wire: CBOR, WebSocket, TLS, TCP", unit="B"),
    )
    receipt_bytes: float = field(
        default=90,
        metadata=_is("bytes of the ack and the receipts of one delivery, each way", unit="B"),
    )
    stored_bytes: float = field(
        default=180, metadata=_is("bytes around a body in the tables", unit="B")
    )
    load: float = field(
        default=0.6,
        metadata=_is(
            "share of a node that may be used at the peak", unit="share", low=0.01, high=1
        ),
    )
    spare_nodes: float = field(
        default=1, metadata=_is("nodes that may fail without anyone noticing", unit="nodes")
    )
    node_cores: float = field(
        default=8, metadata=_is("processor cores of one node", unit="cores", low=1)
    )
    node_memory_gb: float = field(
        default=32, metadata=_is("memory of one node", unit="GB", low=0.5)
    )
    node_network_mbps: float = field(
        default=1000, metadata=_is("network of one node, each way", unit="Mb/s", low=1)
    )
    node_disk_tb: float = field(
        default=16, metadata=_is("disk of one node for tables and media", unit="TB", low=0.001)
    )
    media_on_nodes: float = field(
        default=1,
        metadata=_is(
            "share of the media on the nodes' own disks; the rest lies in S3", unit="share", high=1
        ),
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be: `ValueError` names the assumption and its limits."""
        for f in fields(self):
            value, low, high = getattr(self, f.name), f.metadata["low"], f.metadata["high"]
            if not (isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(f"{f.name} must be a number")
            if not low <= value <= high:
                limits = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
                raise ValueError(f"{f.name} must be {limits}, not {value:g}")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one core and one node do: measured by `palaver bench chat`, or the shipped ones.

    A node's event loop is one core's work. That more cores and nodes share the work is what the
    plan assumes of a cluster; this version runs one node.
    """

    message_cpu_us: float = 76.0  # server CPU of one delivered message, durable and receipted
    messages_per_s: float = 12_000.0  # delivered at saturation by one process
    connection_kb: float = 10.2  # of an idle connection, kernel memory apart
    kernel_connection_kb: float = 8.0  # of an idle TCP connection: assumed, no bench measures it
    store_per_s: float = 18_000.0  # messages queued for offline devices by one process
    drain_per_s: float = 29_000.0  # messages given to returning devices by one process
    logins_per_s: float = 850.0  # by one process
    process_mb: float = 80.0  # a node before its first connection
    source: str = "shipped figures, measured on a 2-core machine by `palaver bench chat`"

    def __post_init__(self) -> None:
        """Refuse figures that no machine has."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "source" and not (math.isfinite(value) and value > 0):
                raise ValueError(f"the figure {f.name} must be greater than 0")


# A bench's names for the figures.
BENCH_NAMES: dict[str, str] = {
    "server_cpu_us_per_message": "message_cpu_us",
    "messages_per_s": "messages_per_s",
    "idle_connection_kb": "connection_kb",
    "offline_store_per_s": "store_per_s",
    "offline_drain_per_s": "drain_per_s",
    "logins_per_s": "logins_per_s",
}


def figures_from_bench(report: Mapping[str, Any], base: Figures | None = None) -> Figures:
    """Figures from what `palaver bench chat --json` printed; what it lacks is taken from `base`.

    Raises:
        ValueError: when it is no such report, or holds impossible figures.
    """
    rows = report.get("figures")
    if not isinstance(rows, list):
        raise ValueError("is not a report of `palaver bench chat --json`: it has no list 'figures'")
    found: dict[str, Any] = {}
    for row in rows:
        name = BENCH_NAMES.get(row.get("name", "")) if isinstance(row, dict) else None
        if name is not None:
            value = row.get("value")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"the figure {row['name']} has no number as its value")
            found[name] = float(value)
    if not found:
        raise ValueError("holds none of the figures " + ", ".join(BENCH_NAMES))
    machine = report.get("machine")
    cores = machine.get("cores") if isinstance(machine, dict) else None
    source = "measured" + (f" on a machine with {cores} cores" if cores else "")
    return replace(base or Figures(), source=source, **found)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the people of `Assumptions` need; rates per second are the whole system's."""

    sends_mean_per_s: float
    sends_peak_per_s: float
    deliveries_mean_per_s: float  # to devices
    deliveries_peak_per_s: float
    requests_mean_per_s: float  # what clients ask: sends, acks, reads, logins, media requests
    requests_peak_per_s: float
    logins_peak_per_s: float
    in_mean_mbps: float
    in_peak_mbps: float
    out_mean_mbps: float
    out_peak_mbps: float
    messages_gb_per_day: float  # written to the tables, all copies
    media_gb_per_day: float  # all copies
    stored_tb_per_year: float  # what a year adds if nothing of it expires
    queues_gb: float  # messages that wait for their devices, all copies
    media_tb: float  # media kept, all copies
    connections_peak: float
    connections_memory_gb: float
    cores_peak: float
    nodes_cpu: int
    nodes_memory: int
    nodes_network: int
    nodes_disk: int
    nodes: int  # with the spare ones
    bottleneck: str  # what decided: cpu, memory, network or disk


def estimate(a: Assumptions, f: Figures) -> Estimate:
    """The resources that people of the assumptions need on nodes of the figures."""
    sends_day = a.daily_users * a.messages
    to_people_day = sends_day * a.recipients
    deliveries_day = to_people_day * a.devices + sends_day * (a.devices - 1)  # own other devices
    media_day = a.daily_users * a.media
    downloads_day = media_day * a.media_downloads
    logins_day = a.daily_users * a.devices * a.logins
    # Per delivery one ack; per person reached one read mark; per file a token and the transfers.
    requests_day = (
        sends_day + deliveries_day + to_people_day + logins_day + 2 * media_day + downloads_day
    )

    frame_bytes = a.body_bytes + a.wire_bytes
    in_bytes_day = (
        sends_day * frame_bytes + deliveries_day * a.receipt_bytes + media_day * a.media_bytes
    )
    # Receipts go to the sender's devices; bodies to every device of every recipient.
    out_bytes_day = (
        deliveries_day * frame_bytes
        + (sends_day + to_people_day * a.devices) * a.receipt_bytes
        + downloads_day * a.media_bytes
    )
    copies_bytes_day = (a.replicas - 1) * (sends_day * frame_bytes + media_day * a.media_bytes)

    message_bytes_day = deliveries_day * (a.body_bytes + a.stored_bytes) * a.replicas
    media_bytes_day = media_day * a.media_bytes * a.replicas
    waiting = deliveries_day * a.offline_share * a.offline_hours / 24
    queues_bytes = waiting * (a.body_bytes + a.stored_bytes) * a.replicas
    media_kept_bytes = media_bytes_day * a.media_days

    connections = a.daily_users * a.devices * a.online_share
    connection_bytes = connections * (f.connection_kb + f.kernel_connection_kb) * 1000

    cores = a.peak * _cores_mean(a, f, deliveries_day, logins_day)
    in_mbps, out_mbps = _mbps(in_bytes_day), _mbps(out_bytes_day)
    node_wire_mbps = a.peak * (max(in_mbps, out_mbps) + _mbps(copies_bytes_day))

    needed = {
        "cpu": _nodes(cores, a.node_cores * a.load),
        "memory": _nodes(
            connection_bytes / 1e9,
            max(a.node_memory_gb * a.load - a.node_cores * f.process_mb / 1000, 0.05),
        ),
        "network": _nodes(node_wire_mbps, a.node_network_mbps * a.load),
        "disk": _nodes(
            (queues_bytes + media_kept_bytes * a.media_on_nodes) / 1e12, a.node_disk_tb * a.load
        ),
    }
    bottleneck = max(needed, key=lambda name: needed[name])
    # Copies must lie on different nodes.
    nodes = max(needed[bottleneck], math.ceil(a.replicas)) + math.ceil(a.spare_nodes)
    return Estimate(
        sends_mean_per_s=sends_day / DAY_S,
        sends_peak_per_s=a.peak * sends_day / DAY_S,
        deliveries_mean_per_s=deliveries_day / DAY_S,
        deliveries_peak_per_s=a.peak * deliveries_day / DAY_S,
        requests_mean_per_s=requests_day / DAY_S,
        requests_peak_per_s=a.peak * requests_day / DAY_S,
        logins_peak_per_s=a.peak * logins_day / DAY_S,
        in_mean_mbps=in_mbps,
        in_peak_mbps=a.peak * in_mbps,
        out_mean_mbps=out_mbps,
        out_peak_mbps=a.peak * out_mbps,
        messages_gb_per_day=message_bytes_day / 1e9,
        media_gb_per_day=media_bytes_day / 1e9,
        stored_tb_per_year=(message_bytes_day + media_bytes_day) * YEAR_DAYS / 1e12,
        queues_gb=queues_bytes / 1e9,
        media_tb=media_kept_bytes / 1e12,
        connections_peak=connections,
        connections_memory_gb=connection_bytes / 1e9,
        cores_peak=cores,
        nodes_cpu=needed["cpu"],
        nodes_memory=needed["memory"],
        nodes_network=needed["network"],
        nodes_disk=needed["disk"],
        nodes=nodes,
        bottleneck=bottleneck,
    )


def _cores_mean(a: Assumptions, f: Figures, deliveries_day: float, logins_day: float) -> float:
    # A process saturates when its processor time is used up or, earlier, at its measured rate;
    # the worse of the two is what a delivery costs. An offline delivery costs a store and a drain.
    online_s = max(f.message_cpu_us / 1e6, 1 / f.messages_per_s)
    offline_s = 1 / f.store_per_s + 1 / f.drain_per_s
    each_s = (1 - a.offline_share) * online_s + a.offline_share * offline_s
    busy_s = deliveries_day * each_s * a.replicas + logins_day / f.logins_per_s
    return busy_s / DAY_S


def _mbps(bytes_day: float) -> float:
    return bytes_day * 8 / 1e6 / DAY_S


def _nodes(need: float, of_one: float) -> int:
    return max(1, math.ceil(need / of_one))
