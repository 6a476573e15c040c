"""The port of the process groups (`names.GroupFabric`), over the distribution."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from palaver.actors.distribution import signals
from palaver.actors.distribution.addresses import RemotePid
from palaver.actors.names import NodeUp, PeerDown, PeerEvent, PeerMessage
from palaver.actors.runtime import Pid, Ref

if TYPE_CHECKING:
    from palaver.actors.distribution.distribution import Distribution

__all__ = ["NodeGroups"]

Deliver = Callable[[PeerEvent], None]


class _Line(Ref):
    """One scope process's end; a `names.GroupLine`."""

    __slots__ = ("_deliver", "_distribution", "_late", "_open", "pid", "scope")

    def __init__(self, groups: NodeGroups, scope: str, pid: Pid, deliver: Deliver) -> None:
        self._distribution = groups.distribution
        self.scope = scope
        self.pid = pid
        self._deliver = deliver
        self._open = True
        # What is to be delivered, but not from within a method.
        self._late: deque[PeerEvent] = deque()

    def nodes(self) -> Iterable[str]:
        """The nodes that are connected."""
        return self._distribution.nodes()

    def send_to_node(self, node_name: str, message: PeerMessage) -> None:
        """Send to the process of this scope on a node."""
        peer = self._distribution.peer(node_name)
        if peer is not None:
            packed = self._distribution.packed(message)
            self._distribution.send(peer, signals.Grouped(self.scope, packed))

    def send(self, peer: Pid, message: PeerMessage) -> None:
        """Send to a scope process."""
        there = self._distribution.peer(peer.node_name)
        if there is not None and isinstance(peer, RemotePid):
            packed = self._distribution.packed(message)
            self._distribution.send(there, signals.GroupedTo(peer.where, packed))

    def watch(self, peer: Pid) -> None:
        """Deliver `PeerDown(peer)`, once, when it is gone."""
        if not isinstance(peer, RemotePid):
            raise TypeError(f"{peer} is no scope process of another node")
        self._distribution.watch(peer, self, self)

    def down(self, pid: Pid, reason: object) -> None:
        """A watched scope process is gone: say so, once whoever calls is done."""
        self._late.append(PeerDown(pid))
        if len(self._late) == 1:
            self._distribution.node.timers.add(0.0, self.flush)

    def flush(self) -> None:
        """Deliver what has waited."""
        while self._late:
            event = self._late.popleft()
            if self._open:
                self._deliver(event)

    def deliver(self, event: PeerEvent) -> None:
        """Deliver something, after what has waited."""
        self.flush()
        if self._open:
            self._deliver(event)

    def close(self) -> None:
        """Deliver nothing more; those who watch the process hear of its end by that."""
        self._open = False
        self._distribution.groups.closed(self)


class NodeGroups:
    """What connects the groups of one node with those of others; a `names.GroupFabric`.

    scope = Scope("chat", fabric=distribution.groups)
    """

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution
        self._lines: dict[str, _Line] = {}

    def open(self, scope: str, pid: Pid, deliver: Deliver) -> _Line:
        """Connect the process of a scope."""
        line = self._lines[scope] = _Line(self, scope, pid, deliver)
        return line

    def closed(self, line: _Line) -> None:
        """A scope process has exited."""
        if self._lines.get(line.scope) is line:
            del self._lines[line.scope]

    def up(self, node_name: str) -> None:
        """There is a connection to a node."""
        for line in list(self._lines.values()):
            line.deliver(NodeUp(node_name))

    def down(self, node_name: str) -> None:
        """The connection to a node is lost; the watched peers have been told of one by one."""
        for line in list(self._lines.values()):
            line.flush()

    def arrived(self, scope: str | None, pid: Pid | None, message: Any) -> None:
        """A message has come for the process of a scope, or for this very one."""
        for line in list(self._lines.values()):
            if line.scope == scope or (pid is not None and line.pid is pid):
                line.deliver(message)
