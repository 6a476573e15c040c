"""`Via`: a key of a registry in the place of a pid or a name; OTP's `{via, Module, Name}`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from palaver.actors.names.errors import NotRunning
from palaver.actors.names.registry import Registry
from palaver.actors.names.watching import pid_of
from palaver.actors.runtime import Crash, Pid, RegistryName, StartError
from palaver.actors.runtime.process import Process

__all__ = ["Via"]

K = TypeVar("K", bound=Hashable)


class Via(RegistryName, Generic[K]):
    """Whoever is registered under a key of a unique registry at the time of use.

        node.cast(Via(rooms, "lobby"), Open())
        node.spawn(Room, name=Via(rooms, "lobby"))

    As a destination it is looked up for each message; if nobody has the key, that is as if a name
    were not registered. As the name of a new process, it registers that with `value`, before its
    `init`; `NameTaken` is raised if the key is taken, `StartError` if the registry does not run.

    Args:
        registry: A registry with unique keys.
        key: The key.
        value: The value to register with; of no meaning for a destination.
    """

    __slots__ = ("key", "registry", "value")

    def __init__(self, registry: Registry[K, Any], key: K, value: Any = None) -> None:
        if not registry.unique:
            raise TypeError(f"{registry.name} has duplicate keys: none of them names a process")
        self.registry = registry
        self.key = key
        self.value = value

    @property
    def process_(self) -> Process | None:
        """The runtime's way to the process that has the key now."""
        pid = self.registry.whereis(self.key)
        return None if pid is None else pid.process_

    def holder(self) -> Pid | None:
        """Who has the key: the runtime asks this before it starts a process with this name.

        Raises `StartError` if the registry does not run, so that a supervisor tries again, as it
        would in OTP.
        """
        if self.registry.pid is None:
            raise StartError(f"a process named {self!r}", Crash(NotRunning(self.registry.title)))
        return self.registry.whereis(self.key)

    def register_(self, process: Process) -> None:
        """Register a new process: what the runtime does with the name of one that it starts."""
        self.registry.register(pid_of(process), self.key, self.value)

    def __repr__(self) -> str:
        return f"{self.registry.name}[{self.key!r}]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and other.registry is self.registry and other.key == self.key

    def __hash__(self) -> int:
        return hash((id(self.registry), self.key))
