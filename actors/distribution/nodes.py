"""Who wants to know that nodes come and go."""

from __future__ import annotations

from dataclasses import dataclass

from palaver.actors.runtime import Node, Pid, Ref
from palaver.actors.runtime.lifecycle import watchers_of

__all__ = ["NodeMonitor", "NodeMonitors", "Nodedown", "Nodeup"]


@dataclass(frozen=True, slots=True)
class Nodeup:
    """There is a connection to a node; Erlang's `{nodeup, Node}`."""

    node_name: str


@dataclass(frozen=True, slots=True)
class Nodedown:
    """The connection to a node is lost; Erlang's `{nodedown, Node}`."""

    node_name: str


class NodeMonitor(Ref):
    """A monitor of one node, or of all; ends with its owner."""

    __slots__ = ("_all", "node_name", "owner")

    def __init__(self, owner: Pid, node_name: str | None, of: dict[NodeMonitor, None]) -> None:
        self.owner = owner
        self.node_name = node_name
        self._all = of

    def down(self, pid: Pid, reason: object) -> None:
        """The owner has exited."""
        self._all.pop(self, None)


class NodeMonitors:
    """The monitors of nodes on one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._monitors: dict[NodeMonitor, None] = {}

    def add(self, owner: Pid, node_name: str, *, up: bool) -> NodeMonitor:
        """Tell `owner` once that a node is down; at once, if it is not up."""
        monitor = NodeMonitor(owner, node_name, self._monitors)
        if up:
            self._enter(monitor)
        else:
            self._tell(monitor, Nodedown(node_name))
        return monitor

    def add_all(self, owner: Pid) -> NodeMonitor:
        """Tell `owner` of every node."""
        monitor = NodeMonitor(owner, None, self._monitors)
        self._enter(monitor)
        return monitor

    def remove(self, ref: Ref) -> None:
        """End a monitor."""
        if isinstance(ref, NodeMonitor) and ref in self._monitors:
            del self._monitors[ref]
            process = ref.owner.process_
            if process is not None and process.watchers is not None:
                process.watchers.pop(ref, None)

    def up(self, node_name: str) -> None:
        """A node is up."""
        for monitor in list(self._monitors):
            if monitor.node_name is None:
                self._tell(monitor, Nodeup(node_name))

    def down(self, node_name: str) -> None:
        """A node is down."""
        for monitor in list(self._monitors):
            if monitor.node_name is None:
                self._tell(monitor, Nodedown(node_name))
            elif monitor.node_name == node_name:
                self.remove(monitor)
                self._tell(monitor, Nodedown(node_name))

    def _enter(self, monitor: NodeMonitor) -> None:
        process = monitor.owner.process_
        if process is not None:
            self._monitors[monitor] = None
            watchers_of(process)[monitor] = monitor

    def _tell(self, monitor: NodeMonitor, message: object) -> None:
        process = monitor.owner.process_
        if process is not None:
            process.tell(message)
