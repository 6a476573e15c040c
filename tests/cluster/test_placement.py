"""Placements are whole, balanced, within islands, and move little."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.cluster.placement import islands_of, place
from palaver.actors.cluster.records import Placement, decoded, encoded

NODES = [f"n{i:02}@host" for i in range(24)]

sizes = st.tuples(st.integers(1, 3), st.integers(0, 4)).map(lambda t: (t[0], t[0] + t[1]))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[str]], int, int, int]:
    """Sets of nodes, one after the other, as they join and leave."""
    replicas, island = draw(sizes)
    partitions = 2 ** draw(st.integers(0, 6))
    nodes = draw(st.sets(st.sampled_from(NODES), min_size=1, max_size=12))
    steps = [sorted(nodes)]
    for _ in range(draw(st.integers(0, 4))):
        changed = draw(st.sets(st.sampled_from(NODES), min_size=1, max_size=3))
        if changed != nodes:
            nodes = nodes ^ changed
        steps.append(sorted(nodes))
    return steps, partitions, replicas, island


def assert_whole(placement: Placement, nodes: list[str], replicas: int, island: int) -> None:
    members = [name for group in placement.islands for name in group]
    assert sorted(members) == nodes
    for group in placement.islands:
        assert len(group) <= island + replicas - 1
        assert len(group) >= min(replicas, len(nodes))
    for row in placement.partitions:
        home = next(group for group in placement.islands if row[0] in group)
        assert len(row) == len(set(row)) == min(replicas, len(home))
        assert set(row) <= set(home)


def assert_balanced(placement: Placement) -> None:
    held = Counter(name for row in placement.partitions for name in row)
    owned = Counter(row[0] for row in placement.partitions)
    everybody = sum(map(len, placement.islands))
    for group in placement.islands:
        counts = [held[name] for name in group]
        assert max(counts) - min(counts) <= 1
        owns = [owned[name] for name in group]
        assert max(owns) - min(owns) <= 2
        mine = sum(row[0] in group for row in placement.partitions)
        assert abs(mine - len(placement.partitions) * len(group) / everybody) < 1


@given(histories())
def test_every_placement_is_whole_and_balanced(
    history: tuple[list[list[str]], int, int, int],
) -> None:
    steps, partitions, replicas, island = history
    current: Placement | None = None
    for nodes in steps:
        current = place(nodes, partitions, replicas=replicas, island=island, current=current)
        assert_whole(current, nodes, replicas, island)
        assert_balanced(current)
        again = place(nodes, partitions, replicas=replicas, island=island, current=current)
        assert again is current
        assert decoded(Placement, encoded(current)) == current


@given(st.integers(3, 20), st.integers(0, 7))
def test_a_node_that_joins_takes_about_its_share_and_no_more(count: int, power: int) -> None:
    before = place(NODES[:count], 2**power, island=24)
    after = place(NODES[: count + 1], 2**power, island=24, current=before)
    came = sum(
        len(set(b) - set(a)) for a, b in zip(before.partitions, after.partitions, strict=True)
    )
    assert came == sum(NODES[count] in row for row in after.partitions)


@given(st.integers(4, 6), st.integers(0, 7), st.integers(0, 5))
def test_a_node_that_leaves_costs_only_what_it_had(count: int, power: int, which: int) -> None:
    before = place(NODES[:count], 2**power, island=6)
    gone = NODES[which % count]
    stay = [name for name in NODES[:count] if name != gone]
    after = place(stay, 2**power, island=6, current=before)
    came = sum(
        len(set(b) - set(a)) for a, b in zip(before.partitions, after.partitions, strict=True)
    )
    # One more, where the nearest fit of one leaves another unbalanced.
    assert came <= sum(gone in row for row in before.partitions) + 1


def test_hundreds_of_nodes_share_with_few_others() -> None:
    nodes = [f"n{i}" for i in range(300)]
    placement = place(nodes, 1024)
    assert_balanced(placement)
    for name in nodes:
        met = {other for row in placement.partitions if name in row for other in row}
        assert len(met) <= 5 + 2
    more = place([*nodes, "x"], 1024, current=placement)
    moved = sum(
        len(set(b) - set(a)) for a, b in zip(placement.partitions, more.partitions, strict=True)
    )
    assert moved <= 5 * 1024 * 3 / 300


def test_an_island_that_is_too_small_is_dissolved() -> None:
    islands = islands_of(["a", "b", "c", "d", "e"], 3, 4, [["a", "b", "c"], ["d", "e", "f"]])
    assert islands == (("a", "b", "c", "d", "e"),)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="needs nodes"):
        place([], 4)
    with pytest.raises(ValueError, match="needs nodes"):
        place(["a"], 4, replicas=3, island=2)
    with pytest.raises(ValueError, match="4 partitions, not 8"):
        place(["a"], 8, current=place(["a"], 4))
