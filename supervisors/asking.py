"""What can be asked of a supervisor, as functions with typed answers.

The first argument is who asks: a process (`self` in a server, `ctx` in a function) or, from asyncio
code, the node. As in OTP they wait for the answer as long as it takes, unless told otherwise: a
child may need long to start or to stop. What a supervisor refuses raises the error that the request
names, see `requests`; and what `call` raises: `NoProcess`, `CalleeExited`, `CallTimeout`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Protocol, cast

from palaver.actors.runtime import Dest, Pid
from palaver.supervisors.requests import (
    ChangeSpecification,
    ChildCounts,
    ChildInfo,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    RestartChild,
    StartChild,
    StartFromTemplate,
    TerminateChild,
    WhichChildren,
)
from palaver.supervisors.spec import ChildSpec, SupervisorFlags

__all__ = [
    "Caller",
    "change_specification",
    "count_children",
    "delete_child",
    "get_childspec",
    "restart_child",
    "start_child",
    "start_from_template",
    "terminate_child",
    "which_children",
]


class Caller(Protocol):
    """Who can call: a process, or a node for asyncio code."""

    def call(
        self, dest: Any, request: Any, *, timeout_s: float | None = 5.0
    ) -> Coroutine[Any, Any, Any]:
        """Send a request and wait for its answer."""


async def start_child(
    via: Caller, supervisor: Dest, spec: ChildSpec, *, timeout_s: float | None = None
) -> Pid | None:
    """Start a child; its pid, None if its `init` said `Ignore()`: see `StartChild`."""
    answer = await via.call(supervisor, StartChild(spec), timeout_s=timeout_s)
    return cast("Pid | None", answer)


async def start_from_template(
    via: Caller, supervisor: Dest, *args: Any, timeout_s: float | None = None, **options: Any
) -> Pid | None:
    """Start a child with further arguments: see `StartFromTemplate`."""
    request = StartFromTemplate(args, options)
    return cast("Pid | None", await via.call(supervisor, request, timeout_s=timeout_s))


async def terminate_child(
    via: Caller, supervisor: Dest, child: object, *, timeout_s: float | None = None
) -> None:
    """Stop a child, given by id or (of a dynamic supervisor) by pid: see `TerminateChild`."""
    await via.call(supervisor, TerminateChild(child), timeout_s=timeout_s)


async def restart_child(
    via: Caller, supervisor: Dest, child_id: object, *, timeout_s: float | None = None
) -> Pid | None:
    """Start a child that does not run: see `RestartChild`."""
    answer = await via.call(supervisor, RestartChild(child_id), timeout_s=timeout_s)
    return cast("Pid | None", answer)


async def delete_child(
    via: Caller, supervisor: Dest, child_id: object, *, timeout_s: float | None = None
) -> None:
    """Forget a child that does not run: see `DeleteChild`."""
    await via.call(supervisor, DeleteChild(child_id), timeout_s=timeout_s)


async def get_childspec(
    via: Caller, supervisor: Dest, child: object, *, timeout_s: float | None = None
) -> ChildSpec:
    """The specification of a child: see `GetChildSpec`."""
    answer = await via.call(supervisor, GetChildSpec(child), timeout_s=timeout_s)
    return cast("ChildSpec", answer)


async def which_children(
    via: Caller, supervisor: Dest, *, timeout_s: float | None = None
) -> list[ChildInfo]:
    """All children, in start order: see `WhichChildren`."""
    answer = await via.call(supervisor, WhichChildren(), timeout_s=timeout_s)
    return cast("list[ChildInfo]", answer)


async def count_children(
    via: Caller, supervisor: Dest, *, timeout_s: float | None = None
) -> ChildCounts:
    """How many children there are: see `CountChildren`."""
    answer = await via.call(supervisor, CountChildren(), timeout_s=timeout_s)
    return cast("ChildCounts", answer)


async def change_specification(
    via: Caller,
    supervisor: Dest,
    flags: SupervisorFlags,
    children: Iterable[ChildSpec],
    *,
    timeout_s: float | None = None,
) -> None:
    """Replace flags and specifications of a running supervisor: see `ChangeSpecification`."""
    request = ChangeSpecification(flags, tuple(children))
    await via.call(supervisor, request, timeout_s=timeout_s)
