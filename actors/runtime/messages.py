"""What the runtime puts into mailboxes, and what handlers return to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from palaver.actors.runtime.pid import Dest, Pid, Ref

if TYPE_CHECKING:
    from palaver.actors.runtime.calls import From

__all__ = [
    "HIBERNATE",
    "NOREPLY",
    "TIMEOUT",
    "Continue",
    "Down",
    "Exit",
    "Hibernate",
    "Ignore",
    "NoReply",
    "Reply",
    "Request",
    "Response",
    "Stop",
    "Timeout",
]


# `Exit`, `Down` and `Response` are not to be changed, but not frozen either: a frozen dataclass
# costs three times as much to build, and they are built for every end and every request.


@dataclass(slots=True, unsafe_hash=True)
class Exit:
    """A linked process exited, or sent an exit signal; seen only by processes that trap exits."""

    sender: Pid | None
    reason: object

    def __str__(self) -> str:
        return f"exit of {self.sender}: {self.reason}"


@dataclass(slots=True, unsafe_hash=True)
class Down:
    """A monitored process exited, or never was (reason `noproc`).

    `pid` is the name or alias that was asked for if no process had it.
    """

    ref: Ref
    pid: Dest
    reason: object

    def __str__(self) -> str:
        return f"{self.pid} is down: {self.reason}"


@dataclass(slots=True)
class Response:
    """The answer to a `send_request`: `error` if it failed, else `value`."""

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


@dataclass(frozen=True, slots=True)
class Timeout:
    """Returned by a handler: handle `TIMEOUT` if no message comes within `after_s`.

    As the timeout in the return values of OTP's gen_server: any message puts an end to it, and 0
    means at once, unless a message waits already.
    """

    after_s: float


class TimedOut:
    """The type of `TIMEOUT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "TIMEOUT"


TIMEOUT: Final = TimedOut()
"""What `handle_info` gets when the time of a `Timeout` is up."""


class Hibernate:
    """The type of `HIBERNATE`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "HIBERNATE"


HIBERNATE: Final = Hibernate()
"""Returned by a handler: nothing is expected for long; keep as little memory as possible."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Returned by `handle_call`: answer with `value`, then do what `then` says.

    `then` is a `Continue`, a `Timeout` or `HIBERNATE`. Without one, return the value itself.
    """

    value: Any
    then: Continue | Timeout | Hibernate
