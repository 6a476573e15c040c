"""The timeouts of one state machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from palaver.actors.behaviours.transitions import UPDATE, TimeoutAction, TimeoutKind
from palaver.actors.runtime import Pid, TimerRef
from palaver.actors.runtime.calls import RequestCall
from palaver.actors.runtime.timers import Timers

__all__ = ["StatemTimer", "StatemTimers"]


class StatemTimer(RequestCall):
    """A timeout that runs; its event comes as a `Response`.

    That is a signal, so a bounded mailbox does not refuse it: a machine may rely on its timeouts.
    """

    __slots__ = ("content", "kind", "running")

    def __init__(self, pid: Pid, kind: TimeoutKind, content: Any) -> None:
        super().__init__(pid)
        self.kind: TimeoutKind = kind
        self.content = content
        self.running: TimerRef | None = None  # None: a timeout of 0, for which no timer runs

    def ring(self) -> None:
        """The time is up."""
        self.deliver(None)


class StatemTimers:
    """Which timeouts run, at most one of each kind; false if none does."""

    __slots__ = ("_pid", "_running", "_timers", "_zero")

    def __init__(self, pid: Pid, timers: Timers) -> None:
        self._pid = pid
        self._timers = timers
        self._running: dict[TimeoutKind, StatemTimer] = {}
        self._zero: list[StatemTimer] = []  # those of 0, in the order in which they come

    def __del__(self) -> None:
        # The machine has exited, however: no callback would have heard of a kill. Its timers do not
        # hold it, so this is when it is freed.
        for timer in self._running.values():
            if timer.running is not None:
                self._timers.cancel(timer.running)

    def __len__(self) -> int:
        return len(self._running)

    def start(self, actions: Iterable[TimeoutAction]) -> None:
        """Do what the actions of one transition say; of each kind only the last counts."""
        last: dict[TimeoutKind, TimeoutAction] = {}
        for action in actions:
            last.pop(action.kind, None)  # its place is that of the last
            last[action.kind] = action
        for kind, action in last.items():
            if action.time_s is UPDATE:
                running = self._running.get(kind)
                if running is not None:
                    running.content = action.content
                    continue
            else:
                self.stop(kind)
                if action.time_s is None:
                    continue
            self._start(action)

    def _start(self, action: TimeoutAction) -> None:
        timer = self._running[action.kind] = StatemTimer(self._pid, action.kind, action.content)
        time_s = action.time_s
        if action.absolute:
            assert isinstance(time_s, (int, float))
            timer.running = self._timers.add_at(time_s, timer.ring)
        elif isinstance(time_s, (int, float)) and time_s > 0:
            timer.running = self._timers.add(time_s, timer.ring)
        else:
            self._zero.append(timer)

    def stop(self, kind: TimeoutKind) -> None:
        """Stop the timeout of this kind, if it runs."""
        timer = self._running.pop(kind, None)
        if timer is None:
            return
        if timer.running is None:
            self._zero.remove(timer)
        else:
            self._timers.cancel(timer.running)

    def take(self, timer: StatemTimer) -> bool:
        """A timer has rung: whether it still counts; it runs no more."""
        if self._running.get(timer.kind) is not timer:
            return False
        del self._running[timer.kind]
        return True

    def take_zero(self) -> StatemTimer | None:
        """The next timeout of 0; it runs no more."""
        if not self._zero:
            return None
        timer = self._zero.pop(0)
        del self._running[timer.kind]
        return timer
