"""What `Ownership` is asked and told."""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.storage.replicated.ports import Register

__all__ = [
    "Changed",
    "Forget",
    "GetPartition",
    "GetPartitions",
    "GiveTo",
    "LostPartition",
    "PartitionStatus",
    "Rebuild",
    "Release",
    "Tick",
    "WakeUp",
]


class PartitionStatus(NamedTuple):
    """What a node knows of a partition, and how far its own replica is.

    Attributes:
        number: the partition.
        role: what this node is for it; see `decisions.Role`.
        owner, epoch, phase: what the register says; "" and 0 if there is none.
        replica: whether this node keeps one; what follows is about it.
        position: the journal's last position that is durably applied.
        applied: the last sequence of the tables.
        behind: entries that it lacks, as far as is known.
        ready: whether it could lead.
        digests: (position, digest) at the last checkpoints.
        trouble: what keeps it from being a copy, and what to do about it; "" when nothing does.
        held: up to which position there are tables here, with or without a replica.
    """

    number: int
    role: str
    owner: str
    epoch: int
    phase: str
    replica: bool
    position: int
    applied: int
    behind: int
    ready: bool
    digests: tuple[tuple[int, Any], ...]
    trouble: str = ""
    held: int = 0


class GetPartitions(NamedTuple):
    """Call: the `PartitionStatus` of some partitions, or of all."""

    numbers: tuple[int, ...] | None = None


class GetPartition(NamedTuple):
    """Call: the `PartitionStatus` of one."""

    number: int


class GiveTo(NamedTuple):
    """Call: hand a partition that this node leads over to another; True when that one is named.

    Fails with `CannotHandOver`.
    """

    number: int
    to: str


class Release(NamedTuple):
    """Call: own nothing from now on; answered when all was handed over for which there is somebody.

    For a node that is about to stop.
    """


class Rebuild(NamedTuple):
    """Cast: this node's replica is not to be trusted: make it anew from another's snapshot."""

    number: int
    why: str


class Forget(NamedTuple):
    """Cast: nobody needs the tables that this node has of a partition.

    Attributes:
        number: the partition.
        row: the nodes that are to have a replica; if that has changed, nothing is done.
    """

    number: int
    row: tuple[str, ...]


class LostPartition(NamedTuple):
    """Cast: this node leads a partition no longer, or its processes have failed for good."""

    number: int
    why: str


class Changed(NamedTuple):
    """A message: an owner's register holds this now."""

    key: str
    register: Register | None


class WakeUp(NamedTuple):
    """A message: look at a partition again."""

    number: int


class Tick(NamedTuple):
    """A message: look at everything again."""
