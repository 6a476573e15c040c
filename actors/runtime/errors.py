"""What the runtime raises.

    RuntimeFault
    ├── CallFailed          a call got no answer; `reason` says why
    │   ├── CallTimeout     ... within its time (also a TimeoutError)
    │   ├── NoProcess       ... because there is no such process
    │   ├── NodeDown        ... because the connection to its node was lost
    │   └── CalleeExited    ... because the callee exited first
    ├── ReceiveTimeout      no matching message arrived in time (also a TimeoutError)
    ├── StartError          a process did not get through `init`
    │   └── StartIgnored    ... because `init` returned `Ignore()`
    ├── MailboxFull         a bounded mailbox refused a message
    ├── NameTaken           a name is already registered
    ├── ProcessLimit        the node has as many processes as it may have
    ├── NodeStopped         the node is not running
    ├── ForeignAwait        a process awaited asyncio code without `bridge`
    ├── AwaitedAtEnd        a process awaited something when it was over already
    └── BadReturn           a handler returned something that means nothing

`ExitProcess` is apart: raising it is not a failure but Erlang's `exit(Reason)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from palaver.actors.runtime.reasons import NOCONNECTION, NOPROC

if TYPE_CHECKING:
    from palaver.actors.runtime.pid import Dest, Name, Pid


class RuntimeFault(Exception):
    """The base of everything that the runtime itself raises."""


class CallFailed(RuntimeFault):
    """A call got no answer; `reason` is the exit reason that says why."""

    def __init__(self, reason: object, text: str | None = None) -> None:
        super().__init__(text or str(reason))
        self.reason = reason


class CallTimeout(CallFailed, TimeoutError):
    """A call was not answered within its time; a later answer is dropped."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__("timeout", f"no answer within {timeout_s:g} s")
        self.timeout_s = timeout_s


class NoProcess(CallFailed):
    """A call went to a process or a name that does not exist."""

    def __init__(self, dest: Dest) -> None:
        super().__init__(NOPROC, f"no process {dest}")
        self.dest = dest


class NodeDown(CallFailed):
    """A call was lost with the connection to the callee's node."""

    def __init__(self, node_name: str) -> None:
        super().__init__(NOCONNECTION, f"no connection to node {node_name}")
        self.node_name = node_name


class CalleeExited(CallFailed):
    """The callee exited before it answered; `reason` is its exit reason."""

    def __init__(self, pid: Pid, reason: object) -> None:
        super().__init__(reason, f"{pid} exited before it answered: {reason}")
        self.pid = pid


class ReceiveTimeout(RuntimeFault, TimeoutError):
    """No matching message arrived within the time given to `receive`."""


class StartError(RuntimeFault):
    """A process exited, with `reason`, before its `init` was done."""

    def __init__(self, what: str, reason: object) -> None:
        super().__init__(f"{what} did not start: {reason}")
        self.what = what
        self.reason = reason


class StartIgnored(StartError):
    """`init` returned `Ignore()`: there is nothing to run, and that is no failure."""


class MailboxFull(RuntimeFault):
    """A bounded mailbox refused a message."""

    def __init__(self, pid: Pid, size: int) -> None:
        super().__init__(f"the mailbox of {pid} holds its limit of {size} messages")
        self.pid = pid
        self.size = size


class NameTaken(RuntimeFault):
    """A name is registered already, to `pid`."""

    def __init__(self, name: Name, pid: Pid) -> None:
        super().__init__(f"the name {name!r} belongs to {pid}")
        self.name = name
        self.pid = pid


class ProcessLimit(RuntimeFault):
    """The node has as many processes as it may have."""


class NodeStopped(RuntimeFault):
    """The node has not been started, or is stopping or stopped."""


class ForeignAwait(RuntimeFault):
    """A process awaited asyncio code directly; it must go through `bridge`."""


class AwaitedAtEnd(RuntimeFault):
    """A process that had been ended awaited something in a `finally`; it is only reported."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(
            f"{what} had been ended and awaited something all the same ({where}), which was cut "
            "off: a `finally` (or an `except` of GeneratorExit) cannot wait for anything. Do such "
            "work in `terminate` of a GenServer that traps exits, or in another process that "
            "monitors this one"
        )


class BadReturn(RuntimeFault):
    """A handler returned something that has no meaning there."""


class ExitProcess(BaseException):
    """Raise it in a process to exit with `reason`, as Erlang's `exit(Reason)`.

    A BaseException, so that an `except Exception` in a handler does not swallow it.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(str(reason))
        self.reason = reason
