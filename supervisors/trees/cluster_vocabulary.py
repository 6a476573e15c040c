"""What the nodes of a cluster may say to each other."""

from __future__ import annotations

from palaver.actors.chat.crossing import CROSSING
from palaver.actors.cluster.auditor import Audit, GetSummary
from palaver.actors.cluster.errors import (
    CannotHandOver,
    ClusterError,
    NotReplica,
    SnapshotError,
    TooManyTransfers,
)
from palaver.actors.cluster.events import Event
from palaver.actors.cluster.membership import GetMembers
from palaver.actors.cluster.moving import IsBusy
from palaver.actors.cluster.ownership_messages import (
    GetPartition,
    GetPartitions,
    GiveTo,
    PartitionStatus,
    Rebuild,
)
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.snapshots import CloseSnapshot, Opened, OpenSnapshot, ReadChunk
from palaver.actors.cluster.standing import GetConnections
from palaver.actors.cluster.status import NodeSummary
from palaver.actors.distribution import Vocabulary
from palaver.storage.installing import SnapshotInfo
from palaver.storage.replicated.errors import (
    EntryTooLarge,
    JournalRefuses,
    JournalSilent,
    NotOwner,
    OwnershipLost,
)

__all__ = ["vocabulary"]

_CLUSTER = (
    GetPartition, GetPartitions, GiveTo, PartitionStatus, Rebuild, Audit, GetSummary, NodeSummary,
    Event, OpenSnapshot, Opened, ReadChunk, CloseSnapshot, SnapshotInfo, GetMembers, Members,
    IsBusy, ClusterError, CannotHandOver, NotReplica, SnapshotError, TooManyTransfers,
    GetConnections,
)  # fmt: skip
_STORE = (NotOwner, OwnershipLost, JournalSilent, JournalRefuses, EntryTooLarge)


def vocabulary() -> Vocabulary:
    """The messages of chat, of the cluster's processes, and what a store answers."""
    return Vocabulary().add(*CROSSING, *_CLUSTER, *_STORE)
