"""What an operator can ask of a cluster, by way of any of its nodes, as a port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from palaver.transport.http.admin_port import AdminRefused

__all__ = [
    "CHANGES",
    "Change",
    "ChangeProgress",
    "ClusterEvent",
    "ClusterPort",
    "ClusterStatus",
    "NoCluster",
    "NodeRecord",
    "PartitionRecord",
    "ReplicaRecord",
    "status_of",
]

Change = Literal["drain", "undrain", "remove", "rebalance"]
"""What can be changed: move everything away from a node, let it take part again, take it out for
good, spread the partitions evenly."""

CHANGES: tuple[Change, ...] = ("drain", "undrain", "remove", "rebalance")


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node.

    Attributes:
        state: up, draining, drained, leaving, or lost for one that is not heard of.
        owns: partitions that it owns.
        replicates: partitions of which it keeps a copy, its own included.
        url: where clients connect.
        leftovers: partitions that it has given away and whose tables are yet to be removed.
    """

    name: str
    state: str
    version: str
    owns: int
    replicates: int
    url: str
    leftovers: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """One node's copy of a partition.

    Attributes:
        position: of the journal, up to which it is applied; -1 when the node does not answer.
        behind: entries of the journal that it has not applied, as far as is known.
        digest: of the history at `digest_position`, hexadecimal; empty when there is none yet.
        state: following, leading, catching up, rebuilding, failing, or unknown.
    """

    node: str
    position: int
    behind: int
    digest: str
    digest_position: int
    state: str


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """One partition; `owner` is empty while nobody serves it."""

    number: int
    owner: str
    epoch: int
    replicas: tuple[ReplicaRecord, ...]


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Something that happened, as a node saw it; `time_ms` is its clock, unix milliseconds."""

    time_ms: int
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A cluster, as one node sees it; `problems` are sentences for the operator."""

    name: str
    seen_by: str
    nodes: tuple[NodeRecord, ...]
    partitions: tuple[PartitionRecord, ...]
    events: tuple[ClusterEvent, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangeProgress:
    """How far a change has come: `done` of `total` steps, and what is under way."""

    done: int
    total: int
    text: str


class ClusterPort(Protocol):
    """What can be asked of a cluster; every method raises `AdminRefused` when it cannot be done."""

    async def status(self) -> ClusterStatus:
        """How the cluster is."""
        ...

    def change(self, what: Change, node: str | None) -> AsyncIterator[ChangeProgress]:
        """Make a change, step by step; it is done when the iteration ends.

        To leave the iteration stops the change after the step that is under way; making it again
        goes on from there.
        """
        ...


class NoCluster:
    """The answer of a node that stands alone."""

    async def status(self) -> ClusterStatus:
        """Refuse."""
        raise AdminRefused("no_cluster", "this node belongs to no cluster; see cluster_name")

    async def change(self, what: Change, node: str | None) -> AsyncIterator[ChangeProgress]:
        """Refuse."""
        await self.status()
        yield ChangeProgress(0, 0, "")


def status_of(plain: dict[str, Any]) -> ClusterStatus:
    """A status from its JSON form."""
    return ClusterStatus(
        plain["name"],
        plain["seen_by"],
        tuple(NodeRecord(**node) for node in plain["nodes"]),
        tuple(
            PartitionRecord(
                part["number"],
                part["owner"],
                part["epoch"],
                tuple(ReplicaRecord(**replica) for replica in part["replicas"]),
            )
            for part in plain["partitions"]
        ),
        tuple(ClusterEvent(**event) for event in plain["events"]),
        tuple(plain["problems"]),
    )
