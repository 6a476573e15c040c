"""The way of commits from memory to the disk: in order, answered in order, undone in order.

A commit is appended to the log of its partition with the sequence that it expects. If one fails,
everything after it fails too, because the partition is then not where they expect it; and
everything after it is undone in memory, the last first. So nobody's durable work rests on what was
lost.

With several partitions, a commit that writes to more than one, or that rests on a commit in
another one that is not durable yet, takes the slower way of `lanes`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from palaver.storage.batch import Result
from palaver.storage.errors import StoreFull, WrongSequence
from palaver.storage.machine import Outcome

from .commit import Commit, Stage
from .errors import CommitFailed, NotRunning
from .events import SystemEvent, Undone
from .isolation import Reads
from .lanes import Lanes


class Log(Protocol):
    """What the pipeline asks of the log; see `storelog`."""

    partitions: int

    def append(
        self,
        partition: int,
        command: tuple[Any, ...],
        done: Callable[[Sequence[Result]], None],
        expected: int,
    ) -> Any:
        """Append one command; never blocks. Return a ticket to wait by."""

    def applied(self, partition: int) -> int:
        """Return the last durable sequence."""


class Pipeline:
    """All commits that are made in memory and not settled.

    Args:
        log: where they go; None for a database without a disk.
        mutex: the database's.
        events: takes the events of settled commits, in order: (receivers, event).
        report: takes a system event.
        deliver: has what was taken delivered; called without the mutex.
        reload: brings the memory back to what the disk holds, when that is not known.
    """

    def __init__(
        self,
        log: Log | None,
        mutex: Any,
        *,
        events: Callable[[list[Any], Any], None],
        report: Callable[[SystemEvent], None],
        deliver: Callable[[], None],
        reload: Callable[[], None],
    ) -> None:
        self._log = log
        self._mutex = mutex
        self._events = events
        self._report = report
        self._deliver = deliver
        self._reload = reload
        self._closed = False
        self._order: deque[Commit] = deque()
        self._foreseen = [] if log is None else [log.applied(p) for p in range(log.partitions)]
        self._lanes = Lanes(self) if log is not None and log.partitions > 1 else None

    @property
    def backlog(self) -> int:
        """How many commits are not settled."""
        return len(self._order)

    @property
    def last(self) -> Commit | None:
        """The last commit that is not settled, None when all are."""
        return self._order[-1] if self._order else None

    def unsettled(self) -> list[Commit]:
        """Return the commits that are not settled, in order; under the mutex."""
        return list(self._order)

    def admit(self) -> None:
        """Raise NotRunning when nothing more is taken."""
        if self._closed:
            raise NotRunning

    def refuse(self) -> None:
        """Take nothing more; what is on its way goes on."""
        self._closed = True

    def submit(self, commit: Commit, reads: Reads | None) -> None:
        """Take a commit that is made in memory; under the mutex."""
        self._order.append(commit)
        if self._lanes is not None:
            self._lanes.submit(commit, reads)
        elif commit.parts:
            self.append(0, ("write", commit.parts[0].plain()), commit)
        elif len(self._order) == 1:
            self.settle_front()

    def append(self, partition: int, command: tuple[Any, ...], commit: Commit) -> None:
        """Append a command whose success makes the commit durable."""
        self.send(partition, command, partial(self._done, commit), commit)

    def send(
        self,
        partition: int,
        command: tuple[Any, ...],
        done: Callable[[Result], None],
        commit: Commit,
    ) -> None:
        """Append a command at the sequence that its partition will be at."""
        assert self._log is not None
        expected = self._foreseen[partition]
        self._foreseen[partition] = expected + 1
        commit.ticket = self._log.append(
            partition, command, lambda results: self._hear(done, results[0]), expected
        )

    def foresee_again(self, partition: int) -> None:
        """Expect what a partition is really at, after a command on it has failed."""
        assert self._log is not None
        self._foreseen[partition] = self._log.applied(partition)

    def foreseen(self, partition: int) -> int:
        """Return the sequence at which a partition will be."""
        return self._foreseen[partition]

    def _hear(self, done: Callable[[Result], None], result: Result) -> None:
        with self._mutex:
            done(result)
        self._deliver()

    def _done(self, commit: Commit, result: Result) -> None:
        if isinstance(result, Outcome):
            self.durable(commit)
        else:
            self.fail(commit, result)

    def durable(self, commit: Commit) -> None:
        """Hear that a commit is on the disk; under the mutex."""
        if commit.stage is Stage.OPEN:
            commit.stage = Stage.DURABLE
            self.settle_front()

    def settle_front(self) -> None:
        """Answer, in order, those at the front that are durable (or need no disk)."""
        order = self._order
        while order and (order[0].stage is Stage.DURABLE or not order[0].parts):
            commit = order.popleft()
            commit.settle()
            commit.announce(self._events)
            commit.tell(None)
            if self._lanes is not None:
                self._lanes.settled(commit)

    def fail(self, commit: Commit, cause: BaseException) -> None:
        """Undo a commit that failed, and all that were made after it; under the mutex."""
        if commit.stage is not Stage.OPEN:
            return  # undone already, because of one before it
        undone = self._resting_on(commit)
        for each in reversed(undone):
            each.take_back()
            each.stage = Stage.UNDONE
        self._order = deque(each for each in self._order if each.stage is not Stage.UNDONE)
        if self._lanes is not None:
            self._lanes.drop(undone)
        if self._uncertain(cause):
            self._reload()
        assert self._log is not None
        self._foreseen = [self._log.applied(p) for p in range(self._log.partitions)]
        unheard = 0
        for each in undone:
            unheard += not each.waiters
            each.tell(CommitFailed(cause))
        if unheard:
            self._report(Undone(unheard, str(cause)))
        self.settle_front()

    def _resting_on(self, commit: Commit) -> list[Commit]:
        """Return the commit and the later ones that may rest on it, in order."""
        later = list(self._order)
        later = later[later.index(commit) :]
        if self._lanes is None:
            return later
        found: list[Commit] = []
        partitions: set[int] = set()
        for each in later:
            rests = not partitions.isdisjoint(each.parts) or not each.after.isdisjoint(found)
            if each is commit or (rests and each.stage is Stage.OPEN):
                found.append(each)
                partitions.update(each.parts)
        return found

    @staticmethod
    def _uncertain(cause: BaseException) -> bool:
        """Whether what failed may have happened all the same."""
        return not isinstance(cause, StoreFull | WrongSequence)
