"""A worker thread that the owner's thread lends the interpreter to.

Every call into LMDB gives up Python's global lock and asks for it back. Beside a busy thread each
of these takes up to the interpreter's switch interval: a put that costs a microsecond alone costs
hundreds beside a busy event loop, and a transaction makes thousands of such calls. So the owner
(the event loop's thread), when it hands over a job, waits until the worker says that it needs the
interpreter no more (it has finished, or only the disk is left), for `stall_s` at most. Neither
thread then contends, and the loop is held by computation only, never by the disk.

The worker needs the interpreter once more when the disk is done, and beside a busy loop it waits
milliseconds for it. So a busy loop lends a little at the end as well (`glance`): when a job has
been with the disk for as long as the disk usually takes, the owner waits for a moment.

A job that is longer than one such turn asks for another through `post`, so that the loop runs in
between; where no turn is granted within a patience the worker goes on without, slow but sure.

Who writes what (each step is atomic under the interpreter's lock): the owner sets `_grant`, the
worker clears it; the worker sets `_asking`, both clear it; a grant's lock belongs to that grant
alone, so a signal that comes late or twice wakes nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

Job = TypeVar("Job")
Post = Callable[[Callable[[], None]], object]
"""Runs a callable on the owner's thread soon; safe from any thread."""

PATIENCE_S = 0.1
GLANCE_S = 0.0003
"""How long the owner waits in one glance; between two glances the loop runs at least as long."""
SLICE_SHARE = 0.75
"""Part of the stall that a worker plans to use: the last command of a turn overruns it."""


LEND_S = 0.02
"""How long a thread without a loop waits at most, once."""


class _Grant:
    """One turn that the owner lends."""

    __slots__ = ("abandoned", "deadline_s", "lock")

    def __init__(self, deadline_s: float) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.deadline_s = deadline_s
        self.abandoned = False


class Lent(Protocol):
    """What work that somebody lends the interpreter to says in between."""

    def rest(self, usual_s: float | None = None, /) -> None:
        """Say that the interpreter is not needed for a while; see `LentThread.rest`."""

    def pause_if_due(self) -> None:
        """Let the lender run, if it has lent for long enough."""


