"""`Supervisor`: starts children, restarts those that fail, stops them in reverse; after OTP's.

The specification, in short:

* `init` starts the children from left to right. If one does not start, those started already are
  stopped in reverse, and the supervisor does not start either. A child whose `init` returns
  `Ignore()` is kept as a specification without a process (dropped if it is temporary).
* A child that exits is restarted if it is ``permanent``, or ``transient`` and its exit was
  abnormal. The strategy says which others are stopped (in reverse) and restarted (in order) with
  it; ``temporary`` ones among them are stopped and forgotten.
* A restart that fails is tried again, and every attempt counts. *More than* `intensity` within
  `period_s`, and the supervisor stops its children in reverse and exits with `SHUTDOWN`.
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

from collections.abc import Iterable, Sequence
from typing import Any

from palaver.actors.runtime import (
    KILL,
    NOREPLY,
    SHUTDOWN,
    Exit,
    From,
    GenServer,
    NameTaken,
    Pid,
    ProcessLimit,
    Shutdown,
    StartError,
    StartIgnored,
    Stop,
    is_abnormal,
)
from palaver.supervisors.spec import (
    AlreadyPresent,
    AutoShutdown,
    ChildCounts,
    ChildInfo,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    CountChildren,
    DeleteChild,
    FailedToStart,
    RestartChild,
    RestartWindow,
    StartChild,
    Strategy,
    SupervisorFlags,
    TerminateChild,
    WhichChildren,
)

__all__ = ["CANNOT_START", "Child", "Supervisor", "stop_children"]

CANNOT_START = (StartError, NameTaken, ProcessLimit)


class Child:
    """A child of a supervisor: its specification, and its process while there is one."""

    __slots__ = ("pid", "restarting", "spec")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.pid: Pid | None = None
        self.restarting = False

    def info(self) -> ChildInfo:
        """What `WhichChildren` shows."""
        return ChildInfo(self.spec.id, self.pid, self.spec.kind, self.restarting)


class _TryAgain:
    """A supervisor's note to itself: the restart of a child failed."""

    __slots__ = ("child", "reason")

    def __init__(self, child: Child, reason: object) -> None:
        self.child = child
        self.reason = reason


async def stop_children(supervisor: GenServer, children: Sequence[tuple[Pid, ChildSpec]]) -> None:
    """Stop children at the same time, each within its `shutdown_s`; returns when all have exited.

    They are unlinked first, so no `Exit` of theirs arrives.
    """
    by_patience: dict[float | None, list[Pid]] = {}
    for pid, spec in children:
        supervisor.unlink(pid)
        if spec.shutdown_s == 0:
            supervisor.exit(pid, KILL)
        else:
            supervisor.exit(pid, SHUTDOWN)
        by_patience.setdefault(spec.shutdown_s, []).append(pid)
    began_s = supervisor.clock.monotonic()
    for patience_s in sorted(by_patience, key=lambda s: float("inf") if s is None else s):
        pids = by_patience[patience_s]
        if patience_s:
            left_s = max(0.0, began_s + patience_s - supervisor.clock.monotonic())
            exited = await supervisor.join(pids, timeout_s=left_s)
            pids = [pid for pid in pids if pid not in exited]
            for pid in pids:
                supervisor.exit(pid, KILL)
        if pids:
            await supervisor.join(pids)


async def start_child(supervisor: GenServer, spec: ChildSpec) -> Pid | None:
    """Start a process as specified, linked; None if it said `Ignore()`.

    Raises one of `CANNOT_START`.
    """
    try:
        return await supervisor.start_link(
            spec.start, *spec.args, name=spec.name, mailbox=spec.mailbox, **spec.options
        )
    except StartIgnored:
        return None


