"""Who is inside an environment: many together, or one alone.

Growing a map, opening an environment again and replacing it need it without any transaction. So
every transaction goes through the gate, and those that may last (snapshots) leave their name, for
whoever wants to know what is being waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .errors import StoreBusy


class Visit(NamedTuple):
    """A snapshot that is open.

    Attributes:
        what: what it is for, as in "a view".
        thread: name of the thread that opened it.
        since_s: when, on the gate's clock.
        txn_id: LMDB's number of the transaction whose state it shows.
    """

    what: str
    thread: str
    since_s: float
    txn_id: int


class Gate:
    """Lets many pass together or one alone; whoever waits to be alone holds up new arrivals.

    Args:
        clock: seconds, monotonic; for the age of visits.

    Attributes:
        awaited: whether somebody waits to be alone now.
    """

    __slots__ = ("_alone", "_clock", "_condition", "_inside", "_mutex", "_visits", "awaited")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._condition = threading.Condition(self._mutex)
        self._inside = 0
        self._alone = False
        self._visits: dict[int, Visit] = {}
        self.awaited = False

    def enter(self) -> None:
        """Go in; waits while somebody is, or waits to be, alone."""
        with self._mutex:
            while self._alone:
                self._condition.wait()
            self._inside += 1

    def leave(self) -> None:
        """Go out again; once for every `enter`."""
        with self._mutex:
            self._inside -= 1
            if self._alone and not self._inside:
                self._condition.notify_all()

    @contextmanager
    def named(self, what: str, txn_id: int) -> Iterator[None]:
        """Leave a name for the length of the block; between `enter` and `leave`."""
        visit = Visit(what, threading.current_thread().name, self._clock(), txn_id)
        number = id(visit)
        self._visits[number] = visit
        try:
            yield
        finally:
            del self._visits[number]

    @property
    def oldest(self) -> Visit | None:
        """The oldest snapshot that is open now, None when there is none."""
        return min(tuple(self._visits.values()), key=lambda visit: visit.since_s, default=None)

    def age_s(self, visit: Visit) -> float:
        """Return for how long it is open."""
        return self._clock() - visit.since_s

    @contextmanager
    def alone(self, patience_s: float | None = None) -> Iterator[None]:
        """Be the only one inside for the length of the block.

        Args:
            patience_s: how long to wait for those inside; None: for ever.

        Raises:
            StoreBusy: they did not leave in time; it names the oldest snapshot.
        """
        with self._mutex:
            while self._alone:
                self._condition.wait()
            self._alone = self.awaited = True
            left = self._condition.wait_for(lambda: not self._inside, patience_s)
            self.awaited = False
            if not left:
                self._alone = False
                self._condition.notify_all()
                raise StoreBusy(self._describe())
        try:
            yield
        finally:
            with self._mutex:
                self._alone = False
                self._condition.notify_all()

    def _describe(self) -> str:
        visit = self.oldest
        if visit is None:
            return "a transaction that does not end"
        age_s = self.age_s(visit)
        return f"{visit.what} in thread {visit.thread!r}, open for {age_s:.1f} s"
