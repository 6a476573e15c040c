"""The identity of a process, and unique references."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process

__all__ = ["Dest", "Pid", "Ref"]


class Pid:
    """Who a process is: one object per process, equal only to itself.

    It outlives its process. `process_` is the runtime's way to the process and None once that has
    exited, so a send costs one attribute access, and a dead process is freed at once.
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


Dest: TypeAlias = Pid | str
"""Where a message goes: a process, or the name that one has registered."""
