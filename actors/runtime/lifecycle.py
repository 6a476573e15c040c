"""Monitors and the end of a process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, TypeAlias

from palaver.actors.runtime.alias import Alias
from palaver.actors.runtime.calls import From
from palaver.actors.runtime.closing import close
from palaver.actors.runtime.errors import CalleeExited, NoProcess, StartError, StartIgnored
from palaver.actors.runtime.links import drop_link, drop_links
from palaver.actors.runtime.mailbox import INIT, STOP, BoundedMailbox
from palaver.actors.runtime.messages import Down, Ignore
from palaver.actors.runtime.pid import Dest, Pid, Ref
from palaver.actors.runtime.process import ALIVE, Process, Watcher
from palaver.actors.runtime.reasons import NOPROC

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AliasMode",
    "Monitor",
    "OutsideJoin",
    "ProcessJoin",
    "ask",
    "demonitor",
    "finish",
    "monitor",
]


AliasMode: TypeAlias = Literal["explicit_unalias", "demonitor", "reply_demonitor"]


class Monitor(Ref):
    """A monitor: tells its owner, in a `Down`, that a process has exited."""

    __slots__ = ("alias", "ends_alias", "owner", "target")

    def __init__(self, owner: Process) -> None:
        self.owner: Process | None = owner
        self.target: Process | None = None
        # Another address of the owner, if it was asked for with the monitor.
        self.alias: Alias | None = None
        self.ends_alias = False

    def give_alias(self, owner: Process, mode: AliasMode) -> None:
        """Make the alias, which ends as `mode` says."""
        if mode not in ("explicit_unalias", "demonitor", "reply_demonitor"):
            raise ValueError(f"unknown alias mode {mode!r}")
        self.ends_alias = mode != "explicit_unalias"
        if mode == "reply_demonitor":
            self.alias = Alias(owner, on_use=lambda: demonitor(owner, self, flush=False))
        else:
            self.alias = Alias(owner)

    def ended(self) -> None:
        """It watches no more: end the alias with it, if it is to."""
        if self.ends_alias and self.alias is not None:
            self.alias.expire()

    def owner_exited(self) -> None:
        """Nobody watches any more."""
        self.owner = self.target = None
        if self.alias is not None:
            self.alias.expire()

    def down(self, pid: Dest, reason: object) -> None:
        """Tell the owner."""
        owner, self.owner, self.target = self.owner, None, None
        self.ended()
        if owner is not None:
            if owner.monitors is not None:
                owner.monitors.pop(self, None)
            if owner.pid.process_ is owner:
                owner.tell(Down(self, pid, reason))


class Join(Ref):
    """Waits until all of some processes have exited; the base of who can wait so."""

    __slots__ = ("left", "reasons")

    def __init__(self) -> None:
        self.left: dict[Pid, Process] = {}
        self.reasons: dict[Pid, object] = {}

    def watch(self, pids: Iterable[Pid]) -> None:
        """Wait for these; one that is dead already has the reason `noproc`."""
        for pid in pids:
            target = pid.process_
            if target is None:
                self.reasons[pid] = NOPROC
            else:
                self.left[pid] = target
                watchers_of(target)[self] = self
        if not self.left:
            self.expire()

    def down(self, pid: Pid, reason: object) -> None:
        """One of them has exited."""
        self.left.pop(pid, None)
        self.reasons[pid] = reason
        if not self.left:
            self.expire()

    def expire(self) -> None:
        """All have exited, or the time is up."""

    def cancel(self) -> None:
        """Wait no more."""
        for target in self.left.values():
            if target.watchers is not None:
                target.watchers.pop(self, None)


class ProcessJoin(Join):
    """A process is parked until they have exited."""

    __slots__ = ("process",)

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process

    def expire(self) -> None:
        """Wake the process."""
        if self.process.wait is self:
            self.process.wake(None)


class OutsideJoin(Join):
    """Asyncio code awaits that they have exited."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        super().__init__()
        self.future = future

    def expire(self) -> None:
        """Resolve the future."""
        if not self.future.done():
            self.future.set_result(None)


def watchers_of(target: Process) -> dict[Ref, Watcher]:
    """Its watchers, allocated now if it had none."""
    if target.watchers is None:
        target.watchers = {}
    return target.watchers


def monitor(
    process: Process, dest: Dest, target: Process | None, alias: AliasMode | None = None
) -> Monitor:
    """Watch `dest`, which is `target` if there is such a process."""
    ref = Monitor(process)
    if alias is not None:
        ref.give_alias(process, alias)
    if isinstance(target, Alias):
        target = target.owner
    if target is None:
        ref.down(dest, NOPROC)
        return ref
    ref.target = target
    if process.monitors is None:
        process.monitors = {}
    process.monitors[ref] = target
    watchers_of(target)[ref] = ref if target.exiting is ALIVE else _TooLate(ref)
    return ref


