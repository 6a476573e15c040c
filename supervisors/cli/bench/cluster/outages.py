"""Seconds without service, reckoned from when messages were confirmed around a kill."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from palaver.supervisors.cli.bench.stats import percentile, rounded

__all__ = ["ENOUGH_FOR_P99", "Confirmed", "details_of", "outage_s"]

ENOUGH_FOR_P99: Final = 100
"""Kills from which on a p99 is one; with fewer the greatest is what can be said."""


class Confirmed(NamedTuple):
    """A message that was confirmed: when it was sent, and when that was known; seconds."""

    sent_s: float
    confirmed_s: float


def outage_s(confirmed: Sequence[Confirmed], killed_s: float, dead_s: float) -> float | None:
    """Return for how long nothing was confirmed around a kill.

    That is the longest time between two confirmations, or the kill and the first one, up to the
    first message that was sent when what was killed was dead, and was confirmed.

    Args:
        confirmed: by whom was not killed.
        killed_s: when the kill was sent.
        dead_s: when it was known to be done.

    Returns:
        Seconds; None if no message that was sent after the kill was confirmed yet.
    """
    after = [each.confirmed_s for each in confirmed if each.sent_s > dead_s]
    if not after:
        return None
    first = min(after)
    moments = [each.confirmed_s for each in confirmed if killed_s < each.confirmed_s <= first]
    return max(later - earlier for earlier, later in pairwise([killed_s, *sorted(moments)]))


def details_of(outages_s: Sequence[float]) -> dict[str, Any]:
    """Return what else is to be said of some outages: p50, greatest, p99 where there are enough."""
    enough = len(outages_s) >= ENOUGH_FOR_P99
    return {
        "kills": len(outages_s),
        "p50_s": rounded(percentile(outages_s, 0.5)),
        "p99_s": rounded(percentile(outages_s, 0.99)) if enough else None,
        "greatest_s": rounded(max(outages_s)),
    }
