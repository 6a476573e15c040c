"""Commits over several partitions: who may go when, and how one that concerns several is agreed.

Each partition has a lane of commits that have not been sent. A commit is sent when it is at the
front of all its lanes, and what it rests on in other partitions is durable.

One that writes to several partitions is agreed in rounds (two-phase commit, presumed abort: Mohan,
Lindsay and Obermarck, 1986): the participants *prepare* (keep the writes, durably); the
coordinator, the lowest of them, *decides* (which is the commit); the participants *finish* (apply
the writes); the coordinator *forgets*. The lanes of the participants stand still until the
decision is known. After a crash, whoever finds something prepared asks its coordinator's rows
whether it was decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from palaver.storage.batch import Result
from palaver.storage.machine import Outcome
from palaver.storage.partitioning import MAX_PARTITIONS

from .commit import Commit, Stage
from .isolation import Place, Reads

if TYPE_CHECKING:
    from .pipeline import Pipeline


class Crossing:
    """How far the agreement on one commit has come.

    Attributes:
        number: names it; rises with every decision of its coordinator.
        coordinator: the partition that decides.
        others: the other participants.
        missing: answers that this round waits for.
        prepared: participants that have prepared.
        tickets: what the log knows its commands by.
        failure: why the round fails, None while it does not.
    """

    __slots__ = ("coordinator", "failure", "missing", "number", "others", "prepared", "tickets")

    def __init__(self, number: int, coordinator: int, others: list[int]) -> None:
        self.number = number
        self.coordinator = coordinator
        self.others = others
        self.missing = 0
        self.prepared: list[int] = []
        self.tickets: list[Any] = []
        self.failure: Exception | None = None


class Lanes:
    """Holds commits back until they may go; all under the database's mutex."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._lanes: dict[int, deque[Commit]] = {}
        self._standing: dict[int, Commit] = {}  # partition -> whose decision it waits for
        self._pending: dict[Place, Commit] = {}
        self._unfinished: dict[int, Commit] = {}

    def submit(self, commit: Commit, reads: Reads | None) -> None:
        """Take a commit; send it as soon as it may go."""
        commit.after = self._foundations(commit, reads)
        for place in commit.places:
            self._pending[place] = commit
        for partition in commit.parts:
            self._lanes.setdefault(partition, deque()).append(commit)
        for partition in commit.parts:
            unfinished = self._unfinished.pop(partition, None)
            if unfinished is not None:
                self._finish(unfinished, partition)
        if commit.parts:
            self._go(commit.parts)
        else:
            self._pipeline.settle_front()

    def _foundations(self, commit: Commit, reads: Reads | None) -> set[Commit]:
        """Return the commits not durable yet in other partitions on which this one rests."""
        pending = self._pending
        touched = list(commit.places)
        if reads is not None:
            touched.extend(reads.places)
        found = {pending[place] for place in touched if place in pending}
        if reads is not None and reads.ranges:
            # Not the places: a scan rests on whatever it may have seen.
            spaces = {space for space, _, _ in reads.ranges}
            found.update(other for (space, _), other in pending.items() if space in spaces)
        found.discard(commit)
        mine = set(commit.parts)
        return {other for other in found if not (len(mine) == 1 and mine == set(other.parts))}

    def settled(self, commit: Commit) -> None:
        """Hear that a commit is durable and answered: others may go."""
        self._forget(commit)
        commit.after = set()
        self.go_on()

    def go_on(self) -> None:
        """Send what may be sent."""
        self._go(list(self._lanes))

    def drop(self, undone: list[Commit], left: Iterable[Commit]) -> None:
        """Forget commits that were undone; those already sent fail by the sequence they expect."""
        gone = set(undone)
        for partition, lane in self._lanes.items():
            self._lanes[partition] = deque(commit for commit in lane if commit not in gone)
        # What was undone may have hidden an earlier one that is not durable either.
        self._pending = {place: commit for commit in left for place in commit.places}

    def _forget(self, commit: Commit) -> None:
        for place in commit.places:
            if self._pending.get(place) is commit:
                del self._pending[place]

    def _go(self, partitions: object) -> None:
        """Send what may be sent from the fronts of these lanes, and from those it frees."""
        todo = deque(partitions)  # type: ignore[call-overload]
        while todo:
            lane = self._lanes.get(todo.popleft())
            while lane and self._may_go(lane[0]):
                commit = lane[0]
                for partition in commit.parts:
                    self._lanes[partition].popleft()
                    todo.append(partition)
                if len(commit.parts) == 1:
                    ((partition, ops),) = commit.parts.items()
                    self._pipeline.append(partition, ("write", ops.plain()), commit)
                else:
                    self._prepare(commit)

    def _may_go(self, commit: Commit) -> bool:
        if any(other.stage is Stage.OPEN for other in commit.after):
            return False
        return all(
            partition not in self._standing
            and partition not in self._unfinished
            and self._lanes[partition][0] is commit
            for partition in commit.parts
        )

    # -- agreement -------------------------------------------------------------------------------

    def _prepare(self, commit: Commit) -> None:
        coordinator, *others = sorted(commit.parts)
        number = (self._pipeline.foreseen(coordinator) + 1) * MAX_PARTITIONS + coordinator
        crossing = commit.crossing = Crossing(number, coordinator, others)
        crossing.missing = len(others)
        self._standing.update(dict.fromkeys(commit.parts, commit))
        for partition in others:
            command = ("prepare", number, coordinator, commit.parts[partition].plain())
            self._pipeline.send(
                partition, command, partial(self._prepared, commit, partition), commit
            )

    def _prepared(self, commit: Commit, partition: int, result: Result) -> None:
        crossing: Crossing = commit.crossing
        crossing.missing -= 1
        if isinstance(result, Outcome):
            crossing.prepared.append(partition)
        else:
            crossing.failure = crossing.failure or result
        if crossing.missing:
            return
        if commit.stage is Stage.OPEN and crossing.failure is None:
            command = (
                "decide",
                crossing.number,
                crossing.others,
                commit.parts[crossing.coordinator].plain(),
            )
            self._pipeline.send(
                crossing.coordinator, command, partial(self._decided, commit), commit
            )
            # What is sent there from now on comes after the decision, or fails with it.
            self._release(commit, [crossing.coordinator])
            self.go_on()
            return
        self._cancel(commit)
        if crossing.failure is not None:
            self._pipeline.fail(commit, crossing.failure)
        self.go_on()

    def _release(self, commit: Commit, partitions: Iterable[int]) -> None:
        """Let partitions go on that stand still for this commit."""
        for partition in partitions:
            if self._standing.get(partition) is commit:
                del self._standing[partition]

    def _cancel(self, commit: Commit) -> None:
        """Take back what was prepared; if that fails, it is found undecided at the next start."""
        crossing: Crossing = commit.crossing
        self._release(commit, commit.parts)
        for partition in crossing.prepared:
            self._pipeline.send(partition, ("cancel", crossing.number), _unheard, commit)

    def _decided(self, commit: Commit, result: Result) -> None:
        crossing: Crossing = commit.crossing
        if not isinstance(result, Outcome):
            if self._pipeline.unknown(crossing.coordinator, result):
                self._stand_still(commit, result)
                return
            self._cancel(commit)
            self._pipeline.fail(commit, result)
            self.go_on()
            return
        crossing.missing = len(crossing.others)
        for partition in crossing.others:
            self._finish(commit, partition)
        self._release(commit, crossing.others)  # in the same way
        self._pipeline.durable(commit)
        self.go_on()

    def _stand_still(self, commit: Commit, cause: Exception) -> None:
        """Leave what was prepared to the next start: whether it was decided cannot be known now.

        The coordinator's disk failed and cannot be read. It may hold the decision, and a power cut
        may bring it to light; whoever had cancelled by then, or gone on, would contradict it.
        """
        self._pipeline.refuse()
        self._pipeline.fail(commit, cause)
        for partition in commit.parts:
            for waiting in list(self._lanes.get(partition, ())):
                self._pipeline.fail(waiting, cause)

    def _finish(self, commit: Commit, partition: int) -> None:
        self._pipeline.send(
            partition,
            ("finish", commit.crossing.number),
            partial(self._finished, commit, partition),
            commit,
        )

    def _finished(self, commit: Commit, partition: int, result: Result) -> None:
        """Let the partition go on, or ask it again when the next commit comes to it.

        What was decided has happened, so a partition that has no room to finish it has no room for
        anything else either: what waits there fails. So does what it is to decide as soon as others
        have prepared: the writes that are finished later would lie over its own.
        """
        crossing: Crossing = commit.crossing
        if not isinstance(result, Outcome):
            self._unfinished[partition] = commit
            standing = self._standing.get(partition)
            if standing is not None:
                self._pipeline.fail(standing, result)
            for waiting in list(self._lanes.get(partition, ())):
                self._pipeline.fail(waiting, result)
            return
        crossing.missing -= 1
        if not crossing.missing:
            self._pipeline.send(crossing.coordinator, ("forget", crossing.number), _unheard, commit)
            commit.settle()
        self.go_on()


def _unheard(_result: Result) -> None:
    """What is found at the next start all the same needs no answer."""
