"""Why a process exited.

Any object may be a reason, as in Erlang. These have a meaning to the runtime: `NORMAL`, `SHUTDOWN`
and `Shutdown(detail)` are orderly, everything else is abnormal and is reported as a crash.
"""

from __future__ import annotations

import traceback
from typing import Final

__all__ = [
    "KILL",
    "KILLED",
    "NOCONNECTION",
    "NOPROC",
    "NORMAL",
    "SHUTDOWN",
    "Crash",
    "ExitReason",
    "NamedReason",
    "Overflow",
    "Shutdown",
    "is_abnormal",
]

ExitReason = object


class NamedReason:
    """A reason that is only a name, as an Erlang atom; compared by identity."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __copy__(self) -> NamedReason:
        return self

    def __deepcopy__(self, memo: object) -> NamedReason:
        return self


NORMAL: Final = NamedReason("normal")
SHUTDOWN: Final = NamedReason("shutdown")
KILL: Final = NamedReason("kill")
KILLED: Final = NamedReason("killed")
NOPROC: Final = NamedReason("noproc")
NOCONNECTION: Final = NamedReason("noconnection")


class Shutdown:
    """An orderly end with something to say: Erlang's `{shutdown, Detail}`."""

    __slots__ = ("detail",)
    __match_args__ = ("detail",)

    def __init__(self, detail: object) -> None:
        self.detail = detail

    def __repr__(self) -> str:
        return f"shutdown: {self.detail}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shutdown) and self.detail == other.detail

    def __hash__(self) -> int:
        return hash((Shutdown, self.detail))


class Overflow:
    """A bounded mailbox with the policy `exit` was sent more than its `size` in messages."""

    __slots__ = ("size",)
    __match_args__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def __repr__(self) -> str:
        return f"mailbox overflow: more than {self.size} messages"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Overflow) and self.size == other.size

    def __hash__(self) -> int:
        return hash((Overflow, self.size))


class Crash:
    """An exception that a process did not handle, with its causes and traceback."""

    __slots__ = ("exception",)
    __match_args__ = ("exception",)

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception

    @classmethod
    def at_handler(cls, exception: BaseException) -> Crash:
        """A crash whose traceback begins in the handler: the runtime's own frame is cut off."""
        trace = exception.__traceback__
        if trace is not None and trace.tb_next is not None:
            exception.__traceback__ = trace.tb_next
        return cls(exception)

    @property
    def traceback(self) -> str:
        """The traceback with its chain of causes, as Python prints it; formatted when asked."""
        return "".join(traceback.format_exception(self.exception))

    def __repr__(self) -> str:
        text = str(self.exception)
        name = type(self.exception).__name__
        return f"crash: {name}: {text}" if text else f"crash: {name}"


def is_abnormal(reason: object) -> bool:
    """Whether an exit reason is a failure: a `transient` child is restarted after it."""
    return reason is not NORMAL and reason is not SHUTDOWN and type(reason) is not Shutdown
