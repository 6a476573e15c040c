"""How scope processes of several nodes reach each other: a port, and its default without peers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from palaver.actors.names.group_messages import PeerEvent, PeerMessage
from palaver.actors.runtime import Pid

__all__ = ["GroupFabric", "GroupLine", "LocalOnly"]


class GroupLine(Protocol):
    """One scope process's end of the fabric.

    None of its methods calls back within itself, or raises because a node or a peer is not there
    (any more). If one fails otherwise, the scope process exits with that, to begin anew.
    """

    def nodes(self) -> Iterable[str]:
        """The names of the other nodes to which there is a connection now."""

    def send_to_node(self, node_name: str, message: PeerMessage) -> None:
        """Send to the process of the same scope on a node; dropped if there is none."""

    def send(self, peer: Pid, message: PeerMessage) -> None:
        """Send to a scope process; dropped if it has exited or its node is not connected."""

    def watch(self, peer: Pid) -> None:
        """Deliver `PeerDown(peer)`, once, when it has exited or the connection to it is lost."""

    def close(self) -> None:
        """The scope process has exited: deliver nothing more, and tell those who watch it."""


class GroupFabric(Protocol):
    """What connects the nodes; every scope process opens a line.

    The fabric promises what Erlang's distribution does:

    * What one process sends to another arrives in the order sent, and is lost only when the
      connection is.
    * When a connection is lost, or a peer exits, `PeerDown` comes after everything that has
      arrived from it, and before anything of a later connection or of the next scope process on
      that node. If a connection is lost, both sides hear of it.
    * `NodeUp` is delivered for every connection that is made after `open`.
    """

    def open(self, scope: str, pid: Pid, deliver: Callable[[PeerEvent], None]) -> GroupLine:
        """Connect the process `pid` of a scope; give what comes for it to `deliver`.

        Both are called in the thread of the node.
        """


class LocalOnly:
    """A fabric without other nodes."""

    __slots__ = ()

    def open(self, scope: str, pid: Pid, deliver: Callable[[PeerEvent], None]) -> LocalOnly:
        """A line to nobody."""
        return self

    def nodes(self) -> Iterable[str]:
        """None."""
        return ()

    def send_to_node(self, node_name: str, message: PeerMessage) -> None:
        """There is no other node."""

    def send(self, peer: Pid, message: PeerMessage) -> None:
        """There is no peer."""

    def watch(self, peer: Pid) -> None:
        """There is no peer."""

    def close(self) -> None:
        """Nothing to close."""
