"""A cluster's status for people."""

from __future__ import annotations

from palaver.supervisors.cli.output import console, print_table, when
from palaver.transport.http.cluster_port import (
    ClusterStatus,
    NodeRecord,
    PartitionRecord,
    ReplicaRecord,
)

__all__ = ["print_status"]


def print_status(status: ClusterStatus, events: int) -> None:
    """Print the nodes, the partitions, the latest events, and what is wrong."""
    out = console()
    out.print(f"[bold]cluster {status.name}[/] [dim]as {status.seen_by} sees it[/]\n")
    print_table(
        "nodes",
        ["name", "state", "version", "owns", "copies", "clients connect to"],
        [
            [node.name, node.state, node.version, node.owns, _copies(node), node.url]
            for node in status.nodes
        ],
    )
    out.print()
    print_table(
        "partitions",
        ["partition", "owner", "epoch", "copies", "behind", "digests"],
        [_partition(partition) for partition in status.partitions],
    )
    if events and status.events:
        out.print()
        print_table(
            "latest events",
            ["time", "node", "what"],
            [[when(event.time_ms), event.node, event.text] for event in status.events[-events:]],
        )
    out.print()
    for problem in status.problems:
        out.print(f"[bold red]problem[/] {problem}")
    if not status.problems:
        out.print("[green]nothing is wrong[/]")


def _copies(node: NodeRecord) -> str:
    left = f" (+{node.leftovers} to be removed)" if node.leftovers else ""
    return f"{node.replicates}{left}"


def _partition(partition: PartitionRecord) -> list[object]:
    copies = ", ".join(
        replica.node if replica.state in ("following", "leading") else _unusual(replica)
        for replica in partition.replicas
    )
    behind = ", ".join(str(replica.behind) for replica in partition.replicas)
    return [
        partition.number,
        partition.owner or "nobody",
        partition.epoch,
        copies,
        behind,
        _digests(partition),
    ]


def _unusual(replica: ReplicaRecord) -> str:
    return f"{replica.node} ({replica.state})"


def _digests(partition: PartitionRecord) -> str:
    """Whether copies that are at the same position are the same."""
    by_position: dict[int, set[str]] = {}
    for replica in partition.replicas:
        if replica.digest:
            by_position.setdefault(replica.digest_position, set()).add(replica.digest)
    if not by_position:
        return "-"
    if any(len(digests) > 1 for digests in by_position.values()):
        return "DIFFER"
    compared = max(
        sum(replica.digest_position == position for replica in partition.replicas)
        for position in by_position
    )
    return f"{compared} equal at {max(by_position)}" if compared > 1 else "none to compare"
