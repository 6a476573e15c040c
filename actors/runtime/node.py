"""A node: the processes, their names, scheduler, timers and threads, and the way in for asyncio."""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import structlog

from palaver.actors.runtime import introspection
from palaver.actors.runtime.alias import Alias
from palaver.actors.runtime.bridge import Bridges
from palaver.actors.runtime.calls import From, OutsideCall
from palaver.actors.runtime.clock import Clock, SystemClock
from palaver.actors.runtime.context import ProcessContext
from palaver.actors.runtime.errors import (
    MailboxFull,
    NameTaken,
    NodeStopped,
    NoProcess,
    ProcessLimit,
)
from palaver.actors.runtime.function import FunctionProcess
from palaver.actors.runtime.introspection import NodeStats, ProcessInfo
from palaver.actors.runtime.lifecycle import OutsideJoin
from palaver.actors.runtime.links import link
from palaver.actors.runtime.mailbox import INFO, INIT, Item, MailboxLimit, Tag
from palaver.actors.runtime.observer import Observer, StructlogObserver
from palaver.actors.runtime.pid import Dest, Name, Pid, UntypedDest
from palaver.actors.runtime.process import ALIVE, Process
from palaver.actors.runtime.protocol import Call, Cast, P, R_co
from palaver.actors.runtime.reasons import KILLED, SHUTDOWN, ExitReason
from palaver.actors.runtime.scheduler import Scheduler
from palaver.actors.runtime.server import ServerProcess
from palaver.actors.runtime.spawning import Function, Spawnable
from palaver.actors.runtime.timers import TimerRef, Timers

if TYPE_CHECKING:
    from palaver.actors.runtime.gen_server import GenServer

__all__ = ["Node"]

log = structlog.get_logger("palaver.actors")


