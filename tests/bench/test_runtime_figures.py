from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.supervisors.cli.bench.runtime.figures import RuntimeFigure, value_of
from palaver.supervisors.cli.bench.runtime.plan import (
    PLANS,
    SHARES,
    Clock,
    FigureName,
    FigurePlan,
    Peer,
    Size,
)

BY_NAME = {plan.name.value: plan for plan in PLANS}
ASKED_FOR = ("spawn", "bytes_per_process", "cast", "call", "ring", "fan_in", "restart")
times = st.floats(1e-6, 100)


def figure_of(name: str, clock: Clock = Clock.WALL, **results: list[dict[str, float]]):
    figure = RuntimeFigure(BY_NAME[name], clock)
    for engine, rounds in results.items():
        for result in rounds:
            figure.add(engine, Size(10), result)
    return figure


def timed(wall_s: float, cpu_s: float | None = None, ops: int = 1000) -> dict[str, float]:
    return {"ops": ops, "wall_s": wall_s, "cpu_s": wall_s if cpu_s is None else cpu_s}


@given(times, times, st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from(Clock))
def test_a_ratio_above_one_means_that_palaver_does_more_in_a_time(
    ours_s: float, theirs_s: float, ours: int, theirs: int, clock: Clock
) -> None:
    # The other clock says the contrary, and must not be heard.
    us = timed(ours_s, ours_s, ours) | {f"{_other(clock)}_s": 50.0}
    them = timed(theirs_s, theirs_s, theirs) | {f"{_other(clock)}_s": 50.0}
    figure = figure_of("cast", clock, palaver=[us], erlang=[them])
    ratio = figure.ratios()["erlang"]
    expected = (ours / ours_s) / (theirs / theirs_s)
    assert ratio is not None
    assert ratio == pytest.approx(expected, rel=1e-3)
    by_round = figure.ratios_by_round(clock)["erlang"]
    assert by_round["value"] == pytest.approx(expected, rel=1e-3)


def _other(clock: Clock) -> str:
    return (Clock.CPU if clock is Clock.WALL else Clock.WALL).value


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 10**5), st.integers(1, 10**5))
def test_a_ratio_above_one_means_that_palaver_takes_less_memory(
    ours: int, theirs: int, our_count: int, their_count: int
) -> None:
    figure = figure_of(
        "bytes_per_process",
        palaver=[{"ops": our_count, "bytes": ours}],
        erlang=[{"ops": their_count, "bytes": theirs}],
    )
    ratio = figure.ratios()["erlang"]
    assert ratio == pytest.approx((theirs / their_count) / (ours / our_count), rel=1e-3)


@given(st.lists(times, min_size=1, max_size=9))
def test_a_figure_is_the_median_of_its_rounds_with_least_and_greatest(rounds: list[float]) -> None:
    figure = figure_of("call", palaver=[timed(each) for each in rounds])
    summary = figure.figure().summary
    rates = sorted(1000 / each for each in rounds)
    assert summary.n == len(rounds)
    assert (summary.min, summary.max) == (rates[0], rates[-1])
    assert summary.min <= summary.value <= summary.max


@given(st.floats(0.01, 100))
def test_a_target_is_reached_by_the_ratio_that_is_shown(ratio: float) -> None:
    figure = figure_of("ring", palaver=[timed(1.0)], erlang=[timed(ratio)])
    target = figure.targets()["erlang"]
    shown = figure.ratios()["erlang"]
    assert shown is not None
    assert target == {"at_least": 1.0, "reached": shown >= 1.0}


def test_who_is_left_out_has_no_ratio_but_a_reason() -> None:
    figure = figure_of("ring", palaver=[timed(1.0)], pykka=[timed(2.0)])
    figure.left_out["erlang"] = "not installed"
    figure.leave_out("pykka", "a message was lost")
    shown = json.loads(json.dumps(figure.as_json()))
    assert shown["ratios"] == {"erlang": None, "pykka": None}
    assert shown["left_out"] == {"erlang": "not installed", "pykka": "a message was lost"}
    assert shown["targets"]["erlang"] == {"at_least": 1.0, "reached": None}
    assert "xoscar" not in shown["targets"]  # it was not asked for
    assert set(shown["samples"]) == {"palaver"}


def test_a_busy_machine_is_noticed() -> None:
    assert figure_of("ring", palaver=[timed(2.0, 1.0), timed(3.0, 1.0)]).disturbed() == 2.5
    assert figure_of("ring", palaver=[timed(2.0, 0.0)]).disturbed() == 1
    assert figure_of("bytes_per_process", palaver=[{"ops": 1, "bytes": 1}]).disturbed() == 1


def test_a_time_too_short_for_the_clock_gives_no_ratio() -> None:
    assert value_of(timed(1.0, 0.0), Clock.CPU) == 0
    figure = figure_of("call", Clock.CPU, palaver=[timed(1.0)], erlang=[timed(1.0, 0.0)])
    assert "erlang" not in figure.figure().ratios()
    assert "erlang" not in figure.ratios_by_round(Clock.CPU)


def test_the_figures_that_there_must_be_and_the_targets_of_each() -> None:
    assert set(ASKED_FOR) <= set(BY_NAME)
    erlang = {name: BY_NAME[name].targets["erlang"] for name in ASKED_FOR}
    assert erlang == {
        "spawn": 1.0,
        "bytes_per_process": 2.9,
        "cast": 0.5,
        "call": 1.0,
        "ring": 1.0,
        "fan_in": 0.6,
        "restart": 5.0,
    }
    for name in ("cast", "call", "ring", "fan_in"):
        targets = BY_NAME[name].targets
        assert {targets[peer] for peer in ("pykka", "xoscar", "thespian")} == {10.0}
    assert {plan.name for plan in PLANS} == set(FigureName)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name.value)
@pytest.mark.parametrize("engine", ["palaver", *Peer])
def test_everybody_has_enough_to_do_and_less_when_it_is_quick(
    plan: FigurePlan, engine: str
) -> None:
    full, quick = (plan.size_for(engine, quick=each) for each in (False, True))
    for size in (full, quick):
        assert size.count >= (10 if "restart" in plan.name else max(10, size.width))
        assert size.warm_up == 0 or size.warm_up >= size.width
    assert quick.count <= full.count
    if engine in plan.others:
        return
    if plan.same_for_all:
        assert full == plan.size
    elif engine in SHARES:
        assert full.count < plan.size.count


def test_supervisors_have_ten_thousand_children() -> None:
    for plan in PLANS:
        if "restart" in plan.name:
            assert (plan.size.width, plan.quick.width) == (10_000, 10_000)
