"""What the cluster needs of others: the replicated store, and what hosts partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

__all__ = ["ClusterStore", "Lost", "PartitionHost", "ReplicaState"]

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

    def snapshot(self, partition: int, dest: Path) -> Any:
        """Copy the replica into a new file, in a thread; its `storage.installing.SnapshotInfo`."""


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
