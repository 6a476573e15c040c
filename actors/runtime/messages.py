"""What the runtime puts into mailboxes, and what handlers return to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from palaver.actors.runtime.pid import Pid, Ref

if TYPE_CHECKING:
    from palaver.actors.runtime.calls import From

__all__ = [
    "NOREPLY",
    "Continue",
    "Down",
    "Exit",
    "Ignore",
    "NoReply",
    "Request",
    "Response",
    "Stop",
]


@dataclass(frozen=True, slots=True)
class Exit:
    """A linked process exited, or sent an exit signal; seen only by processes that trap exits."""

    sender: Pid | None
    reason: object

    def __str__(self) -> str:
        return f"exit of {self.sender}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Down:
    """A monitored process exited, or never was (reason `noproc`).

    `pid` is the name that was asked for if no process had it.
    """

    ref: Ref
    pid: Pid | str
    reason: object

    def __str__(self) -> str:
        return f"{self.pid} is down: {self.reason}"


@dataclass(slots=True)
class Response:
    """The answer to a `send_request`: `error` if it failed, else `value`."""

    # Not frozen: a frozen dataclass costs three times as much to build, and this one is built
    # once per request.
    ref: Ref
    value: Any
    error: BaseException | None

    def result(self) -> Any:
        """The value; raises the error instead if there is one."""
        if self.error is not None:
            raise self.error
        return self.value


@dataclass(frozen=True, slots=True)
class Request:
    """A call, as a plain function process receives it; answer with `ctx.reply(from_, value)`."""

    body: Any
    from_: From


class NoReply:
    """The type of `NOREPLY`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOREPLY"


NOREPLY: Final = NoReply()
"""Returned by `handle_call`: the answer comes later, through `reply` or `reply_error`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Returned by a handler: stop this process with `reason`.

    From `handle_call`, `reply` is sent once `terminate` has run; without it the call fails with
    the reason.
    """

    reason: object
    reply: Any = NOREPLY


@dataclass(frozen=True, slots=True)
class Continue:
    """Returned by a handler: run `handle_continue(arg)` before the next message."""

    arg: Any = None


@dataclass(frozen=True, slots=True)
class Ignore:
    """Returned by `init`: there is nothing to run; the process exits `normal`."""
