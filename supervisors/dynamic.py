"""`DynamicSupervisor`: many children, started on demand; Elixir's, and OTP's `simple_one_for_one`.

Starting, stopping, losing and restarting a child costs the same with ten children as with a hundred
thousand. There is no order among the children: they are restarted one for one, and stopped all at
once.

    sessions = await node.start_server(DynamicSupervisor, max_children=50_000)
    pid = await start_child(node, sessions, ChildSpec("session", Session, (user,)))
    await terminate_child(node, sessions, pid)

With a `template` all children have one specification, and only their further arguments differ:

    sessions = await node.start_server(DynamicSupervisor, template=ChildSpec("session", Session))
    pid = await start_from_template(node, sessions, user)
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from palaver.actors.runtime import (
    NOREPLY,
    SHUTDOWN,
    Exit,
    From,
    GenServer,
    Pid,
    StartIgnored,
    Stop,
    is_abnormal,
)
from palaver.supervisors.failures import (
    BadSpecification,
    ChildNotFound,
    MaxChildren,
    SimpleOneForOne,
    SupervisorError,
)
from palaver.supervisors.new_code import renewed
from palaver.supervisors.reporting import MAX_INTENSITY, report_child, report_exit
from palaver.supervisors.requests import (
    ChangeSpecification,
    ChildCounts,
    ChildInfo,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    RestartChild,
    StartChild,
    StartFromTemplate,
    TerminateChild,
    WhichChildren,
)
from palaver.supervisors.spec import (
    AutoShutdown,
    ChildSpec,
    SupervisorFlags,
    check_childspec,
    check_childspecs,
)
from palaver.supervisors.starting import CANNOT_START, begin_child, start_reason, stop_children
from palaver.supervisors.window import RestartWindow

__all__ = ["DynamicSupervisor"]

AT_ONCE = 1000
"""Children that are described before the other processes have their turn."""


class _TryAgain:
    """A supervisor's note to itself: the restart of a child failed."""

    __slots__ = ("pid", "reason")

    def __init__(self, pid: Pid, reason: object) -> None:
        self.pid = pid
        self.reason = reason


