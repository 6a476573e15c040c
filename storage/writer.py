"""The owner's side of a partition: appends queue here and become batches (group commit)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .batch import Applier, Batch, Done, Entry, take
from .desk import Desk
from .errors import Overloaded, StoreClosed
from .lending import Post
from .machine import Command
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

    def append(self, commands: Sequence[Command], done: Done | None, expected: int | None) -> None:
        """Queue commands; see `Store.append`."""
        if self._closed:
            raise StoreClosed
        size = len(commands)
        if self.backlog + size > self._max_backlog:
            self._stats.overloaded += 1
            raise Overloaded(self.backlog, self._max_backlog)
        self.backlog += size
        self._queue(Entry(commands, done, expected, self._applier.life))

    def _take(self) -> Batch:
        return take(self._pending, self._max_batch)

    def _return(self, job: Batch) -> Iterable[Entry]:
        self.backlog -= job.size
        self._stats.count(job)
        return job.entries

    def _answer(self, item: Entry) -> None:
        if item.done is not None:
            item.done(item.results)
