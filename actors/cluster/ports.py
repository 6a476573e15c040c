"""What the cluster needs of others: the replicated store, and what hosts partitions."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

__all__ = ["ClusterStore", "Lost", "Machines", "PartitionHost", "ReplicaState", "SnapshotFiles"]

Lost = Callable[[int, str], None]
"""Told of a partition that this node led and no longer does, and why."""


class ReplicaState(Protocol):
    """How far the replica of a partition on this node is."""

    @property
    def partition(self) -> int:
        """Which partition."""

    @property
    def position(self) -> int:
        """The journal's last position that is durably applied here."""

    @property
    def applied(self) -> int:
        """The last sequence of the tables."""

    @property
    def epoch(self) -> int:
        """The epoch of the last take-over that is applied here; 0 before the first."""

    @property
    def owner(self) -> str:
        """Whose take-over that was; "" before the first."""

    @property
    def leading(self) -> bool:
        """Whether this node leads the partition, as far as it knows."""

    @property
    def catching_up(self) -> bool:
        """Whether it is known to lack much: it installs a snapshot, or reads old entries."""

    @property
    def behind(self) -> int:
        """Entries of the journal that it lacks, as far as is known."""

    @property
    def trouble(self) -> str:
        """What keeps it from applying or leading; "" when nothing does."""

    @property
    def digests(self) -> Sequence[tuple[int, Any]]:
        """(position, digest of the history) at the last checkpoints, rising."""


class ClusterStore(Protocol):
    """The node's replicated store, as ownership sees it (`storage/replicated`).

    All methods are for the thread of the loop.
    """

    def follow(self, partition: int) -> None:
        """Begin to apply the journal of a partition; harmless when repeated.

        Raises `StoreError` if this replica cannot go on; then `rebuild` begins anew.
        """

    async def unfollow(self, partition: int) -> None:
        """Apply it no more; the tables stay. Harmless when repeated."""

    def held(self, partition: int) -> int:
        """Up to which position the tables here are, followed or not; 0 if there is nothing."""

    async def forget(self, partition: int) -> None:
        """Remove the tables of a partition that is not followed; whole or not at all.

        Harmless when repeated. Raises `StoreError` if they cannot be removed now.
        """

    async def lead(self, partition: int, epoch: int) -> None:
        """Take over: publish it, wait until it is applied here. Raises an error if it is not."""

    def step_down(self, partition: int) -> None:
        """Accept no more commands from this moment on; harmless when repeated."""

    def state(self, partition: int) -> ReplicaState | None:
        """How far the replica is; None if the partition is not followed."""

    def on_lost(self, told: Lost) -> None:
        """Whom to tell, in the thread of the loop, of a partition that is led no longer."""

    def truncate_allowed(self, partition: int, position: int) -> None:
        """A majority of the replicas has durably applied all up to a position."""

    async def rebuild(self, partition: int) -> None:
        """Forget the replica's tables and make them anew from another's snapshot."""

    def snapshot(self, partition: int, dest: str | os.PathLike[str]) -> Any:
        """Copy the replica into a new file, in a thread; its `storage.installing.SnapshotInfo`."""


class SnapshotFiles(Protocol):
    """Where snapshots of partitions lie for as long as they are sent, or have come.

    All but `clear`, `place` and `remove` may block, and are called in a thread; `OSError` is raised
    where the disk fails or is full.
    """

    def clear(self) -> None:
        """Remove what an earlier user has left."""

    def place(self, name: str) -> str | os.PathLike[str]:
        """Where the file of that name is, for `ClusterStore.snapshot` and for installing it."""

    def remove(self, name: str) -> None:
        """Remove a file; harmless when there is none."""

    def empty(self, name: str) -> None:
        """Make an empty file in the place of whatever there was."""

    def append(self, name: str, piece: bytes) -> None:
        """Write behind what the file has."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return at most so many bytes from an offset on."""


class Machines(Protocol):
    """The machines that keep the journals, where these are those of the nodes."""

    async def forget(self, gone: str, nodes: Collection[str]) -> str:
        """Give the places of machines that are gone for good to others, as far as there are enough.

        Returns within a few minutes, when the copies are made. Harmless when repeated.

        Args:
            gone: a node that is about to end, which is waited for; "" for none.
            nodes: the names of all that belong to the cluster, running or not.

        Returns:
            What was done, for people.

        Raises:
            CannotRebalance: it cannot be done now; the text says what to do.
        """


class PartitionHost(Protocol):
    """Starts and stops on this node what makes up a partition; a part of the node's tree.

    Each call puts something in the place of whatever there was for this partition, and returns
    when that has stopped and the new runs. Calls for one partition come one after the other.
    """

    async def start_owner(self, partition: int) -> None:
        """Start the partition's own processes: this node leads it."""

    async def start_proxy(self, partition: int, owner_node: str | None) -> None:
        """Start what passes messages on to the owner; None: what says that there is none."""

    async def stop(self, partition: int) -> None:
        """Stop whatever there is."""
