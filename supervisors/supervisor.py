"""`Supervisor`: starts children, restarts those that fail, stops them in reverse; after OTP's.

The specification, in short (https://www.erlang.org/doc/man/supervisor.html has it at length):

* `init` starts the children from left to right. If one does not start, those started already are
  stopped in reverse, and the supervisor does not start either: `Shutdown(FailedToStart(...))`. A
  child whose `init` returns `Ignore()` is kept as a specification without a process (dropped if it
  is temporary).
* A child that exits is restarted if it is ``permanent``, or ``transient`` and its exit was
  abnormal. The strategy says which others are stopped (in reverse) and restarted (in order) with
  it; ``temporary`` ones among them are stopped and forgotten.
* A restart that fails is tried again, from the child that did not start, and every attempt counts.
  *More than* `intensity` within `period_s`, and the supervisor stops its children in reverse and
  exits with `SHUTDOWN`.
* A child is stopped by an exit signal `SHUTDOWN`; if it has not exited after `shutdown_s`, by
  `KILL`. With a `shutdown_s` of 0, by `KILL` at once.
* A significant child that ends by itself and is not restarted may end the supervisor:
  `auto_shutdown`.

    class Tree(Supervisor):
        def specification(self, path):
            return SupervisorFlags("rest_for_one"), [
                ChildSpec("store", StoreServer, (path,)),
                ChildSpec("sessions", DynamicSupervisor, kind="supervisor", name="sessions"),
            ]
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

from palaver.actors.runtime import (
    NOREPLY,
    SHUTDOWN,
    Exit,
    From,
    GenServer,
    Ignore,
    Pid,
    Shutdown,
    StartIgnored,
    Stop,
    is_abnormal,
)
from palaver.supervisors.children import Child, Children
from palaver.supervisors.failures import (
    AlreadyPresent,
    AlreadyStarted,
    FailedToStart,
    SupervisorError,
)
from palaver.supervisors.new_code import renewed
from palaver.supervisors.reporting import MAX_INTENSITY, report_child, report_exit
from palaver.supervisors.requests import (
    ChangeSpecification,
    ChildCounts,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from palaver.supervisors.spec import (
    AutoShutdown,
    ChildSpec,
    Strategy,
    SupervisorFlags,
    check_childspec,
    check_childspecs,
)
from palaver.supervisors.starting import (
    CANNOT_START,
    begin_child,
    start_child,
    start_reason,
    stop_children,
)
from palaver.supervisors.window import RestartWindow

__all__ = ["Supervisor"]


class _TryAgain:
    """A supervisor's note to itself: the restart of a child failed."""

    __slots__ = ("child", "reason")

    def __init__(self, child: Child, reason: object) -> None:
        self.child = child
        self.reason = reason


