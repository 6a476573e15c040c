"""What `sys` shows of a server's work: its events, and those who are shown them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from palaver.actors.runtime import From, NoReply, Pid, Reply, Stop
from palaver.actors.runtime.inspection import Looker
from palaver.actors.runtime.mailbox import CONTINUE
from palaver.actors.runtime.observer import shorten
from palaver.actors.runtime.process import Process

__all__ = ["DONE", "DebugFunction", "Event", "EventKind", "Statistics"]

EventKind: TypeAlias = Literal["in", "out", "noreply"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a server did: OTP's system events.

    * ``in``: it is about to handle a message; `how` says as what, `peer` who called.
    * ``out``: its handler has answered the call of `peer` with `message`.
    * ``noreply``: its handler is done and has answered nobody; `message` is what it handled.
    """

    pid: Pid
    kind: EventKind
    how: Literal["call", "cast", "info", "continue"]
    message: Any
    peer: Pid | None = None

    def __str__(self) -> str:
        """The event as a line, in the words of OTP's trace."""
        who = "" if self.peer is None else str(self.peer)
        if self.kind == "in":
            what = "got" if self.how == "info" else f"got {self.how}"
            return f"{self.pid} {what} {shorten(self.message)}" + (f" from {who}" if who else "")
        if self.kind == "out":
            return f"{self.pid} sent {shorten(self.message)} to {who or 'the outside'}"
        return f"{self.pid} is done with {self.how} {shorten(self.message)}"


class _Done:
    """The type of `DONE`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DONE"


DONE: Final = _Done()
"""Returned by a debug function: it wants to be shown nothing more."""

DebugFunction: TypeAlias = "Callable[[Any, Event, Any], Any]"
"""Called as `fn(own_state, event, server)`; returns its new state, or `DONE`."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a server has done while its statistics were on.

    Times are in seconds of the node's monotonic clock; `messages_out` counts answers to calls.
    """

    start_time_s: float
    current_time_s: float
    reductions: int
    messages_in: int
    messages_out: int


class Showing(Looker):
    """Makes an `Event` of everything a server does."""

    __slots__ = ()

    def show(self, process: Process, event: Event) -> None:
        """Something has happened."""

    def before(self, process: Process, message: Any, tag: Any) -> None:
        """An ``in`` event."""
        peer = tag.pid if isinstance(tag, From) else None
        self.show(process, Event(process.pid, "in", _how(tag), message, peer))

    def after(self, process: Process, message: Any, tag: Any, result: Any) -> None:
        """An ``out`` or a ``noreply`` event."""
        if isinstance(tag, From):
            reply = result
            if isinstance(result, Stop):
                reply = result.reply
            elif isinstance(result, Reply):
                reply = result.value
            if not isinstance(reply, NoReply):
                self.show(process, Event(process.pid, "out", "call", reply, tag.pid))
                return
        self.show(process, Event(process.pid, "noreply", _how(tag), message))


def _how(tag: Any) -> Literal["call", "cast", "info", "continue"]:
    if isinstance(tag, From):
        return "call"
    if tag is None:
        return "cast"
    return "continue" if tag is CONTINUE else "info"


class Tracer(Showing):
    """Hands every event to a function."""

    __slots__ = ("_to",)

    def __init__(self, to: Callable[[Event], object]) -> None:
        self._to = to

    def show(self, process: Process, event: Event) -> None:
        """Pass it on."""
        self._to(event)


class Log(Showing):
    """Keeps the last events."""

    __slots__ = ("events",)

    def __init__(self, size: int, events: list[Event]) -> None:
        self.events: deque[Event] = deque(events, maxlen=size)

    def show(self, process: Process, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


class Installed(Showing):
    """A debug function with its state."""

    __slots__ = ("_key", "_state", "fn")

    def __init__(self, key: object, fn: DebugFunction, state: Any) -> None:
        self._key = key
        self._state = state
        self.fn = fn

    def show(self, process: Process, event: Event) -> None:
        """Call it; `DONE` removes it."""
        if self._state is DONE:
            return
        self._state = self.fn(self._state, event, process.context)
        if self._state is DONE and process.inspection is not None:
            process.inspection.lookers.pop(self._key, None)


class Counting(Looker):
    """Counts for `Statistics`."""

    __slots__ = ("_messages_in", "_messages_out", "_reductions", "_start_s")

    def __init__(self, process: Process) -> None:
        self._start_s = process.scheduler.timers.monotonic()
        self._reductions = process.reductions
        self._messages_in = 0
        self._messages_out = 0

    def before(self, process: Process, message: Any, tag: Any) -> None:
        """One more in; a `Continue` is no message."""
        if tag is not CONTINUE:
            self._messages_in += 1

    def after(self, process: Process, message: Any, tag: Any, result: Any) -> None:
        """Perhaps one more out."""
        if isinstance(tag, From):
            reply = result.reply if isinstance(result, Stop) else result
            self._messages_out += not isinstance(reply, NoReply)

    def get(self, process: Process) -> Statistics:
        """The counts now."""
        return Statistics(
            self._start_s,
            process.scheduler.timers.monotonic(),
            process.reductions - self._reductions,
            self._messages_in,
            self._messages_out,
        )
