"""Plain counters of the message path, cheap enough to be incremented for every message.

Nothing here knows Prometheus: the node's collector reads these numbers when it is scraped. All of
it belongs to the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

# Upper bounds in seconds; from an SSD's fsync to a phone on a bad network.
LATENCY_BOUNDS_S: tuple[float, ...] = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
DEPTH_BOUNDS: tuple[float, ...] = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


class Histogram:
    """Counts of observations in fixed buckets, with their sum.

    `counts` has one entry more than `bounds`: the last holds what is greater than every bound.
    A value equal to a bound belongs to that bound's bucket, as in Prometheus.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS_S) -> None:
        self.bounds = tuple(bounds)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("a histogram's bounds must rise")
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_many(self, value: float, times: int) -> None:
        """Count one value several times, such as a batch's latency for each of its messages."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def quantile(self, q: float) -> float:
        """The least bound below which a share `q` of the values lies; the last bound at most."""
        wanted = q * self.count
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return self.bounds[-1]


@dataclass(slots=True)
class ChatStats:
    """What the message path counted since the node started; `*_now` are gauges."""

    messages_in: int = 0  # sends accepted: durable and answered
    messages_out: int = 0  # message events pushed to devices, repeats included
    events_acked: int = 0  # events that devices acknowledged, and that left their queues
    hints_out: int = 0  # receipts and typing hints handed to connections
    presence_out: int = 0
    requests: Counter[str] = field(default_factory=Counter)  # by operation
    errors: Counter[str] = field(default_factory=Counter)  # by error code
    bad_input: Counter[str] = field(default_factory=Counter)  # by kind
    logins: int = 0
    login_failures: int = 0
    signups: int = 0
    codes_sent: int = 0
    sessions_by_gateway: Counter[int] = field(default_factory=Counter)  # authenticated, now
    online_by_partition: Counter[int] = field(default_factory=Counter)  # accounts, now
    ack_seconds: Histogram = field(default_factory=Histogram)  # SEND read -> answer written
    queue_depth: Histogram = field(  # depth of a device's queue, seen when it authenticates
        default_factory=lambda: Histogram(DEPTH_BOUNDS)
    )
    cache_hits: Counter[str] = field(default_factory=Counter)  # by cache
    cache_misses: Counter[str] = field(default_factory=Counter)
    failing: dict[int, str] = field(default_factory=dict)  # partition -> why it cannot commit now

    @property
    def storage_failing(self) -> str:
        """Why the last commit of some partition could not be made; empty: all were."""
        return next(iter(self.failing.values()), "")

    @property
    def accounts_online_now(self) -> int:
        """Accounts with sessions, of the partitions that are served here."""
        return self.online_by_partition.total()

    @property
    def sessions_now(self) -> int:
        """Authenticated connections of all gateways."""
        return self.sessions_by_gateway.total()
