"""A process that is a plain coroutine function: `async def fn(ctx, *args)`."""

from __future__ import annotations

from palaver.actors.runtime.errors import ExitProcess
from palaver.actors.runtime.lifecycle import finish
from palaver.actors.runtime.messages import Stop
from palaver.actors.runtime.parking import SUSPENDED
from palaver.actors.runtime.process import ALIVE, Process
from palaver.actors.runtime.reasons import NORMAL, Crash, is_abnormal

__all__ = ["FunctionProcess"]


class FunctionProcess(Process):
    """A process that runs one coroutine from beginning to end; it exits `normal` at the end."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """The function's name."""
        return str(getattr(self.coroutine, "__qualname__", "function"))

    def turn(self) -> None:
        """Run until the coroutine gives up control."""
        if self.exiting is not ALIVE:
            finish(self, self.exiting)
            return
        if self.held:
            self.wait = SUSPENDED
            return
        coroutine = self.coroutine  # kept for `label`
        try:
            if self.drive():
                result = self.resume
                finish(self, result.reason if isinstance(result, Stop) else NORMAL)
        except BaseException as error:
            self.coroutine = coroutine
            reason = error.reason if isinstance(error, ExitProcess) else Crash.at_handler(error)
            if is_abnormal(reason):
                self.scheduler.node.report_crash(self, reason, None)
            finish(self, reason)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
