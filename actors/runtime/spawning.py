"""How a process starts others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

from palaver.actors.runtime import lifecycle
from palaver.actors.runtime.calls import StartCall
from palaver.actors.runtime.mailbox import INIT, MailboxLimit
from palaver.actors.runtime.parking import PREEMPTED, park
from palaver.actors.runtime.pid import Name, Pid, Ref
from palaver.actors.runtime.process import ALIVE, Process
from palaver.actors.runtime.protocol import P
from palaver.actors.runtime.scheduler import MAX_DEPTH

if TYPE_CHECKING:
    from palaver.actors.runtime.gen_server import GenServer

__all__ = ["Function", "Spawnable", "Spawning"]

Function: TypeAlias = "Callable[..., Coroutine[Any, Any, Any]]"
"""An `async def fn(ctx, *args)`, to run as a process."""

Spawnable: TypeAlias = "Function | type[GenServer[Any]]"
"""What can run as a process: a function, or a `GenServer` class."""


class Spawning:
    """The methods of a process that start others; `what` is a function or a `GenServer` class.

    All of them raise `NameTaken`, `ProcessLimit` and, once the node has stopped, `NodeStopped`.
    """

    __slots__ = ("process_",)

    process_: Process

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
        """Start a process and do not wait for its `init`."""
        node = self.process_.scheduler.node
        return node.start_process(what, args, options, name, mailbox, parent=self.process_).pid

    @overload
    def spawn_link(
        self,
        what: type[GenServer[P]],
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid[P]: ...
    @overload
    def spawn_link(
        self,
        what: Function,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid: ...
    def spawn_link(
        self,
        what: Spawnable,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid:
        """`spawn` and `link` in one."""
        node = self.process_.scheduler.node
        return node.start_process(
            what, args, options, name, mailbox, parent=self.process_, linked=True
        ).pid

    @overload
    def spawn_monitor(
        self,
        what: type[GenServer[P]],
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> tuple[Pid[P], Ref]: ...
    @overload
    def spawn_monitor(
        self,
        what: Function,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> tuple[Pid, Ref]: ...
    def spawn_monitor(
        self,
        what: Spawnable,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> tuple[Pid, Ref]:
        """`spawn` and `monitor` in one."""
        node = self.process_.scheduler.node
        child = node.start_process(what, args, options, name, mailbox, parent=self.process_)
        return child.pid, lifecycle.monitor(self.process_, child.pid, child)

    @overload
    async def start_link(
        self,
        what: type[GenServer[P]],
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid[P]: ...
    @overload
    async def start_link(
        self,
        what: Function,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid: ...
    async def start_link(
        self,
        what: Spawnable,
        *args: Any,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
        **options: Any,
    ) -> Pid:
        """`spawn_link`, and wait until `init` is done.

        Raises `StartError` (`StartIgnored` if `init` returned `Ignore()`); no exit signal comes of
        that. A plain function counts as started at once.
        """
        started = self.start_link_now(what, args, options, name=name, mailbox=mailbox)
        if not isinstance(started, Pid):
            return await started
        process = self.process_
        if process.charge() or process.exiting is not ALIVE:
            await PREEMPTED
        return started

    def start_link_now(
        self,
        what: Spawnable,
        args: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
        *,
        name: Name | None = None,
        mailbox: MailboxLimit | None = None,
    ) -> Pid | Awaitable[Pid]:
        """`start_link` for plain handlers: the pid, or something to await if `init` needs time.

        Raises what `start_link` does.
        """
        process = self.process_
        scheduler = process.scheduler
        # A new server runs its `init` within this turn, as an idle one handles a call; but not
        # before those that are about to exit have: it may want their names.
        at_once = (
            mailbox is None
            and isinstance(what, type)
            and scheduler.current is process
            and scheduler.depth < MAX_DEPTH
            and not scheduler.dying
        )
        starter = StartCall(process)
        options = options or {}
        child = scheduler.node.start_process(
            what,
            args,
            options,
            name,
            mailbox,
            parent=process,
            linked=True,
            starter=starter,
            at_once=at_once,
        )
        if at_once:
            scheduler.hand_over(child, (args, options), INIT)
        if not starter.answered:
            return _started(process, starter)
        return cast("Pid", starter.result())


async def _started(process: Process, starter: StartCall) -> Pid:
    """Wait until `init` is done."""
    if not starter.answered:
        process.wait = starter
        await park(process)
    return cast("Pid", starter.result())
