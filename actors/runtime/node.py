"""A node: its processes, scheduler, timers and threads, and the way in for asyncio."""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import structlog

from palaver.actors.runtime.bridge import Bridges
from palaver.actors.runtime.calls import From, OutsideCall
from palaver.actors.runtime.clock import Clock, SystemClock
from palaver.actors.runtime.errors import (
    MailboxFull,
    NodeStopped,
    NoProcess,
)
from palaver.actors.runtime.lifecycle import OutsideJoin, ask
from palaver.actors.runtime.mailbox import INFO, MailboxLimit, Tag
from palaver.actors.runtime.observer import Observer, StructlogObserver
from palaver.actors.runtime.pid import Dest, Name, Pid, UntypedDest
from palaver.actors.runtime.population import Population
from palaver.actors.runtime.protocol import Call, Cast, P, R_co
from palaver.actors.runtime.reasons import KILLED, SHUTDOWN, ExitReason
from palaver.actors.runtime.scheduler import Scheduler
from palaver.actors.runtime.spawning import Function, Spawnable
from palaver.actors.runtime.timers import TimerRef, Timers

if TYPE_CHECKING:
    from palaver.actors.runtime.gen_server import GenServer

__all__ = ["Node"]

log = structlog.get_logger("palaver.actors")


class Node(Population):
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
        threads: Makes the pool of these threads, given their number; a pool of real ones if None.
    """

    def __init__(
        self,
        name: str = "palaver@local",
        *,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
        observer: Observer | None = None,
        max_processes: int = 1_000_000,
        reductions: int = 64,
        slice_s: float = 0.002,
        slow_s: float = 0.1,
        max_threads: int = 8,
        threads: Callable[[int], Executor] | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.random = random or random_module.Random()  # noqa: S311 - for jitter, not for secrets
        self.timers = Timers(self.clock)
        scheduler = Scheduler(
            self, self.timers, reductions=reductions, slice_s=slice_s, slow_s=slow_s
        )
        super().__init__(name, scheduler, observer or StructlogObserver(), max_processes)
        self.bridges = Bridges(max_threads, threads)
        self._open = False  # processes may be spawned from outside

    # -- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to run processes, in the running event loop; a node is started once."""
        if self.running or self.spawned_total:
            raise NodeStopped(f"node {self.name} was started before")
        self.running = self._open = True
        # One context for every slice: else what runs would see the context variables of whoever
        # happened to wake the scheduler.
        call_soon = asyncio.get_running_loop().call_soon
        self.scheduler.start(partial(call_soon, context=copy_context()))

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
            if process.pid.process_ is None:
                continue  # it has ended while another was waited for
            traps = process.trap_exit
            process.exit_signal(None, SHUTDOWN, linked=False)
            if traps:  # it has something to do before it exits; others exit in their next turn
                await self._join([process.pid], deadline_s)
        # Orphans: their parents have exited, and they were not linked to them.
        for process in reversed(list(self.table.values())):
            process.exit_signal(process.parent, SHUTDOWN, linked=False)
        await self._join(list(self.table), deadline_s)
        self.running = False
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
        if process is None:
            raise NoProcess(dest)
        lane = None if timeout_s is None else self.timers.lane(timeout_s)
        call = OutsideCall(asyncio.get_running_loop().create_future(), lane)
        try:
            ask(process, request, call, dest)
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

    def _post(self, dest: Dest, item: tuple[Any, Tag | From | None]) -> None:
        process = self.find(dest)
        if process is None:
            return
        if process.mailbox is None:
            process.activate(item)
        else:
            process.mailbox.append(item)

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
