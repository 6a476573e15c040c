from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.supervisors.cli.bench.stats import (
    Figure,
    Summary,
    percentile,
    ratio,
    report_json,
    rounded,
)

numbers = st.floats(-1e9, 1e9)


@given(st.lists(numbers, min_size=1), st.floats(0, 1))
def test_a_percentile_lies_within_its_samples(samples: list[float], share: float) -> None:
    found = percentile(samples, share)
    assert min(samples) <= found <= max(samples) or math.isclose(found, max(samples))


@given(st.lists(numbers, min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_do_not_fall(samples: list[float], a: float, b: float) -> None:
    low, high = percentile(samples, min(a, b)), percentile(samples, max(a, b))
    assert low <= high or math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-6)


def test_percentiles_interpolate() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([5], 0.99) == 5
    assert percentile(range(101), 0.99) == 99


@pytest.mark.parametrize(("samples", "share"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_what_has_no_percentile(samples: list[float], share: float) -> None:
    with pytest.raises(ValueError, match=r"no samples|not within"):
        percentile(samples, share)


def test_a_summary_is_median_count_least_and_greatest() -> None:
    assert Summary.of([3.0, 1.0, 10.0]) == Summary(3.0, 3, 1.0, 10.0)
    with pytest.raises(ValueError, match="no rounds"):
        Summary.of([])


def test_a_ratio_above_one_always_means_better() -> None:
    assert ratio(200, 100, "higher") == 2
    assert ratio(50, 100, "lower") == 2
    assert ratio(0, 0, "zero") == 1
    assert ratio(0, 19_400, "zero") == 19_401
    assert ratio(19_400, 0, "zero") == pytest.approx(1 / 19_401)


def test_a_ratio_without_a_meaning_is_left_out() -> None:
    assert ratio(1, 0, "higher") is None
    assert ratio(0, 1, "lower") is None


@pytest.mark.parametrize(
    ("number", "shown"),
    [(15034.7, 15035), (66.0, 66), (0.0123456, 0.01235), (123.456, 123.5), (0.0, 0)],
)
def test_numbers_are_shown_as_exact_as_they_are_worth(number: float, shown: float) -> None:
    assert rounded(number) == shown


def test_the_json_of_a_figure() -> None:
    figure = Figure("server_cpu_us_per_message", "us", "lower", Summary(50.0, 3, 40.0, 60.0))
    figure.others["ejabberd"] = Summary(66.0, 5, 60.0, 70.0)
    figure.others["broken"] = Summary(0.0, 1, 0.0, 0.0)
    result = json.loads(json.dumps(report_json({"cores": 2}, [figure], {"other": "not there"})))
    assert result["machine"] == {"cores": 2}
    assert result["left_out"] == {"other": "not there"}
    (shown,) = result["figures"]
    assert {name: shown[name] for name in ("name", "value", "unit", "n", "min", "max")} == {
        "name": "server_cpu_us_per_message",
        "value": 50,
        "unit": "us",
        "n": 3,
        "min": 40,
        "max": 60,
    }
    assert shown["ratios"] == {"ejabberd": 1.32, "broken": 0}
    assert shown["others"]["ejabberd"]["value"] == 66
