"""The names that a node's cluster processes are registered under; the same on every node."""

from __future__ import annotations

from typing import Final

__all__ = [
    "AUDITOR",
    "CLEANER",
    "MEMBERSHIP",
    "OWNERSHIP",
    "REBALANCER",
    "SNAPSHOTS",
    "SNAPSHOT_SERVER",
    "STANDING",
]

MEMBERSHIP: Final = "cluster.membership"
OWNERSHIP: Final = "cluster.ownership"
STANDING: Final = "cluster.standing"
AUDITOR: Final = "cluster.auditor"
CLEANER: Final = "cluster.cleaner"
REBALANCER: Final = "cluster.rebalancer"
SNAPSHOTS: Final = "cluster.snapshots"
SNAPSHOT_SERVER: Final = "cluster.snapshot_server"
