"""What a simulated engine asks: which way it goes, what time it is, whether messages pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .faults import Calm, DiskFaults

__all__ = ["CalmEngine", "EngineFaults", "EngineHabits"]


class EngineFaults(DiskFaults, Protocol):
    """The engine's way to whoever decides what happens; names begin with "engine-"."""

    def passes(self, node: str, *, back: bool) -> bool:
        """Return whether a message passes now from a node to the quorum, or `back` from it."""


@dataclass(frozen=True, slots=True)
class CalmEngine(Calm):
    """An engine that nothing is wrong with; see `Calm`."""

    def passes(self, node: str, *, back: bool) -> bool:
        """Let it pass."""
        return True


@dataclass(frozen=True, slots=True)
class EngineHabits:
    """How fast an engine is, and how often it fails; a rate of 0.0 asks no question.

    Attributes:
        latency_s: how long a message is under way, seconds.
        timeout_s: when a request is given up that nobody answers, seconds.
        heartbeat_s: a follower that hears nothing for so long gives up, seconds.
        election_s: how long nobody leads at most, seconds.
        window_s: for so long an entry's id is known; what comes again is stored again after it.
        slow: rate of messages that take 2 to 256 times as long.
        trouble: rate of requests that go wrong, see `WAYS`.
        election: rate of requests at which the engine begins an election.
        dropped: rate of requests lost that come during an election; the others wait for its end.
        twice: rate of entries that are stored twice, a while apart.
        forgets: rate of repeated entries whose id is not known any more.
        follow: rate of deliveries at which a follower stops, fails, or gets one entry only.
        stale: rate of reads that show what was before.
        lag: rate of news of registers that come up to 2,048 times as late.
    """

    latency_s: float = 0.001
    timeout_s: float = 2.0
    heartbeat_s: float = 1.5
    election_s: float = 4.0
    window_s: float = 120.0
    slow: float = 0.0
    trouble: float = 0.0
    election: float = 0.0
    dropped: float = 0.0
    twice: float = 0.0
    forgets: float = 0.0
    follow: float = 0.0
    stale: float = 0.0
    lag: float = 0.0
