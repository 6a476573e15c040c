"""The reckonings of `palaver bench cluster`: ratios, what is added, targets, percentiles."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.supervisors.cli.bench.cluster.catchup import CatchupPlan, Times, catchup_figures
from palaver.supervisors.cli.bench.cluster.failover import (
    Tries,
    Try,
    failover_figures,
    leaders_in,
)
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part, Target
from palaver.supervisors.cli.bench.cluster.nodes import (
    Idle,
    Load,
    Measured,
    NodesPlan,
    nodes_figures,
)
from palaver.supervisors.cli.bench.cluster.outages import Confirmed, details_of, outage_s
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


@given(
    before=st.lists(st.floats(0.0, 9.9), max_size=20),
    late=st.lists(st.floats(10.001, 19.9), max_size=5),
    first_s=st.floats(20.0, 40.0),
    after=st.lists(st.floats(40.0, 60.0), max_size=5),
)
def test_an_outage_lasts_from_what_was_confirmed_last_to_what_was_sent_after_the_kill(
    before: list[float], late: list[float], first_s: float, after: list[float]
) -> None:
    killed_s, dead_s = 10.0, 10.001
    answered = [Confirmed(moment - 0.1, moment) for moment in before]
    # Sent before the kill, confirmed after it: by who lives, or while it went on.
    answered += [Confirmed(9.95, moment) for moment in late]
    assert outage_s(answered, killed_s, dead_s) is None
    answered += [Confirmed(10.5, first_s), *(Confirmed(39.0, moment) for moment in after)]
    moments = sorted([killed_s, *late, first_s])
    longest = max(later - earlier for earlier, later in pairwise(moments))
    assert outage_s(answered, killed_s, dead_s) == pytest.approx(longest)


def test_a_p99_is_said_where_there_were_kills_enough_for_one() -> None:
    few = details_of([3.0, 5.0, 4.0])
    assert few == {"kills": 3, "p50_s": 4, "p99_s": None, "greatest_s": 5}
    many = details_of([float(n) for n in range(101)])
    assert (many["p99_s"], many["greatest_s"]) == (99, 100)


def test_kills_are_sorted_by_what_the_killed_server_led() -> None:
    tries = Tries(
        owner=[Try(3.2), Try(7.0, ["journal"]), Try(3.4)],
        leader=[Try(6.0, ["journal", "registers"])],
        bare=[Try(4.0), Try(6.0)],
    )
    every, without, election, leader = failover_figures(tries)
    assert (every.name, every.ours, every.reached) == ("failover_owner_s", [3.2, 7.0, 3.4], False)
    assert (without.ours, without.reached) == ([3.2, 3.4], True)
    assert (election.ours, election.added, election.reached) == ([7.0], 2.0, True)
    assert leader.details["led"] == [["journal", "registers"]]
    assert leader.as_json()["beside"]["value"] == 5
    assert [figure.name for figure in failover_figures(Tries(owner=[Try(3.0)]))] == [
        "failover_owner_s",
        "failover_owner_no_election_s",
    ]


def test_who_leads_is_read_from_what_a_server_says() -> None:
    streams = [
        {"name": name, "cluster": {"leader": leader}}
        for name, leader in (
            ("PALAVER_demo_1", "a"), ("PALAVER_demo_11", "b"), ("KV_palaver-demo", "c"),
        )
    ]  # fmt: skip
    said = {
        "meta_cluster": {"leader": "b"},
        "account_details": [{"stream_detail": streams[:1]}, {"stream_detail": streams[1:]}],
    }
    assert leaders_in(said, 1) == {"jetstream": "b", "journal": "a", "registers": "c"}
    assert leaders_in(said, 11)["journal"] == "b"
    with pytest.raises(KeyError, match="journal"):
        leaders_in(said, 2)


def test_catching_up_is_told_in_messages_a_second_and_in_seconds() -> None:
    times = Times(replay=[4.0, 6.0], snapshot=[2.0, 2.0], bare=[1.0, 1.0])
    figures = catchup_figures(CatchupPlan(messages=1000), times)
    assert [(figure.name, figure.summary.value, figure.ratio) for figure in figures] == [
        ("catchup_snapshot_per_s", 500.0, 0.5),
        ("catchup_snapshot_s", 2.0, 0.5),
        ("catchup_replay_per_s", pytest.approx(208.3, rel=0.01), pytest.approx(0.208, rel=0.01)),
        ("catchup_replay_s", 5.0, 0.2),
    ]
    assert [figure.details["snapshot_share"] for figure in figures] == [0.9, 0.9, 0, 0]


def test_two_nodes_are_compared_with_one_by_the_clock_and_by_the_busiest_process() -> None:
    measured = Measured(
        one=[Load(10_000, 2.0, [1.6, 0.4])],
        two=[Load(12_000, 2.0, [1.2, 1.0])],
        idle={2: Idle(12.0, 10.0, 60.0, 20.0, 30.0)},
    )
    by_wall, busiest, together, *idle = nodes_figures(NodesPlan(), measured)
    assert (by_wall.ours, by_wall.theirs) == ([6000.0], [5000.0])
    assert by_wall.ratio == pytest.approx(1.2)
    assert by_wall.reached is False
    assert (busiest.ours, busiest.theirs) == ([10_000.0], [6250.0])
    assert busiest.ratio == pytest.approx(1.6)
    assert together.ratio == pytest.approx(12_000 / 2.2 / 5000)
    assert together.target is None
    assert by_wall.details["node_cores_used"] == {"one": [1.0], "two": [1.1]}
    each = {"one": [[160.0, 40.0]], "two": [[100.0, 83.3]]}
    assert by_wall.details["cpu_us_per_message_by_node"] == each
    assert [(figure.name, figure.summary.value, figure.better) for figure in idle] == [
        ("idle_cpu_ms_per_s_2", 12.0, "lower"),
        ("idle_nats_cpu_ms_per_s_2", 10.0, "lower"),
        ("idle_memory_mb_2", 60.0, "lower"),
        ("idle_nats_memory_mb_2", 20.0, "lower"),
        ("idle_messages_per_s_2", 30.0, "lower"),
    ]
