"""The owner's side of a worker thread: items queue here, go over in batches, come back answered.

What the writer and the reader have in common. Everything here runs on the owner's thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .lending import Job, LentThread, Post

Item = TypeVar("Item")


class Desk(ABC, Generic[Item, Job]):
    """Queues items, hands them to a thread as one job at a time, answers them in order.

    All items of one loop turn are one job, because the handing over is deferred by a turn; all
    that arrive while a job is under way are the next one. So no timer decides how large a job is:
    at low load it is one item and waits for nothing, at high load jobs grow by themselves.
    """

    __slots__ = (
        "_busy",
        "_closed",
        "_defer",
        "_flush_due",
        "_idle",
        "_pending",
        "_ready",
        "thread",
    )

    def __init__(
        self,
        name: str,
        work: Callable[[Job], None],
        *,
        post: Post | None,
        defer: Post,
        clock: Callable[[], float],
        stall_s: float,
    ) -> None:
        self._defer = defer
        self._pending: deque[Item] = deque()
        self._ready: deque[Item] = deque()
        self._busy = False
        self._flush_due = False
        self._closed = False
        self._idle: list[Callable[[], None]] = []
        self.thread: LentThread[Job] = LentThread(
            name,
            work,
            post=post,
            defer=defer,
            collect=self._collect,
            clock=clock,
            stall_s=stall_s,
        )

    @abstractmethod
    def _take(self) -> Job:
        """Make a job of what is pending (there is something)."""

    @abstractmethod
    def _return(self, job: Job) -> Iterable[Item]:
        """Give back the items of a finished job."""

    @abstractmethod
    def _answer(self, item: Item) -> None:
        """Tell the one who queued the item."""

    def _queue(self, item: Item) -> None:
        self._pending.append(item)
        if not self._flush_due:
            self._flush_due = True
            self._defer(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._busy:
            self.thread.glance()
        elif self._pending:
            self._start()

    def _start(self) -> None:
        self._busy = True
        self.thread.hand_over(self._take())

    def glance(self) -> None:
        """See `Store.glance`."""
        if self._busy:
            self.thread.glance()

    def _collect(self) -> None:
        """Take a finished job back: first keep the thread busy, then answer in order."""
        finished = self.thread.finished
        if finished:
            job = finished.popleft()
            self._busy = False
            self._ready.extend(self._return(job))
            if self._pending:
                self._start()
        self._answer_all()

    def _answer_all(self) -> None:
        failures: list[Exception] = []
        ready = self._ready
        while ready:
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
        return bool(self._pending or self._busy or self._ready)

    def drain(self) -> None:
        """Block until nothing is queued and everything is answered."""
        while self.occupied:
            if self._busy:
                self.thread.wait()
                self._collect()
            elif self._pending:
                self._start()
            else:
                self._answer_all()

    def when_idle(self, tell: Callable[[], None]) -> None:
        """Call `tell` on the owner's thread as soon as nothing is queued; at once if so now."""
        if self.occupied:
            self._idle.append(tell)
        else:
            tell()

    def refuse(self) -> None:
        """Take nothing more; what is queued goes on."""
        self._closed = True

    def stop(self) -> None:
        """End the thread of a desk that is not occupied."""
        self.thread.stop()
