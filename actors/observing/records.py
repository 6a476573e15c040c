"""What an observer sees, as data: every record can be turned into JSON by `plain`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from palaver.actors.runtime import Pid, ProcessStatus
from palaver.actors.runtime.observer import shorten

__all__ = [
    "NodeFigures",
    "ProcessDetails",
    "ProcessPage",
    "ProcessRow",
    "SortKey",
    "StateView",
    "TreeNode",
    "plain",
]

SortKey: TypeAlias = Literal["mailbox", "reductions", "rate", "memory", "pid"]


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """A node at one moment. What ends in `_total` only grows; rates are since the last look.

    `interval_s` is the time between the two looks, 0 for the first one: its rates are 0.
    """

    name: str
    time_ms: int
    interval_s: float
    processes: int
    run_queue: int
    mailbox_total: int
    mailbox_max: int
    messages_total: int
    messages_per_s: float
    spawned_total: int
    spawned_per_s: float
    exited_total: int
    restarts_total: int
    timers: int
    memory_bytes: int | None
    """Resident memory of the operating system's process, which may hold more than this node."""
    cpu_s: float
    """Processor time of the operating system's process so far."""


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process in a list or in the tree."""

    pid: Pid
    name: str | None
    behaviour: str
    supervisor: bool
    status: ProcessStatus
    mailbox: int
    """How many messages wait."""
    reductions: int
    reductions_per_s: float
    memory_bytes: int
    """An estimate, see `memory.shallow_bytes`."""
    links: int
    monitors: int
    """How many it monitors."""
    child_id: str | None = None
    """What its supervisor calls it, if that tells."""


@dataclass(frozen=True, slots=True)
class ProcessPage:
    """A part of a sorted list; `total` is how many processes match."""

    total: int
    offset: int
    rows: tuple[ProcessRow, ...]


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A process and those it has spawned; its own figures, and those of all below it together."""

    row: ProcessRow
    below: int
    """How many processes there are below it."""
    mailbox_below: int
    rate_below: float
    children: tuple[TreeNode, ...]
    hidden: int
    """How many of its children are not in `children`."""


@dataclass(frozen=True, slots=True)
class ProcessDetails:
    """One process in full, after `erlang:process_info/1` (there is no process dictionary)."""

    pid: Pid
    registered_names: tuple[str, ...]
    behaviour: str
    initial_call: str
    status: ProcessStatus
    waits_for: str | None
    """What it is parked on."""
    current_message: str | None
    """What a parked handler is handling, shortened."""
    current_stacktrace: tuple[str, ...]
    """Where it is parked, the innermost function first."""
    parent: Pid | None
    ancestors: tuple[Pid, ...]
    trap_exit: bool
    message_queue_len: int
    mailbox_limit: int | None
    reductions: int
    promised_replies: int
    """Calls that it has taken and not answered yet."""
    links: tuple[Pid, ...]
    monitors: tuple[Pid, ...]
    monitored_by: tuple[Pid, ...]
    children: int | None
    """How many it has spawned that live; None where that was not counted."""
    suspended: bool
    debug: tuple[str, ...]
    version: str | None
    """The `__vsn__` of its class."""
    memory_bytes: int
    """An estimate of all that only it holds, see `memory.deep_bytes`."""
    memory_complete: bool
    """False if the estimate stopped at its bound."""


@dataclass(frozen=True, slots=True)
class StateView:
    """The state of a server, for people: each attribute as a shortened text.

    `source` says where it is from: ``format_status``, if its class has one; else ``state``; or why
    there is none: ``hidden`` (its class shows nothing, and nothing more may be shown), ``busy``,
    ``function`` (no server), ``gone``, ``failed`` (what shows it raised).
    """

    source: Literal["format_status", "state", "hidden", "busy", "function", "gone", "failed"]
    attributes: tuple[tuple[str, str], ...] = ()
    hidden: int = 0
    """How many attributes are not shown."""


def plain(value: Any) -> Any:
    """A record as JSON can carry it: dataclasses as objects, pids as texts."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, Pid):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return shorten(value)
