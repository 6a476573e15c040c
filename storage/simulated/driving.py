"""How a simulated store works under its loop: what its threads do in the real one, in one.

A batch is taken when the loop has its turn, and is under way for as long as its commit takes. At
the end of that time it is applied and committed, in one moment. Nobody can tell it from one that
was applied at the beginning: only its owner writes to a partition, and readers see a commit when it
is durable. The owner hears of it then or, where the loop is busy, later.

When an incarnation ends meanwhile, the disk chooses whether the batch was durable. Then it is
applied, and nobody hears of it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from palaver.storage.batch import Applier, Batch, Done, Entry, Result, take
from palaver.storage.environment import Environment
from palaver.storage.errors import Overloaded, StoreClosed
from palaver.storage.leading import Ticket
from palaver.storage.machine import Command
from palaver.storage.reader import MAX_JOBS
from palaver.storage.stats import StoreStats
from palaver.storage.transaction import ReadTxn

from .disk import Plate, SimulatedDisk
from .faults import CallLater

Item = TypeVar("Item")
Job = TypeVar("Job")


class Lane(ABC, Generic[Item, Job]):
    """Queues items, works on one job of them at a time, answers them in order.

    Attributes:
        dead: whether the incarnation is over: nothing is answered any more.
    """

    __slots__ = (
        "_call_later",
        "_closed",
        "_flush_due",
        "_idle",
        "_job",
        "_number",
        "_pending",
        "_ready",
        "_worked",
        "dead",
    )

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._pending: deque[Item] = deque()
        self._ready: deque[Item] = deque()
        self._job: Job | None = None
        self._worked = False
        self._number = 0  # of the job; what was to be called for an earlier one is void
        self._flush_due = False
        self._closed = False
        self._idle: list[Callable[[], None]] = []
        self.dead = False

    @abstractmethod
    def _take(self) -> tuple[Job, float]:
        """Make a job of what is pending; return it and how long it takes, seconds."""

    @abstractmethod
    def _work(self, job: Job) -> float:
        """Do a job; return after how many seconds its owner hears of it."""

    @abstractmethod
    def _return(self, job: Job) -> Sequence[Item]:
        """Give back the items of a finished job."""

    @abstractmethod
    def _answer(self, item: Item) -> None:
        """Tell the one who queued the item."""

    def _queue(self, item: Item) -> None:
        self._pending.append(item)
        if not self._flush_due:
            self._flush_due = True
            self._call_later(0.0, self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._job is None and self._pending and not self.dead:
            self._start()

    def _start(self) -> None:
        self._job, delay_s = self._take()
        self._worked = False
        self._number += 1
        self._call_later(delay_s, partial(self._finish, self._number))

    def _finish(self, number: int) -> None:
        if number != self._number or self._job is None or self.dead:
            return
        self._number += 1
        delay_s = self._work(self._job)
        self._worked = True
        if delay_s:
            self._call_later(delay_s, partial(self._collect, self._number))
        else:
            self._collect(self._number)

    def _collect(self, number: int) -> None:
        """Take a finished job back: first go on with the next, then answer in order."""
        if number != self._number or self._job is None or self.dead:
            return
        job, self._job = self._job, None
        self._ready.extend(self._return(job))
        if self._pending:
            self._start()
        self._answer_all()

    def _answer_all(self) -> None:
        failures: list[Exception] = []
        ready = self._ready
        while ready and not self.dead:
            item = ready.popleft()
            try:
                self._answer(item)
            except Exception as error:  # noqa: BLE001 - the others must hear of theirs first
                failures.append(error)
        if self._idle and not self.occupied:
            idle, self._idle = self._idle, []
            for tell in idle:
                tell()
        if failures:
            raise failures[0] if len(failures) == 1 else ExceptionGroup("done failed", failures)

    @property
    def occupied(self) -> bool:
        """Whether anything is queued, under way or unanswered."""
        return bool(self._pending or self._job is not None or self._ready)

    def drain(self) -> None:
        """Bring everything to its end now; no time passes."""
        while self.occupied and not self.dead:
            if self._job is not None:
                self._number += 1
                if not self._worked:
                    self._work(self._job)
                    self._worked = True
                self._collect(self._number)
            elif self._pending:
                self._start()
            else:
                self._answer_all()

    def when_idle(self, tell: Callable[[], None]) -> None:
        """Call `tell` as soon as nothing is queued; at once if so now."""
        if self.occupied:
            self._idle.append(tell)
        else:
            tell()

    def refuse(self) -> None:
        """Take nothing more; what is queued goes on."""
        self._closed = True

    def perish(self) -> Job | None:
        """Answer nothing any more; return the job that was under way."""
        self.dead = self._closed = True
        return None if self._worked else self._job


class Writing(Lane[Entry, Batch]):
    """The appends of one partition."""

    __slots__ = (
        "_applier",
        "_delay_s",
        "_max_backlog",
        "_max_batch",
        "_plate",
        "_stats",
        "backlog",
    )

    def __init__(
        self,
        applier: Applier,
        plate: Plate,
        call_later: CallLater,
        *,
        max_batch: int,
        max_backlog: int,
        stats: StoreStats,
    ) -> None:
        super().__init__(call_later)
        self._applier = applier
        self._plate = plate
        self._max_batch = max_batch
        self._max_backlog = max_backlog
        self._stats = stats
        self._delay_s = 0.0
        self.backlog = 0

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

    def _take(self) -> tuple[Batch, float]:
        self._delay_s = self._plate.commit_delay_s()
        return take(self._pending, self._max_batch), self._delay_s

    def _work(self, job: Batch) -> float:
        self._applier.run(job)
        if job.commit_s is not None:
            job.commit_s = self._delay_s
        return self._plate.answer_delay_s()

    def _return(self, job: Batch) -> Sequence[Entry]:
        self.backlog -= job.size
        self._stats.count(job)
        return job.entries

    def _answer(self, item: Entry) -> None:
        if item.done is not None:
            item.done(item.results)

    def end(self) -> None:
        """End with the incarnation: what is under way is durable or not."""
        batch = self.perish()
        if batch is not None and self._plate.survives():
            self._applier.run(batch)


class _Read:
    __slots__ = ("done", "function", "partition", "result")

    def __init__(
        self, partition: int, function: Callable[[ReadTxn], Any], done: Callable[[Any], None]
    ) -> None:
        self.partition = partition
        self.function = function
        self.done = done
        self.result: Any = None


class Reading(Lane[_Read, list[_Read]]):
    """The reads of a store: those of one turn share a snapshot of each partition."""

    __slots__ = ("_disk", "_environments", "_late_s", "_max_backlog", "_stats")

    def __init__(
        self,
        environments: Sequence[Environment],
        disk: SimulatedDisk,
        call_later: CallLater,
        *,
        max_backlog: int,
        stats: StoreStats,
    ) -> None:
        super().__init__(call_later)
        self._environments = environments
        self._disk = disk
        self._max_backlog = max_backlog
        self._stats = stats
        self._late_s = 0.0

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

    def _take(self) -> tuple[list[_Read], float]:
        pending = self._pending
        delay_s, self._late_s = self._disk.read_delays_s()
        return [pending.popleft() for _ in range(min(len(pending), MAX_JOBS))], delay_s

    def _work(self, job: list[_Read]) -> float:
        by_partition: dict[int, list[_Read]] = {}
        for read in job:
            by_partition.setdefault(read.partition, []).append(read)
        for partition, group in by_partition.items():
            try:
                with self._environments[partition].snapshot() as txn:
                    for read in group:
                        read.result = _result_of(read.function, txn)
            except Exception as error:  # noqa: BLE001 - there is no snapshot: the answer of all
                for read in group:
                    read.result = error
        return self._late_s

    def _return(self, job: list[_Read]) -> Sequence[_Read]:
        self._stats.reads += len(job)
        return job

    def _answer(self, item: _Read) -> None:
        item.done(item.result)


def _result_of(function: Callable[[ReadTxn], Any], txn: ReadTxn) -> Any:
    try:
        return function(txn)
    except Exception as error:  # noqa: BLE001 - the answer of this job
        return error


class SimulatedDriver:
    """Drives a store on a simulated disk; see the module."""

    __slots__ = ("_reading", "_writing")

    def __init__(self, writing: Sequence[Writing], reading: Reading) -> None:
        self._writing = writing
        self._reading = reading

    def _lanes(self) -> Iterator[Lane[Any, Any]]:
        yield from self._writing
        yield self._reading

    def append(
        self,
        partition: int,
        commands: Sequence[Command],
        done: Done | None,
        expected: int | None,
        lead: bool,
    ) -> Ticket | None:
        """Queue for the partition."""
        self._writing[partition].append(commands, done, expected)
        return None

    def apply_now(
        self, partition: int, commands: Sequence[Command], expected: int | None
    ) -> list[Result]:
        """Apply what is queued and this, now."""
        collected: list[list[Result]] = []
        self._writing[partition].append(commands, collected.append, expected)
        self._writing[partition].drain()
        return collected[0]

    def relieve(self, partition: int) -> None:
        """Do nothing: the loop works."""

    def read(
        self, partition: int, fn: Callable[[ReadTxn], Any], done: Callable[[Any], None]
    ) -> None:
        """Queue a read."""
        self._reading.read(partition, fn, done)

    def glance(self) -> None:
        """Do nothing: no thread is to be waited for."""

    def drain(self) -> None:
        """Bring everything to its end now."""
        for lane in self._lanes():
            lane.drain()

    async def idle(self) -> None:
        """Return when everything is answered."""
        for lane in self._lanes():
            idle = asyncio.Event()
            lane.when_idle(idle.set)
            await idle.wait()

    def refuse(self) -> None:
        """Take nothing more."""
        for lane in self._lanes():
            lane.refuse()

    def stop(self) -> None:
        """Do nothing: no thread is to be ended."""

    def perish(self) -> None:
        """End with the incarnation: nothing is answered any more."""
        self._reading.perish()
        for lane in self._writing:
            lane.end()

    @property
    def backlog(self) -> int:
        """Commands that are not answered."""
        return sum(lane.backlog for lane in self._writing)

    @property
    def late_turns(self) -> int:
        """None is lent."""
        return 0