class Supervisor(GenServer):
    """Supervises a fixed list of children; more can be added by `StartChild`."""

    __slots__ = ("_args", "_children", "_flags", "_options", "_window")

    supervises = True

    def specification(
        self, *args: Any, **options: Any
    ) -> tuple[SupervisorFlags, Iterable[ChildSpec]] | Ignore:
        """What to supervise and how; a subclass overrides it, with arguments of its own.

        `Ignore()` instead: there is nothing to supervise, and the supervisor does not start. If not
        overridden, the arguments are an iterable of `ChildSpec` and, as keywords, the fields of
        `SupervisorFlags`.
        """
        return _as_given(*args, **options)

    async def init(self, *args: Any, **options: Any) -> Stop | Ignore | None:
        """Start the children; the arguments go to `specification`."""
        self.trap_exit = True
        self._args, self._options = args, options
        specified = self.specification(*args, **options)
        if isinstance(specified, Ignore):
            return specified
        self._flags, specs = specified
        self._window = RestartWindow(self._flags.intensity, self._flags.period_s)
        self._children = Children(check_childspecs(specs, self._flags.auto_shutdown))
        for child in self._children:
            try:
                await self._start(child)
            except CANNOT_START as error:
                reason = start_reason(error)
                report_child(self, "start_error", reason, child.spec, None, self._window)
                await self._stop(list(self._children))
                return Stop(Shutdown(FailedToStart(child.spec.id, reason)))
        return None

    async def terminate(self, reason: object) -> None:
        """Stop the children in reverse."""
        await self._stop(list(self._children))

    def code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> None:
        """Ask `specification` again, with the arguments of `init`: see `ChangeSpecification`.

        If it says `Ignore()`, nothing changes. Raises `BadSpecification`; nothing changes then.
        """
        specified = self.specification(*self._args, **self._options)
        if not isinstance(specified, Ignore):
            self._change(*specified)

    # -- to be seen into ----------------------------------------------------------------------

    def format_status(self) -> dict[str, object]:
        """Its flags and its children by id: their pids, ``restarting`` or ``stopped``."""
        flags = self._flags
        return {
            "strategy": flags.strategy,
            "intensity": flags.intensity,
            "period_s": flags.period_s,
            "auto_shutdown": flags.auto_shutdown,
            "children": {
                child.spec.id: child.pid or ("restarting" if child.restarting else "stopped")
                for child in self._children
            },
        }

    def child_id(self, pid: Pid) -> object | None:
        """What a child is called here, for the observer; None if it is none."""
        return self._children.id_of(pid)

    def replace_code(self, changes: Mapping[Any, Any]) -> None:
        """Start children from the new classes and functions from now on; see `hot_code`."""
        self._args = renewed(self._args, changes)
        self._options = renewed(self._options, changes)
        for child in self._children:
            child.spec = renewed(child.spec, changes)

    # -- requests -----------------------------------------------------------------------------

    async def handle_call(self, request: Any, from_: From) -> Any:
        """Answer the requests of `requests`; what cannot be done is answered with an exception."""
        try:
            return await self._answer(request)
        except (*CANNOT_START, SupervisorError, _NotUnderstood) as error:
            self.reply_error(from_, error)
            return NOREPLY

    async def _answer(self, request: Any) -> object:
        children = self._children
        if isinstance(request, WhichChildren):
            return [child.info() for child in children]
        if isinstance(request, CountChildren):
            return self._count()
        if isinstance(request, GetChildSpec):
            return children.find(request.child).spec
        if isinstance(request, StartChild):
            return await self._add(request.spec)
        if isinstance(request, TerminateChild):
            await self._stop([children.find(request.child)])
            return None
        if isinstance(request, RestartChild):
            child = children.find_stopped(request.id)
            await self._start(child)
            return child.pid
        if isinstance(request, DeleteChild):
            children.remove(children.find_stopped(request.id))
            return None
        if isinstance(request, ChangeSpecification):
            self._change(request.flags, request.children)
            return None
        raise _NotUnderstood(f"a supervisor does not understand {request!r}")

    async def _add(self, spec: ChildSpec) -> Pid | None:
        check_childspec(spec, self._flags.auto_shutdown)
        there = self._children.get(spec.id)
        if there is not None:
            fault = AlreadyPresent if there.pid is None else AlreadyStarted
            raise fault(spec.id, there.pid)
        child = self._children.add(spec)
        try:
            await self._start(child)
        except CANNOT_START:
            self._children.remove(child)
            raise
        return child.pid

    def _change(self, flags: SupervisorFlags, specs: Iterable[ChildSpec]) -> None:
        checked = check_childspecs(specs, flags.auto_shutdown)
        self._flags = flags
        self._window.change(flags.intensity, flags.period_s)
        self._children.replace(checked)

    def _count(self) -> ChildCounts:
        children = list(self._children)
        supervisors = sum(child.spec.kind == "supervisor" for child in children)
        is_alive = self.node.is_alive
        return ChildCounts(
            specs=len(children),
            active=sum(child.pid is not None and is_alive(child.pid) for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )

    # -- ends of children ---------------------------------------------------------------------
    #
    # Plain functions as long as nobody has to be waited for: under one_for_one, a child whose
    # `init` is a plain function is restarted within this one call of `handle_info`.

    def handle_info(self, message: Any) -> Any:
        """A child has exited, or a restart is to be tried again."""
        kind = type(message)
        if kind is Exit:
            # None: one that we have stopped, or some other linked process.
            child = self._children.exited(message.sender)
            if child is None:
                return None
            report_exit(self, child.spec, message.sender, message.reason, self._window)
            return self._child_exited(child, message.reason)
        if kind is _TryAgain:
            child = message.child
            # Meanwhile it may have been stopped, or restarted together with others.
            if child.restarting and self._children.has(child):
                return self._restart(child, message.reason)
            return None
        return super().handle_info(message)

    def _child_exited(self, child: Child, reason: object) -> Any:
        restart = child.spec.restart
        if restart == "permanent" or (restart == "transient" and is_abnormal(reason)):
            return self._restart(child, reason)
        if restart == "temporary":
            self._children.remove(child)
        if child.spec.significant:
            auto = self._flags.auto_shutdown
            if auto == "any_significant" or (
                auto == "all_significant" and not self._children.significant
            ):
                return Stop(SHUTDOWN)
        return None

    def _restart(self, child: Child, reason: object) -> Any:
        if not self._window.allows(self.clock.monotonic()):
            self._children.stopped(child)
            report_child(self, "shutdown", MAX_INTENSITY, child.spec, None, self._window)
            self.node.notify(self.node.observer.supervisor_gave_up, self.pid, reason)
            return Stop(SHUTDOWN)
        if self._flags.strategy != "one_for_one":
            return self._restart_group(child, reason)
        try:
            started = begin_child(self, child.spec)
        except CANNOT_START as error:
            self._not_started(child, error)
            return None
        if not isinstance(started, Pid):
            return self._restart_waiting(child, started, reason)
        self._restarted(child, started, reason)
        return None

    async def _restart_waiting(
        self, child: Child, starting: Awaitable[Pid], reason: object
    ) -> None:
        try:
            pid = await starting
        except CANNOT_START as error:
            self._not_started(child, error)
        else:
            self._restarted(child, pid, reason)

    async def _restart_group(self, child: Child, reason: object) -> None:
        children = self._children
        children.stopped(child)
        group = list(children) if self._flags.strategy == "one_for_all" else children.since(child)
        await self._stop([other for other in group if other is not child])
        for each in group:
            if not children.has(each):
                continue  # a temporary one
            try:
                pid = await start_child(self, each.spec)
            except CANNOT_START as error:
                self._not_started(each, error)
                return
            if pid is not None:
                self._restarted(each, pid, reason)

    def _not_started(self, child: Child, error: Exception) -> None:
        """Try again, unless it said `Ignore()`; after the messages that wait, as OTP does it."""
        if isinstance(error, StartIgnored):
            self._children.stopped(child)
        else:
            self._children.failed(child)
            reason = start_reason(error)
            report_child(self, "start_error", reason, child.spec, None, self._window)
            self.send(self.pid, _TryAgain(child, reason))

    def _restarted(self, child: Child, pid: Pid, reason: object) -> None:
        self._children.started(child, pid)
        node = self.node
        node.restarts_total += 1
        node.notify(node.observer.child_restarted, self.pid, child.spec.id, reason)

    # -- starting and stopping ----------------------------------------------------------------

    async def _start(self, child: Child) -> None:
        pid = await start_child(self, child.spec)
        if pid is not None:
            self._children.started(child, pid)
        elif child.spec.restart == "temporary":
            self._children.remove(child)

    async def _stop(self, children: Sequence[Child]) -> None:
        """Stop children in reverse, one after the other; temporary ones are forgotten."""
        for child in reversed(children):
            pid = self._children.stopped(child)
            if pid is not None:
                await stop_children(self, [(pid, child.spec)])
            if child.spec.restart == "temporary" and self._children.has(child):
                self._children.remove(child)


def _as_given(
    children: Iterable[ChildSpec] = (),
    *,
    strategy: Strategy = "one_for_one",
    intensity: int = 1,
    period_s: float = 5.0,
    auto_shutdown: AutoShutdown = "never",
) -> tuple[SupervisorFlags, Iterable[ChildSpec]]:
    return SupervisorFlags(strategy, intensity, period_s, auto_shutdown), children


class _NotUnderstood(TypeError):
    """The request is none that supervisors know."""
