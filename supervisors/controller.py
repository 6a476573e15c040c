"""The application controller: a process of the node that starts and stops applications, in order.

Each application has a process of its own, its `ApplicationMaster`. The controller itself never
waits for one: it answers while others start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import structlog

from palaver.actors.runtime import (
    NOREPLY,
    NORMAL,
    SHUTDOWN,
    Exit,
    From,
    GenServer,
    Pid,
    Stop,
)
from palaver.supervisors.application import (
    Application,
    ApplicationEnded,
    ApplicationError,
    ApplicationFailed,
    ApplicationInfo,
    ApplicationStarted,
    BadApplication,
    DependencyCycle,
    DependencyNotStarted,
    NotLoaded,
    NotStarted,
    StartType,
)
from palaver.supervisors.application_master import ApplicationMaster, EnvChanged, Up
from palaver.supervisors.application_requests import (
    ChangeEnv,
    GetEnv,
    LoadApplication,
    LoadedApplications,
    PlanStart,
    StartApplication,
    StopApplication,
    UnloadApplication,
    WhichApplications,
)

__all__ = ["ApplicationController"]

log = structlog.get_logger("palaver.supervisors")


class _Run:
    """An application from its start to its end."""

    __slots__ = ("application", "master", "start_type", "starters", "state", "stoppers", "top")

    def __init__(
        self, application: Application[Any], start_type: StartType, master: Pid, starter: From
    ) -> None:
        self.application = application
        self.start_type = start_type
        self.master = master
        self.state: Literal["starting", "running", "stopping"] = "starting"
        self.top: Pid | None = None
        self.starters = [starter]
        self.stoppers: list[From] = []


class ApplicationController(GenServer):
    """Knows the applications of a node, and starts and stops them."""

    __slots__ = ("_halt", "_loaded", "_runs")

    def init(
        self,
        applications: Iterable[Application[Any]] = (),
        *,
        halt: Callable[[ApplicationEnded], object] | None = None,
    ) -> None:
        """Load these applications.

        Args:
            applications: What can be started; more by `LoadApplication`.
            halt: Called when an application that may not has ended and all others are stopped,
                just before the controller exits with the same reason. A program that does not
                await the controller's end can have its node stopped here.
        """
        self.trap_exit = True
        self._halt = halt
        self._loaded: dict[str, Application[Any]] = {}
        self._runs: dict[str, _Run] = {}  # in the order in which they came to run
        for application in applications:
            self._load(application)

    async def terminate(self, reason: object) -> None:
        """Stop all applications, the last started first."""
        for run in reversed(list(self._runs.values())):
            self.exit(run.master, SHUTDOWN)
            await self.join([run.master])
        if self._halt is not None and isinstance(reason, ApplicationEnded):
            self._halt(reason)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `application_requests`; what cannot be done is answered with an exception."""
        try:
            return self._answer(request, from_)
        except ApplicationError as error:
            self.reply_error(from_, error)
            return NOREPLY

    def _answer(self, request: Any, from_: From) -> Any:
        match request:
            case StartApplication():
                return self._start(request, from_)
            case StopApplication(name):
                return self._stop(name, from_)
            case PlanStart(names):
                return self._plan(names)
            case WhichApplications():
                return [_info(run) for run in self._runs.values() if run.state == "running"]
            case LoadApplication(application):
                return self._load(application)
            case UnloadApplication(name):
                self._find(name)
                if name in self._runs:
                    raise ApplicationStarted(name, self._runs[name].state)
                del self._loaded[name]
                return None
            case LoadedApplications():
                return list(self._loaded)
            case GetEnv(name):
                return self._find(name).env
            case ChangeEnv(name, env):
                return self._change_env(name, env)
        fault = TypeError(f"the application controller does not understand {request!r}")
        self.reply_error(from_, fault)
        return NOREPLY

    def handle_info(self, message: Any) -> Any:
        """An application has come up, or ended."""
        if isinstance(message, Up):
            run = self._by_master(message.master)
            if run is not None and run.state == "starting":
                self._came_up(run, message.top)
            return None
        if isinstance(message, Exit):
            run = self._by_master(message.sender)
            return None if run is None else self._ended(run, message.reason)
        return super().handle_info(message)

    def _by_master(self, master: Pid | None) -> _Run | None:
        return next((run for run in self._runs.values() if run.master is master), None)

    # -- loading ------------------------------------------------------------------------------

    def _load(self, application: Application[Any]) -> None:
        if not isinstance(application, Application) or not application.name:
            raise BadApplication(
                f"{application!r} cannot be loaded: it takes an instance of a subclass of "
                "Application that sets `name`"
            )
        if application.name in self._loaded:
            raise BadApplication(f"an application {application.name!r} is loaded already")
        self._loaded[application.name] = application

    def _find(self, name: str, needed_by: str | None = None) -> Application[Any]:
        application = self._loaded.get(name)
        if application is None:
            raise NotLoaded(name, needed_by)
        return application

    def _change_env(self, name: str, env: Any) -> None:
        application = self._find(name)
        old = application.env
        if type(env) is not type(old):
            raise BadApplication(
                f"the env of {name!r} is a {type(old).__name__}, not a {type(env).__name__}"
            )
        application.env = env
        run = self._runs.get(name)
        if run is not None and run.state == "running":
            self.send(run.master, EnvChanged(old))

    def _plan(self, names: tuple[str, ...]) -> list[str]:
        plan: dict[str, None] = {}
        path: list[str] = []

        def visit(name: str, needed_by: str | None) -> None:
            if name in plan:
                return
            if name in path:
                raise DependencyCycle((*path[path.index(name) :], name))
            path.append(name)
            for needed in self._find(name, needed_by).applications:
                visit(needed, name)
            path.pop()
            plan[name] = None

        for name in names:
            visit(name, None)
        return list(plan)

    # -- starting and stopping ----------------------------------------------------------------

    def _start(self, request: StartApplication, from_: From) -> Any:
        name = request.name
        application = self._find(name)
        run = self._runs.get(name)
        if run is not None:
            if request.ensure and run.state == "running":
                return False
            if request.ensure and run.state == "starting":
                run.starters.append(from_)
                return NOREPLY
            raise ApplicationStarted(name, run.state)
        for needed in application.applications:
            if needed not in self._runs or self._runs[needed].state != "running":
                raise DependencyNotStarted(name, needed)
        master = self.spawn_link(ApplicationMaster, application)
        self._runs[name] = _Run(application, request.start_type, master, from_)
        return NOREPLY

    def _stop(self, name: str, from_: From) -> Any:
        run = self._runs.get(name)
        if run is None:
            self._find(name)
            raise NotStarted(name)
        run.stoppers.append(from_)
        if run.state != "stopping":
            run.state = "stopping"
            self.exit(run.master, SHUTDOWN)
        return NOREPLY

    def _came_up(self, run: _Run, top: Pid | None) -> None:
        run.state, run.top = "running", top
        # Now it is the last started: others may have come up while it was starting.
        self._runs[run.application.name] = self._runs.pop(run.application.name)
        starters, run.starters = run.starters, []
        for number, starter in enumerate(starters):
            self.reply(starter, number == 0)  # the first has started it, the others found it

    def _ended(self, run: _Run, reason: object) -> Stop | None:
        name = run.application.name
        del self._runs[name]
        for starter in run.starters:
            self.reply_error(starter, ApplicationFailed(name, reason))
        for stopper in run.stoppers:
            self.reply(stopper, None)
        if run.state != "running":
            return None
        start_type = run.start_type
        log.warning(
            "application ended", application=name, start_type=start_type, reason=str(reason)
        )
        if start_type == "permanent" or (start_type == "transient" and reason is not NORMAL):
            return Stop(ApplicationEnded(name, start_type, reason))
        return None


def _info(run: _Run) -> ApplicationInfo:
    application = run.application
    return ApplicationInfo(
        application.name, application.description, application.version, run.start_type, run.top
    )
