"""What a supervisor is told: its flags and its children."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeAlias

from palaver.actors.runtime import GenServer, MailboxLimit, Name
from palaver.supervisors.failures import BadSpecification

__all__ = [
    "AutoShutdown",
    "ChildSpec",
    "Restart",
    "Strategy",
    "SupervisorFlags",
    "check_childspecs",
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
        name: The name it is registered under, of its node or of a registry.
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
    name: Name | None = None
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


def check_childspecs(
    specs: Iterable[ChildSpec], auto_shutdown: AutoShutdown | None = None
) -> tuple[ChildSpec, ...]:
    """Check a list of child specifications as a supervisor does, and give it back as a tuple.

    OTP's `supervisor:check_childspecs/2`. A single specification is checked when it is made. If
    `auto_shutdown` is None, it is not asked whether a child may be significant.

    Raises:
        BadSpecification: Something is not a `ChildSpec`, has the id of another, or is significant
            where `auto_shutdown` is ``never``.
    """
    checked = tuple(specs)
    seen: set[object] = set()
    for spec in checked:
        check_childspec(spec, auto_shutdown)
        if spec.id in seen:
            raise BadSpecification(f"two children have the id {spec.id!r}: give each its own")
        seen.add(spec.id)
    return checked


def check_childspec(spec: ChildSpec, auto_shutdown: AutoShutdown | None) -> None:
    """Check one specification; raises `BadSpecification`."""
    if not isinstance(spec, ChildSpec):
        raise BadSpecification(f"a child is specified by a ChildSpec, not {spec!r}")
    if spec.significant and auto_shutdown == "never":
        raise BadSpecification(
            f"the child {spec.id!r} is significant, but auto_shutdown is never: "
            "set auto_shutdown, or leave significant out"
        )