class _TooLate:
    """Watches a process that an exit signal has ended already, for a monitor.

    To the monitor there is no process any more, but it hears of it when the names are free.
    """

    __slots__ = ("monitor",)

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor

    def down(self, pid: Pid, reason: object) -> None:
        """The process is gone now."""
        self.monitor.down(pid, NOPROC)


class _AskedTooLate:
    """Watches a process that an exit signal has ended already, for a call that came behind it.

    As with monitors: to the caller there is no process, but it hears of it when all who are linked
    have heard of the end, as on the BEAM.
    """

    __slots__ = ("call", "dest")

    def __init__(self, call: From, dest: Dest) -> None:
        self.call = call
        self.dest = dest

    def down(self, pid: Pid, reason: object) -> None:
        """The process is gone now."""
        self.call.fail(NoProcess(self.dest))


def ask(callee: Process, request: object, call: From, dest: Dest) -> None:
    """Put a call where its callee finds it; raises `MailboxFull`."""
    if callee.exiting is not ALIVE:
        watchers_of(callee)[call] = _AskedTooLate(call, dest)
    elif callee.mailbox is None:  # an alias passes it on, and then may raise as well
        callee.activate((request, call))
    else:
        callee.mailbox.append((request, call))


def demonitor(process: Process, ref: Ref, *, flush: bool) -> None:
    """Stop watching; with `flush`, also take a `Down` of it out of the mailbox."""
    if not isinstance(ref, Monitor):
        raise TypeError(f"{ref!r} is not a monitor")
    if ref.owner is None:
        if flush:
            process.discard(lambda message: type(message) is Down and message.ref is ref)
        return
    if ref.owner is not process:
        raise ValueError("a monitor is removed by the process that made it")
    ref.owner = None
    ref.ended()
    if process.monitors is not None:
        process.monitors.pop(ref, None)
    if ref.target is not None and ref.target.watchers is not None:
        ref.target.watchers.pop(ref, None)


def finish(process: Process, reason: object) -> None:
    """The process is over: release all it holds, then tell those who are to know.

    In this order: the coroutine is closed (its `finally` blocks run), names are released, callers
    get their failure, linked processes their exit signal, monitors their `Down`.
    """
    if process.pid.process_ is not process:
        return  # it is over: what it began to wait for while it was closed has woken it
    node = process.scheduler.node
    scheduler = process.scheduler
    if process.exiting is not ALIVE:
        scheduler.dying -= 1
    process.exiting = reason
    process.fast = None
    if scheduler.current is process:
        process.put_back(scheduler.rest)
    for items in (process.backlog, process.saved):  # it was also told to stop, and did not come to
        scheduler.dying -= sum(tag is STOP for _, tag in items or ())
    if process.idle is not None:
        process.scheduler.timers.cancel(process.idle)
        process.idle = None
    if process.coroutine is not None:
        close(process, process.coroutine)
        process.coroutine = None
    process.pid.process_ = None
    node.remove(process)
    fail_callers(process, reason)
    fail_starter(process, reason)
    if process.monitors is not None:
        for ref, target in process.monitors.items():
            ref.owner_exited()
            if target.watchers is not None:
                target.watchers.pop(ref, None)
        process.monitors = None
    for other in drop_links(process):
        other.exit_signal(process.pid, reason, linked=True)
    if process.watchers is not None:
        watchers, process.watchers = process.watchers, None
        for watcher in watchers.values():
            watcher.down(process.pid, reason)
    # No cycle stays behind, so memory is freed now and not when the garbage collector comes by.
    process.mailbox = process.backlog = process.saved = process.current = None
    process.context = process.inspection = process.resume = None
    process.exiting = None  # not `reason`: a crash's traceback has the process in its frames


def fail_callers(process: Process, reason: object) -> None:
    """Fail every call that the process has not answered."""
    calls: list[From] = []
    if process.current is not None and isinstance(process.current[1], From):
        calls.append(process.current[1])
    calls.extend(process.pending or ())
    for items in (process.saved, reversed(process.backlog or ()), process.mailbox):
        calls.extend(tag for _, tag in items or () if isinstance(tag, From))
    mailbox = process.mailbox
    process.pending = None
    if isinstance(mailbox, BoundedMailbox):
        for sender, (_, tag) in mailbox.waiting:
            if isinstance(tag, From):
                calls.append(tag)
            if sender is not None:
                sender.release()
    for call in calls:
        if call.open:
            call.fail(CalleeExited(process.pid, reason))  # one each: raising it adds a traceback


def fail_starter(process: Process, reason: object) -> None:
    """If it never got through `init`, say so to who started it instead of by the link."""
    starter, process.starter = process.starter, None
    if starter is None:
        return
    parent = None if process.parent is None else process.parent.process_
    if parent is not None:
        drop_link(process, parent)
    current = process.current
    ignored = current is not None and current[1] is INIT and type(current[0]) is Ignore
    fault = StartIgnored if ignored else StartError
    starter.fail(fault(process.label, reason))
