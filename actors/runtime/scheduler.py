"""The run queue: one `call_soon` per slice, in which many processes have their turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

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
        "handed_s",
        "messages",
        "monotonic",
        "node",
        "queue",
        "reductions",
        "slice_s",
        "slow_s",
        "slowed",
        "spare",
        "timers",
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
        self.spare: list[deque[Item]] = []
        # Whether a slice is on its way; true from the start, so that nothing runs before `start`.
        self.armed = True
        self.current: Process | None = None
        self.depth = 0  # how many callers wait within this turn
        self.handed_s = 0.0  # how much of this turn went to slow callees
        self.messages = 0
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
        queue = self.queue
        monotonic = self.monotonic
        if self.slowed:
            self.forgive()
        before = monotonic()
        end = before + self.slice_s
        try:
            for _ in range(MAX_TURNS):
                if not queue:
                    break
                self.current = process = queue.popleft()
                process.turn()
                now = monotonic()
                if now >= end:
                    took_s, self.handed_s = now - before - self.handed_s, 0.0
                    self.slow_down(process, took_s)
                    break
                before = now
        finally:  # also when a KeyboardInterrupt flies through
            self.current = None
            self.armed = False
            if queue:
                self.arm()

    def hand_over(self, callee: Process, item: Item) -> None:
        """Let an idle process handle a call at once, within the turn of its caller.

        This is what the run queue would do if both were alone on it, without the way through it,
        which is most of the cost of a call.
        """
        caller = self.current
        callee.mailbox = mailbox = self.spare.pop() if self.spare else deque()
        mailbox.append(item)
        callee.wait = None  # for one that was parked in `receive`
        self.current = callee
        self.depth += 1
        handed_s = self.handed_s
        began = self.monotonic()
        try:
            callee.turn()
        finally:
            self.depth -= 1
            self.current = caller
            took_s = self.monotonic() - began
            if took_s >= self.slice_s:  # not the caller's fault: `run` takes it off its turn
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
