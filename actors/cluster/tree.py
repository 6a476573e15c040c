"""The supervisor of a node's cluster processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from palaver.actors.cluster.auditor import Auditor
from palaver.actors.cluster.cleaning import Cleaner
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.fetching import SnapshotFetcher
from palaver.actors.cluster.membership import Membership
from palaver.actors.cluster.names import (
    AUDITOR,
    CLEANER,
    MEMBERSHIP,
    OWNERSHIP,
    REBALANCER,
    SNAPSHOT_SERVER,
    SNAPSHOTS,
    STANDING,
)
from palaver.actors.cluster.ownership import Ownership
from palaver.actors.cluster.ports import ClusterStore, Machines, PartitionHost, SnapshotFiles
from palaver.actors.cluster.rebalancer import Rebalancer
from palaver.actors.cluster.registers import Guarded
from palaver.actors.cluster.roster import Lease
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.cluster.snapshots import SnapshotServer
from palaver.actors.cluster.standing import Standing, StandingPort
from palaver.actors.distribution import Distribution
from palaver.storage.replicated.ports import Registers
from palaver.supervisors import ChildSpec, Supervisor, SupervisorFlags

__all__ = ["ClusterParts", "ClusterSupervisor"]


@dataclass(slots=True)
class ClusterParts:
    """What a node's cluster processes are made of; outlives each of them.

    Args:
        distribution: of the node.
        registers: the port.
        store: the node's replicated store.
        host: starts and stops what makes up a partition on this node.
        settings: of the cluster.
        files: returns where files of a kind are, "sending" or "fetched": snapshots that come and
            go; see `files.FolderFiles`.
        standing: is told whether the node's clients are to go, and whether the node has to end;
            None: nobody is.
        machines: keep the journals; None: they are not those of the nodes.

    Attributes:
        recorder: what has happened, and the numbers for the metrics.
    """

    distribution: Distribution
    registers: Registers
    store: ClusterStore
    host: PartitionHost
    settings: ClusterSettings
    files: Callable[[str], SnapshotFiles]
    standing: StandingPort | None = None
    machines: Machines | None = None
    recorder: Recorder = field(init=False)
    guarded: Guarded = field(init=False)

    def __post_init__(self) -> None:
        settings, node = self.settings, self.distribution.node
        self.recorder = Recorder(node.name, node.clock, settings.max_events)
        self.guarded = Guarded(self.registers, Lease(settings.lease_s), settings.register_timeout_s)


class ClusterSupervisor(Supervisor):
    """Membership, ownership, and what stands on them; one that fails takes those after it along.

    What makes up the partitions is started by `PartitionHost` elsewhere in the node's tree, so it
    outlives a failure of these: ownership, when it begins anew, stops what is there and begins with
    nothing led.
    """

    def specification(self, parts: ClusterParts) -> tuple[SupervisorFlags, list[ChildSpec]]:
        """One after the other."""
        distribution, settings, recorder = parts.distribution, parts.settings, parts.recorder
        own = [
            ChildSpec(
                "membership",
                Membership,
                (distribution, parts.guarded, settings, recorder),
                name=MEMBERSHIP,
            ),
            ChildSpec(
                "ownership",
                Ownership,
                (
                    MEMBERSHIP,
                    (distribution.name, distribution.creation),
                    parts.store,
                    parts.host,
                    parts.guarded,
                    settings,
                    recorder,
                ),
                name=OWNERSHIP,
            ),
        ]
        if parts.standing is not None:
            own.append(ChildSpec("standing", Standing, (parts.standing,), name=STANDING))
        copies = self._copies(parts)
        return SupervisorFlags("rest_for_one", intensity=10, period_s=60.0), [*own, *copies]

    def _copies(self, parts: ClusterParts) -> list[ChildSpec]:
        """What compares and moves the copies of partitions."""
        distribution, settings, recorder = parts.distribution, parts.settings, parts.recorder
        return [
            ChildSpec(
                "snapshot server",
                SnapshotServer,
                (parts.store, parts.files("sending"), settings, recorder),
                name=SNAPSHOT_SERVER,
            ),
            ChildSpec(
                "snapshots",
                SnapshotFetcher,
                (distribution, parts.files("fetched"), settings, recorder),
                name=SNAPSHOTS,
            ),
            ChildSpec(
                "auditor",
                Auditor,
                (distribution, parts.store, settings, recorder),
                name=AUDITOR,
            ),
            ChildSpec(
                "rebalancer",
                Rebalancer,
                (distribution, parts.guarded, settings, recorder, parts.machines),
                name=REBALANCER,
            ),
            ChildSpec("cleaner", Cleaner, (distribution, settings), name=CLEANER),
        ]
