"""What can be seen of a node and its processes from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import length_hint
from typing import Literal, TypeAlias

from palaver.actors.runtime.calls import From
from palaver.actors.runtime.links import linked
from palaver.actors.runtime.mailbox import CONTINUE, INIT, TERMINATE, Item
from palaver.actors.runtime.observer import CrashReport, shorten
from palaver.actors.runtime.parking import FROZEN, RECEIVING, SUSPENDED
from palaver.actors.runtime.pid import Pid
from palaver.actors.runtime.process import ALIVE, Process

__all__ = ["NodeStats", "ProcessInfo", "ProcessStatus", "ancestors", "describe", "report"]

MAX_ANCESTORS = 32
MAX_LINKS = 32

ProcessStatus: TypeAlias = Literal["idle", "runnable", "running", "waiting", "suspended", "exiting"]


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process, at one moment."""

    pid: Pid
    name: str | None
    behaviour: str
    """The server's class or the function's name."""
    mailbox_len: int
    reductions: int
    """Messages handled and answers received so far."""
    links: tuple[Pid, ...]
    monitors: tuple[Pid, ...]
    """Whom it monitors."""
    status: ProcessStatus
    parent: Pid | None


@dataclass(frozen=True, slots=True)
class NodeStats:
    """The figures of a node; those named `_total` only grow."""

    processes: int
    run_queue: int
    spawned_total: int
    exited_total: int
    messages_total: int
    """Messages handled and answers received."""
    restarts_total: int
    mailbox_max: int
    """The longest mailbox now."""


def status_of(process: Process) -> ProcessStatus:
    """What a process is doing."""
    if process.exiting is not ALIVE:
        return "exiting"
    if process.scheduler.current is process:
        return "running"
    if process.wait is SUSPENDED or process.wait is FROZEN:
        return "suspended"
    if process.wait is RECEIVING:
        return "idle"
    if process.wait is not None:
        return "waiting"
    return "idle" if process.mailbox is None else "runnable"


def waiting(process: Process) -> int:
    """How many messages wait for a process."""
    count = sum(map(len, (process.mailbox or (), process.backlog or (), process.saved or ())))
    if process.scheduler.current is process:
        count += length_hint(process.scheduler.rest)
    return count


def describe(process: Process) -> ProcessInfo:
    """A process, as it is now."""
    return ProcessInfo(
        pid=process.pid,
        name=process.names[0] if process.names else None,
        behaviour=process.label,
        mailbox_len=waiting(process),
        reductions=process.reductions,
        links=tuple(other.pid for other in linked(process)),
        monitors=tuple(other.pid for other in (process.monitors or {}).values()),
        status=status_of(process),
        parent=process.parent,
    )


def ancestors(process: Process) -> tuple[Pid, ...]:
    """Its parent, the parent's parent and so on, as far as they live; the nearest first."""
    found: list[Pid] = []
    parent = process.parent
    while parent is not None and len(found) < MAX_ANCESTORS:
        found.append(parent)
        parent = None if parent.process_ is None else parent.process_.parent
    return tuple(found)


def report(process: Process, reason: object, item: Item | None) -> CrashReport:
    """What there is to say about a process that ends abnormally while handling `item`."""
    return CrashReport(
        pid=process.pid,
        name=process.names[0] if process.names else None,
        behaviour=process.label,
        reason=reason,
        last_message=None if item is None else _last_message(item),
        state=_state(process),
        parent=process.parent,
        mailbox_len=waiting(process),
        ancestors=tuple(map(_named, ancestors(process))),
        links=tuple(_named(other.pid) for other in linked(process)[:MAX_LINKS]),
        client=None if item is None or not isinstance(item[1], From) else item[1].pid,
        trap_exit=process.trap_exit,
        status=status_of(process),
        reductions=process.reductions,
    )


def _named(pid: Pid) -> str:
    names = None if pid.process_ is None else pid.process_.names
    return f"{names[0]} {pid}" if names else str(pid)


def _last_message(item: Item) -> object:
    message, tag = item
    if tag is INIT:
        args, options = message
        return ("init", *args, *options.items())
    if tag is CONTINUE:
        return ("continue", message)
    if tag is TERMINATE:
        return "terminate"
    return message


def _state(process: Process) -> object:
    status: Callable[[], object] | None = getattr(process.context, "format_status", None)
    if status is None:
        return None
    try:
        return status()
    except Exception as error:  # noqa: BLE001 - a report must not fail on what it reports
        return f"format_status raised {shorten(error)}"
