"""What has happened in the cluster, as one node has seen it: counted, logged, and remembered."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import structlog

from palaver.actors.runtime import Clock

__all__ = ["ClusterStats", "Event", "Level", "Recorder"]

log = structlog.get_logger("palaver.cluster")

Level: TypeAlias = Literal["info", "warning", "alarm"]


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        at_ms: when, by the wall clock of the node that tells.
        at_s: the same by its monotonic clock.
        node: who tells.
        what: in a word or two, such as "leading" or "node down".
        about: a partition's number, a node's name, or "".
        text: more, for people.
        level: "alarm" needs somebody.
    """

    at_ms: int
    at_s: float
    node: str
    what: str
    about: str
    text: str
    level: Level


@dataclass(slots=True)
class ClusterStats:
    """Numbers for the metrics; belongs to the thread of the loop.

    Attributes:
        events: how often what has happened, by the events' `what`.
        alarms: how many of them were alarms.
        nodes_up: nodes that this one is connected with, itself included.
        owned: partitions that this node leads now.
        replicas: partitions of which it keeps a replica.
        ownerless: partitions that nobody leads, as far as is known.
        max_behind: entries that the slowest of its replicas lacks.
        takeover_s: how long the last take-over took, from the campaign to serving.
        snapshots_sent, snapshots_fetched: transfers that were completed.
        snapshot_bytes: how much they were.
    """

    events: Counter[str] = field(default_factory=Counter)
    alarms: int = 0
    nodes_up: int = 0
    owned: int = 0
    replicas: int = 0
    ownerless: int = 0
    max_behind: int = 0
    takeover_s: float = 0.0
    snapshots_sent: int = 0
    snapshots_fetched: int = 0
    snapshot_bytes: int = 0


class Recorder:
    """Where a node's cluster processes tell what happens; outlives each of them.

    Args:
        node_name: who tells.
        clock: the node's.
        max_events: how many are remembered; the oldest are forgotten.
    """

    def __init__(self, node_name: str, clock: Clock, max_events: int) -> None:
        self.node_name = node_name
        self.stats = ClusterStats()
        self._clock = clock
        self._recent: deque[Event] = deque(maxlen=max_events)

    def tell(
        self, what: str, about: object = "", text: str = "", *, level: Level = "info", **more: Any
    ) -> None:
        """Something has happened."""
        clock = self._clock
        self._recent.append(
            Event(clock.time_ms(), clock.monotonic(), self.node_name, what, str(about), text, level)
        )
        self.stats.events[what] += 1
        if level == "alarm":
            self.stats.alarms += 1
        tell = {"info": log.info, "warning": log.warning, "alarm": log.error}[level]
        tell(what, node=self.node_name, about=str(about), text=text, **more)

    def recent(self) -> tuple[Event, ...]:
        """What is remembered, oldest first."""
        return tuple(self._recent)