class Loan:
    """A moment for which a thread without a loop lends the interpreter: it waits meanwhile."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self) -> None:
        """Wait until the interpreter is not needed any more, for LEND_S at most."""
        self._lock.acquire(timeout=LEND_S)

    def rest(self, _usual_s: float | None = None) -> None:
        """Say that it is not needed: only the disk is left, or nothing."""
        if self._lock.locked():
            self._lock.release()

    def pause_if_due(self) -> None:
        """Go on: the lender gives up by itself when it takes too long."""


class LentThread(Generic[Job]):
    """Runs one job at a time in a thread of its own.

    Args:
        name: the thread's name.
        work: runs a job, in the worker's thread; must not raise.
        post: see `Post`; None when nobody runs a loop and `wait` collects.
        defer: the same for the owner's own use: it runs a callable in a later turn.
        collect: called on the owner's thread when `finished` has something.
        clock: seconds, monotonic.
        stall_s: how long the owner waits at most; 0 lends nothing.
    """

    __slots__ = (
        "_alone",
        "_asking",
        "_clock",
        "_collect",
        "_defer",
        "_done",
        "_glanced_s",
        "_grant",
        "_job",
        "_look_s",
        "_post",
        "_slice_s",
        "_stall_s",
        "_thread",
        "_wake",
        "_work",
        "finished",
        "late_turns",
        "unattended",
    )

    def __init__(
        self,
        name: str,
        work: Callable[[Job], None],
        *,
        post: Post | None,
        defer: Post,
        collect: Callable[[], None],
        clock: Callable[[], float],
        stall_s: float,
    ) -> None:
        self._work = work
        self._post = post
        self._defer = defer
        self._collect = collect
        self._clock = clock
        self._stall_s = stall_s
        self._slice_s = stall_s * SLICE_SHARE
        self._job: Job | None = None
        self._grant: _Grant | None = None
        self._asking: threading.Lock | None = None
        self._alone = False
        self._look_s: float | None = None
        self._glanced_s = 0.0
        self._wake = threading.Lock()
        self._wake.acquire()
        self._done = threading.Lock()
        self.finished: deque[Job] = deque()
        self.late_turns = 0
        self.unattended = post is None
        # A daemon: a process that ends without closing must not hang on an idle writer, and LMDB
        # needs no farewell.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    # --- the owner's side

    def hand_over(self, job: Job) -> None:
        """Give the idle worker a job, and lend it the interpreter for its first turn."""
        self._job = job
        self._alone = False
        self._done = threading.Lock()
        self._done.acquire()
        grant = self._grant = self._new_grant()
        self._wake.release()
        self._lend(grant)

    def _new_grant(self) -> _Grant | None:
        if self.unattended or not self._stall_s:
            return None
        return _Grant(self._clock() + self._slice_s)

    def _lend(self, grant: _Grant | None) -> None:
        if grant is not None and not grant.lock.acquire(timeout=self._stall_s):
            grant.abandoned = True
            self.late_turns += 1
        if self.finished:
            self._defer(self._collect)

    def _lend_again(self) -> None:
        """Answer the worker's wish for another turn."""
        asking, self._asking = self._asking, None
        if asking is not None:
            grant = self._grant = self._new_grant()
            asking.release()
            self._lend(grant)

    def glance(self) -> None:
        """Let a worker that should be back from the disk finish; for a busy owner, every turn.

        Costs a comparison or two when nothing is with the disk or it is too early.
        """
        look_s = self._look_s
        if look_s is None:
            return
        now = self._clock()
        if now < look_s:
            return
        if self._done.acquire(timeout=GLANCE_S):
            self._done.release()
            self._look_s = None
            if self.finished:
                self._collect()
            return
        self._glanced_s += GLANCE_S
        self._look_s = None if self._glanced_s >= self._stall_s else self._clock() + GLANCE_S

    def wait(self) -> None:
        """Block until the job that was handed over is in `finished`; for synchronous callers."""
        before, self.unattended = self.unattended, True
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.release()
        self._done.acquire()
        self.unattended = before or self._post is None

    def stop(self) -> None:
        """End the idle worker and wait for its thread."""
        if self._thread.is_alive():
            self._job = None
            self._wake.release()
            self._thread.join()

    # --- the worker's side

    def rest(self, usual_s: float | None = None) -> None:
        """Say that the interpreter is not needed for a while; the owner goes on at once.

        Args:
            usual_s: how long what comes now usually takes at least; None: not known.
        """
        if usual_s is not None and not self.unattended and self._stall_s:
            self._glanced_s = 0.0
            self._look_s = self._clock() + usual_s
        grant, self._grant = self._grant, None
        if grant is not None:
            grant.lock.release()

    @property
    def due(self) -> bool:
        """Whether the worker's turn is over, and asking for another one makes sense."""
        grant = self._grant
        if grant is not None:
            return self._clock() >= grant.deadline_s
        return not (self._alone or self.unattended or not self._stall_s)

    def pause_if_due(self) -> None:
        """Between two steps of a job: when the turn is over, let the owner run and ask again."""
        if not self.due or self._post is None:
            return
        asking = threading.Lock()
        asking.acquire()
        self._asking = asking
        self.rest()
        if self.unattended:  # the owner has begun to wait, perhaps before it could see the wish
            self._asking = None
            return
        if self._tell(self._lend_again) and asking.acquire(timeout=PATIENCE_S):
            return
        self._asking = None
        self._alone = True

    def _main(self) -> None:
        while True:
            self._wake.acquire()
            job = self._job
            if job is None:
                return
            self._work(job)
            self._conclude(job)
            del job

    def _conclude(self, job: Job) -> None:
        self._job = None
        self._look_s = None
        done = self._done
        grant, self._grant = self._grant, None
        # After this append the owner may hand over the next job: only locals are touched then.
        self.finished.append(job)
        # An owner that waits in the grant looks at `finished` itself, also when it gives up the
        # moment after this test; one that gave up before has to be told.
        if grant is None or grant.abandoned:
            self._tell(self._collect)
        if grant is not None:
            grant.lock.release()
        done.release()

    def _tell(self, message: Callable[[], None]) -> bool:
        if self._post is None:
            return False
        try:
            self._post(message)
        except RuntimeError:
            # The owner's loop is closed: nobody is left to hear of it, what was committed stays.
            self._post = None
            self.unattended = True
            return False
        return True
