"""The run queue: one `call_soon` per slice, in which many processes have their turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from palaver.actors.runtime.mailbox import INFO, INIT, SIGNAL, Tag
from palaver.actors.runtime.messages import Continue, Hibernate, NoReply, Reply, Stop, Timeout
from palaver.actors.runtime.process import ALIVE

if TYPE_CHECKING:
    from palaver.actors.runtime.mailbox import Item
    from palaver.actors.runtime.node import Node
    from palaver.actors.runtime.process import Process
    from palaver.actors.runtime.timers import Timers

__all__ = ["MAX_DEPTH", "Scheduler"]

MAX_TURNS = 4096
"""Turns in a slice, should the clock stand still (as a simulated one does)."""

MAX_DEPTH = 8
"""Calls handed over within calls; deeper ones go through the run queue, not down the stack."""

# What `handle_call` may return that is not simply its reply.
NOT_A_REPLY: Final = frozenset(
    {CoroutineType, GeneratorType, Stop, NoReply, Reply, Continue, Timeout, Hibernate}
)

NOTHING: Final[Iterator[Any]] = iter(())
"""What is left of a batch that is used up."""


class Scheduler:
    """Gives every process that has something to do its turn, in the order in which they asked.

    A turn is at most `reductions` messages; a slice ends after `slice_s` and gives the event loop
    its turn. A process whose turn overran the slice gets smaller ones until it behaves, down to one
    message: so the loop is not held by many slow handlers in a row, and what the watchdog then
    measures is a single handler.
    """

    __slots__ = (
        "armed",
        "call_soon",
        "current",
        "depth",
        "dying",
        "handed_s",
        "monotonic",
        "node",
        "queue",
        "reductions",
        "rest",
        "slice_s",
        "slow_s",
        "slowed",
        "timers",
        "turn_ends_s",
    )

    def __init__(
        self, node: Node, timers: Timers, *, reductions: int, slice_s: float, slow_s: float
    ) -> None:
        self.node = node
        self.timers = timers
        self.monotonic = timers.monotonic
        self.reductions = reductions
        self.slice_s = slice_s
        self.slow_s = slow_s
        self.queue: deque[Process] = deque()
        # Whether a slice is on its way; true from the start, so that nothing runs before `start`.
        self.armed = True
        self.current: Process | None = None
        # What the current process has still to handle of its batch.
        self.rest: Iterator[Item] = NOTHING
        self.depth = 0  # how many callers wait within this turn
        # How many have got an exit signal that ends them, and have not acted on it yet.
        self.dying = 0
        self.handed_s = 0.0  # how much of this turn went to slow callees
        self.slowed: dict[Process, None] = {}
        self.call_soon: Callable[[Callable[[], None]], object] | None = None

    def start(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Begin to run."""
        self.call_soon = call_soon
        self.armed = False
        if self.queue:
            self.arm()

    def stop(self) -> None:
        """Run nothing more."""
        self.call_soon = None
        self.armed = True
        self.queue.clear()
        self.slowed.clear()

    def arm(self) -> None:
        """Ask the event loop for a slice."""
        if self.call_soon is not None:
            self.armed = True
            self.call_soon(self.run)

    def enqueue(self, process: Process) -> None:
        """Give a process that is not on the run queue a place on it."""
        self.queue.append(process)
        if not self.armed:
            self.arm()

    def run(self) -> None:
        """One slice."""
        if self.slowed:
            self.forgive()
        before = self.monotonic()
        try:
            self.turns(before, before + self.slice_s)
        finally:  # also when a KeyboardInterrupt flies through
            self.current = None
            self.armed = False
            if self.queue:
                self.arm()

    def turns(self, before: float, end: float) -> None:  # noqa: C901 - see below
        """Turns, until the queue is empty or the time is up.

        The fast path of the whole runtime, and so in one piece: a function call saved here is a
        tenth of a message. What is not usual is done by the process (`turn`, `control`, `settle`,
        `leave`).
        """
        queue = self.queue
        monotonic = self.monotonic
        process: Any
        server: Any
        message: Any = None
        tag: Any = None
        rest: Iterable[Item] = ()
        for _ in range(MAX_TURNS):
            if not queue:
                return
            self.current = process = queue.popleft()
            server = process.fast
            batch = process.mailbox
            if server is not None and len(batch) == 1:  # needs no iterator and no look at `budget`
                process.mailbox = []
                process.reductions += 1
                rest = batch
            else:
                if server is None or len(batch) > process.budget:
                    batch = process.turn()
                    server = process.context
                else:
                    process.mailbox = []
                if batch is not None:
                    process.reductions += len(batch)
                    self.rest = rest = iter(batch)
            if batch is not None:
                try:
                    # The tests stand in the order of how often they are met. A handler that
                    # returned None needs nothing more done, and that is nearly all of them.
                    for message, tag in rest:
                        if tag is None:
                            result = server.handle_cast(message)
                            if result is None:
                                continue
                        elif tag is INFO or tag is SIGNAL:
                            result = server.handle_info(message)
                            if result is None:
                                continue
                        elif type(tag) is Tag:
                            if process.control(message, tag):
                                continue
                            break
                        else:
                            result = server.handle_call(message, tag)
                            if type(result) not in NOT_A_REPLY:
                                tag.deliver(result)
                                continue
                        if not process.settle(result, message, tag):
                            break
                    else:
                        if process.fast is None:
                            process.leave()
                        elif process.mailbox:
                            queue.append(process)
                        else:
                            process.mailbox = None
                except BaseException as error:
                    process.crash(error, message, tag)
                    if isinstance(error, (KeyboardInterrupt, SystemExit)):
                        raise
            now = monotonic()
            if now >= end:
                took_s, self.handed_s = now - before - self.handed_s, 0.0
                self.slow_down(process, took_s)
                return
            before = now

    def hand_over(self, callee: Any, message: Any, tag: Any) -> None:
        """Let an idle process handle a call, or a new one its `init`, within the caller's turn.

        This is what the run queue would do if both were alone on it, without the way through it,
        which is most of the cost of a call.
        """
        caller: Any = self.current
        rest = self.rest
        handed_s = self.handed_s
        self.current = callee
        self.rest = NOTHING
        self.depth += 1
        callee.mailbox = []
        callee.reductions += 1
        began = self.monotonic()
        try:
            if tag is INIT:
                goes_on = callee.control(message, tag)
            else:
                result = callee.fast.handle_call(message, tag)
                if type(result) in NOT_A_REPLY:
                    goes_on = callee.settle(result, message, tag)
                else:
                    goes_on = True
                    if tag.callee is None and tag.process is not None:
                        tag.process.resume = result  # `ProcessCall.deliver`, in place
                        tag.process = None
                    else:  # the handler has promised it, or has answered already
                        tag.deliver(result)
            if goes_on:
                if callee.fast is None:
                    callee.leave()
                elif callee.mailbox:
                    self.queue.append(callee)
                else:
                    callee.mailbox = None
        except BaseException as error:
            callee.crash(error, message, tag)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            self.depth -= 1
            self.current = caller
            self.rest = rest
            if caller.backlog or caller.exiting is not ALIVE:  # its end was ordered meanwhile
                caller.put_back(rest)
            took_s = self.monotonic() - began
            if took_s >= self.slice_s:  # not the caller's fault: `turns` takes it off its turn
                self.slow_down(callee, took_s - (self.handed_s - handed_s))
                self.handed_s = handed_s + took_s

    def slow_down(self, process: Process, took_s: float) -> None:
        """Shorten the turns of a process that overran, and report one that took far too long."""
        if took_s < self.slice_s:
            return
        process.budget = max(1, process.budget // 4)
        self.slowed[process] = None
        if took_s >= self.slow_s:
            self.node.notify(self.node.observer.handler_slow, process.pid, took_s)

    def forgive(self) -> None:
        """Lengthen them again, by and by."""
        for process in list(self.slowed):
            process.budget = min(self.reductions, process.budget * 2)
            if process.budget == self.reductions:
                del self.slowed[process]
