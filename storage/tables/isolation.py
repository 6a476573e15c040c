"""Isolation: what running transactions have read, and who has to begin again.

Optimistic, in memory. A transaction notes what it is about to read before it reads it. Whoever
changes the memory says so (`Running.change`), changes it, and marks every other transaction that
has noted something of what was changed; so does whoever takes a commit back. A reader looks at its
mark after each read, and before that it lets a change that is under way come to its end. So it has
either read nothing of the change, or finds itself marked: no function ever goes on with two states
mixed, not even one that will be begun again (opacity: Guerraoui and Kapalka, 2008).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

Place: TypeAlias = tuple[int, bytes]
"""A space and a key in it: a record's, or an entry's value in an index."""

Range: TypeAlias = tuple[int, bytes, bytes | None]
"""A space, and the keys in it from the first up to before the second."""


class Restart(BaseException):
    """Somebody has committed something that this transaction had read: it begins again."""


class Reads:
    """What one running transaction has read.

    Attributes:
        places: single keys.
        ranges: everything between two keys, present or not.
        doomed: whether somebody wrote into it.
    """

    __slots__ = ("doomed", "places", "ranges")

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self.ranges: list[Range] = []
        self.doomed = False

    def touched_by(self, written: Iterable[Place]) -> bool:
        """Whether one of these places was read."""
        places = self.places
        if any(place in places for place in written):
            return True
        if not self.ranges:
            return False
        return any(
            space == range_space and low <= key and (high is None or key < high)
            for range_space, low, high in tuple(self.ranges)
            for space, key in written
        )


class Running:
    """The transactions that run now.

    Args:
        mutex: the database's.

    Attributes:
        changing: whether the memory is being changed, or those are not marked yet who have read
            what was. Only whoever holds the mutex sets it.
    """

    __slots__ = ("_mutex", "_reads", "changing")

    def __init__(self, mutex: AbstractContextManager[Any]) -> None:
        self._mutex = mutex
        self._reads: set[Reads] = set()
        self.changing = 0

    def begin(self) -> Reads:
        """Return the reads of a new transaction."""
        reads = Reads()
        self._reads.add(reads)
        return reads

    def end(self, reads: Reads) -> None:
        """Forget a transaction."""
        self._reads.discard(reads)

    def others(self, reads: Reads | None) -> list[Reads]:
        """Return the other ones that have read anything."""
        if len(self._reads) <= (reads is not None):
            return []
        return [
            other
            for other in self._reads.copy()
            if other is not reads and (other.places or other.ranges)
        ]

    def go_on(self, reads: Reads) -> None:
        """Go on after a read, or begin again.

        Raises:
            Restart: somebody has changed what was read.
        """
        if self.changing:
            with self._mutex:
                pass  # the change is over
        if reads.doomed:
            raise Restart

    @contextmanager
    def change(self) -> Iterator[None]:
        """Have every running transaction begin again: around a change that anybody may have read.

        A change of the schema, and taking commits back.
        """
        self.changing += 1
        try:
            yield
        finally:
            doom_all(self)
            self.changing -= 1

    def all(self) -> list[Reads]:
        """Return those of every running transaction."""
        return list(self._reads.copy())

    def __len__(self) -> int:
        return len(self._reads)


def doom(others: Iterable[Reads], written: list[Place]) -> None:
    """Mark those who have read something of what is written."""
    for other in others:
        if not other.doomed and other.touched_by(written):
            other.doomed = True


def doom_all(running: Running) -> None:
    """Have every running transaction begin again."""
    for reads in running.all():
        reads.doomed = True