class DynamicSupervisor(GenServer):
    """Supervises children that come and go.

    A child's id is only a label: any number may have the same. The reasons to restart are those of
    `Supervisor`; a child that ends and is not restarted is forgotten. Beyond what its process
    takes, a child costs its supervisor one entry in a dict, 50 to 105 bytes (and the arguments that
    `StartFromTemplate` added, unless it is temporary).
    """

    __slots__ = (
        "_auto_shutdown",
        "_children",
        "_extra",
        "_max_children",
        "_restarting",
        "_significant",
        "_supervisors",
        "_template",
        "_window",
    )

    supervises = True

    def init(
        self,
        *,
        max_children: int | None = None,
        intensity: int = 1,
        period_s: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        extra_arguments: tuple[Any, ...] = (),
        template: ChildSpec | None = None,
    ) -> None:
        """Start without children.

        Args:
            max_children: `MaxChildren` is the answer to one more; None: as many as the node takes.
            intensity: More than this many restarts ...
            period_s: ... within this time (seconds), and it stops its children and itself.
            auto_shutdown: As in `SupervisorFlags`.
            extra_arguments: Stand before the arguments of every child, as in Elixir.
            template: The specification of all children; they are then started with
                `StartFromTemplate`, as under OTP's `simple_one_for_one`.
        """
        self.trap_exit = True
        SupervisorFlags("one_for_one", intensity, period_s, auto_shutdown)  # checks them
        if template is not None:
            check_childspec(template, auto_shutdown)
        self._max_children = max_children
        self._auto_shutdown = auto_shutdown
        self._extra = extra_arguments
        self._template = template
        self._window = RestartWindow(intensity, period_s)
        self._children: dict[Pid | None, ChildSpec] = {}
        # Children whose restart failed and is to be tried again, by the pid they had.
        self._restarting: dict[Pid, ChildSpec] = {}
        # How many of both are supervisors, and how many are significant.
        self._supervisors = 0
        self._significant = 0

    # -- to be seen into ----------------------------------------------------------------------

    def format_status(self) -> dict[str, object]:
        """Its limits, how many children there are, and the first ten of them."""
        first = islice(self._children.items(), 10)
        return {
            "intensity": self._window.intensity,
            "period_s": self._window.period_s,
            "max_children": self._max_children,
            "template": self._template,
            "children": len(self._children),
            "restarting": len(self._restarting),
            "first_children": {str(pid): spec.id for pid, spec in first},
        }

    def child_id(self, pid: Pid) -> object | None:
        """What a child is called here, for the observer; None if it is none."""
        spec = self._children.get(pid)
        return None if spec is None else spec.id

    def replace_code(self, changes: Mapping[Any, Any]) -> None:
        """Start children from the new classes and functions from now on; see `hot_code`."""
        self._extra = renewed(self._extra, changes)
        self._template = renewed(self._template, changes)
        kept: list[dict[Any, ChildSpec]] = [self._children, self._restarting]
        # Children often share a specification; it is replaced once.
        done: dict[int, tuple[ChildSpec, ChildSpec]] = {}
        for specs in kept:
            for pid, spec in specs.items():
                if id(spec) not in done:
                    done[id(spec)] = (spec, renewed(spec, changes))
                specs[pid] = done[id(spec)][1]

    async def terminate(self, reason: object) -> None:
        """Stop all children at the same time."""
        children = [(pid, spec) for pid, spec in self._children.items() if pid is not None]
        self._children.clear()
        await stop_children(self, children)

    # -- requests -----------------------------------------------------------------------------

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer the requests of `requests`; what cannot be done is answered with an exception."""
        try:
            return self._answer(request, from_)
        except (*CANNOT_START, SupervisorError) as error:
            self.reply_error(from_, error)
            return NOREPLY

    def _answer(self, request: Any, from_: From) -> Any:
        if isinstance(request, StartChild):
            return self._add(self._checked(request.spec), from_)
        if isinstance(request, StartFromTemplate):
            return self._add(self._filled(request), from_)
        if isinstance(request, TerminateChild):
            return self._terminate(request.child)
        if isinstance(request, WhichChildren):
            return self._list()
        if isinstance(request, CountChildren):
            return self._count()
        if isinstance(request, GetChildSpec):
            pid = self._find(request.child)
            return self._children.get(pid) or self._restarting[pid]
        if isinstance(request, ChangeSpecification):
            self._change(
                request.flags, check_childspecs(request.children, request.flags.auto_shutdown)
            )
            return None
        if isinstance(request, (RestartChild, DeleteChild)):
            raise SimpleOneForOne(
                "a dynamic supervisor keeps no children that do not run: start a new one"
            )
        self.reply_error(from_, TypeError(f"a dynamic supervisor does not understand {request!r}"))
        return NOREPLY

    def _change(self, flags: SupervisorFlags, specs: tuple[ChildSpec, ...]) -> None:
        """Replace the flags and the template; the children go on, and keep their arguments."""
        if flags.strategy != "one_for_one" or len(specs) != (self._template is not None):
            raise BadSpecification(
                "a dynamic supervisor is one_for_one, and has one specification if it has a "
                "template, else none"
            )
        self._auto_shutdown = flags.auto_shutdown
        self._window.change(flags.intensity, flags.period_s)
        if not specs:
            return
        self._template = template = specs[0]
        for pid, spec in self._children.items():
            self._children[pid] = replace(template, args=spec.args, options=spec.options)
        for pid, spec in self._restarting.items():
            self._restarting[pid] = replace(template, args=spec.args, options=spec.options)
        everybody = len(self._children) + len(self._restarting)
        self._supervisors = everybody if template.kind == "supervisor" else 0
        self._significant = everybody if template.significant else 0

    async def _list(self) -> list[ChildInfo]:
        """All children; others have their turn meanwhile."""
        children, restarting = list(self._children.items()), list(self._restarting.values())
        infos: list[ChildInfo] = []
        for begin in range(0, len(children), AT_ONCE):
            part = children[begin : begin + AT_ONCE]
            infos += [ChildInfo(spec.id, pid, spec.kind) for pid, spec in part]
            if len(infos) < len(children):
                await self.sleep(0)
        infos += [ChildInfo(spec.id, None, spec.kind, True) for spec in restarting]
        return infos

    def _count(self) -> ChildCounts:
        specs = len(self._children) + len(self._restarting)
        return ChildCounts(
            specs=specs,
            active=len(self._children),
            supervisors=self._supervisors,
            workers=specs - self._supervisors,
        )

    def _checked(self, spec: ChildSpec) -> ChildSpec:
        if self._template is not None:
            raise SimpleOneForOne("its children come from its template: use StartFromTemplate")
        check_childspec(spec, self._auto_shutdown)
        return spec

    def _filled(self, request: StartFromTemplate) -> ChildSpec:
        template = self._template
        if template is None:
            raise SimpleOneForOne("it has no template: use StartChild, or start it with one")
        if not request.args and not request.options:
            return template
        args, options = template.args + tuple(request.args), template.options
        return replace(template, args=args, options={**options, **request.options})

    def _add(self, spec: ChildSpec, from_: From) -> Any:
        limit = self._max_children
        if limit is not None and len(self._children) + len(self._restarting) >= limit:
            raise MaxChildren(limit)
        try:
            started = begin_child(self, spec, self._extra)
        except StartIgnored:
            return None
        if isinstance(started, Pid):
            self._joined(started, spec)
            return started
        return self._add_waiting(spec, started, from_)

    async def _add_waiting(self, spec: ChildSpec, starting: Awaitable[Pid], from_: From) -> Any:
        try:
            pid = await starting
        except StartIgnored:
            return None
        except CANNOT_START as error:
            self.reply_error(from_, error)
            return NOREPLY
        self._joined(pid, spec)
        return pid

    def _terminate(self, child: object) -> Any:
        pid = self._find(child)
        spec = self._children.pop(pid, None)
        if spec is None:
            self._left(self._restarting.pop(pid))
            return None
        self._left(spec)
        return stop_children(self, [(pid, spec)])

    def _find(self, child: object) -> Pid:
        if isinstance(child, Pid):
            if child in self._children or child in self._restarting:
                return child
            raise ChildNotFound(child)
        for pid, spec in (*self._children.items(), *self._restarting.items()):
            if spec.id == child and pid is not None:
                return pid
        raise ChildNotFound(child)

    # -- ends of children ---------------------------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        """A child has exited, or a restart is to be tried again."""
        kind = type(message)
        if kind is Exit:
            spec = self._children.pop(message.sender, None)
            # None: one that we have stopped, or some other linked process.
            if spec is None:
                return None
            report_exit(self, spec, message.sender, message.reason, self._window)
            return self._child_exited(spec, message)
        if kind is _TryAgain:
            spec = self._restarting.pop(message.pid, None)
            return None if spec is None else self._restart(message.pid, spec, message.reason)
        return super().handle_info(message)

    def _child_exited(self, spec: ChildSpec, exit_: Exit) -> Any:
        restart = spec.restart
        if restart == "permanent" or (restart == "transient" and is_abnormal(exit_.reason)):
            assert exit_.sender is not None
            return self._restart(exit_.sender, spec, exit_.reason)
        self._left(spec)
        if spec.significant:
            auto = self._auto_shutdown
            if auto == "any_significant" or (auto == "all_significant" and not self._significant):
                return Stop(SHUTDOWN)
        return None

    def _restart(self, old: Pid, spec: ChildSpec, reason: object) -> Any:
        if not self._window.allows(self.clock.monotonic()):
            self._left(spec)
            report_child(self, "shutdown", MAX_INTENSITY, spec, None, self._window)
            self.node.notify(self.node.observer.supervisor_gave_up, self.pid, reason)
            return Stop(SHUTDOWN)
        try:
            started = begin_child(self, spec, self._extra)
        except CANNOT_START as error:
            self._not_started(old, spec, error)
            return None
        if not isinstance(started, Pid):
            return self._restart_waiting(old, spec, started, reason)
        self._restarted(started, spec, reason)
        return None

    async def _restart_waiting(
        self, old: Pid, spec: ChildSpec, starting: Awaitable[Pid], reason: object
    ) -> None:
        try:
            pid = await starting
        except CANNOT_START as error:
            self._not_started(old, spec, error)
        else:
            self._restarted(pid, spec, reason)

    def _not_started(self, old: Pid, spec: ChildSpec, error: Exception) -> None:
        if isinstance(error, StartIgnored):
            self._left(spec)
        else:
            self._restarting[old] = spec
            reason = start_reason(error)
            report_child(self, "start_error", reason, spec, None, self._window)
            self.send(self.pid, _TryAgain(old, reason))

    def _restarted(self, pid: Pid, spec: ChildSpec, reason: object) -> None:
        self._children[pid] = spec
        node = self.node
        node.restarts_total += 1
        node.notify(node.observer.child_restarted, self.pid, spec.id, reason)

    # -- counting -----------------------------------------------------------------------------

    def _joined(self, pid: Pid, spec: ChildSpec) -> None:
        if self._template is not None and spec.restart == "temporary":
            spec = self._template  # as in OTP: what is not started again needs no arguments kept
        self._children[pid] = spec
        self._supervisors += spec.kind == "supervisor"
        self._significant += spec.significant

    def _left(self, spec: ChildSpec) -> None:
        self._supervisors -= spec.kind == "supervisor"
        self._significant -= spec.significant
