"""Calls on their way: who waits for an answer, and what becomes of it.

In OTP a call is a monitor, an alias, a message and a wait. Here one object, the `From` that the
callee sees, is all of that. It is the alias: once closed, an answer goes nowhere. It is the
monitor: a call is found in the callee's mailbox, in its hands (`Process.current`) or among those it
has promised to answer (`Process.pending`), and fails when the callee exits; so the common call, a
handler that returns its answer, registers nothing anywhere.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final

from palaver.actors.runtime.errors import CallTimeout
from palaver.actors.runtime.messages import Response
from palaver.actors.runtime.parking import Raise
from palaver.actors.runtime.pid import Pid, Ref
from palaver.actors.runtime.timers import Lane

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process

__all__ = ["HANDED_OVER", "From", "OutsideCall", "ProcessCall", "RequestCall", "StartCall"]


class From(Ref):
    """Who asked, as a callee sees it; answered once, later answers go nowhere."""

    __slots__ = ("callee",)

    # Whether who asks does nothing else until the answer.
    waits: ClassVar[bool] = True

    # The process that has this call among its `pending`, if one has.
    callee: Process | None

    @property
    def pid(self) -> Pid | None:
        """The asking process; None when ordinary asyncio code asks."""
        return None

    @property
    def open(self) -> bool:
        """Whether somebody still waits for the answer."""
        raise AttributeError("open")

    def deliver(self, value: Any) -> None:
        """Answer with a value."""

    def fail(self, error: BaseException) -> None:
        """Answer with an exception, which is raised where the answer is awaited."""

    def forget(self) -> None:
        """Leave the callee's `pending`."""
        if self.callee is not None:
            if self.callee.pending is not None:
                self.callee.pending.pop(self, None)
            self.callee = None


HANDED_OVER: Final[Any] = object()
"""In the place of a call's lane: the callee runs within the caller's turn."""


class ProcessCall(From):
    """A process is parked on this call."""

    __slots__ = ("lane", "process")

    # No __init__: `start` and `ProcessContext.call` fill the slots, which takes half the time.
    process: Process | None
    lane: Lane | None

    @classmethod
    def start(cls, process: Process, lane: Lane | None) -> ProcessCall:
        """A call of `process` that nobody has been asked yet."""
        call = cls()
        call.callee = None
        call.process = process
        call.lane = lane
        return call

    @property
    def pid(self) -> Pid | None:
        """The asking process; None once it no longer waits."""
        return None if self.process is None else self.process.pid

    @property
    def open(self) -> bool:
        """Whether the process still waits."""
        return self.process is not None

    def deliver(self, value: Any) -> None:
        """Wake the process with a value."""
        process = self.process
        if process is None:
            return
        self.process = None
        process.resume = value
        if self.callee is not None:
            self.forget()
        lane = self.lane
        if lane is HANDED_OVER:
            return  # it is the caller's own turn: it goes on when the callee returns
        if lane is not None:
            del lane[self]
        # Process.wake, in place: this runs once per call.
        process.wait = None
        scheduler = process.scheduler
        scheduler.queue.append(process)
        if not scheduler.armed:
            scheduler.arm()

    def fail(self, error: BaseException) -> None:
        """Wake the process with an exception."""
        self.deliver(Raise(error))

    def expire(self) -> None:
        """The time is up."""
        lane, self.lane = self.lane, None
        if lane is not None:
            self.fail(CallTimeout(lane.length_s))

    def cancel(self) -> None:
        """The process is exiting: nobody waits any more."""
        if self.process is not None:
            self.process = None
            if self.lane is not None:
                del self.lane[self]
            self.forget()


class StartCall(From):
    """A process has started another and is told when `init` is done, be it parked on that or not.

    So it may start several before it awaits the first.
    """

    __slots__ = ("answered", "outcome", "process")

    def __init__(self, process: Process) -> None:
        self.callee = None
        self.process = process
        self.answered = False
        self.outcome: Any = None

    @property
    def pid(self) -> Pid | None:
        """The starting process."""
        return self.process.pid

    @property
    def open(self) -> bool:
        """Whether `init` is not done yet."""
        return not self.answered

    def deliver(self, value: Any) -> None:
        """Keep the answer, and wake the process if it is parked on this."""
        if self.answered:
            return
        self.answered = True
        self.outcome = value
        if self.process.wait is self:
            self.process.wake(None)

    def fail(self, error: BaseException) -> None:
        """Keep the failure."""
        self.deliver(Raise(error))

    def cancel(self) -> None:
        """The process is exiting: it does not matter any more."""

    def result(self) -> Any:
        """The answer; raises the failure instead if there is one."""
        outcome, self.outcome = self.outcome, None
        if type(outcome) is Raise:
            try:
                raise outcome.error
            finally:  # no cycle: the error's traceback has this frame
                del outcome
        return outcome


class RequestCall(From):
    """A `send_request`: the answer becomes a `Response` in the mailbox of the asking process."""

    __slots__ = ("asker",)

    waits = False

    def __init__(self, asker: Pid) -> None:
        self.callee = None
        self.asker: Pid | None = asker

    @property
    def pid(self) -> Pid | None:
        """The asking process; None once it was answered."""
        return self.asker

    @property
    def open(self) -> bool:
        """Whether the process still waits."""
        return self.asker is not None and self.asker.process_ is not None

    def deliver(self, value: Any) -> None:
        """Put the answer into the mailbox."""
        self._respond(value, None)

    def fail(self, error: BaseException) -> None:
        """Put the failure into the mailbox."""
        self._respond(None, error)

    def _respond(self, value: Any, error: BaseException | None) -> None:
        asker = self.asker
        if asker is None:
            return
        self.asker = None
        if self.callee is not None:
            self.forget()
        process = asker.process_
        if process is not None:
            process.tell(Response(self, value, error))


class OutsideCall(From):
    """Ordinary asyncio code awaits a future."""

    __slots__ = ("future", "lane")

    def __init__(self, future: asyncio.Future[Any], lane: Lane | None) -> None:
        self.callee = None
        self.future = future
        self.lane = lane
        if lane is not None:
            lane.add(self)

    @property
    def open(self) -> bool:
        """Whether somebody still awaits the future."""
        return not self.future.done()

    def deliver(self, value: Any) -> None:
        """Resolve the future."""
        if not self.future.done():
            self.future.set_result(value)
            self.close()

    def fail(self, error: BaseException) -> None:
        """Fail the future."""
        if not self.future.done():
            if isinstance(error, StopIteration):
                wrapped = RuntimeError("a call was answered with StopIteration")
                wrapped.__cause__ = error
                error = wrapped
            self.future.set_exception(error)
            self.close()

    def expire(self) -> None:
        """The time is up."""
        lane, self.lane = self.lane, None
        if lane is not None:
            self.fail(CallTimeout(lane.length_s))

    def close(self) -> None:
        """Nobody awaits the future any more."""
        if self.lane is not None:
            del self.lane[self]
            self.lane = None
        self.forget()
