"""What `rpc` and `global_names` of several nodes ask each other, and what they answer with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from palaver.actors.runtime import Pid, RuntimeFault

__all__ = [
    "GlobalNameConflict",
    "LockName",
    "RegisterName",
    "Resolve",
    "RpcBusy",
    "RpcCall",
    "RpcError",
    "RpcExited",
    "RpcMany",
    "RpcRaised",
    "RpcSpawn",
    "RpcUnknown",
    "Seen",
    "UnregisterName",
]


# -- rpc -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RpcCall:
    """Run a function, and answer with what it returns; a cast of it is not answered."""

    function: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class RpcMany:
    """To the own node's server: call a function on several nodes at once."""

    node_names: tuple[str, ...]
    function: str
    args: tuple[Any, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class RpcSpawn:
    """Start a process of something that is registered, and answer with its pid."""

    what: str
    args: tuple[Any, ...]


class RpcError(RuntimeFault):
    """The base of what is wrong with a remote call, beside what any call raises.

    Attributes:
        node_name: where it was to run.
        function: what was to run.
    """

    text = "failed"

    def __init__(self, node_name: str, function: str, *more: object) -> None:
        super().__init__(node_name, function, *more)
        self.node_name = node_name
        self.function = function

    def __str__(self) -> str:
        return f"{self.function} at {self.node_name} {self.text}"


class RpcRaised(RpcError):
    """The function has raised an exception: it is the `__cause__`."""

    text = "has raised an exception"


class RpcExited(RpcError):
    """The process in which the function ran has exited, with `reason`."""

    def __init__(self, node_name: str, function: str, reason: object) -> None:
        super().__init__(node_name, function, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.function} at {self.node_name} has exited: {self.reason}"


class RpcUnknown(RpcError):
    """The other node has registered no function, and nothing to start, of this name."""

    text = "is not registered there: give it to that node's RpcServer"


class RpcBusy(RpcError):
    """The other node runs as many remote calls as it may."""

    text = "is refused: as many remote calls run there as may; ask again later"


# -- global names ----------------------------------------------------------------------------------

Resolve: TypeAlias = Literal["exit", "notify", "notify_all"]
"""What becomes of a process that has to give its name up; see `GlobalNames.register_name`."""


@dataclass(frozen=True, slots=True)
class RegisterName:
    """To the node of `pid`: let it have a name in the whole cluster; answered by whether it has."""

    name: Any
    pid: Pid
    resolve: Resolve
    replace: bool


@dataclass(frozen=True, slots=True)
class UnregisterName:
    """To the node of `pid`: it has this name no more."""

    name: Any
    pid: Pid


@dataclass(frozen=True, slots=True)
class LockName:
    """Let nobody else change who has a name, until the asking process has exited."""

    name: Any


@dataclass(frozen=True, slots=True)
class Seen:
    """Answer: all that this node has been told before is known there."""


@dataclass(frozen=True, slots=True)
class GlobalNameConflict:
    """To a process that has lost its name; OTP's `{global_name_conflict, Name, OtherPid}`.

    `other` is who had it as well, when two parts of the cluster came together.
    """

    name: Any
    other: Pid
