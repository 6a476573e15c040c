"""A partition without a loop: threads append, and whoever waits does the work for all.

Group commit by leader and followers. The first thread that waits becomes the leader: it takes
everything that is pending (up to `max_batch` commands), makes it durable in its own thread, and
gives the lead to the next one who waits for something that is still pending. Nobody is handed
anything over: a single caller pays no change of threads, and what arrives while the disk works is
the next batch.

Nobody waiting, a flusher thread makes durable what has been pending for `flush_ms`. Beside a busy
thread that would be slow for both, because many calls into LMDB give up the global lock and have
to get it back. So a thread that comes by (`relieve`) when something is due lends the flusher the
interpreter: it waits until the flusher has applied the batch, and goes on while that is with the
disk (the idea of `lending`, without a loop). Nobody coming by, the flusher works alone.

An append that makes the pending commands `max_batch` leads itself, and one that finds
`max_backlog` exceeded waits until it is durable. So nothing is refused in this mode, and nothing
piles up without a bound.

Answers: whoever waits goes on as soon as its append is durable. `done`s run on a thread that led,
one at a time per partition, in the order of the appends. They may append, wait and drain.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

from .batch import Applier, Batch, Done, Entry, Result, take
from .errors import StoreClosed, StoreFailed
from .lending import Loan
from .machine import Command
from .stats import StoreStats


class Ticket(Entry):
    """What an append returns where there is no loop: something to wait for.

    Attributes:
        results: one per command, once it is settled.
        settled: whether its commands are durable, or have failed.
    """

    __slots__ = ("_leader", "settled", "sleepers")

    def __init__(
        self,
        leader: Leader,
        commands: Sequence[Command],
        done: Done | None,
        expected: int | None,
        life: int,
    ) -> None:
        super().__init__(commands, done, expected, life)
        self._leader = leader
        self.settled = False
        self.sleepers: list[threading.Lock] = []

    def wait(self) -> list[Result]:
        """Block until it is settled, doing the work if nobody does; return its results.

        Its `done` may still be under way, on another thread.
        """
        return self._leader.wait(self)


class Leader:
    """Queues, batches and answers the appends of one partition, from any thread.

    Args:
        applier: the partition's.
        max_batch: commands in a batch (one append is never divided).
        max_backlog: commands that are not durable; beyond, `append` waits.
        stats: where to count.
        counting: guards `stats`, which the partitions of a store share.
        arm: called when something is pending that perhaps nobody waits for.
    """

    __slots__ = (
        "_answering",
        "_applier",
        "_arm",
        "_closed",
        "_counting",
        "_due",
        "_followers",
        "_idle",
        "_last",
        "_leading",
        "_loan",
        "_max_backlog",
        "_max_batch",
        "_mutex",
        "_offered",
        "_pending",
        "_ready",
        "_stats",
        "_waiting",
        "backlog",
    )

    def __init__(
        self,
        applier: Applier,
        *,
        max_batch: int,
        max_backlog: int,
        stats: StoreStats,
        counting: threading.Lock,
        arm: Callable[[], None],
    ) -> None:
        self._applier = applier
        self._max_batch = max_batch
        self._max_backlog = max_backlog
        self._stats = stats
        self._counting = counting
        self._arm = arm
        self._mutex = threading.Lock()
        self._offered = threading.Event()
        # All that follows is guarded by the mutex.
        self._idle = threading.Condition(self._mutex)
        self._pending: deque[Ticket] = deque()
        self._waiting = 0
        self.backlog = 0
        self._last: Ticket | None = None
        self._leading = False
        self._due = False
        self._loan: Loan | None = None
        self._followers: dict[threading.Lock, Ticket] = {}
        self._ready: deque[Ticket] = deque()
        self._answering: int | None = None
        self._closed = False

    def append(
        self,
        commands: Sequence[Command],
        done: Done | None,
        expected: int | None,
        *,
        lead: bool = True,
    ) -> Ticket:
        """Queue commands; see `Store.append`."""
        ticket = Ticket(self, commands, done, expected, self._applier.life)
        with self._mutex:
            if self._closed:
                raise StoreClosed
            self._pending.append(ticket)
            self._last = ticket
            self._waiting += len(commands)
            self.backlog += len(commands)
        self._arm()
        if lead:
            self.relieve()
        return ticket

    def relieve(self) -> None:
        """Lead if there is enough for a batch and nobody does; wait while there is too much.

        And lend the interpreter to the flusher when something is due.
        """
        if self.backlog > self._max_backlog:
            last = self._last
            if last is not None:
                self.wait(last)
        elif self._waiting >= self._max_batch:
            self.flush()
        elif self._due:
            self._lend()

    def _lend(self) -> None:
        loan = Loan()
        with self._mutex:
            if not self._due:
                return
            self._due = False
            self._loan = loan
        self._offered.set()
        loan.wait()

    def fall_due(self, patience_s: float) -> Loan | None:
        """Let somebody who comes by lend the interpreter; for the flusher, before it flushes."""
        if self._leading or not self._pending:
            return None
        self._offered.clear()
        self._due = True
        self._offered.wait(patience_s)
        with self._mutex:
            self._due = False
            loan, self._loan = self._loan, None
        return loan

    def wait(self, ticket: Ticket) -> list[Result]:
        """See `Ticket.wait`."""
        if not ticket.settled:
            sleeper = self._follow(ticket)
            if sleeper is not None:
                try:
                    sleeper.acquire()
                except BaseException:  # an interrupt
                    self._desert(sleeper, ticket)
                    raise
            if not ticket.settled:
                self._lead(ticket)
        return ticket.results

    def _follow(self, ticket: Ticket) -> threading.Lock | None:
        """Return a lock to sleep on; None when there is nothing to wait for, or the lead is ours.

        Who wakes from it looks: either the ticket is settled, or the lead is theirs.
        """
        with self._mutex:
            if ticket.settled:
                return None
            if not self._leading:
                self._leading = True
                return None
            sleeper = threading.Lock()
            sleeper.acquire()
            ticket.sleepers.append(sleeper)
            self._followers[sleeper] = ticket
            return sleeper

    def _desert(self, sleeper: threading.Lock, ticket: Ticket) -> None:
        """Be no follower any more; if the lead has been given to us meanwhile, give it on."""
        heir = None
        with self._mutex:
            if self._followers.pop(sleeper, None) is not None:
                ticket.sleepers.remove(sleeper)
            elif not ticket.settled:
                heir = self._bequeath()
        if heir is not None:
            heir.release()

    def _bequeath(self) -> threading.Lock | None:
        """Give the lead to the one who has waited longest (to be woken), or up; with the mutex."""
        for heir, ticket in self._followers.items():
            del self._followers[heir]
            ticket.sleepers.remove(heir)
            return heir
        self._leading = False
        return None

    def flush(self, loan: Loan | None = None) -> bool:
        """Make durable what is pending now; False if somebody leads, who may leave some."""
        with self._mutex:
            if not self._pending:
                return True
            if self._leading:
                return False
            self._leading = True
            last = self._pending[-1]
        self._lead(last, loan)
        return True

    def _lead(self, until: Ticket, loan: Loan | None = None) -> None:
        """Make batches durable until `until` (which is pending) is; the lead is ours."""
        over = False
        while not over:
            batch = self._take()
            self._applier.thread = loan
            try:
                self._applier.run(batch)
            except BaseException:  # an interrupt
                batch.fail(StoreFailed("the thread that wrote was interrupted"))
                self._settle(batch, None)
                raise
            if loan is not None:
                loan.rest()
                loan = None  # it was for one batch
            over = self._settle(batch, until)
        self._answer()

    def _take(self) -> Batch:
        with self._mutex:
            batch = take(self._pending, self._max_batch)
            self._waiting -= batch.size
            return batch

    def _settle(self, batch: Batch, until: Ticket | None) -> bool:
        """Wake those whose append is settled; return whether the lead has been given up."""
        awake: list[threading.Lock] = []
        with self._mutex:
            self.backlog -= batch.size
            for ticket in batch.entries:
                assert isinstance(ticket, Ticket)
                ticket.settled = True
                for sleeper in ticket.sleepers:
                    del self._followers[sleeper]
                awake += ticket.sleepers
                if ticket.done is not None:
                    self._ready.append(ticket)
            over = until is None or until.settled
            if over:
                heir = self._bequeath()
                if heir is not None:
                    awake.insert(0, heir)  # there is work for it
        for sleeper in awake:
            sleeper.release()
        with self._counting:
            self._stats.count(batch)
        return over

    def _answer(self) -> None:
        """Call the `done`s of what is settled, unless another thread is at it and takes these."""
        me = threading.get_ident()
        with self._mutex:
            if not self._ready or self._answering not in (None, me):
                return
            outermost = self._answering is None
            self._answering = me
        try:
            while True:
                with self._mutex:
                    if not self._ready:
                        self._end_answering(outermost)
                        return
                    ticket = self._ready.popleft()
                _call(ticket)
        except BaseException:  # an interrupt: the next one who comes by goes on
            with self._mutex:
                self._end_answering(outermost)
            raise

    def _end_answering(self, outermost: bool) -> None:
        if outermost:
            self._answering = None
            self._idle.notify_all()

    def drain(self) -> None:
        """Block until everything is settled and answered."""
        me = threading.get_ident()
        while True:
            with self._mutex:
                last = self._last
            if last is not None:
                self.wait(last)
            self._answer()
            with self._mutex:
                while self._answering not in (None, me):
                    self._idle.wait()
                if self._last is last:
                    self._last = None
                if self._last is None and not self._ready:
                    return

    def refuse(self) -> None:
        """Take nothing more; what is queued goes on."""
        with self._mutex:
            self._closed = True


def _call(ticket: Ticket) -> None:
    assert ticket.done is not None
    try:
        ticket.done(ticket.results)
    except Exception:  # noqa: BLE001 - is told to the process, and disturbs no other append
        kind, value, trace = sys.exc_info()
        assert kind is not None
        threading.excepthook(
            threading.ExceptHookArgs((kind, value, trace, threading.current_thread()))
        )


class Flusher:
    """One thread that makes durable what nobody waits for.

    Half of the time it waits for more to come, half of it for somebody to lend the interpreter.

    A daemon that is started when it is first needed. A process that ends without closing its
    store leaves behind what nobody waited for in the last `flush_s`.
    """

    __slots__ = ("_armed", "_half_s", "_leaders", "_starting", "_stopped", "_thread", "_wake")

    def __init__(self, flush_s: float | None) -> None:
        self._half_s = (flush_s or 0.0) / 2
        self._leaders: Sequence[Leader] = ()
        self._armed = flush_s is None
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def serve(self, leaders: Sequence[Leader]) -> None:
        """Say for whom."""
        self._leaders = leaders

    def arm(self) -> None:
        """Say that something is pending; costs next to nothing while the flusher is awake."""
        if self._armed:
            return
        self._armed = True
        self._wake.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None and not self._stopped.is_set():
                    self._thread = threading.Thread(
                        target=self._main, name="palaver-flusher", daemon=True
                    )
                    self._thread.start()

    def _main(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopped.wait(self._half_s):
                return
            # Before looking: an append after this arms again, one before it is found.
            self._armed = False
            due = [leader for leader in self._leaders if leader.backlog]
            flushed = [self._flush(leader, self._half_s / len(due)) for leader in due]
            if not all(flushed):
                self.arm()

    @staticmethod
    def _flush(leader: Leader, patience_s: float) -> bool:
        loan = leader.fall_due(patience_s)
        try:
            return leader.flush(loan)
        finally:
            if loan is not None:
                loan.rest()

    def stop(self) -> None:
        """End the thread; what is pending has been made durable."""
        self._armed = True
        self._stopped.set()
        self._wake.set()
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
