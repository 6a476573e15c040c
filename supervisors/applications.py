"""What can be done with the applications of a node, as functions; after OTP's module `application`.

    async with Node() as node:
        controller = await start_controller(node, Storage(StorageEnv()), Chat(ChatEnv(port=5222)))
        await ensure_all_started(node, "chat", start_type="permanent")
        reason = await node.wait(controller)  # ApplicationEnded: leave, and the node stops

The first argument is who asks: a process or the node. They wait for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from palaver.actors.runtime import Node, Pid
from palaver.supervisors.application import (
    Application,
    ApplicationEnded,
    ApplicationError,
    ApplicationInfo,
    NotStarted,
    StartType,
)
from palaver.supervisors.application_requests import (
    CONTROLLER,
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
from palaver.supervisors.asking import Caller
from palaver.supervisors.controller import ApplicationController

__all__ = [
    "change_env",
    "ensure_all_started",
    "get_env",
    "load_application",
    "loaded_applications",
    "start_application",
    "start_controller",
    "stop_application",
    "unload_application",
    "which_applications",
]

EnvT = TypeVar("EnvT")


async def start_controller(
    node: Node,
    *applications: Application[Any],
    halt: Callable[[ApplicationEnded], object] | None = None,
) -> Pid:
    """Start the application controller of a node, with these applications loaded.

    See `ApplicationController.init` for `halt`. Raises `StartError` for what cannot be loaded and
    `NameTaken` if the node has a controller.
    """
    return await node.start_server(ApplicationController, applications, halt=halt, name=CONTROLLER)


async def load_application(via: Caller, application: Application[Any]) -> None:
    """Make an application known: see `LoadApplication`."""
    await via.call(CONTROLLER, LoadApplication(application), timeout_s=None)


async def unload_application(via: Caller, name: str) -> None:
    """Forget an application: see `UnloadApplication`."""
    await via.call(CONTROLLER, UnloadApplication(name), timeout_s=None)


async def loaded_applications(via: Caller) -> list[str]:
    """The names of those that can be started."""
    return cast("list[str]", await via.call(CONTROLLER, LoadedApplications(), timeout_s=None))


async def start_application(via: Caller, name: str, *, start_type: StartType = "temporary") -> None:
    """Start an application, whose dependencies run: see `StartApplication`."""
    await via.call(CONTROLLER, StartApplication(name, start_type), timeout_s=None)


async def ensure_all_started(
    via: Caller, *names: str, start_type: StartType = "temporary"
) -> list[str]:
    """Start applications and all they need, in order; the names of those that it has started.

    If one fails, those that were started by this are stopped again, in reverse, and the error is
    raised: that of `StartApplication`, or `DependencyCycle`.
    """
    started: list[str] = []
    try:
        for name in await via.call(CONTROLLER, PlanStart(names), timeout_s=None):
            request = StartApplication(name, start_type, ensure=True)
            if await via.call(CONTROLLER, request, timeout_s=None):
                started.append(name)
    except ApplicationError:
        for name in reversed(started):
            try:
                await stop_application(via, name)
            except NotStarted:
                continue  # it has ended by itself meanwhile
        raise
    return started


async def stop_application(via: Caller, name: str) -> None:
    """Stop an application: see `StopApplication`. Others that need it are not asked, as in OTP."""
    await via.call(CONTROLLER, StopApplication(name), timeout_s=None)


async def which_applications(via: Caller) -> list[ApplicationInfo]:
    """Those that run, in the order in which they started."""
    answer = await via.call(CONTROLLER, WhichApplications(), timeout_s=None)
    return cast("list[ApplicationInfo]", answer)


async def get_env(via: Caller, application: type[Application[EnvT]]) -> EnvT:
    """The configuration of an application: see `GetEnv`."""
    return cast("EnvT", await via.call(CONTROLLER, GetEnv(application.name), timeout_s=None))


async def change_env(via: Caller, application: type[Application[EnvT]], env: EnvT) -> None:
    """Replace the configuration of an application: see `ChangeEnv`."""
    await via.call(CONTROLLER, ChangeEnv(application.name, env), timeout_s=None)
