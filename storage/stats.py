"""Figures of a store: plain numbers, cheap to read at any time."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from .batch import Batch
from .errors import StoreFull
from .machine import Rejected

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of the batch-size buckets, commands; one more bucket holds what is above."""

SECONDS_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
"""Upper bounds of the commit-time buckets, seconds; one more bucket holds what is above."""


def _batch_counts() -> list[int]:
    return [0] * (len(BATCH_BUCKETS) + 1)


def _seconds_counts() -> list[int]:
    return [0] * (len(SECONDS_BUCKETS) + 1)


@dataclass(slots=True)
class StoreStats:
    """What a store has done since it was opened, all partitions together.

    Attributes:
        commits: transactions made durable.
        commands: commands handed to a machine, whatever their outcome.
        rejected: commands that the machine rejected.
        failed: commands that failed (ApplyFailed, WrongSequence, StoreFailed).
        full: commands refused because there was no room (StoreFull).
        overloaded: appends refused because the backlog was full.
        batch_sizes: commits by number of commands, in BATCH_BUCKETS (not cumulative).
        commit_seconds: commits by duration of the durable commit, in SECONDS_BUCKETS.
        commit_seconds_sum: the sum of these durations.
        apply_seconds_sum: time between the begin of a transaction and its commit, summed.
        reads: read jobs done.
        late_turns: lent turns that the worker outlasted (the loop went on without it).
        growths: how often a map was grown.
        map_bytes: size of the maps (address space).
        used_bytes: bytes of the data files up to their highest page in use.
        backlog: commands waiting or being applied now.
        oldest_snapshot_s: for how long the oldest open snapshot of this process is open, seconds;
            0.0 when none is.
        oldest_snapshot_commits: transactions since; what they freed cannot be used again yet.
        oldest_snapshot: what it is for, "" when none is open.
        growth_blocked: partitions in which a map waits for the end of the snapshots now.
    """

    commits: int = 0
    commands: int = 0
    rejected: int = 0
    failed: int = 0
    full: int = 0
    overloaded: int = 0
    batch_sizes: list[int] = field(default_factory=_batch_counts)
    commit_seconds: list[int] = field(default_factory=_seconds_counts)
    commit_seconds_sum: float = 0.0
    apply_seconds_sum: float = 0.0
    reads: int = 0
    late_turns: int = 0
    growths: int = 0
    map_bytes: int = 0
    used_bytes: int = 0
    backlog: int = 0
    oldest_snapshot_s: float = 0.0
    oldest_snapshot_commits: int = 0
    oldest_snapshot: str = ""
    growth_blocked: int = 0

    def committed(self, commands: int, seconds: float) -> None:
        """Count one durable commit of so many commands."""
        self.commits += 1
        self.batch_sizes[bisect_left(BATCH_BUCKETS, commands)] += 1
        self.commit_seconds[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self.commit_seconds_sum += seconds

    def count(self, batch: Batch) -> None:
        """Count a batch that has its results."""
        self.commands += batch.size
        self.apply_seconds_sum += batch.apply_s
        if batch.commit_s is not None:
            self.committed(batch.size, batch.commit_s)
        for entry in batch.entries:
            for result in entry.results:
                if isinstance(result, Exception):
                    self._failed(result)

    def _failed(self, failure: Exception) -> None:
        if isinstance(failure, Rejected):
            self.rejected += 1
        elif isinstance(failure, StoreFull):
            self.full += 1
        else:
            self.failed += 1