class Supervisor(GenServer):
    """Supervises a fixed list of children; more can be added by `StartChild`."""

    __slots__ = ("_by_pid", "_children", "_flags", "_window")

    def specification(
        self,
        children: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 1,
        period_s: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
    ) -> tuple[SupervisorFlags, Iterable[ChildSpec]]:
        """What to supervise and how; a subclass may override it, with arguments of its own."""
        return SupervisorFlags(strategy, intensity, period_s, auto_shutdown), children

    async def init(self, *args: Any, **options: Any) -> Stop | None:
        """Start the children; the arguments go to `specification`."""
        self.trap_exit = True
        self._flags, specs = self.specification(*args, **options)
        self._window = RestartWindow(self._flags.intensity, self._flags.period_s)
        self._children: dict[object, Child] = {}  # in start order
        self._by_pid: dict[Pid, Child] = {}
        for spec in specs:
            self._check(spec)
            self._children[spec.id] = Child(spec)
        for child in list(self._children.values()):
            try:
                await self._start(child)
            except CANNOT_START as error:
                await self._stop(list(self._children.values()))
                reason = error.reason if isinstance(error, StartError) else error
                return Stop(Shutdown(FailedToStart(child.spec.id, reason)))
        return None

    async def terminate(self, reason: object) -> None:
        """Stop the children in reverse."""
        await self._stop(list(self._children.values()))

    # -- requests -----------------------------------------------------------------------------

    async def handle_call(self, request: Any, from_: From) -> Any:
        """Answer the requests of `spec`; what cannot be done is answered with an exception."""
        try:
            return await self._answer(request)
        except (*CANNOT_START, AlreadyPresent, ChildNotFound, ChildRunning, TypeError) as error:
            self.reply_error(from_, error)
            return NOREPLY

    async def _answer(self, request: Any) -> object:
        if isinstance(request, WhichChildren):
            return [child.info() for child in self._children.values()]
        if isinstance(request, CountChildren):
            return self._count()
        if isinstance(request, StartChild):
            return await self._add(request.spec)
        if isinstance(request, TerminateChild):
            await self._stop([self._find(request.child)])
            return None
        if isinstance(request, RestartChild):
            child = self._find(request.id, stopped=True)
            await self._start(child)
            return child.pid
        if isinstance(request, DeleteChild):
            del self._children[self._find(request.id, stopped=True).spec.id]
            return None
        raise TypeError(f"a supervisor does not understand {request!r}")

    async def _add(self, spec: ChildSpec) -> Pid | None:
        self._check(spec)
        child = self._children[spec.id] = Child(spec)
        try:
            await self._start(child)
        except CANNOT_START:
            del self._children[spec.id]
            raise
        return child.pid

    def _check(self, spec: ChildSpec) -> None:
        if spec.id in self._children:
            raise AlreadyPresent(spec.id, self._children[spec.id].pid)
        if spec.significant and self._flags.auto_shutdown == "never":
            raise TypeError(f"the child {spec.id!r} is significant, but auto_shutdown is never")

    def _find(self, child_id: object, *, stopped: bool = False) -> Child:
        child = self._children.get(child_id)
        if child is None:
            raise ChildNotFound(child_id)
        if stopped and (child.pid is not None or child.restarting):
            raise ChildRunning(child_id)
        return child

    def _count(self) -> ChildCounts:
        children = self._children.values()
        supervisors = sum(child.spec.kind == "supervisor" for child in children)
        return ChildCounts(
            specs=len(children),
            active=sum(child.pid is not None for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )

    # -- ends of children ---------------------------------------------------------------------

    async def handle_info(self, message: Any) -> Stop | None:
        """A child has exited, or a restart is to be tried again."""
        if type(message) is Exit and message.sender is not None:
            child = self._by_pid.pop(message.sender, None)
            if child is not None:  # else one that we have stopped, or some other linked process
                return await self._child_exited(child, message.reason)
        elif type(message) is _TryAgain:
            child = message.child
            # Meanwhile it may have been stopped, or restarted together with others.
            if child.restarting and self._children.get(child.spec.id) is child:
                return await self._restart(child, message.reason)
        return None

    async def _child_exited(self, child: Child, reason: object) -> Stop | None:
        child.pid = None
        restart = child.spec.restart
        if restart == "permanent" or (restart == "transient" and is_abnormal(reason)):
            return await self._restart(child, reason)
        if restart == "temporary":
            del self._children[child.spec.id]
        if child.spec.significant and self._is_last(child):
            return Stop(SHUTDOWN)
        return None

    def _is_last(self, ended: Child) -> bool:
        """Whether the end of this significant child ends the supervisor."""
        if self._flags.auto_shutdown == "any_significant":
            return True
        return not any(
            child.spec.significant and (child.pid is not None or child.restarting)
            for child in self._children.values()
            if child is not ended
        )

    async def _restart(self, child: Child, reason: object) -> Stop | None:
        if not self._window.allows(self.clock.monotonic()):
            self.node.notify(self.node.observer.supervisor_gave_up, self.pid, reason)
            return Stop(SHUTDOWN)
        group = self._group(child)
        child.restarting = True  # before the others stop: it is kept even if temporary ones go
        await self._stop([other for other in group if other is not child])
        for each in group:
            if each.spec.id not in self._children:
                continue
            try:
                await self._start(each)
            except CANNOT_START as error:
                each.restarting = True
                self.send(self.pid, _TryAgain(each, error))
                return None
            self.node.restarts_total += 1
            self.node.notify(self.node.observer.child_restarted, self.pid, each.spec.id, reason)
        return None

    def _group(self, child: Child) -> list[Child]:
        """Who is restarted with it, by the strategy; in start order."""
        if self._flags.strategy == "one_for_one":
            return [child]
        children = list(self._children.values())
        if self._flags.strategy == "one_for_all":
            return children
        return children[children.index(child) :]

    # -- starting and stopping ----------------------------------------------------------------

    async def _start(self, child: Child) -> None:
        pid = await start_child(self, child.spec)
        child.restarting = False
        if pid is not None:
            child.pid = pid
            self._by_pid[pid] = child
        elif child.spec.restart == "temporary":
            del self._children[child.spec.id]

    async def _stop(self, children: Sequence[Child]) -> None:
        """Stop children in reverse, one after the other; temporary ones are forgotten."""
        for child in reversed(children):
            pid, child.pid = child.pid, None
            child.restarting = False
            if pid is not None:
                del self._by_pid[pid]
                await stop_children(self, [(pid, child.spec)])
            if child.spec.restart == "temporary":
                self._children.pop(child.spec.id, None)
