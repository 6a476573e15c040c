"""What a supervisor is told: its flags, its children, and the requests it answers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeAlias

from palaver.actors.runtime import GenServer, MailboxLimit, Pid, RuntimeFault

__all__ = [
    "AlreadyPresent",
    "AutoShutdown",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildRunning",
    "ChildSpec",
    "CountChildren",
    "DeleteChild",
    "FailedToStart",
    "MaxChildren",
    "Restart",
    "RestartChild",
    "StartChild",
    "Strategy",
    "SupervisorError",
    "SupervisorFlags",
    "TerminateChild",
    "WhichChildren",
]

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start, restart and stop one child.

    Args:
        id: What it is called within its supervisor.
        start: A `GenServer` class, or an `async def fn(ctx, *args)`.
        args: Its arguments; `options` are its keyword arguments.
        restart: ``permanent``: always restarted. ``transient``: only after an abnormal exit.
            ``temporary``: never.
        shutdown_s: How long it may take to stop before it is killed; None: as long as it takes;
            0: killed at once. If not given, 5 for a worker and None for a supervisor.
        kind: ``supervisor`` for one that has children itself.
        name: The name it is registered under.
        mailbox: The limit of its mailbox.
        significant: Its end by itself may end the supervisor: see `SupervisorFlags.auto_shutdown`.
            Not for a permanent child.
    """

    id: object
    start: type[GenServer] | Callable[..., Coroutine[Any, Any, Any]]
    args: tuple[Any, ...] = ()
    _: KW_ONLY
    restart: Restart = "permanent"
    shutdown_s: float | None = math.nan
    kind: Literal["worker", "supervisor"] = "worker"
    name: str | None = None
    mailbox: MailboxLimit | None = None
    significant: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.restart not in ("permanent", "transient", "temporary"):
            raise ValueError(f"unknown restart {self.restart!r}")
        if self.kind not in ("worker", "supervisor"):
            raise ValueError(f"unknown kind {self.kind!r}")
        if self.significant and self.restart == "permanent":
            raise ValueError("a permanent child is always restarted: it cannot be significant")
        if self.shutdown_s is not None:
            if math.isnan(self.shutdown_s):
                default = None if self.kind == "supervisor" else 5.0
                object.__setattr__(self, "shutdown_s", default)
            elif self.shutdown_s < 0:
                raise ValueError("shutdown_s is a time, 0 or None")


@dataclass(frozen=True, slots=True)
class SupervisorFlags:
    """How a supervisor reacts to the end of a child.

    Args:
        strategy: ``one_for_one``: only that child is restarted. ``one_for_all``: all are stopped
            and restarted. ``rest_for_one``: it and those started after it.
        intensity: More than this many restarts ...
        period_s: ... within this time, and the supervisor stops its children and itself.
        auto_shutdown: ``any_significant``: the supervisor stops, with `SHUTDOWN`, when a
            significant child has ended by itself and is not restarted; ``all_significant``: when
            the last of them has.
    """

    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period_s: float = 5.0
    auto_shutdown: AutoShutdown = "never"

    def __post_init__(self) -> None:
        if self.strategy not in ("one_for_one", "one_for_all", "rest_for_one"):
            raise ValueError(f"unknown strategy {self.strategy!r}")
        if self.auto_shutdown not in ("never", "any_significant", "all_significant"):
            raise ValueError(f"unknown auto_shutdown {self.auto_shutdown!r}")
        if self.intensity < 0 or self.period_s <= 0:
            raise ValueError("intensity is at least 0, period_s more than 0")


class RestartWindow:
    """Counts restarts: whether there were more than `intensity` within `period_s`."""

    __slots__ = ("_intensity", "_period_s", "_times")

    def __init__(self, intensity: int, period_s: float) -> None:
        self._intensity = intensity
        self._period_s = period_s
        self._times: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Count a restart that is wanted now; False if it is one too many."""
        times = self._times
        times.append(now_s)
        while times and times[0] < now_s - self._period_s:
            times.popleft()
        return len(times) <= self._intensity


@dataclass(frozen=True, slots=True)
class FailedToStart:
    """In a `Shutdown` or `StartError`: the child `id` did not start, for `reason`."""

    id: object
    reason: object

    def __str__(self) -> str:
        return f"child {self.id!r} did not start: {self.reason}"


# -- requests, by `call` or `send_request` ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start a child; answered with its pid, None if its `init` said `Ignore()`.

    Fails with `StartError`, `AlreadyPresent`, `MaxChildren`, `NameTaken` or `ProcessLimit`.
    """

    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """Stop a child; answered with None when it has exited. Fails with `ChildNotFound`.

    A `Supervisor` takes the id and keeps the specification (unless the child is temporary) for
    `RestartChild`. A `DynamicSupervisor` takes a pid (or an id, which costs a search) and forgets
    the child.
    """

    child: object


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Start a child that is not running; answered with its pid.

    Fails with `ChildNotFound`, `ChildRunning` or `StartError`.
    """

    id: object


@dataclass(frozen=True, slots=True)
class DeleteChild:
    """Forget a child that is not running. Fails with `ChildNotFound` or `ChildRunning`."""

    id: object


@dataclass(frozen=True, slots=True)
class WhichChildren:
    """Answered with a list of `ChildInfo`, in start order."""


@dataclass(frozen=True, slots=True)
class CountChildren:
    """Answered with `ChildCounts`."""


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child: `pid` is None while it does not run; `restarting` if it is tried again."""

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


# -- failures --------------------------------------------------------------------------------------


class SupervisorError(RuntimeFault):
    """A supervisor could not do what it was asked."""


class ChildNotFound(SupervisorError):
    """There is no such child."""

    def __init__(self, child: object) -> None:
        super().__init__(f"no child {child!r}")
        self.child = child


class ChildRunning(SupervisorError):
    """The child is running, or is being restarted."""

    def __init__(self, child: object) -> None:
        super().__init__(f"the child {child!r} is running")
        self.child = child


class AlreadyPresent(SupervisorError):
    """There is a child with this id, running as `pid` or stopped (None)."""

    def __init__(self, child: object, pid: Pid | None) -> None:
        super().__init__(f"the child {child!r} is there already, as {pid}")
        self.child = child
        self.pid = pid


class MaxChildren(SupervisorError):
    """A `DynamicSupervisor` has as many children as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} children, which is the limit")
        self.limit = limit