class Node:
    """A runtime of its own: several live side by side in one program and share nothing.

        async with Node() as node:
            counter = await node.start_server(Counter)
            node.cast(counter, 5)
            assert await node.call(counter, "count") == 5

    All methods are for the thread of the event loop in which the node was started; from another
    thread, use `loop.call_soon_threadsafe`.

    Args:
        name: Shown in pids.
        clock: Where all time comes from; the machine's if None.
        random: Where all randomness comes from; seeded by the system if None.
        observer: Hears of crashes, restarts and slow handlers; logs them by structlog if None.
        max_processes: `ProcessLimit` is raised beyond it.
        reductions: Messages that a process may handle in one turn.
        slice_s: How long the processes run before the event loop has its turn again.
        slow_s: A turn that takes longer is reported by `Observer.handler_slow`.
        max_threads: Threads for `run_blocking`; further work waits for one.
    """

    def __init__(
        self,
        name: str = "palaver@local",
        *,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
        observer: Observer | None = None,
        max_processes: int = 1_000_000,
        reductions: int = 32,
        slice_s: float = 0.002,
        slow_s: float = 0.1,
        max_threads: int = 8,
    ) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.random = random or random_module.Random()  # noqa: S311 - for jitter, not for secrets
        self.observer: Observer = observer or StructlogObserver()
        self.max_processes = max_processes
        self.timers = Timers(self.clock)
        self.scheduler = Scheduler(
            self, self.timers, reductions=reductions, slice_s=slice_s, slow_s=slow_s
        )
        self.bridges = Bridges(max_threads)
        self.names: dict[str, Pid] = {}
        self.table: dict[Pid, Process] = {}
        self.restarts_total = 0
        self._spawned_total = 0
        self._messages_total = 0  # handled by those that have exited
        self._running = False  # processes may be spawned
        self._open = False  # ... and from outside

    # -- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to run processes, in the running event loop; a node is started once."""
        if self._running or self._spawned_total:
            raise NodeStopped(f"node {self.name} was started before")
        self._running = self._open = True
        self.scheduler.start(asyncio.get_running_loop().call_soon)

    async def stop(self, *, timeout_s: float = 10.0) -> None:
        """End every process, then the timers and threads; nothing of the node is left.

        The processes that the program itself spawned are sent `SHUTDOWN` one by one, the last
        first, each waited for; what is left after `timeout_s` is killed.
        """
        if not self._open:
            return
        self._open = False
        deadline_s = self.clock.monotonic() + timeout_s
        roots = [process for process in self.table.values() if process.parent is None]
        for process in reversed(roots):
            traps = process.trap_exit
            process.exit_signal(None, SHUTDOWN, linked=False)
            if traps:  # it has something to do before it exits; others exit in their next turn
                await self._join([process.pid], deadline_s)
        # Orphans: their parents have exited, and they were not linked to them.
        for process in reversed(list(self.table.values())):
            process.exit_signal(process.parent, SHUTDOWN, linked=False)
        await self._join(list(self.table), deadline_s)
        self._running = False
        while self.table:
            for process in list(self.table.values()):
                process.die(KILLED)
            await self._join(list(self.table), None)
        await self.bridges.close(max(0.0, deadline_s - self.clock.monotonic()))
        self.timers.close()
        self.scheduler.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- processes ----------------------------------------------------------------------------

    @overload
    def spawn(
        self,
        what: type[GenServer[P]],
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid[P]: ...
    @overload
    def spawn(
        self,
        what: Function,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid: ...
    def spawn(
        self,
        what: Spawnable,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid:
        """Start a process, `what(ctx, *args)` or a `GenServer` class, and do not wait for its init.

        Raises `NodeStopped`, `NameTaken` or `ProcessLimit`.
        """
        self._check_open()
        return self.start_process(what, args, options, name, mailbox, parent=None).pid

    @overload
    async def start_server(
        self,
        what: type[GenServer[P]],
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid[P]: ...
    @overload
    async def start_server(
        self,
        what: Function,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid: ...
    async def start_server(
        self,
        what: Spawnable,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid:
        """`spawn`, and wait until `init(*args, **options)` is done; raises `StartError` too."""
        self._check_open()
        starter = OutsideCall(asyncio.get_running_loop().create_future(), None)
        self.start_process(what, args, options, name, mailbox, parent=None, starter=starter)
        pid: Pid = await starter.future
        return pid

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

        With `at_once`, it is not put on the run queue: `Scheduler.start_now` follows.
        """
        table = self.table
        if not self._running:
            raise NodeStopped(f"node {self.name} is not running")
        if len(table) >= self.max_processes:
            raise ProcessLimit(f"node {self.name} has its limit of {self.max_processes} processes")
        if name is not None:
            self.check_name(name)
        self._spawned_total = serial = self._spawned_total + 1
        pid: Pid = Pid.__new__(Pid)  # and no `__init__`: that takes half the time
        pid.node_name = self.name
        pid.serial = serial
        parent_pid = None if parent is None else parent.pid
        process: Process
        if isinstance(what, type):
            server = what()
            server.process_ = process = ServerProcess(
                pid, self.scheduler, server, parent_pid, limit, starter
            )
            if limit is None:
                process.fast = server
            if not at_once:
                process.activate(((args, options), INIT))
        else:
            context = ProcessContext()
            coroutine = what(context, *args, **options)
            if type(coroutine) is not CoroutineType:
                raise TypeError(f"a process is an async def or a GenServer class, not {what!r}")
            context.process_ = process = FunctionProcess(
                pid, self.scheduler, context, parent_pid, limit, None
            )
            process.coroutine = coroutine
            process.mailbox = process.new_mailbox()
            self.scheduler.enqueue(process)
            if starter is not None:
                starter.deliver(pid)
        pid.process_ = process
        table[pid] = process
        if name is not None:
            self.give_name(process, name)
        if linked and parent is not None:
            link(parent, pid)
        return process

    def remove(self, process: Process) -> None:
        """Forget a process that has exited, and release its names."""
        del self.table[process.pid]
        self._messages_total += process.reductions
        if process.names is not None:
            for name in process.names:
                del self.names[name]
            process.names = None

    def is_alive(self, pid: Pid) -> bool:
        """Whether the process has not exited, nor is about to."""
        return pid.process_ is not None and pid.process_.exiting is ALIVE

    async def wait(self, pid: Pid) -> ExitReason:
        """Wait until a process has exited; its reason, or `NOPROC` if it had exited before."""
        join = OutsideJoin(asyncio.get_running_loop().create_future())
        join.watch([pid])
        try:
            await join.future
        finally:
            join.cancel()
        return join.reasons[pid]

    # -- messages -----------------------------------------------------------------------------

    def send(self, dest: Dest, message: Any) -> None:
        """Send a plain message; dropped if there is no such process."""
        self._post(dest, (message, INFO))

    @overload
    def cast(self, dest: Pid[P], message: Cast[P]) -> None: ...
    @overload
    def cast(self, dest: UntypedDest, message: Any) -> None: ...
    def cast(self, dest: Dest, message: Any) -> None:
        """Send a cast; dropped if there is no such process."""
        self._post(dest, (message, None))

    @overload
    async def call(
        self, dest: Pid[P], request: Call[P, R_co], *, timeout_s: float | None = 5.0
    ) -> R_co: ...
    @overload
    async def call(
        self, dest: UntypedDest, request: Any, *, timeout_s: float | None = 5.0
    ) -> Any: ...
    async def call(self, dest: Dest, request: Any, *, timeout_s: float | None = 5.0) -> Any:
        """Call a process from asyncio code; raises what `ProcessContext.call` does."""
        process = self.find(dest)
        if process is None or process.exiting is not ALIVE:
            raise NoProcess(dest)
        lane = None if timeout_s is None else self.timers.lane(timeout_s)
        call = OutsideCall(asyncio.get_running_loop().create_future(), lane)
        try:
            if process.mailbox is None:
                process.activate((request, call))
            else:
                process.mailbox.append((request, call))
            return await call.future
        finally:
            call.close()

    def exit(self, pid: Pid, reason: object) -> None:
        """Send an exit signal. The outside is the parent of what it spawned: see `terminate`."""
        if pid.process_ is not None:
            pid.process_.exit_signal(None, reason, linked=False)

    def send_after(self, delay_s: float, dest: Dest, message: Any) -> TimerRef:
        """Send `message` after `delay_s`; to whoever has the name then, if `dest` is one."""

        def deliver() -> None:
            try:
                self._post(dest, (message, INFO))
            except MailboxFull as error:
                log.debug("timer message lost", dest=str(dest), reason=str(error))

        return self.timers.add(delay_s, deliver)

    def find(self, dest: Dest) -> Process | None:
        """What takes the messages to a destination now: a process, or what stands in for one."""
        if isinstance(dest, str):
            pid = self.names.get(dest)
            return None if pid is None else pid.process_
        return dest.process_

    def _post(self, dest: Dest, item: tuple[Any, Tag | From | None]) -> None:
        process = self.find(dest)
        if process is None:
            return
        if process.mailbox is None:
            process.activate(item)
        else:
            process.mailbox.append(item)

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
            spawned_total=self._spawned_total,
            exited_total=self._spawned_total - len(self.table),
            messages_total=self._messages_total
            + sum(process.reductions for process in self.table.values()),
            restarts_total=self.restarts_total,
            mailbox_max=max(map(introspection.waiting, self.table.values()), default=0),
        )

    def report_crash(self, process: Process, reason: object, item: Item | None) -> None:
        """Tell the observer that a process ends abnormally."""
        self.notify(self.observer.process_crashed, introspection.report(process, reason, item))

    def notify(self, tell: Callable[..., None], *args: object) -> None:
        """Tell the observer something; its failure harms no process."""
        try:
            tell(*args)
        except Exception:
            log.exception("the observer failed", observer=type(self.observer).__qualname__)

    def _check_open(self) -> None:
        if not self._open:
            raise NodeStopped(f"node {self.name} is not running")

    async def _join(self, pids: Iterable[Pid], deadline_s: float | None) -> None:
        join = OutsideJoin(asyncio.get_running_loop().create_future())
        timer = None if deadline_s is None else self.timers.add_at(deadline_s, join.expire)
        join.watch(pids)
        try:
            await join.future
        finally:
            join.cancel()
            if timer is not None:
                self.timers.cancel(timer)
