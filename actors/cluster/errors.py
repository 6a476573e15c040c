"""What can be wrong with a cluster; every text says what to do.

The tree of errors:

    ClusterError
    ├── CannotJoin               this node may not be part of the cluster
    │   ├── NameInUse            another node of this name is alive
    │   ├── WrongCluster         another cluster's registers
    │   ├── Replaced             another node has taken this one's name
    │   └── Removed              this node was removed from the cluster for good
    ├── CannotRebalance          a change of the placement is refused
    │   └── Rebalancing          another one is under way
    ├── CannotHandOver           a partition cannot be given to that node
    ├── NotReplica               a question about a partition that this node has no replica of
    └── SnapshotError            a snapshot could not be fetched from another node
        └── TooManyTransfers     a node sends as many as it may

Those of the store, the registers and the runtime come through as they are.
"""

from __future__ import annotations

__all__ = [
    "CannotHandOver",
    "CannotJoin",
    "CannotRebalance",
    "ClusterError",
    "NameInUse",
    "NotReplica",
    "Rebalancing",
    "Removed",
    "Replaced",
    "SnapshotError",
    "TooManyTransfers",
    "WrongCluster",
]


class ClusterError(Exception):
    """Base of everything that the cluster's processes raise."""


class CannotJoin(ClusterError):
    """This node may not be part of the cluster; nothing was changed."""


class NameInUse(CannotJoin):
    """Another node of the same name is alive and says so."""


class WrongCluster(CannotJoin):
    """The registers belong to another cluster, or to one of other partitions or another format."""


class Replaced(CannotJoin):
    """Another node has taken this node's name while this one was silent: this one must stop."""


class Removed(CannotJoin):
    """This node was removed from the cluster: stop it. Started anew, it joins as a new one."""


class CannotRebalance(ClusterError):
    """A change of the placement would not be safe, or makes no sense."""


class Rebalancing(CannotRebalance):
    """Another change of the placement is under way: wait for its end, then ask again."""


class CannotHandOver(ClusterError):
    """The partition is not owned here, or the other node cannot take it over now."""


class NotReplica(ClusterError):
    """This node keeps no replica of that partition."""


class SnapshotError(ClusterError):
    """A snapshot could not be fetched: no peer has it, it came damaged, or the peer has gone."""


class TooManyTransfers(SnapshotError):
    """The node sends as many snapshots as it may at a time: ask another one, or later."""
