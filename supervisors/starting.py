"""How a supervisor starts and stops its children."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from math import inf
from typing import Any

from palaver.actors.runtime import (
    KILL,
    SHUTDOWN,
    Crash,
    GenServer,
    NameTaken,
    NodeStopped,
    Pid,
    ProcessLimit,
    StartError,
    StartIgnored,
)
from palaver.supervisors.reporting import report_shutdown
from palaver.supervisors.spec import ChildSpec

__all__ = ["CANNOT_START", "begin_child", "start_child", "start_reason", "stop_children"]

CANNOT_START = (StartError, NameTaken, ProcessLimit)
"""What `begin_child` and what it gives to await raise if there is no child then."""

AT_ONCE = 1000
"""Children that are told to stop before the other processes have their turn."""


def begin_child(
    supervisor: GenServer, spec: ChildSpec, more_args: tuple[Any, ...] = ()
) -> Pid | Awaitable[Pid]:
    """Start a process as specified, linked: its pid, or something to await if its `init` parks.

    `more_args` stand before its own. Raises one of `CANNOT_START`; `StartIgnored` is one of them.
    """
    try:
        return supervisor.start_link_now(
            spec.start,
            more_args + spec.args,
            spec.options,
            name=spec.name,
            mailbox=spec.mailbox,
        )
    except (*CANNOT_START, NodeStopped):
        raise
    except Exception as error:
        # It could not even be made: wrong arguments for a function, say. OTP's supervisor catches
        # whatever its start function does, too.
        raise StartError(repr(spec.start), Crash(error)) from error


async def start_child(
    supervisor: GenServer, spec: ChildSpec, more_args: tuple[Any, ...] = ()
) -> Pid | None:
    """`begin_child`, awaited; None if the child said `Ignore()`."""
    try:
        started = begin_child(supervisor, spec, more_args)
        return started if isinstance(started, Pid) else await started
    except StartIgnored:
        return None


def start_reason(error: Exception) -> object:
    """Why a child did not start: the reason of its exit if it has had one."""
    return error.reason if isinstance(error, StartError) else error


async def stop_children(supervisor: GenServer, children: Sequence[tuple[Pid, ChildSpec]]) -> None:
    """Stop children at the same time, each within its `shutdown_s`; returns when all have exited.

    They stay linked until they have, so that they learn of it if the supervisor is killed while it
    waits; whoever calls this has forgotten their pids, and ignores their `Exit`.
    """
    by_patience: dict[float | None, list[Pid]] = {}
    for number, (pid, spec) in enumerate(children, 1):
        supervisor.exit(pid, KILL if spec.shutdown_s == 0 else SHUTDOWN)
        by_patience.setdefault(spec.shutdown_s, []).append(pid)
        if number % AT_ONCE == 0:
            await supervisor.sleep(0)
    began_s = supervisor.clock.monotonic()
    reasons: dict[Pid, object] = {}
    for patience_s in sorted(by_patience, key=lambda s: inf if s is None else s):
        pids: Iterable[Pid] = by_patience[patience_s]
        if patience_s:
            left_s = max(0.0, began_s + patience_s - supervisor.clock.monotonic())
            exited = await supervisor.join(pids, timeout_s=left_s)
            reasons.update(exited)
            pids = [pid for pid in pids if pid not in exited]
            for pid in pids:
                supervisor.exit(pid, KILL)
        if pids:
            reasons.update(await supervisor.join(pids))
    report_shutdown(supervisor, children, reasons)
