"""What a replicated store refuses beyond what every store does, and what to do about it.

StoreUnavailable
├── NotOwner                  this node does not lead the partition; ask the one that does
├── OwnershipLost             it led when the command was appended, and does no longer
├── JournalSilent             the journal does not answer; it is tried again
└── JournalRefuses            the journal takes nothing; an operator has to act
StoreError
├── EntryTooLarge             a command does not fit into an entry of the journal
└── ReplicaStopped            this replica applies nothing more; an operator has to act
    ├── JournalLost           the journal has less than this replica has applied
    ├── ReplicaOrphaned       the journal is no more, or another one has its name
    ├── EntryUnreadable       an entry is not of a form that this version knows
    ├── ReplicaDamaged        a record of this replica is not what was written
    ├── ReplicaForeign        the tables were filled without a journal
    └── SnapshotMissing       the journal begins behind the replica, and nobody gives a snapshot
"""

from __future__ import annotations

from palaver.storage.errors import StoreError, StoreUnavailable

__all__ = [
    "EntryTooLarge",
    "EntryUnreadable",
    "JournalLost",
    "JournalRefuses",
    "JournalSilent",
    "NotOwner",
    "OwnershipLost",
    "ReplicaDamaged",
    "ReplicaForeign",
    "ReplicaOrphaned",
    "ReplicaStopped",
    "SnapshotMissing",
]


class NotOwner(StoreUnavailable):
    """This node does not lead the partition; nothing was queued.

    Attributes:
        partition: which one.
        owner: the node that leads as far as this replica knows, "" when it knows of none.
        epoch: of that owner.
        why: what keeps this node from leading it, "" when nothing is known to.
    """

    def __init__(self, partition: int, owner: str, epoch: int, why: str = "") -> None:
        who = f"{owner} leads it in epoch {epoch}" if owner else "nobody is known to lead it"
        reason = f", and cannot ({why})" if why else ""
        super().__init__(f"this node does not lead partition {partition}{reason}: {who}; ask there")
        self.partition = partition
        self.owner = owner
        self.epoch = epoch
        self.why = why


class OwnershipLost(StoreUnavailable):
    """The node lost the partition before it knew what became of a command.

    Repeat the command at the new owner under its idempotency key.

    Attributes:
        partition: which one.
        certain: whether the command certainly has no effect; if not, it may be applied everywhere.
    """

    def __init__(self, partition: int, why: str, *, certain: bool) -> None:
        fate = "the command has no effect" if certain else "the command may have been applied"
        super().__init__(
            f"the ownership of partition {partition} was lost ({why}): {fate}; repeat it at the "
            "new owner"
        )
        self.partition = partition
        self.certain = certain


class JournalSilent(StoreUnavailable):
    """The journal of a partition did not answer in time.

    Attributes:
        partition: which one.
    """

    def __init__(self, partition: int, why: str) -> None:
        super().__init__(
            f"the journal of partition {partition} does not answer ({why}): a majority of its "
            "servers has to be there; it is tried again"
        )
        self.partition = partition


class JournalRefuses(StoreUnavailable):
    """The journal of a partition refuses what is published to it.

    Attributes:
        partition: which one.
    """

    def __init__(self, partition: int, why: str) -> None:
        super().__init__(
            f"the journal of partition {partition} takes nothing ({why}): an operator has to act; "
            "it is tried again"
        )
        self.partition = partition


class EntryTooLarge(StoreError):
    """One command, or commands that have to stay together, do not fit into an entry of the journal.

    Nothing was queued.

    Attributes:
        size: how many bytes (or commands) there are.
        limit: how many an entry may have.
        unit: which of the two.
    """

    def __init__(self, size: int, limit: int, unit: str = "bytes") -> None:
        super().__init__(
            f"what has to stay together has {size} {unit}, an entry of the journal takes {limit}: "
            "divide it, or raise the limit on every node (and the journal's own)"
        )
        self.size = size
        self.limit = limit
        self.unit = unit


class ReplicaStopped(StoreError):
    """This replica of a partition applies nothing more, and cannot lead.

    Attributes:
        partition: which one.
    """

    def __init__(self, partition: int, problem: str, advice: str) -> None:
        super().__init__(f"the replica of partition {partition} has stopped: {problem}; {advice}")
        self.partition = partition


class JournalLost(ReplicaStopped):
    """The journal has less than this replica has applied: it is another one, or was cut off.

    Attributes:
        position: of the replica.
        last: the last position that the journal has.
    """

    def __init__(self, partition: int, position: int, last: int) -> None:
        super().__init__(
            partition,
            f"it has applied position {position}, the journal ends at {last}: the journal was "
            "lost, or is another cluster's",
            "stop all nodes and bring the journal's servers back with their files; if these are "
            "gone, found the cluster anew from a backup of the most advanced replica",
        )
        self.position = position
        self.last = last


class ReplicaOrphaned(ReplicaStopped):
    """The journal that this replica has followed is no more, or another one has its name.

    Its tables stay as they are; other partitions go on.
    """

    def __init__(self, partition: int, problem: str) -> None:
        super().__init__(
            partition,
            problem,
            "nothing is lost from its tables; when the journal is there again, start this node "
            "anew",
        )


class EntryUnreadable(ReplicaStopped):
    """An entry of the journal is not of a form that this version knows.

    Attributes:
        position: of the entry.
    """

    def __init__(self, partition: int, position: int, problem: str) -> None:
        super().__init__(
            partition,
            f"the entry at position {position} cannot be read ({problem})",
            "it was written by a newer version: upgrade this node; nothing is skipped meanwhile",
        )
        self.position = position


class ReplicaDamaged(ReplicaStopped):
    """The tables of this replica are not what was written to them; other replicas go on."""

    def __init__(self, partition: int, problem: str) -> None:
        super().__init__(
            partition, problem, "rebuild it from another replica's snapshot, and look at its disk"
        )


class ReplicaForeign(ReplicaStopped):
    """The tables hold content that did not come out of a journal."""

    def __init__(self, partition: int, applied: int) -> None:
        super().__init__(
            partition,
            f"its tables are at sequence {applied}, and none of it came out of a journal",
            "begin with an empty folder, or rebuild this replica from another one's snapshot",
        )
        self.applied = applied


class SnapshotMissing(ReplicaStopped):
    """The journal begins behind this replica, and no snapshot could be had; it is tried again.

    Attributes:
        first: the first position that the journal has.
    """

    def __init__(self, partition: int, first: int, why: str) -> None:
        super().__init__(
            partition,
            f"the journal begins at position {first}, behind it, and no other replica gave a "
            f"snapshot that can be used ({why})",
            "start another replica of this partition; it is tried again",
        )
        self.first = first
