"""Whether replicas are equal, and how far a majority is: plain functions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Verdict", "compare", "majority_position"]


class Verdict(NamedTuple):
    """What a comparison of the replicas of a partition came to.

    Attributes:
        position: the last position at which two or more could be compared; 0: nowhere.
        wrong: those that differ from a majority, in order.
        torn: positions at which some differ, and there is no majority to say who is right.
    """

    position: int
    wrong: tuple[str, ...]
    torn: tuple[int, ...]


def compare(digests: Mapping[str, Sequence[tuple[int, Hashable]]], replicas: int) -> Verdict:
    """Compare the replicas' digests at equal positions.

    Args:
        digests: (position, digest of the history) of those that could be asked, by node.
        replicas: how many there are; a majority is more than half of these, not of those asked.
    """
    at: dict[int, dict[Hashable, list[str]]] = {}
    for name in sorted(digests):
        for position, digest in digests[name]:
            at.setdefault(position, {}).setdefault(digest, []).append(name)
    last, wrong, torn = 0, dict[str, None](), list[int]()
    for position in sorted(at):
        groups = at[position]
        if sum(map(len, groups.values())) < 2:
            continue
        last = position
        if len(groups) == 1:
            continue
        most = max(groups.values(), key=len)
        if 2 * len(most) > replicas and len(most) > 1:
            wrong.update(
                (name, None) for names in groups.values() if names is not most for name in names
            )
        else:
            torn.append(position)
    return Verdict(last, tuple(wrong), () if wrong else tuple(torn))


def majority_position(positions: Sequence[int], replicas: int) -> int:
    """Up to which position a majority of the replicas has durably applied all; 0: nothing.

    Args:
        positions: how far those are that could be asked.
        replicas: how many there are.
    """
    majority = replicas // 2 + 1
    if len(positions) < majority:
        return 0
    return sorted(positions, reverse=True)[majority - 1]
