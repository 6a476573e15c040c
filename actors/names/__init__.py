"""Finding processes: registries, names by way of them, and process groups.

    from palaver.actors.names import Registry, RegistryServer, Scope, ScopeServer, Via

`docs/names.md` shows how.
"""

from palaver.actors.names.errors import (
    AlreadyRegistered,
    AlreadyRunning,
    NotLocal,
    NotRegistered,
    NotRunning,
)
from palaver.actors.names.fabric import GroupFabric, GroupLine, LocalOnly
from palaver.actors.names.group_messages import (
    Discover,
    Join,
    Joined,
    Leave,
    Left,
    NodeUp,
    PeerDown,
    PeerEvent,
    PeerMessage,
    Sync,
)
from palaver.actors.names.groups import GroupMonitor, Scope, ScopeServer
from palaver.actors.names.registry import Registered, Registry, RegistryServer, Unregistered
from palaver.actors.names.tables import Entry, Registration
from palaver.actors.names.via import Via

__all__ = [
    "AlreadyRegistered",
    "AlreadyRunning",
    "Discover",
    "Entry",
    "GroupFabric",
    "GroupLine",
    "GroupMonitor",
    "Join",
    "Joined",
    "Leave",
    "Left",
    "LocalOnly",
    "NodeUp",
    "NotLocal",
    "NotRegistered",
    "NotRunning",
    "PeerDown",
    "PeerEvent",
    "PeerMessage",
    "Registered",
    "Registration",
    "Registry",
    "RegistryServer",
    "Scope",
    "ScopeServer",
    "Sync",
    "Unregistered",
    "Via",
]
