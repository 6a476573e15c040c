"""What a process can do: the methods of `self` in a `GenServer`, of `ctx` in a plain function."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from palaver.actors.runtime import lifecycle, links
from palaver.actors.runtime.alias import Alias
from palaver.actors.runtime.calls import HANDED_OVER, From, ProcessCall, RequestCall
from palaver.actors.runtime.clock import Clock
from palaver.actors.runtime.errors import CallFailed, MailboxFull, NameTaken, NoProcess
from palaver.actors.runtime.lifecycle import AliasMode, Monitor
from palaver.actors.runtime.mailbox import INFO
from palaver.actors.runtime.parking import PARKED, PREEMPTED, Alarm, Raise, park
from palaver.actors.runtime.pid import Dest, Pid, Ref, UntypedDest
from palaver.actors.runtime.process import ALIVE
from palaver.actors.runtime.protocol import Call, Cast, P, R_co
from palaver.actors.runtime.receiving import receive
from palaver.actors.runtime.scheduler import MAX_DEPTH
from palaver.actors.runtime.spawning import Spawning
from palaver.actors.runtime.timers import TimerRef

if TYPE_CHECKING:
    from palaver.actors.runtime.node import Node

__all__ = ["ProcessContext"]

T = TypeVar("T")
Args = ParamSpec("Args")


class ProcessContext(Spawning):
    """The process seen from within.

    What takes a `dest` takes a pid or a registered name. Sending never fails because the receiver
    is gone: the message is dropped, as in Erlang. The awaitable methods work only in the process's
    own coroutines; the name `process_` is reserved.
    """

    __slots__ = ()

    # -- who and where ------------------------------------------------------------------------

    @property
    def pid(self) -> Pid:
        """This process."""
        return self.process_.pid

    @property
    def node(self) -> Node:
        """The node it runs on."""
        return self.process_.scheduler.node

    @property
    def clock(self) -> Clock:
        """The node's clock: the only one an actor may ask."""
        return self.process_.scheduler.node.clock

    @property
    def random(self) -> random.Random:
        """The node's source of randomness: the only one an actor may ask."""
        return self.process_.scheduler.node.random

    @property
    def parent(self) -> Pid | None:
        """The process that spawned this one; None for what the program itself has spawned."""
        return self.process_.parent

    @property
    def trap_exit(self) -> bool:
        """Whether exit signals become `Exit` messages instead of ending this process."""
        return self.process_.trap_exit

    @trap_exit.setter
    def trap_exit(self, trap: bool) -> None:
        self.process_.trap_exit = trap

    # -- messages -----------------------------------------------------------------------------

    def send(self, dest: Dest, message: Any) -> None:
        """Send a plain message: `handle_info` or `receive` gets it.

        Raises `MailboxFull` where the receiver's `MailboxLimit` says so.
        """
        # Written out in `send` and `cast`, not shared: a call would double the cost of the most
        # frequent operation there is.
        try:
            process = dest.process_  # type: ignore[union-attr]
        except AttributeError:
            process = self.node.find(dest)
        if process is None:
            return
        mailbox = process.mailbox
        if mailbox is not None:
            mailbox.append((message, INFO))
        elif process.fast is None:
            process.activate((message, INFO))
        else:  # `activate`, in place
            process.mailbox = [(message, INFO)]
            scheduler = process.scheduler
            scheduler.queue.append(process)
            if not scheduler.armed:
                scheduler.arm()

    @overload
    def cast(self, dest: Pid[P], message: Cast[P]) -> None: ...
    @overload
    def cast(self, dest: UntypedDest, message: Any) -> None: ...
    def cast(self, dest: Dest, message: Any) -> None:
        """Send a request that needs no answer: `handle_cast` gets it. See `send`."""
        try:
            process = dest.process_  # type: ignore[union-attr]
        except AttributeError:
            process = self.node.find(dest)
        if process is None:
            return
        mailbox = process.mailbox
        if mailbox is not None:
            mailbox.append((message, None))
        elif process.fast is None:
            process.activate((message, None))
        else:  # `activate`, in place
            process.mailbox = [(message, None)]
            scheduler = process.scheduler
            scheduler.queue.append(process)
            if not scheduler.armed:
                scheduler.arm()

    @overload
    async def call(
        self, dest: Pid[P], request: Call[P, R_co], *, timeout_s: float | None = 5.0
    ) -> R_co: ...
    @overload
    async def call(
        self, dest: UntypedDest, request: Any, *, timeout_s: float | None = 5.0
    ) -> Any: ...
    async def call(self, dest: Dest, request: Any, *, timeout_s: float | None = 5.0) -> Any:
        """Send a request and wait for the answer of `handle_call`; None waits for ever.

        Raises `CallTimeout`, `NoProcess`, `CalleeExited` (all `CallFailed`), `MailboxFull`, or
        what the callee gave to `reply_error`. An answer that comes too late is dropped.
        """
        process = self.process_
        callee = self.node.find(dest) if isinstance(dest, str) else dest.process_
        if callee is None:
            raise NoProcess(dest)
        if callee is process:
            raise CallFailed("calling_self", "a process that calls itself would wait for ever")
        call = ProcessCall()
        call.process = process
        call.callee = None
        scheduler = process.scheduler
        # An idle callee handles the call at once: see `Scheduler.hand_over`.
        handed_over = (
            callee.fast is not None
            and callee.mailbox is None
            and callee.scheduler is scheduler
            and scheduler.current is process
            and scheduler.depth < MAX_DEPTH
        )
        if handed_over:
            call.lane = HANDED_OVER
            scheduler.hand_over(callee, request, call)
            if call.process is None:
                outcome, process.resume = process.resume, None
                process.reductions = count = process.reductions + 1  # `charge`, in place
                if count % process.budget == 0 or process.exiting is not ALIVE:
                    await PREEMPTED
                if type(outcome) is Raise:
                    try:
                        raise outcome.error
                    finally:
                        del outcome
                return outcome
        if timeout_s is None:
            call.lane = None
        else:
            timers = scheduler.timers
            call.lane = lane = timers.lanes.get(timeout_s) or timers.lane(timeout_s)
            lane[call] = timers.monotonic() + timeout_s
            if not lane.armed:
                lane.arm(call)
        if not handed_over:
            try:
                lifecycle.ask(callee, request, call, dest)
            except MailboxFull:
                call.cancel()
                raise
        if call.process is not None:  # it may be answered already: the mailbox dropped it
            process.wait = call
        # `park`, written out: a coroutine less to create and to go through.
        await PARKED
        outcome, process.resume = process.resume, None
        if type(outcome) is Raise:
            try:
                raise outcome.error
            finally:  # no cycle: the error's traceback has this frame
                del outcome
        return outcome

    @overload
    def send_request(self, dest: Pid[P], request: Call[P, Any]) -> Ref: ...
    @overload
    def send_request(self, dest: UntypedDest, request: Any) -> Ref: ...
    def send_request(self, dest: Dest, request: Any) -> Ref:
        """Call without waiting: the answer comes to `handle_info` as `Response(ref, ...)`.

        Every request gets exactly one `Response`; its `error` is what `call` would have raised
        (there is no timeout: set a timer of your own where you need one).
        """
        call = RequestCall(self.process_.pid)
        callee = self.node.find(dest) if isinstance(dest, str) else dest.process_
        if callee is None:
            call.fail(NoProcess(dest))
            return call
        try:
            lifecycle.ask(callee, request, call, dest)
        except MailboxFull as error:
            call.fail(error)
        return call

    def reply(self, from_: From, value: Any) -> None:
        """Answer a call; dropped if nobody waits any more. Any process may answer for another."""
        from_.deliver(value)

    def reply_error(self, from_: From, exception: BaseException) -> None:
        """Answer a call with an exception, raised by the caller's `call`."""
        from_.fail(exception)

    async def receive(
        self, match: Callable[[Any], bool] | None = None, timeout_s: float | None = None
    ) -> Any:
        """The first message that `match` accepts (any, if None), waiting for it if need be.

        Others stay, in order. A call arrives as a `Request`. After `timeout_s` without a match,
        `ReceiveTimeout` is raised; 0 only looks.
        """
        return await receive(self.process_, match, timeout_s)

    # -- aliases ------------------------------------------------------------------------------

    def alias(self, *, once: bool = False) -> Alias:
        """Another address of this process, which it can take back; for answers that may be late.

        With `once`, it is taken back by the first message that comes through it (`reply` in
        Erlang). See `erlang:alias/1`.
        """
        return Alias(self.process_, once=once)

    def unalias(self, alias: Alias) -> bool:
        """Take an alias back: what is sent to it from now on is dropped. False if it was."""
        return alias.close(self.process_)

    # -- links, monitors, exits ---------------------------------------------------------------

    def link(self, pid: Pid) -> None:
        """Link: if either exits, the other gets an exit signal. `noproc` if `pid` is dead."""
        links.link(self.process_, pid)

    def unlink(self, pid: Pid) -> None:
        """Undo a link; no exit signal of `pid` arrives after this."""
        links.unlink(self.process_, pid)

    def monitor(self, dest: Dest, *, alias: AliasMode | None = None) -> Monitor:
        """Get a `Down` when `dest` exits; at once, with `noproc`, if there is no such process.

        With `alias`, the monitor has an `Alias` in its attribute `alias`, which ends by `unalias`
        (``explicit_unalias``), with the monitor (``demonitor``), or by the first message that
        comes through it, which also ends the monitor (``reply_demonitor``). See
        `erlang:monitor/3`.
        """
        return lifecycle.monitor(self.process_, dest, self.node.find(dest), alias)

    def demonitor(self, ref: Ref, *, flush: bool = True) -> None:
        """Stop a monitor; with `flush`, a `Down` that waits in the mailbox is removed too."""
        lifecycle.demonitor(self.process_, ref, flush=flush)

    def exit(self, pid: Pid, reason: object) -> None:
        """Send an exit signal. `KILL` cannot be trapped and turns to `KILLED`."""
        process = pid.process_
        if process is not None:
            process.exit_signal(self.process_.pid, reason, linked=False)

    async def join(self, pids: Iterable[Pid], *, timeout_s: float | None = None) -> dict[Pid, Any]:
        """Wait until all of `pids` have exited, or for `timeout_s`; the reasons of those that have.

        One that was dead before has the reason `NOPROC`.
        """
        process = self.process_
        join = lifecycle.ProcessJoin(process)
        join.watch(pids)
        if join.left:
            process.wait = join
            timer = None
            if timeout_s is not None:
                timer = process.scheduler.timers.add(timeout_s, join.expire)
            try:
                await park(process)
            finally:
                if timer is not None:
                    process.scheduler.timers.cancel(timer)
                join.cancel()
        return join.reasons

    # -- names --------------------------------------------------------------------------------

    def register(self, name: str) -> None:
        """Give this process a name; raises `NameTaken`. It is released when the process exits."""
        self.node.register_name(self.process_, name)

    def unregister(self, name: str) -> None:
        """Release a name; raises `NameTaken` if it is another's."""
        holder = self.node.whereis(name)
        if holder is not None and holder is not self.process_.pid:
            raise NameTaken(name, holder)
        self.node.unregister_name(self.process_, name)

    def whereis(self, dest: Dest) -> Pid | None:
        """The process with this name, None if there is none; a pid is itself."""
        return self.node.whereis(dest)

    # -- time ---------------------------------------------------------------------------------

    def send_after(self, delay_s: float, dest: Dest, message: Any) -> TimerRef:
        """Send `message` after `delay_s`; to whoever has the name then, if `dest` is one."""
        return self.node.send_after(delay_s, dest, message)

    def cancel_timer(self, ref: TimerRef) -> bool:
        """Stop a timer; False if it has fired: its message may be in the mailbox."""
        return self.process_.scheduler.timers.cancel(ref)

    def read_timer(self, ref: TimerRef) -> float | None:
        """Seconds until a timer fires; None if it has, or was cancelled."""
        if ref.action is None:
            return None
        return max(0.0, ref.deadline_s - self.clock.monotonic())

    async def sleep(self, delay_s: float) -> None:
        """Park for `delay_s`; 0 only lets the others run."""
        process = self.process_
        if delay_s <= 0:
            await PREEMPTED
            return
        process.wait = Alarm(process, delay_s)
        await park(process)

    # -- the world outside --------------------------------------------------------------------

    async def bridge(self, awaitable: Awaitable[T]) -> T:
        """Await asyncio code (a future, a task, any coroutine) from within a process.

        If this process exits meanwhile, the awaited task is cancelled.
        """
        process = self.process_
        self.node.bridges.wait_for(process, awaitable)
        return cast("T", await park(process))

    async def run_blocking(
        self, fn: Callable[Args, T], *args: Args.args, **kwargs: Args.kwargs
    ) -> T:
        """Run `fn` in a thread and await its result; the thread cannot be interrupted."""
        work = partial(fn, *args, **kwargs)
        return cast("T", await self.bridge(self.node.bridges.in_thread(work)))
