"""What a scope of process groups hears, and what it wants done: plain data.

The four messages between scope processes of several nodes are those of OTP's `pg`. They carry the
pid of the scope process that sent them, so that a new one on the same node is not mistaken for the
old one.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, TypeAlias

from palaver.actors.runtime import Pid, Ref

__all__ = [
    "PEER_EVENTS",
    "Demonitor",
    "Discover",
    "Effect",
    "Event",
    "Group",
    "Join",
    "Joined",
    "Leave",
    "Left",
    "LocalJoin",
    "LocalLeave",
    "MemberDown",
    "MonitorGroup",
    "MonitorScope",
    "NodeUp",
    "Notify",
    "PeerDown",
    "PeerEvent",
    "PeerMessage",
    "Send",
    "SendToNode",
    "Sync",
    "Unwatch",
    "Watch",
    "WatchPeer",
]

Group: TypeAlias = Hashable
"""The name of a group; between nodes, one that the fabric can carry."""


# -- between scope processes -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Discover:
    """`peer` looks for others of its scope; answered with a `Sync`."""

    peer: Pid


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything that is joined on the node of `peer`; replaces what was known of it."""

    peer: Pid
    groups: tuple[tuple[Group, tuple[Pid, ...]], ...]


@dataclass(frozen=True, slots=True)
class Join:
    """Processes of the node of `peer` have joined a group."""

    peer: Pid
    group: Group
    members: tuple[Pid, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Processes of the node of `peer` have left, each once each of the groups."""

    peer: Pid
    members: tuple[Pid, ...]
    groups: tuple[Group, ...]


PeerMessage: TypeAlias = Discover | Sync | Join | Leave


# -- from the fabric -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeUp:
    """There is a connection to another node, a first one or a new one."""

    node_name: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A watched scope process has exited, or the connection to its node is lost."""

    peer: Pid


PeerEvent: TypeAlias = PeerMessage | NodeUp | PeerDown
PEER_EVENTS: Final = frozenset({Discover, Sync, Join, Leave, NodeUp, PeerDown})


# -- from this node --------------------------------------------------------------------------------

# These and the effects are not frozen: that would treble the time it takes to build them.


@dataclass(slots=True)
class LocalJoin:
    """Processes of this node join a group, each as often as it is named."""

    group: Group
    members: tuple[Pid, ...]


@dataclass(slots=True)
class LocalLeave:
    """Processes of this node leave a group, each as often as it is named."""

    group: Group
    members: tuple[Pid, ...]


@dataclass(slots=True)
class MemberDown:
    """A process of this node that had joined has exited."""

    pid: Pid


@dataclass(slots=True)
class MonitorScope:
    """Tell `owner` of every change, under `ref`."""

    ref: Ref
    owner: Pid


@dataclass(slots=True)
class MonitorGroup:
    """Tell `owner` of every change of one group, under `ref`."""

    ref: Ref
    owner: Pid
    group: Group


@dataclass(slots=True)
class Demonitor:
    """Tell of nothing more under `ref`."""

    ref: Ref


Event: TypeAlias = (
    PeerEvent | LocalJoin | LocalLeave | MemberDown | MonitorScope | MonitorGroup | Demonitor
)


# -- to who monitors -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """To who monitors with `ref`: `pids` have joined `group`; OTP's `{Ref, join, Group, Pids}`."""

    ref: Ref
    group: Group
    pids: tuple[Pid, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """To who monitors with `ref`: `pids` have left `group`; OTP's `{Ref, leave, Group, Pids}`."""

    ref: Ref
    group: Group
    pids: tuple[Pid, ...]


# -- effects ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Watch:
    """Say `MemberDown` when this process of this node exits, or has exited already."""

    pid: Pid


@dataclass(slots=True)
class Unwatch:
    """No longer."""

    pid: Pid


@dataclass(slots=True)
class WatchPeer:
    """Say `PeerDown` when this scope process of another node is gone."""

    peer: Pid


@dataclass(slots=True)
class Send:
    """Send a message to a scope process of another node."""

    peer: Pid
    message: PeerMessage


@dataclass(slots=True)
class SendToNode:
    """Send a message to the scope's process on another node, if there is one."""

    node_name: str
    message: PeerMessage


@dataclass(slots=True)
class Notify:
    """Send an event to a process that monitors."""

    owner: Pid
    event: Joined | Left


Effect: TypeAlias = Watch | Unwatch | WatchPeer | Send | SendToNode | Notify
