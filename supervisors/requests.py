"""The requests that supervisors answer, by `call` or `send_request`, and their answers.

The functions in `palaver.supervisors` (`start_child`, `which_children`, ...) send them for you and
have typed answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from palaver.actors.runtime import Pid
from palaver.supervisors.spec import ChildSpec, SupervisorFlags

__all__ = [
    "ChangeSpecification",
    "ChildCounts",
    "ChildInfo",
    "CountChildren",
    "DeleteChild",
    "GetChildSpec",
    "RestartChild",
    "StartChild",
    "StartFromTemplate",
    "TerminateChild",
    "WhichChildren",
]


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start a child; answered with its pid, None if its `init` said `Ignore()`.

    Fails with `StartError`, `AlreadyPresent`, `AlreadyStarted`, `MaxChildren`, `BadSpecification`,
    `NameTaken` or `ProcessLimit`.
    """

    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class StartFromTemplate:
    """Start a child from a `DynamicSupervisor`'s template, with these arguments after its own.

    Answered and failing as `StartChild`; OTP's `start_child` with a list of arguments.
    """

    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """Stop a child; answered with None when it has exited. Fails with `ChildNotFound`.

    A `Supervisor` takes the id and keeps the specification (unless the child is temporary) for
    `RestartChild`. A `DynamicSupervisor` takes a pid (or an id, which costs a search) and forgets
    the child. Its end does not count as a restart, nor for `auto_shutdown`.
    """

    child: object


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Start a child that is not running; answered with its pid, None if it said `Ignore()`.

    Fails with `ChildNotFound`, `ChildRunning`, `ChildRestarting` or `StartError`.
    """

    id: object


@dataclass(frozen=True, slots=True)
class DeleteChild:
    """Forget a child that is not running.

    Fails with `ChildNotFound`, `ChildRunning` or `ChildRestarting`.
    """

    id: object


@dataclass(frozen=True, slots=True)
class GetChildSpec:
    """Answered with the `ChildSpec` of a child, given as for `TerminateChild`; `ChildNotFound`."""

    child: object


@dataclass(frozen=True, slots=True)
class WhichChildren:
    """Answered with a list of `ChildInfo`, in start order."""


@dataclass(frozen=True, slots=True)
class CountChildren:
    """Answered with `ChildCounts`."""


@dataclass(frozen=True, slots=True)
class ChangeSpecification:
    """Replace the flags and the specifications of a running supervisor; nothing is started.

    What OTP's supervisor does in `code_change`: a child whose id is in `children` keeps its process
    and has the new specification from now on; one that is new is there without a process, for
    `RestartChild`; one that is no longer specified is kept as it is, after the others. The restarts
    so far stay counted. Fails with `BadSpecification`, and then nothing is changed.

    A `DynamicSupervisor` takes one specification if it has a template, else none; its children keep
    their arguments, and have the rest from the new template.
    """

    flags: SupervisorFlags
    children: Iterable[ChildSpec]


class ChildInfo(NamedTuple):
    """One child: `pid` is None while it does not run; `restarting` if it is tried again."""

    # A tuple, not a frozen dataclass: a list of a hundred thousand is made in half the time.
    id: object
    pid: Pid | None
    kind: str
    restarting: bool = False


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """How many children: specified, running, and of each kind."""

    specs: int
    active: int
    supervisors: int
    workers: int
