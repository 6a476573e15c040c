"""The identity of a process, unique references, and what else a message can be sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from palaver.actors.runtime.protocol import P_co, Untyped

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process

__all__ = ["Addressable", "Dest", "Name", "Pid", "Ref", "RegistryName", "UntypedDest"]


class Pid(Generic[P_co]):
    """Who a process is: one object per process, equal only to itself.

    The type parameter is the protocol of its server, see `protocol`. A pid outlives its process.
    `process_` is the runtime's way to the process and None once that has exited, so a send costs
    one attribute access, and a dead process is freed at once.
    """

    __slots__ = ("node_name", "process_", "serial")

    def __init__(self, node_name: str, serial: int, process: Process | None = None) -> None:
        self.node_name = node_name
        self.serial = serial
        self.process_ = process

    def __repr__(self) -> str:
        return f"<{self.node_name}.{self.serial}>"


class Ref:
    """A unique reference: of a monitor, a request or a timer; equal only to itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {id(self):x}>"


class Addressable:
    """What a message can be sent to beside a pid: an alias, or a name in some registry.

    `process_` is the process that it means at this moment, or what takes items in its place; None
    if there is none, and what is sent is dropped.
    """

    __slots__ = ()

    @property
    def process_(self) -> Process | None:
        """The process it means now."""
        raise AttributeError("process_")


class RegistryName(Addressable):
    """A name that some registry keeps, as the `via` tuples of OTP; see `palaver.actors.names`."""

    __slots__ = ()

    def holder(self) -> Pid | None:
        """Who has the name; None if it is free."""
        raise AttributeError("holder")

    def register_(self, process: Process) -> None:
        """Give the name to a process; raises `NameTaken`."""
        raise AttributeError("register_")


Dest: TypeAlias = "Pid[Any] | Addressable | str"
"""Where a message goes: a process, an alias, or a name that a process has registered."""

UntypedDest: TypeAlias = "Pid[Untyped] | Addressable | str"
"""A destination that takes any message."""

Name: TypeAlias = "str | RegistryName"
"""What a process can be registered under: a name of its node, or one in a registry."""
