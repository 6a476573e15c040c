"""Who belongs to the cluster, who owns which partition, and how that changes."""

from palaver.actors.cluster.errors import *  # noqa: F403 - its face is part of this one
from palaver.actors.cluster.errors import __all__ as _errors
from palaver.actors.cluster.events import ClusterStats, Event, Recorder
from palaver.actors.cluster.membership import GetMembers, Joined, Subscribe
from palaver.actors.cluster.ownership_messages import (
    GetPartition,
    GetPartitions,
    GiveTo,
    LostPartition,
    PartitionStatus,
    Rebuild,
    Release,
)
from palaver.actors.cluster.placement import place
from palaver.actors.cluster.ports import ClusterStore, PartitionHost, ReplicaState, SnapshotFiles
from palaver.actors.cluster.records import (
    ClusterRecord,
    NodeRecord,
    OwnerRecord,
    Placement,
    RebalanceRecord,
)
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.cluster.tree import ClusterParts, ClusterSupervisor

__all__ = [
    "ClusterParts",
    "ClusterRecord",
    "ClusterSettings",
    "ClusterStats",
    "ClusterStore",
    "ClusterSupervisor",
    "Event",
    "GetMembers",
    "GetPartition",
    "GetPartitions",
    "GiveTo",
    "Joined",
    "LostPartition",
    "Members",
    "NodeRecord",
    "OwnerRecord",
    "PartitionHost",
    "PartitionStatus",
    "Placement",
    "RebalanceRecord",
    "Rebuild",
    "Recorder",
    "Release",
    "ReplicaState",
    "SnapshotFiles",
    "Subscribe",
    "place",
    *_errors,
]
