"""What a change of the placement consists of, and what of it is refused: plain functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal, TypeAlias

from palaver.actors.cluster.errors import CannotRebalance
from palaver.actors.cluster.records import Placement
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings

__all__ = ["What", "check_rows", "moved", "sharers", "with_final", "with_new"]

What: TypeAlias = Literal["rebalance", "drain", "undrain", "remove"]
"""Spread all; let a node own nothing; let it own again; let it go for good."""


def sharers(members: Members, settings: ClusterSettings, what: What, node: str) -> tuple[str, ...]:
    """The nodes that are to have a share, after a change.

    Raises:
        CannotRebalance: the change would lose a majority of some partition, concerns a node that
            is not known, or needs one that is not there; the text says what to do.
    """
    placement = members.placement
    if placement is None:
        raise CannotRebalance("the cluster is not founded yet: start its founding nodes")
    placed, live = placement.nodes(), members.live()
    if what != "rebalance" and node not in members.nodes and node not in placed:
        raise CannotRebalance(f"there is no node {node}: see `palaver cluster status`")
    if what == "remove" and node == members.me:
        raise CannotRebalance(
            f"{node} ends when it is removed, so it cannot see to it: ask another node "
            "(`--data` names the folder of one that runs here)"
        )
    if what == "drain" and node not in live:
        raise CannotRebalance(
            f"{node} is not there, so nothing can be moved from it step by step: start it, or take "
            "it out for good with `palaver cluster remove`"
        )
    goes = {node} if what in ("drain", "remove") else set()
    withdrawn = goes | {
        name
        for name, record in members.nodes.items()
        if record.state in ("draining", "leaving") and not (what == "undrain" and name == node)
    }
    stay = [name for name in dict.fromkeys([*placed, *live]) if name not in withdrawn]
    absent = [name for name in stay if name not in live]
    if absent:
        raise CannotRebalance(
            f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not there now: start it, "
            "or remove it for good with `palaver cluster remove`, then ask again"
        )
    if not stay:
        raise CannotRebalance(f"{node} is the last node: without it there is no cluster")
    majority = settings.replicas // 2 + 1
    if what == "remove" and len(placed) >= majority > len(stay):
        raise CannotRebalance(
            f"without {node} there are {len(stay)} nodes, fewer than a majority of the "
            f"{settings.replicas} replicas: let another node join first"
        )
    if what != "remove" and len(stay) < settings.replicas:
        # Too few to keep the replicas elsewhere: those that own nothing still keep theirs.
        stay = [name for name in dict.fromkeys([*placed, *stay]) if name in live]
    return tuple(stay)


def moved(current: Placement, target: Placement) -> tuple[int, ...]:
    """The partitions of which a node gets a replica or loses one."""
    return tuple(
        number
        for number, (before, after) in enumerate(
            zip(current.partitions, target.partitions, strict=True)
        )
        if set(before) != set(after)
    )


def with_new(current: Placement, target: Placement, numbers: Collection[int]) -> Placement:
    """The placement with the new replicas of some partitions beside the old ones."""
    rows = [
        (*before, *(name for name in after if name not in before)) if number in numbers else before
        for number, (before, after) in enumerate(
            zip(current.partitions, target.partitions, strict=True)
        )
    ]
    return _next(current, target.islands, rows)


def with_final(current: Placement, target: Placement, numbers: Collection[int]) -> Placement:
    """The placement with some partitions as they are to be."""
    rows = [
        after if number in numbers else before
        for number, (before, after) in enumerate(
            zip(current.partitions, target.partitions, strict=True)
        )
    ]
    return _next(current, target.islands, rows)


def _next(
    current: Placement, islands: tuple[tuple[str, ...], ...], rows: Iterable[tuple[str, ...]]
) -> Placement:
    partitions = tuple(rows)
    if (islands, partitions) == (current.islands, current.partitions):
        return current
    return Placement(current.version + 1, islands, partitions)


def check_rows(number: int, row: Sequence[str], ready: Collection[str]) -> None:
    """Refuse to leave a partition to replicas of which no majority is there and caught up."""
    there = [name for name in row if name in ready]
    if len(there) <= len(row) // 2:
        raise CannotRebalance(
            f"of the replicas of partition {number} ({', '.join(row)}) only "
            f"{', '.join(there) or 'none'} would be there and caught up: start the others, then "
            "ask again"
        )
