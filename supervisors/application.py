"""`Application`: a part of a system that is started and stopped as one; after OTP's `application`.

    @dataclass(frozen=True)
    class ChatEnv:
        port: int = 5222

    class Chat(Application[ChatEnv]):
        name = "chat"
        applications = ("storage",)

        def start(self, ctx: ProcessContext) -> ChildSpec:
            return ChildSpec("chat", ChatTree, (self.env.port,), kind="supervisor")

The functions of `applications` start and stop them; `controller` is the process that does it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from palaver.actors.runtime import Pid, ProcessContext, RuntimeFault
from palaver.supervisors.spec import ChildSpec

__all__ = [
    "Application",
    "ApplicationEnded",
    "ApplicationError",
    "ApplicationFailed",
    "ApplicationInfo",
    "ApplicationStarted",
    "BadApplication",
    "DependencyCycle",
    "DependencyNotStarted",
    "NotLoaded",
    "NotStarted",
    "StartType",
]

EnvT = TypeVar("EnvT")

StartType: TypeAlias = Literal["permanent", "transient", "temporary"]
"""What the end of an application, by itself, does to the others.

``permanent``: all are stopped, and the controller ends. ``transient``: the same, unless it ended
`NORMAL`. ``temporary``: nothing. To stop an application on request never does anything to others.
"""


class Application(Generic[EnvT]):
    """The base of applications: subclass it, name it, say what it needs and what it starts.

    Each callback may be a plain `def` or an `async def`; `ctx` is the application's own process,
    the parent of what `start` gives. The instance is the application's state.

    Args:
        env: Its configuration: any object, best a frozen dataclass.
    """

    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    version: ClassVar[str] = ""
    applications: ClassVar[tuple[str, ...]] = ()
    """The names of those that have to be started before it."""

    def __init__(self, env: EnvT) -> None:
        self.env = env

    def start(
        self, ctx: ProcessContext
    ) -> ChildSpec | Coroutine[Any, Any, ChildSpec | None] | None:
        """Say what is to be started: the top supervisor; its end is the end of the application.

        None: there is nothing to run, only a configuration and what the application needs (what
        OTP calls a library application).
        """
        return None

    def prep_stop(self, ctx: ProcessContext) -> Any:
        """Prepare to be stopped: all its processes still run. Not if it ended by itself."""

    def stop(self, ctx: ProcessContext) -> Any:
        """Clean up: its processes have exited."""

    def config_change(self, ctx: ProcessContext, old: EnvT) -> Any:
        """`env` was replaced while the application runs; `old` is what it was."""


@dataclass(frozen=True, slots=True)
class ApplicationInfo:
    """An application that runs; `top` is what its `start` gave, None if that was nothing."""

    name: str
    description: str
    version: str
    start_type: StartType
    top: Pid | None


@dataclass(frozen=True, slots=True)
class ApplicationEnded:
    """The exit reason of the controller: an application, which may not, has ended by itself."""

    name: str
    start_type: StartType
    reason: object

    def __str__(self) -> str:
        return f"the {self.start_type} application {self.name!r} has ended: {self.reason}"


class ApplicationError(RuntimeFault):
    """An application could not be loaded, started or stopped."""


class BadApplication(ApplicationError):
    """It has no name, or one that is taken; or an `env` for it is of the wrong type."""


class NotLoaded(ApplicationError):
    """There is no application of this name."""

    def __init__(self, name: str, needed_by: str | None = None) -> None:
        need = "" if needed_by is None else f", which {needed_by!r} needs"
        super().__init__(f"no application {name!r}{need}: load it first, with load_application")
        self.name = name
        self.needed_by = needed_by


class NotStarted(ApplicationError):
    """The application does not run."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the application {name!r} is not started")
        self.name = name


class ApplicationStarted(ApplicationError):
    """The application runs already, or is being started or stopped: `state` says which."""

    def __init__(self, name: str, state: str) -> None:
        super().__init__(f"the application {name!r} is {state}: stop it first")
        self.name = name
        self.state = state


class DependencyNotStarted(ApplicationError):
    """An application needs another, which does not run."""

    def __init__(self, name: str, needed: str) -> None:
        super().__init__(
            f"the application {name!r} needs {needed!r}, which is not started: "
            "start it before, or both with ensure_all_started"
        )
        self.name = name
        self.needed = needed


class DependencyCycle(ApplicationError):
    """Applications need each other in a circle: none of them can be the first."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(
            f"applications need each other in a circle: {' -> '.join(names)}; "
            "take one of these out of its `applications`"
        )
        self.names = names


class ApplicationFailed(ApplicationError):
    """An application did not start; `reason` is why its process exited."""

    def __init__(self, name: str, reason: object) -> None:
        super().__init__(f"the application {name!r} did not start: {reason}")
        self.name = name
        self.reason = reason
