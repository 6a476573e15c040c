"""The whole cluster as plain data: for `palaver cluster status`, pages and demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palaver.actors.cluster.events import Event
from palaver.actors.cluster.ownership_messages import PartitionStatus
from palaver.actors.cluster.records import Placement
from palaver.actors.cluster.roster import Members

__all__ = ["NodeSummary", "cluster_status"]


class NodeSummary(NamedTuple):
    """What one node knows and has seen."""

    name: str
    partitions: tuple[PartitionStatus, ...]
    events: tuple[Event, ...]


def cluster_status(members: Members, summaries: Sequence[NodeSummary]) -> dict[str, Any]:
    """The status as dicts, lists, texts and numbers.

    Returns:
        A dict with: ``cluster`` (name, partitions, founded, refused), ``asked`` (the node that
        tells), ``nodes`` (one dict each: name, state, live, since_ms, creation, version, ws_url,
        http_url, owns, replicas, leftovers, island), ``partitions`` (one dict each: number, owner,
        epoch, phase, replicas: one dict per node with role, position, behind, ready, trouble,
        digest; "unknown" where the node did not answer), ``events`` (of all nodes that answered,
        in order of time).
    """
    placement = members.placement
    by_node = {each.name: {p.number: p for p in each.partitions} for each in summaries}
    here = by_node[members.me]
    owners = {n: p.owner for n, p in here.items() if p.phase == "leading"}
    live = set(members.live())
    names = dict.fromkeys(members.nodes)
    names.update(dict.fromkeys(() if placement is None else placement.nodes()))
    nodes = []
    for name in sorted(names):
        record = members.nodes.get(name)
        islands = () if placement is None else placement.islands
        nodes.append(
            {
                "name": name,
                "state": "gone" if record is None else record.state,
                "live": name in live,
                "since_ms": 0 if record is None else record.since_ms,
                "creation": 0 if record is None else record.creation,
                "version": "" if record is None else record.version,
                "ws_url": "" if record is None else record.ws_url,
                "http_url": "" if record is None else record.http_url,
                "owns": sum(owner == name for owner in owners.values()),
                "replicas": 0 if placement is None else len(placement.of(name)),
                "leftovers": _leftovers(name, by_node.get(name, {}), placement),
                "island": next((i for i, each in enumerate(islands) if name in each), None),
            }
        )
    partitions = []
    for number, one in sorted(here.items()):
        placed = () if placement is None else placement.partitions[number]
        partitions.append(
            {
                "number": number,
                "owner": one.owner,
                "epoch": one.epoch,
                "phase": one.phase or "none",
                "replicas": [_replica(name, by_node.get(name, {}).get(number)) for name in placed],
            }
        )
    cluster = members.cluster
    return {
        "cluster": {
            "name": "" if cluster is None else cluster.name,
            "partitions": len(here),
            "founded": placement is not None,
            "refused": members.refused,
        },
        "asked": members.me,
        "nodes": nodes,
        "partitions": partitions,
        "events": [
            event._asdict()
            for event in sorted((e for each in summaries for e in each.events), key=_when)
        ],
    }


def _leftovers(
    name: str, partitions: Mapping[int, PartitionStatus], placement: Placement | None
) -> int:
    """Of how many partitions a node has tables that are yet to be removed."""
    placed = () if placement is None else placement.of(name)
    return sum(each.held > 0 and n not in placed for n, each in partitions.items())


def _when(event: Event) -> tuple[int, str]:
    return event.at_ms, event.node


def _replica(name: str, one: PartitionStatus | None) -> dict[str, Any]:
    if one is None:
        return {"node": name, "role": "unknown"}
    return {
        "node": name,
        "role": one.role,
        "position": one.position,
        "applied": one.applied,
        "behind": one.behind,
        "ready": one.ready,
        "trouble": one.trouble,
        "digest": list(one.digests[-1]) if one.digests else None,
    }
