"""The days of a town whose nodes are one cluster, drawn from the tape; see `scenarios`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from palaver.actors.simulation import Faults, World
from palaver.storage.simulated import DiskHabits, EngineHabits
from palaver.supervisors.simulations.clusters import ClusterPlan, ClusterTown

__all__ = ["ClusterDay", "cluster", "diverging", "failover", "moving", "rebalanced", "rebuilt"]

_TALK: Final = {
    "say": 8, "burst": 1, "everyone": 1, "read": 4, "watch": 2, "unwatch": 1, "typing": 1,
    "look": 1, "leave": 2, "group": 1, "members": 1, "vanish": 1,
}  # fmt: skip
_PHONES: Final = Faults(crash=0.004, power=0.004, clog=0.006, reset=0.01, pause=0.004, jump=0.002)
_ENGINE: Final = EngineHabits(
    slow=0.02, trouble=0.01, election=0.002, dropped=0.3, twice=0.01, forgets=0.3, follow=0.005,
    stale=0.1, lag=0.1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClusterDay:
    """A day of a town with a cluster that is drawn from the tape of a world.

    Attributes:
        plan: draws it.
    """

    plan: Callable[[World], ClusterPlan]

    async def __call__(self, world: World) -> None:
        """Live through it."""
        await ClusterTown(world, self.plan(world)).live()


def _size(world: World, what: str, *options: int) -> int:
    return options[world.tape.choose(f"size/{what}", len(options), rate=0.7)]


def cluster(world: World) -> ClusterPlan:
    """A bit of everything."""
    return ClusterPlan(
        nodes=_size(world, "nodes", 3, 3, 4),
        people=_size(world, "people", 2, 3),
        devices=_size(world, "devices", 1, 1, 2),
        partitions=_size(world, "partitions", 1, 2),
        seconds=_size(world, "seconds", 5, 10, 20),
        wishes=12,
        habits=_TALK,
        node_faults=Faults(
            crash=0.006, power=0.003, kill=0.02, partition=0.003, oneway=0.003, clog=0.006,
            reset=0.01, pause=0.006,
        ),
        device_faults=_PHONES,
        disk=DiskHabits(stall=0.001, full=0.0005, fail=0.0005),
        engine=_ENGINE,
        splits=0.006,
        wipes=0.002,
        blackouts=0.001,
        drains=0.004,
        moves=0.01,
        skew=0.01,
    )  # fmt: skip


def failover(world: World) -> ClusterPlan:
    """Few people, a few seconds, owners that come and go."""
    return ClusterPlan(
        nodes=3,
        partitions=_size(world, "partitions", 1, 2),
        seconds=_size(world, "seconds", 4, 8),
        wishes=8,
        habits={"say": 8, "burst": 1, "everyone": 2, "read": 2, "leave": 1, "group": 1},
        node_faults=Faults(
            crash=0.03, power=0.01, kill=0.05, partition=0.01, oneway=0.02, clog=0.02, pause=0.03,
        ),
        device_faults=_PHONES,
        engine=_ENGINE,
        splits=0.03,
        blackouts=0.004,
        moves=0.02,
        skew=0.02,
    )  # fmt: skip


def moving(world: World) -> ClusterPlan:
    """Nothing fails; operators move partitions and drain nodes while people talk."""
    return ClusterPlan(
        nodes=_size(world, "nodes", 3, 4),
        people=_size(world, "people", 2, 3),
        devices=_size(world, "devices", 1, 2),
        partitions=_size(world, "partitions", 2, 4),
        seconds=_size(world, "seconds", 5, 10),
        wishes=12,
        habits=_TALK,
        disk=DiskHabits(slow=0.2, late=0.1),
        drains=0.01,
        moves=0.05,
        skew=0.01,
    )


def rebuilt(world: World) -> ClusterPlan:
    """Disks are lost, and copies made anew, while the journals forget what they may."""
    return ClusterPlan(
        nodes=_size(world, "nodes", 3, 4),
        people=2,
        partitions=_size(world, "partitions", 1, 2),
        seconds=_size(world, "seconds", 10, 20),
        wishes=16,
        habits={"say": 6, "burst": 4, "everyone": 2, "read": 2},
        node_faults=Faults(crash=0.01, pause=0.01, clog=0.01),
        disk=DiskHabits(slow=0.2, stall=0.01, full=0.002, fail=0.002),
        engine=_ENGINE,
        splits=0.01,
        wipes=0.02,
        tail=4,
    )


def diverging(world: World) -> ClusterPlan:
    """Copies go astray, one at a time, while journals, disks and nodes are as they are."""
    return ClusterPlan(
        nodes=3,
        partitions=_size(world, "partitions", 1, 2),
        seconds=_size(world, "seconds", 10, 20),
        wishes=10,
        habits={"say": 6, "burst": 1, "read": 2},
        node_faults=Faults(crash=0.006, pause=0.006, clog=0.006),
        disk=DiskHabits(slow=0.2),
        engine=_ENGINE,
        splits=0.006,
        spoils=0.03,
    )


def rebalanced(world: World) -> ClusterPlan:
    """Nodes come to a cluster and are drained, while others crash, are cut off and stand still."""
    return ClusterPlan(
        nodes=_size(world, "nodes", 4, 5),
        founders=3,
        partitions=_size(world, "partitions", 2, 4),
        seconds=_size(world, "seconds", 8, 16),
        wishes=10,
        habits={"say": 6, "burst": 1, "read": 2, "group": 1},
        node_faults=Faults(crash=0.006, pause=0.01, clog=0.006, kill=0.01, partition=0.003),
        device_faults=_PHONES,
        disk=DiskHabits(slow=0.2),
        engine=_ENGINE,
        splits=0.008,
        moves=0.01,
        changes=0.03,
        tail=4,
    )
