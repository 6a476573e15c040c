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

from collections.abc import Callable
from typing import Any, ClassVar, Generic

import structlog

from palaver.actors.runtime.attributes import attributes, replace_attributes
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

    supervises: ClassVar[bool] = False
    """Whether it is a supervisor: what looks at the tree shows it so."""

    def init(self, *args: Any, **options: Any) -> Any:
        """Set up the state. Return None, `Continue(arg)`, `Ignore()` or `Stop(reason)`.

        Who used `start_link` or `start_server` waits until this is done.
        """

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer a call: return the reply, `NOREPLY` (then `reply` later) or `Stop(reason, reply)`.

        `Reply(value, then)` answers and goes on with a `Continue`, a `Timeout` or `HIBERNATE`; one
        of these alone goes on without an answer yet, as `NOREPLY`.

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
        """What crash reports, `sys.get_status` and the observer show as the state.

        None, as long as it is not overridden: a crash report then shows no state (there may be
        secrets), `sys.get_status` shows `system_get_state`.
        """
        return None

    def code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> Any:
        """Adapt the state to this version of the class, which has just replaced another one.

        Args:
            old_version: The other class's `__vsn__`, None if it has none.
            state: All attributes by name, as the other class left them. Those that this class
                also has are carried over already: only what is new or different is to be set.
            extra: What was given to `change_code`.

        Must be a plain `def`. If it raises, the process goes on with the old class and the old
        attributes. See `gen_server:code_change/3`.
        """

    # -- for `sys`; to be overridden by behaviours, hardly by servers -----------------------------

    def system_get_state(self) -> Any:
        """What `sys.get_state` shows: all attributes by name."""
        return attributes(self)

    def system_replace_state(self, change: Callable[[Any], Any]) -> Any:
        """Put what `change` makes of the state in its place; the new state."""
        state = change(self.system_get_state())
        replace_attributes(self, state)
        return state

    def system_code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> Any:
        """A new class has taken over: call `code_change`, do what a behaviour must, pass it on."""
        return self.code_change(old_version, state, extra)
