"""What registries and process groups raise.

RuntimeFault
├── NotRunning             the registry or scope has no process now, so it can hold nothing
├── AlreadyRunning         the registry or scope has a process already
├── NameTaken
│   └── AlreadyRegistered  the key of a unique registry belongs to a process
├── NotRegistered          the process is not registered under the key
└── NotLocal               the process belongs to another node
"""

from __future__ import annotations

from palaver.actors.runtime import NameTaken, Pid, RuntimeFault

__all__ = ["AlreadyRegistered", "AlreadyRunning", "NotLocal", "NotRegistered", "NotRunning"]


class NotRunning(RuntimeFault):
    """A registry or a scope was used while it has no process."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not running: start its server, before whoever uses it, under a supervisor"
        )


class AlreadyRunning(RuntimeFault):
    """A registry or a scope was started while its process `pid` runs."""

    def __init__(self, what: str, pid: Pid) -> None:
        super().__init__(f"{what} runs as {pid} already: make another object for another process")
        self.pid = pid


class AlreadyRegistered(NameTaken):
    """A key of a unique registry is registered already, to `pid`."""

    def __init__(self, registry: str, key: object, pid: Pid) -> None:
        super().__init__(f"{registry}[{key!r}]", pid)
        self.registry = registry
        self.key = key


class NotRegistered(RuntimeFault):
    """A process is not registered under a key."""

    def __init__(self, registry: str, key: object, pid: Pid) -> None:
        super().__init__(f"{pid} is not registered under {key!r} in {registry}")
        self.registry = registry
        self.key = key
        self.pid = pid


class NotLocal(RuntimeFault):
    """A process of another node was given where only local ones may be."""

    def __init__(self, pid: Pid, node_name: str) -> None:
        super().__init__(f"{pid} is not a process of node {node_name}: register and join it there")
        self.pid = pid
