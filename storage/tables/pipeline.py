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
from typing import Any, Protocol

from palaver.storage.batch import Result
from palaver.storage.errors import StoreFailed, WrongSequence
from palaver.storage.machine import Outcome

from .commit import Commit, Stage
from .errors import CommitFailed, NotRunning
from .events import SystemEvent, Undone
from .isolation import Reads, Running
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

    def found(self, partition: int) -> int | None:
        """Return the sequence that the disk holds after it has failed; None if unreadable."""


class Sent:
    """One command on its way, which is called with its results.

    A class rather than nested `partial`s: one thing for the garbage collector instead of six.

    Attributes:
        partition: where it was sent.
        expected: the sequence it expects there.
        epoch: see `Pipeline._broken`.
        commit: whose it is.
        done: hears its result; None for what makes the commit durable.
    """

    __slots__ = ("_hear", "commit", "done", "epoch", "expected", "partition")

    def __init__(
        self,
        hear: Callable[[Sent, Result], None],
        partition: int,
        expected: int,
        epoch: int,
        commit: Commit,
        done: Callable[[Result], None] | None,
    ) -> None:
        self._hear = hear
        self.partition = partition
        self.expected = expected
        self.epoch = epoch
        self.commit = commit
        self.done = done

    def __call__(self, results: Sequence[Result]) -> None:
        """Pass the result on."""
        self._hear(self, results[0])


class Pipeline:
    """All commits that are made in memory and not settled.

    Args:
        log: where they go; None for a database without a disk.
        mutex: the database's.
        running: the transactions that run, which begin again when something is undone.
        events: takes the events of settled commits, in order: (receivers, event).
        report: takes a system event.
        deliver: has what was taken delivered; called without the mutex.
    """

    def __init__(
        self,
        log: Log | None,
        mutex: Any,
        running: Running,
        *,
        events: Callable[[list[Any], Any], None],
        report: Callable[[SystemEvent], None],
        deliver: Callable[[], None],
    ) -> None:
        self._log = log
        self._mutex = mutex
        self._running = running
        self._events = events
        self._report = report
        self._deliver = deliver
        self._closed = False
        self._order: deque[Commit] = deque()
        partitions = 0 if log is None else log.partitions
        self._foreseen = [0] * partitions
        self._epochs = [0] * partitions
        # By partition: whose commands are on their way there, in their order.
        self._flights: list[deque[Commit]] = [deque() for _ in range(partitions)]
        self._undone = False
        self._unheard = 0
        self._idle: list[Callable[[], object]] = []
        self._lanes = Lanes(self) if partitions > 1 else None
        self._heard = self.hear  # bound once, for all that is sent
        self.foresee()

    def foresee(self) -> None:
        """Begin at what is applied; before the first commit."""
        if self._log is not None:
            self._foreseen = [self._log.applied(p) for p in range(self._log.partitions)]

    @property
    def backlog(self) -> int:
        """How many commits are not settled."""
        return len(self._order)

    @property
    def first(self) -> Commit | None:
        """The first commit that is not settled, None when all are."""
        try:
            return self._order[0]
        except IndexError:
            return None

    @property
    def last(self) -> Commit | None:
        """The last commit that is not settled, None when all are."""
        try:
            return self._order[-1]
        except IndexError:  # it may be settled between a look and the next
            return None

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

    def when_idle(self, tell: Callable[[], object]) -> None:
        """Call `tell`, under the mutex, as soon as nothing is on its way; at once if so now."""
        with self._mutex:
            if self._busy():
                self._idle.append(tell)
            else:
                tell()

    def _busy(self) -> bool:
        return bool(self._order) or any(self._flights)

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
        self.send(partition, command, None, commit)

    def send(
        self,
        partition: int,
        command: tuple[Any, ...],
        done: Callable[[Result], None] | None,
        commit: Commit,
    ) -> None:
        """Append a command at the sequence that its partition will be at.

        Args:
            partition: where.
            command: what.
            done: hears its result, under the mutex; None for what makes the commit durable.
            commit: whose it is.
        """
        assert self._log is not None
        expected = self._foreseen[partition]
        self._foreseen[partition] = expected + 1
        self._flights[partition].append(commit)
        sent = Sent(self._heard, partition, expected, self._epochs[partition], commit, done)
        ticket = self._log.append(partition, command, sent, expected)
        if commit.crossing is None:
            commit.ticket = ticket
        else:
            commit.crossing.tickets.append(ticket)

    def foreseen(self, partition: int) -> int:
        """Return the sequence at which a partition will be."""
        return self._foreseen[partition]

    def hear(self, sent: Sent, result: Result) -> None:
        """Hear what has become of a command that was sent."""
        with self._mutex:
            self._flights[sent.partition].popleft()
            if not isinstance(result, Outcome) and sent.epoch == self._epochs[sent.partition]:
                result = self._broken(sent.partition, sent.expected, result)
            if sent.done is None:
                self._done(sent.commit, result)
            else:
                sent.done(result)
            if self._undone:
                self._undone = False
                if self._unheard:  # once for all that one failure has cost
                    self._report(Undone(self._unheard, str(result)))
                    self._unheard = 0
                self.settle_front()
                if self._lanes is not None:
                    self._lanes.go_on()
            if self._idle and not self._busy():
                idle, self._idle = self._idle, []
                for tell in idle:
                    tell()
        self._deliver()

    def unknown(self, partition: int, result: Result) -> bool:
        """Whether a failed command may be there all the same, and nobody can look."""
        assert self._log is not None
        return isinstance(result, StoreFailed) and self._log.found(partition) is None

    def _broken(self, partition: int, expected: int, cause: Exception) -> Result:
        """Hear that a command has failed, the first one after a success; return what is true.

        What was sent to the partition after it expects a sequence that will not come, and fails
        too. It is undone at once, before anybody can rest on it; that its failure is no news is
        told by its epoch. What is sent from now on belongs to the next one.
        """
        assert self._log is not None
        there = self._log.found(partition) if isinstance(cause, StoreFailed) else None
        if there is not None and there > expected:
            return Outcome()  # the disk failed, and holds it all the same
        if isinstance(cause, WrongSequence) and cause.actual > expected:
            # The disk holds more than it has said: what we have undone, or a stranger's work.
            self.refuse()
        self._epochs[partition] += 1
        self._foreseen[partition] = self._log.applied(partition) if there is None else there
        for commit in tuple(self._flights[partition]):
            self.fail(commit, cause)
        return cause

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
            if commit.crossing is None or not commit.crossing.missing:
                commit.settle()
            commit.announce(self._events)
            commit.tell(None)
            if self._lanes is not None:
                self._lanes.settled(commit)

    def fail(self, commit: Commit, cause: BaseException) -> None:
        """Undo a commit that failed, and all that were made after it; under the mutex.

        Nothing is sent before the answer that led here has been dealt with.
        """
        if commit.stage is not Stage.OPEN:
            return  # undone already, because of one before it
        self._undone = True
        undone = self._resting_on(commit)
        with self._running.change():  # who has read of it begins again, without it
            for each in reversed(undone):
                each.take_back()
                each.stage = Stage.UNDONE
            self._order = deque(each for each in self._order if each.stage is not Stage.UNDONE)
        if self._lanes is not None:
            self._lanes.drop(undone, self._order)
        for each in undone:
            self._unheard += not (each.awaited or each.waiters)
            each.tell(CommitFailed(cause))

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
