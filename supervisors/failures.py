"""What a supervisor answers where it cannot do what it was asked, and why a tree did not start.

SupervisorError
├── BadSpecification    a list of child specifications cannot be (also a TypeError)
├── ChildNotFound       there is no such child
├── ChildRunning        the child runs; it has to be terminated first
│   └── ChildRestarting ... or is about to: its restart failed and is tried again
├── AlreadyPresent      there is a child with this id
│   └── AlreadyStarted  ... and it runs
├── MaxChildren         a dynamic supervisor has as many children as it may have
└── SimpleOneForOne     not for a dynamic supervisor of this kind (also a TypeError)
"""

from __future__ import annotations

from dataclasses import dataclass

from palaver.actors.runtime import Pid, RuntimeFault

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "BadSpecification",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "FailedToStart",
    "MaxChildren",
    "SimpleOneForOne",
    "SupervisorError",
]


@dataclass(frozen=True, slots=True)
class FailedToStart:
    """In a `Shutdown` or `StartError`: the child `id` did not start, for `reason`."""

    id: object
    reason: object

    def __str__(self) -> str:
        return f"child {self.id!r} did not start: {self.reason}"


class SupervisorError(RuntimeFault):
    """A supervisor could not do what it was asked."""


class BadSpecification(SupervisorError, TypeError):
    """A list of child specifications cannot be: see `check_childspecs`."""


class ChildNotFound(SupervisorError):
    """There is no such child."""

    def __init__(self, child: object) -> None:
        super().__init__(f"no child {child!r}: which_children lists those there are")
        self.child = child


class ChildRunning(SupervisorError):
    """The child is running: it can neither be started nor deleted."""

    def __init__(self, child: object) -> None:
        super().__init__(f"the child {child!r} is running: terminate it first")
        self.child = child


class ChildRestarting(ChildRunning):
    """The restart of the child failed and is about to be tried again."""

    def __init__(self, child: object) -> None:
        super().__init__(child)
        self.args = (f"the child {child!r} is being restarted: wait, or terminate it first",)


class AlreadyPresent(SupervisorError):
    """There is a child with this id, running as `pid` or stopped (None)."""

    def __init__(self, child: object, pid: Pid | None) -> None:
        state = "does not run: restart or delete it" if pid is None else f"runs as {pid}"
        super().__init__(f"the child {child!r} is there already and {state}")
        self.child = child
        self.pid = pid


class AlreadyStarted(AlreadyPresent):
    """There is a child with this id, and it is running as `pid`."""


class MaxChildren(SupervisorError):
    """A `DynamicSupervisor` has as many children as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} children, which is the limit set by max_children")
        self.limit = limit


class SimpleOneForOne(SupervisorError, TypeError):
    """A dynamic supervisor cannot do this; OTP's error `simple_one_for_one`."""
