"""`DynamicSupervisor`: many children of any kind, started on demand; after Elixir's.

Starting, stopping and losing a child costs the same with ten children as with a hundred thousand.
There is no order among the children: they are restarted one for one, and stopped all at once.
"""

from __future__ import annotations

from typing import Any

from palaver.actors.runtime import NOREPLY, SHUTDOWN, Exit, From, GenServer, Pid, Stop, is_abnormal
from palaver.supervisors.spec import (
    ChildCounts,
    ChildInfo,
    ChildNotFound,
    ChildSpec,
    CountChildren,
    MaxChildren,
    RestartWindow,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from palaver.supervisors.supervisor import CANNOT_START, start_child, stop_children

__all__ = ["DynamicSupervisor"]


class _TryAgain:
    """A supervisor's note to itself: the restart of a child failed."""

    __slots__ = ("pid", "reason", "spec")

    def __init__(self, pid: Pid, spec: ChildSpec, reason: object) -> None:
        self.pid = pid
        self.spec = spec
        self.reason = reason


class DynamicSupervisor(GenServer):
    """Supervises children that come and go.

    A child's id is only a label: any number may have the same. The reasons to restart are those of
    `Supervisor`; a child that ends and is not restarted is forgotten.
    """

    __slots__ = ("_children", "_max_children", "_restarting", "_window")

    def init(
        self, *, max_children: int | None = None, intensity: int = 1, period_s: float = 5.0
    ) -> None:
        """Start without children; `MaxChildren` is the answer to one more than `max_children`."""
        self.trap_exit = True
        self._max_children = max_children
        self._window = RestartWindow(intensity, period_s)
        self._children: dict[Pid, ChildSpec] = {}
        # Children whose restart failed and is to be tried again, by the pid they had.
        self._restarting: dict[Pid, ChildSpec] = {}

    async def terminate(self, reason: object) -> None:
        """Stop all children at the same time."""
        children = list(self._children.items())
        self._children.clear()
        await stop_children(self, children)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer the requests of `spec` (there is no `RestartChild` and no `DeleteChild`)."""
        if isinstance(request, StartChild):
            return self._add(request.spec, from_)
        if isinstance(request, TerminateChild):
            return self._remove(request.child, from_)
        if isinstance(request, WhichChildren):
            infos = [ChildInfo(spec.id, pid, spec.kind) for pid, spec in self._children.items()]
            infos += [ChildInfo(s.id, None, s.kind, True) for s in self._restarting.values()]
            return infos
        if isinstance(request, CountChildren):
            return self._count()
        self.reply_error(from_, TypeError(f"a dynamic supervisor does not understand {request!r}"))
        return NOREPLY

    def _count(self) -> ChildCounts:
        specs = [*self._children.values(), *self._restarting.values()]
        supervisors = sum(spec.kind == "supervisor" for spec in specs)
        return ChildCounts(
            specs=len(specs),
            active=len(self._children),
            supervisors=supervisors,
            workers=len(specs) - supervisors,
        )

    async def _add(self, spec: ChildSpec, from_: From) -> Any:
        limit = self._max_children
        try:
            if limit is not None and len(self._children) + len(self._restarting) >= limit:
                raise MaxChildren(limit)
            if spec.significant:
                raise TypeError("a child of a dynamic supervisor cannot be significant")
            pid = await start_child(self, spec)
        except (*CANNOT_START, MaxChildren, TypeError) as error:
            self.reply_error(from_, error)
            return NOREPLY
        if pid is not None:
            self._children[pid] = spec
        return pid

    async def _remove(self, child: object, from_: From) -> Any:
        pid = self._find(child)
        if pid is None:
            self.reply_error(from_, ChildNotFound(child))
            return NOREPLY
        spec = self._children.pop(pid, None)
        if spec is None:
            del self._restarting[pid]
        else:
            await stop_children(self, [(pid, spec)])
        return None

    def _find(self, child: object) -> Pid | None:
        if isinstance(child, Pid):
            return child if child in self._children or child in self._restarting else None
        for pid, spec in (*self._children.items(), *self._restarting.items()):
            if spec.id == child:
                return pid
        return None

    def handle_info(self, message: Any) -> Any:
        """A child has exited, or a restart is to be tried again."""
        if type(message) is Exit and message.sender is not None:
            spec = self._children.pop(message.sender, None)
            if spec is None or spec.restart == "temporary":
                return None
            if spec.restart == "permanent" or is_abnormal(message.reason):
                return self._restart(message.sender, spec, message.reason)
        elif type(message) is _TryAgain and self._restarting.pop(message.pid, None) is not None:
            return self._restart(message.pid, message.spec, message.reason)
        return None

    async def _restart(self, old: Pid, spec: ChildSpec, reason: object) -> Stop | None:
        if not self._window.allows(self.clock.monotonic()):
            self.node.notify(self.node.observer.supervisor_gave_up, self.pid, reason)
            return Stop(SHUTDOWN)
        try:
            pid = await start_child(self, spec)
        except CANNOT_START as error:
            self._restarting[old] = spec
            self.send(self.pid, _TryAgain(old, spec, error))
            return None
        if pid is not None:
            self._children[pid] = spec
            self.node.restarts_total += 1
            self.node.notify(self.node.observer.child_restarted, self.pid, spec.id, reason)
        return None
