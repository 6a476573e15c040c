"""The processes of a node, and their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import structlog

from palaver.actors.runtime import introspection
from palaver.actors.runtime.alias import Alias
from palaver.actors.runtime.calls import From
from palaver.actors.runtime.context import ProcessContext
from palaver.actors.runtime.errors import NameTaken, NodeStopped, ProcessLimit
from palaver.actors.runtime.function import FunctionProcess
from palaver.actors.runtime.introspection import NodeStats, ProcessInfo
from palaver.actors.runtime.links import link
from palaver.actors.runtime.mailbox import INIT, Item, MailboxLimit
from palaver.actors.runtime.pid import Dest, Name, Pid
from palaver.actors.runtime.process import ALIVE, Process
from palaver.actors.runtime.server import ServerProcess
from palaver.actors.runtime.spawning import Function, Spawnable

if TYPE_CHECKING:
    from palaver.actors.runtime.observer import Observer
    from palaver.actors.runtime.scheduler import Scheduler

__all__ = ["Population"]

log = structlog.get_logger("palaver.actors")


class Population:
    """What a node knows of its processes; the base of `Node`."""

    def __init__(
        self, name: str, scheduler: Scheduler, observer: Observer, max_processes: int
    ) -> None:
        self.name = name
        self.scheduler = scheduler
        self.observer = observer
        self.max_processes = max_processes
        self.names: dict[str, Pid] = {}
        self.table: dict[Pid, Process] = {}
        self.restarts_total = 0
        self.spawned_total = 0
        self.messages_total = 0  # handled by those that have exited
        self.running = False  # processes may be spawned

    def start_process(
        self,
        what: Spawnable,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
        name: Name | None,
        limit: MailboxLimit | None,
        *,
        parent: Process | None,
        linked: bool = False,
        starter: From | None = None,
        at_once: bool = False,
    ) -> Process:
        """Start a process; the ways to do it from outside and from within end here.

        With `at_once`, a server is not put on the run queue: `Scheduler.hand_over` follows.
        """
        table = self.table
        if not self.running:
            raise NodeStopped(f"node {self.name} is not running")
        if len(table) >= self.max_processes:
            raise ProcessLimit(f"node {self.name} has its limit of {self.max_processes} processes")
        if name is not None:
            self.check_name(name)
        pid: Pid = Pid.__new__(Pid)  # and no `__init__`: that takes half the time
        pid.node_name = self.name
        pid.serial = self.spawned_total + 1
        parent_pid = None if parent is None else parent.pid
        process: Process
        if isinstance(what, type):
            server = what()
            server.process_ = process = ServerProcess(
                pid, self.scheduler, server, parent_pid, limit, starter
            )
            if limit is None:
                process.fast = server
        else:
            process = self._function_process(what, args, options, pid, parent_pid, limit)
        pid.process_ = process
        if name is not None:
            try:
                self.give_name(process, name)
            except BaseException:  # a registry refuses it: then nothing was started
                pid.process_ = None
                if process.coroutine is not None:
                    process.coroutine.close()
                raise
        self.spawned_total += 1
        table[pid] = process
        if process.coroutine is not None:
            self.scheduler.enqueue(process)
            if starter is not None:
                starter.deliver(pid)
        elif not at_once:
            process.activate(((args, options), INIT))
        if linked and parent is not None:
            link(parent, pid)
        return process

    def _function_process(
        self,
        what: Function,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
        pid: Pid,
        parent: Pid | None,
        limit: MailboxLimit | None,
    ) -> Process:
        context = ProcessContext()
        coroutine = what(context, *args, **options)
        if type(coroutine) is not CoroutineType:
            raise TypeError(f"a process is an async def or a GenServer class, not {what!r}")
        context.process_ = process = FunctionProcess(
            pid, self.scheduler, context, parent, limit, None
        )
        process.coroutine = coroutine
        process.mailbox = process.new_mailbox()
        return process

    def remove(self, process: Process) -> None:
        """Forget a process that has exited, and release its names."""
        del self.table[process.pid]
        self.messages_total += process.reductions
        if process.names is not None:
            for name in process.names:
                del self.names[name]
            process.names = None

    def is_alive(self, pid: Pid) -> bool:
        """Whether the process has not exited, nor is about to."""
        return pid.process_ is not None and pid.process_.exiting is ALIVE

    def find(self, dest: Dest) -> Process | None:
        """What takes the messages to a destination now: a process, or what stands in for one."""
        if isinstance(dest, str):
            pid = self.names.get(dest)
            return None if pid is None else pid.process_
        return dest.process_

    # -- names --------------------------------------------------------------------------------

    def whereis(self, dest: Dest) -> Pid | None:
        """The process with this name, None if there is none; a pid is itself."""
        if isinstance(dest, str):
            return self.names.get(dest)
        if isinstance(dest, Pid):
            return dest
        process = dest.owner if isinstance(dest, Alias) else dest.process_
        return None if process is None else process.pid

    def check_name(self, name: Name) -> None:
        """Raise `NameTaken` if a process has this name."""
        holder = self.names.get(name) if isinstance(name, str) else name.holder()
        if holder is not None:
            raise NameTaken(name, holder)

    def give_name(self, process: Process, name: Name) -> None:
        """Give a process a name, here or in the registry that the name says; raises `NameTaken`."""
        if isinstance(name, str):
            self.register_name(process, name)
        else:
            name.register_(process)

    def register_name(self, process: Process, name: str) -> None:
        """Give a process a name; raises `NameTaken`."""
        holder = self.names.get(name)
        if holder is not None:
            raise NameTaken(name, holder)
        self.names[name] = process.pid
        if process.names is None:
            process.names = []
        process.names.append(name)

    def unregister_name(self, process: Process, name: str) -> None:
        """Release a name of a process; harmless if it has no such name."""
        if process.names is not None and name in process.names:
            process.names.remove(name)
            del self.names[name]

    # -- what goes on -------------------------------------------------------------------------

    def processes(self) -> Iterator[ProcessInfo]:
        """Every process there is now, in the order in which they were spawned."""
        return map(introspection.describe, list(self.table.values()))

    def stats(self) -> NodeStats:
        """The node's figures; costs a look at every process."""
        return NodeStats(
            processes=len(self.table),
            run_queue=len(self.scheduler.queue),
            spawned_total=self.spawned_total,
            exited_total=self.spawned_total - len(self.table),
            messages_total=self.messages_total
            + sum(process.reductions for process in self.table.values()),
            restarts_total=self.restarts_total,
            mailbox_max=max(map(introspection.waiting, self.table.values()), default=0),
        )

    def report_crash(self, process: Process, reason: object, item: Item | None) -> None:
        """Tell the observer that a process ends abnormally."""

        def tell() -> None:
            self.observer.process_crashed(introspection.report(process, reason, item))

        self.notify(tell)

    def notify(self, tell: Callable[..., None], *args: object) -> None:
        """Tell the observer something; its failure harms no process."""
        try:
            tell(*args)
        except Exception:
            log.exception("the observer failed", observer=type(self.observer).__qualname__)
