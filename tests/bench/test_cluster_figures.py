"""The reckonings of `palaver bench cluster`: ratios, what is added, targets, percentiles."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part, Target
from palaver.supervisors.cli.bench.cluster.replicated import Sample, figures_of

ROUNDS = st.lists(st.tuples(st.floats(0.01, 1e6), st.floats(0.01, 1e6)), min_size=1, max_size=9)


def figure(ours: list[float], theirs: list[float], **more: Any) -> ClusterFigure:
    about = more.pop("better", "higher")
    return ClusterFigure(
        Part.REPLICATED, "rate", "1/s", about, "a rate", "here", ours, "bare", "it", theirs, **more
    )


@given(ROUNDS)
def test_a_ratio_above_one_means_better_whichever_way_is_good(
    rounds: list[tuple[float, float]],
) -> None:
    ours, theirs = [a for a, _ in rounds], [b for _, b in rounds]
    higher, lower = figure(ours, theirs), figure(theirs, ours, better="lower")
    assert higher.ratio == pytest.approx(lower.ratio)
    if all(a > b for a, b in rounds):
        assert (higher.ratio or 0) > 1
    assert (higher.added or 0) == pytest.approx(-(lower.added or 0))


def test_a_ratio_is_that_of_rounds_that_belong_together() -> None:
    # The machine's speed halves in the second round, for both.
    assert figure([100.0, 50.0, 100.0], [200.0, 100.0, 200.0]).ratio == 0.5
    unpaired = figure([1.0, 9.0, 2.0], [4.0, 4.0], better="lower", paired=False)
    assert (unpaired.ratio, unpaired.added) == (2.0, -2.0)


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (Target("ratio", at_least=0.5), True),
        (Target("ratio", at_least=0.51), False),
        (Target("value", at_most=10.0), True),
        (Target("greatest", at_most=10.0), False),
        (Target("added", at_most=-10.0), True),
        (Target("added", at_most=-10.1), False),
    ],
)
def test_targets_are_about_what_they_say(target: Target, reached: bool) -> None:
    about = figure([8.0, 10.0, 12.0], [16.0, 20.0, 24.0], target=target)
    assert about.reached is reached
    shown = about.as_json()["target"]
    assert shown["reached"] is reached
    assert set(shown) & {"at_least", "at_most"}


def test_a_figure_with_nothing_beside_it_says_so() -> None:
    alone = figure([3.0], [], target=Target("ratio", at_least=1.0))
    shown = alone.as_json()
    assert (shown["beside"], shown["ratio"], shown["added"]) == (None, None, None)
    assert shown["target"] == {"of": "ratio", "at_least": 1.0, "reached": None}
    assert figure([3.0], [], target=Target("value", at_most=2.0)).reached is False


def test_rates_and_latencies_are_those_of_the_confirmed_messages() -> None:
    ours = [Sample(2.0, array("d", [0.001 * n for n in range(1, 102)]))]
    theirs = [Sample(1.0, array("d", [0.002] * 50))]
    rate, p50, p99 = figures_of(16, 1000, ours, theirs)
    assert (rate.name, rate.ours, rate.theirs) == ("replicated_per_s_16", [50.5], [50.0])
    assert rate.ratio == pytest.approx(1.01)
    assert rate.reached is True
    assert (p50.name, p50.summary.value) == ("replicated_p50_ms_16", pytest.approx(51.0))
    assert p50.added == pytest.approx(49.0)
    assert p50.reached is False
    assert (p99.name, p99.summary.value) == ("replicated_p99_ms_16", pytest.approx(100.0))
    assert p99.target is None
