"""A place: where callbacks run. Each incarnation of a host is one; the scenario has its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from palaver.actors.simulation.world.tape import Stream

__all__ = ["HERE", "Handle", "Place", "hush"]

HERE: ContextVar[Place] = ContextVar("palaver_place")
"""The place of the code that runs. Tasks and callbacks inherit it, as they do any context."""


class Handle:
    """A callback that will run, unless it is cancelled; asyncio's handles in our loop."""

    __slots__ = ("_args", "_callback", "_cancelled", "_when", "context", "place")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
        place: Place,
        when: float = 0.0,
    ) -> None:
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self.context = context
        self.place = place
        self._when = when
        self._cancelled = False

    def cancel(self) -> None:
        """Make it not happen; harmless after it has."""
        self._cancelled = True
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled

    def when(self) -> float:
        """When it is due, by the loop's time; 0.0 for what is due at once."""
        return self._when

    def run(self) -> None:
        """Call it, in its context."""
        callback = self._callback
        if callback is None:
            return
        try:
            self.context.run(callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            self.place.report(
                {"message": f"exception in callback {callback!r}", "exception": error}
            )

    def __repr__(self) -> str:
        return f"<handle {self._callback!r} of {self.place.name}>"


class Place:
    """Callbacks that run one after the other, in the order asked for, as in an event loop.

    Attributes:
        name: the host's name, or "scenario".
        alive: callbacks are accepted, and run.
        ready: what runs next.
        waiting: it has a place in the loop's list of those that have something to run.
        paused_until_s: it does nothing before that time.
        waking: it waits for the end of a pause.
        late: the choices of how late it is for its timers; None: never.
    """

    __slots__ = (
        "_report",
        "alive",
        "context",
        "late",
        "name",
        "paused_until_s",
        "ready",
        "tasks",
        "waiting",
        "waking",
    )

    def __init__(
        self, name: str, report: Callable[[Place, dict[str, Any]], None], late: Stream | None
    ) -> None:
        self.name = name
        self.alive = True
        self.ready: deque[Handle] = deque()
        self.waiting = False
        self.waking = False
        self.paused_until_s = 0.0
        self.late = late
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._report = report
        self.context = Context()
        self.context.run(HERE.set, self)

    def report(self, context: dict[str, Any]) -> None:
        """Tell of an exception that nobody handles, as to a loop's exception handler."""
        self._report(self, context)

    def pause(self, until_s: float) -> None:
        """Do nothing before that time; what comes meanwhile waits, in order."""
        self.paused_until_s = max(self.paused_until_s, until_s)

    def end(self) -> list[asyncio.Task[Any]]:
        """Nothing of it runs any more; the tasks that will never end."""
        self.alive = False
        # As a list: what is garbage in a dead incarnation must not be collected, and so run its
        # `finally`, at a moment that nobody chose.
        left = [task for task in self.tasks if not task.done()]
        self.ready.clear()  # only now: some are held by nothing else
        for task in left:
            hush(task)
        self.ready.clear()  # now: it may hold the last reference to a task that never ran
        return left


def hush(task: asyncio.Task[Any]) -> None:
    """Let a task that will never end be freed without a complaint, as asyncio's own loops do."""
    task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
