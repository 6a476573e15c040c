"""Reads beside the loop: jobs over snapshots, run in a thread that the loop lends its turn to.

LMDB's pages come from a memory map: a read of a cold page waits for the disk, and in the loop's
own thread the whole loop would wait with it. One thread serves all partitions; the jobs of one
loop turn share a snapshot per partition. A read sees everything whose `done` was called before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .desk import Desk
from .disk import READ_ERRORS
from .environment import Environment
from .errors import Overloaded, StoreClosed
from .lending import Post
from .stats import StoreStats
from .transaction import ReadTxn

MAX_JOBS = 256
"""Jobs that share one handing-over at most."""


_NOT_RUN = object()


class _Read:
    __slots__ = ("done", "function", "partition", "result")

    def __init__(
        self, partition: int, function: Callable[[ReadTxn], Any], done: Callable[[Any], None]
    ) -> None:
        self.partition = partition
        self.function = function
        self.done = done
        self.result: Any = _NOT_RUN


class Reader(Desk[_Read, list[_Read]]):
    """Queues and answers the reads of a store."""

    __slots__ = ("_environments", "_max_backlog", "_stats")

    def __init__(
        self,
        environments: Sequence[Environment],
        *,
        post: Post | None,
        defer: Post,
        clock: Callable[[], float],
        stall_s: float,
        max_backlog: int,
        stats: StoreStats,
    ) -> None:
        self._environments = environments
        self._max_backlog = max_backlog
        self._stats = stats
        super().__init__(
            "palaver-reader", self._run, post=post, defer=defer, clock=clock, stall_s=stall_s
        )

    def read(
        self, partition: int, function: Callable[[ReadTxn], Any], done: Callable[[Any], None]
    ) -> None:
        """Queue a job; see `Store.read`."""
        if self._closed:
            raise StoreClosed
        if len(self._pending) >= self._max_backlog:
            self._stats.overloaded += 1
            raise Overloaded(len(self._pending), self._max_backlog)
        self._queue(_Read(partition, function, done))

    def _take(self) -> list[_Read]:
        pending = self._pending
        return [pending.popleft() for _ in range(min(len(pending), MAX_JOBS))]

    def _return(self, job: list[_Read]) -> Iterable[_Read]:
        self._stats.reads += len(job)
        return job

    def _answer(self, item: _Read) -> None:
        item.done(item.result)

    def _run(self, jobs: list[_Read]) -> None:
        """Run jobs in the reader's thread, partition by partition."""
        by_partition: dict[int, list[_Read]] = {}
        for job in jobs:
            by_partition.setdefault(job.partition, []).append(job)
        for partition, group in by_partition.items():
            environment = self._environments[partition]
            waiting = iter(group)
            try:
                while self._run_some(waiting, environment):
                    # Without a snapshot: whoever waits for those to end may hold up the owner.
                    self.thread.pause_if_due()
            except Exception as error:  # noqa: BLE001 - becomes the answer of those not served
                for job in group:
                    if job.result is _NOT_RUN:
                        job.result = error

    def _run_some(self, waiting: Iterator[_Read], environment: Environment) -> bool:
        """Run jobs over one snapshot until the turn is over; return whether there may be more."""
        with environment.snapshot() as txn:
            for job in waiting:
                self._run_one(job, txn, environment)
                if self.thread.due:
                    return True
        return False

    @staticmethod
    def _run_one(job: _Read, txn: ReadTxn, environment: Environment) -> None:
        try:
            job.result = job.function(txn)
        except READ_ERRORS as error:
            job.result = environment.damaged(error)
        except Exception as error:  # noqa: BLE001 - the answer of this job
            job.result = error
