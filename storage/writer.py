"""The owner's side of a partition: appends queue here and become batches (group commit)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .batch import Applier, Batch, Done, Entry, Identity
from .desk import Desk
from .errors import Overloaded, StoreClosed, StoreFull
from .lending import Post
from .machine import Command, Rejected
from .stats import StoreStats


class Writer(Desk[Entry, Batch]):
    """Queues, batches and answers the appends of one partition."""

    __slots__ = ("_applier", "_max_backlog", "_max_batch", "_stats", "backlog")

    def __init__(
        self,
        partition: int,
        applier: Applier,
        *,
        post: Post | None,
        defer: Post,
        clock: Callable[[], float],
        stall_s: float,
        max_batch: int,
        max_backlog: int,
        stats: StoreStats,
    ) -> None:
        self._applier = applier
        self._max_batch = max_batch
        self._max_backlog = max_backlog
        self._stats = stats
        self.backlog = 0
        super().__init__(
            f"palaver-writer-{partition}",
            applier.run,
            post=post,
            defer=defer,
            clock=clock,
            stall_s=stall_s,
        )
        applier.thread = self.thread

    @property
    def identity(self) -> Identity:
        """What is applied and durable."""
        return self._applier.identity

    def append(self, commands: Sequence[Command], done: Done, expected: int | None) -> None:
        """Queue commands; see `Store.append`."""
        if self._closed:
            raise StoreClosed
        size = len(commands)
        if self.backlog + size > self._max_backlog:
            self._stats.overloaded += 1
            raise Overloaded(self.backlog, self._max_backlog)
        self.backlog += size
        self._queue(Entry(commands, done, expected))

    def _take(self) -> Batch:
        pending = self._pending
        entry = pending.popleft()
        entries = [entry]
        size = len(entry.commands)
        while pending and size + len(pending[0].commands) <= self._max_batch:
            entry = pending.popleft()
            entries.append(entry)
            size += len(entry.commands)
        return Batch(entries, size)

    def _return(self, job: Batch) -> Iterable[Entry]:
        self.backlog -= job.size
        stats = self._stats
        stats.commands += job.size
        stats.apply_seconds_sum += job.apply_s
        if job.commit_s is not None:
            stats.committed(job.size, job.commit_s)
        for entry in job.entries:
            for result in entry.results:
                if isinstance(result, Exception):
                    self._count(result)
        return job.entries

    def _count(self, failure: Exception) -> None:
        if isinstance(failure, Rejected):
            self._stats.rejected += 1
        elif isinstance(failure, StoreFull):
            self._stats.full += 1
        else:
            self._stats.failed += 1

    def _answer(self, item: Entry) -> None:
        item.done(item.results)
