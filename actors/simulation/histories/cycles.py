"""Cycles among transactions that came before each other; see `serializability` for their names."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

__all__ = ["Edges", "add", "strongly_connected", "worst_cycle"]

Edges: TypeAlias = dict[int, dict[int, str]]
"""From a transaction to those that came after it, and the strongest reason."""

KINDS = ("ww", "wr", "rw", "rt")


def add(edges: Edges, earlier: int, later: int, kind: str) -> None:
    """Note that one came before another; of several reasons the strongest is kept."""
    if earlier != later:
        known = edges[earlier].get(later)
        if known is None or KINDS.index(kind) < KINDS.index(known):
            edges[earlier][later] = kind


def strongly_connected(edges: Edges) -> list[list[int]]:
    """Return the groups, of more than one, in which each is before each other one (Tarjan)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    inside: set[int] = set()
    groups: list[list[int]] = []
    for root in edges:
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        inside.add(root)
        while work:
            node, following = work[-1]
            child = next(following, None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = [stack.pop()]
                    while group[-1] != node:
                        group.append(stack.pop())
                    inside.difference_update(group)
                    if len(group) > 1:
                        groups.append(group)
            elif child not in index:
                index[child] = low[child] = len(index)
                stack.append(child)
                inside.add(child)
                work.append((child, iter(edges[child])))
            elif child in inside:
                low[node] = min(low[node], index[child])
    return groups


CYCLES_COMPARED = 50
CYCLES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("G0", ("ww",), ("ww",)),
    ("G1c", ("ww", "wr"), ("ww", "wr")),
    ("G-single", ("rw",), ("ww", "wr")),
    ("G2", ("rw",), ("ww", "wr", "rw")),
)
"""The kinds of cycles, worst first: what one step is, and what the others may be."""


def worst_cycle(edges: Edges, group: list[int]) -> tuple[str, list[int]]:
    """Return the worst kind of cycle in a group, and a short one of it."""
    members = set(group)
    for clock in ((), ("rt",)):
        name = "-realtime" if clock else ""
        for kind, first, allowed in CYCLES:
            found = _shortest(edges, members, (*first, *clock), (*allowed, *clock))
            if found:
                return kind + name, found
    raise AssertionError("a strongly connected group has a cycle")


def _shortest(
    edges: Edges,
    members: set[int],
    first: tuple[str, ...],
    allowed: tuple[str, ...],
) -> list[int]:
    """Return a short cycle whose first step is of a kind in `first`, the others of `allowed`.

    The shortest one of the first few that are found.
    """
    best: list[int] = []
    found = 0
    for start in sorted(members):
        parents: dict[int, int] = {}
        queue: deque[int] = deque()
        for after, kind in edges[start].items():
            if kind in first and after in members:
                parents[after] = start
                queue.append(after)
        while queue:
            node = queue.popleft()
            if node == start:
                break
            for after, kind in edges[node].items():
                if kind in allowed and after in members and after not in parents:
                    parents[after] = node
                    queue.append(after)
        if start in parents:
            path = [parents[start]]
            while path[-1] != start:
                path.append(parents[path[-1]])
            path.reverse()
            if not best or len(path) < len(best):
                best = path
            found += 1
            if len(best) == 2 or found == CYCLES_COMPARED:
                break
    return best
