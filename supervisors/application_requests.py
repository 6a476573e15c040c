"""What the application controller can be asked; each is sent by a function of `applications`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from palaver.supervisors.application import Application, StartType

__all__ = [
    "CONTROLLER",
    "ChangeEnv",
    "GetEnv",
    "LoadApplication",
    "LoadedApplications",
    "PlanStart",
    "StartApplication",
    "StopApplication",
    "UnloadApplication",
    "WhichApplications",
]

CONTROLLER: Final = "application_controller"
"""The name that the controller of a node has."""


@dataclass(frozen=True, slots=True)
class LoadApplication:
    """Make an application known; fails with `BadApplication`."""

    application: Application[Any]


@dataclass(frozen=True, slots=True)
class UnloadApplication:
    """Forget an application; fails with `NotLoaded` or `ApplicationStarted`."""

    name: str


@dataclass(frozen=True, slots=True)
class LoadedApplications:
    """Answered with the names of those that are known, in the order in which they were loaded."""


@dataclass(frozen=True, slots=True)
class StartApplication:
    """Start an application; answered with True when it runs.

    Fails with `NotLoaded`, `DependencyNotStarted`, `ApplicationStarted` or `ApplicationFailed`.
    With `ensure`, one that runs is answered with False, and one that is being started is awaited.
    """

    name: str
    start_type: StartType = "temporary"
    ensure: bool = False


@dataclass(frozen=True, slots=True)
class StopApplication:
    """Stop an application; answered when its processes have exited. Fails with `NotStarted`."""

    name: str


@dataclass(frozen=True, slots=True)
class PlanStart:
    """Answered with these and all they need, in an order in which they can be started.

    Fails with `NotLoaded` or `DependencyCycle`.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhichApplications:
    """Answered with an `ApplicationInfo` of each that runs, in the order in which they started."""


@dataclass(frozen=True, slots=True)
class GetEnv:
    """Answered with the configuration of an application; fails with `NotLoaded`."""

    name: str


@dataclass(frozen=True, slots=True)
class ChangeEnv:
    """Replace the configuration of an application by one of the same type.

    One that runs is told, by `Application.config_change`. Fails with `NotLoaded` or
    `BadApplication`.
    """

    name: str
    env: Any
