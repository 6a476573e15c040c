"""How a hand-driven coroutine gives up control.

A process's coroutine is run by the scheduler with `send`, in no asyncio task. To wait, it puts
what it waits for into `Process.wait` and yields `PARK`; whoever ends the wait puts the outcome into
`Process.resume` and the process on the run queue. Whatever else it yields (an asyncio future, say)
is a mistake, answered with `ForeignAwait`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from palaver.actors.runtime.timers import TimerRef

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process

__all__ = [
    "FROZEN",
    "PARK",
    "PARKED",
    "PREEMPT",
    "PREEMPTED",
    "RECEIVING",
    "SUSPENDED",
    "Alarm",
    "Raise",
    "Wait",
    "park",
]


class _Yielded:
    """What a process's coroutine yields; its repr is what asyncio prints when it gets one."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


PARK: Final = _Yielded("<only a process may await this: outside of one, use Node.call, Node.wait>")
PREEMPT: Final = _Yielded("<only a process may await this: outside of one, use asyncio.sleep>")


class Raise:
    """An outcome that is an exception."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Parked:
    """Awaiting it yields `PARK` once, without a single line of Python being run.

    `__await__` is the method of a tuple, bound here once: each await gets a fresh tuple iterator.
    """

    __slots__ = ()
    __await__: Callable[..., Generator[Any, Any, Any]] = cast("Any", (PARK,).__iter__)


class Preempted:
    """Awaiting it yields `PREEMPT` once."""

    __slots__ = ()
    __await__: Callable[..., Generator[Any, Any, Any]] = cast("Any", (PREEMPT,).__iter__)


PARKED: Final = Parked()
PREEMPTED: Final = Preempted()


async def park(process: Process) -> Any:
    """Give up control until the wait is over; its outcome."""
    await PARKED
    outcome, process.resume = process.resume, None
    if type(outcome) is Raise:
        try:
            raise outcome.error
        finally:  # no cycle: the error's traceback has this frame
            del outcome
    return outcome


class Wait(Protocol):
    """What a process is parked on."""

    def cancel(self) -> None:
        """The process is exiting and waits no more."""


class _PlainWait:
    """A wait that needs no undoing."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def cancel(self) -> None:
        """Nothing to undo."""


SUSPENDED: Final = _PlainWait("suspended")  # for room in somebody's mailbox
FROZEN: Final = _PlainWait("frozen")  # for `sys.resume`
RECEIVING: Final = _PlainWait("receiving")  # for a message


class Alarm:
    """The end of a sleep, or of the patience of a `receive`."""

    __slots__ = ("process", "rang", "timer")

    def __init__(self, process: Process, delay_s: float) -> None:
        self.process = process
        # Remembered: it may ring between a message that wakes its process and that one's turn.
        self.rang = False
        self.timer: TimerRef = process.scheduler.timers.add(delay_s, self.ring)

    def ring(self) -> None:
        """The time is up: wake the process if it still waits for this."""
        self.rang = True
        if self.process.wait is self:
            self.process.wake(None)

    def cancel(self) -> None:
        """Let the alarm never ring."""
        self.process.scheduler.timers.cancel(self.timer)
