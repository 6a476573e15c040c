"""`GenServer`: a process that answers calls and handles messages, one at a time.

    class Counter(GenServer):
        __slots__ = ("count",)

        def init(self, start: int = 0) -> None:
            self.count = start

        def handle_cast(self, step: int) -> None:
            self.count += step

        def handle_call(self, request: str, from_: From) -> int:
            return self.count

Every handler may be a plain `def` (fast: one function call) or an `async def`, which may await
`call`, `sleep`, `receive`, `start_link`, `bridge`. While it does, the process is parked: its
messages wait, exit signals still act. An exception in a handler ends the process, with the
exception as the reason.
"""

from __future__ import annotations

from typing import Any, Generic

import structlog

from palaver.actors.runtime.calls import From
from palaver.actors.runtime.context import ProcessContext
from palaver.actors.runtime.errors import BadReturn
from palaver.actors.runtime.observer import shorten
from palaver.actors.runtime.protocol import P

__all__ = ["GenServer"]

log = structlog.get_logger("palaver.actors")


class GenServer(ProcessContext, Generic[P]):
    """The base of servers; the instance is the state, so give subclasses `__slots__`."""

    __slots__ = ()

    def init(self, *args: Any, **options: Any) -> Any:
        """Set up the state. Return None, `Continue(arg)`, `Ignore()` or `Stop(reason)`.

        Who used `start_link` or `start_server` waits until this is done.
        """

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer a call: return the reply, `NOREPLY` (then `reply` later) or `Stop(reason, reply)`.

        An exception here ends the server, and the call fails with its reason; to answer with an
        error, use `reply_error` and return `NOREPLY`.
        """
        raise BadReturn(f"{type(self).__qualname__} has no handle_call, but was asked {request!r}")

    def handle_cast(self, message: Any) -> Any:
        """Handle a cast. Return None, `Continue(arg)` or `Stop(reason)`."""
        raise BadReturn(f"{type(self).__qualname__} has no handle_cast, but was cast {message!r}")

    def handle_info(self, message: Any) -> Any:
        """Handle a plain message, an `Exit`, a `Down` or a `Response`. Return as `handle_cast`.

        Where not overridden, the message is logged at debug level and dropped.
        """
        log.debug(
            "unexpected message",
            pid=str(self.pid),
            server=type(self).__qualname__,
            message=shorten(message),
        )

    def handle_continue(self, arg: Any) -> Any:
        """Go on after a `Continue(arg)`, before the next message. Return as `handle_cast`."""

    def terminate(self, reason: Any) -> Any:
        """Clean up before the process exits with `reason`.

        Runs when a handler stops or crashes, and when the parent of a server that traps exits ends
        it; as in OTP, not when another exit signal or `KILL` ends it.
        """

    def format_status(self) -> Any:
        """What a crash report shows as the state; None shows nothing (there may be secrets)."""
        return None
