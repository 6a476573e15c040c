from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.runtime.plan import Clock
from palaver.supervisors.cli.bench.tables import disk
from palaver.supervisors.cli.bench.tables.figures import TablesFigure
from palaver.supervisors.cli.bench.tables.plan import (
    PLANS,
    WORKS,
    FigureName,
    Peer,
    Size,
    Value,
)
from palaver.supervisors.cli.bench.tables.works import WORKS as FUNCTIONS

BY_NAME = {plan.name.value: plan for plan in PLANS}
ASKED_FOR = (
    "durable_put_1", "durable_put_10", "durable_put_100", "durable_put_1000", "commit_p50_us",
    "commit_p99_us", "durable_threads_8", "durable_tasks_64", "get", "queue", "index_read",
    "disk_bytes", "start_up_s",
)  # fmt: skip
times = st.floats(1e-6, 100)
counts = st.integers(1, 10**9)


def figure_of(
    name: str, clock: Clock = Clock.WALL, **results: list[dict[str, float]]
) -> TablesFigure:
    figure = TablesFigure(BY_NAME[name], clock)
    for engine, rounds in results.items():
        for result in rounds:
            figure.add_sample(engine, Size(10, 5), result)
    return figure


relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(times, times, counts, counts, st.sampled_from(Clock))
def test_a_ratio_above_one_means_that_palaver_does_more_in_a_time(
    ours_s: float, theirs_s: float, ours: int, theirs: int, clock: Clock
) -> None:
    other = Clock.CPU if clock is Clock.WALL else Clock.WALL
    us = {"ops": ours, clock.key: ours_s, other.key: 50.0, "bytes": 7.0}
    them = {"ops": theirs, clock.key: theirs_s, other.key: 50.0}
    figure = figure_of("durable_put_100", clock, palaver=[us], lmdb=[them])
    expected = (ours / ours_s) / (theirs / theirs_s)
    assert figure.ratios()["lmdb"] == pytest.approx(expected, rel=1e-3)
    reached = figure.targets()["lmdb"]["reached"]
    assert reached == (figure.ratios()["lmdb"] >= 0.6)  # type: ignore[operator]


@relaxed
@given(times, times)
def test_less_time_is_better_where_the_figure_is_a_time(ours_s: float, theirs_s: float) -> None:
    us = {"ops": 10, "wall_s": ours_s, "cpu_s": 1.0, "bytes": 3.0, "bytes_in_use": 40.0}
    them = {"ops": 10, "wall_s": theirs_s, "cpu_s": 1.0, "bytes": 6.0, "bytes_in_use": 20.0}
    start = figure_of("start_up_s", palaver=[us], mnesia=[them])
    assert start.figure().summary.value == ours_s
    assert start.ratios()["mnesia"] == pytest.approx(theirs_s / ours_s, rel=1e-3)
    assert figure_of("memory_bytes", palaver=[us], mnesia=[them]).ratios()["mnesia"] == 2
    in_use = figure_of("memory_bytes_in_use", palaver=[us], mnesia=[them])
    assert in_use.ratios()["mnesia"] == 0.5
    assert in_use.figure().summary.value == 4


@relaxed
@given(st.lists(st.tuples(times, times), min_size=1, max_size=7))
def test_percentiles_are_medians_of_the_rounds(rounds: list[tuple[float, float]]) -> None:
    results = [
        {"ops": 1, "wall_s": 1.0, "cpu_s": 1.0, "p50_us": p50, "p99_us": p99} for p50, p99 in rounds
    ]
    for name, at in (("commit_p50_us", 0), ("commit_p99_us", 1)):
        figure = figure_of(name, palaver=results)
        summary = figure.figure().summary
        ordered = sorted(each[at] for each in rounds)
        assert (summary.min, summary.max) == (ordered[0], ordered[-1])
        assert summary.min <= summary.value <= summary.max
        assert figure.as_json()["clock"] is None


def test_a_figure_as_json_says_all_there_is_to_know() -> None:
    sample = {"ops": 100, "wall_s": 1.0, "cpu_s": 0.5, "batch": 30.0}
    figure = figure_of("durable_tasks_64", palaver=[sample, sample], lmdb=[sample, sample])
    figure.leave_out("mnesia", "gone")
    shown = json.loads(json.dumps(figure.as_json()))
    assert shown["name"] == "durable_tasks_64"
    assert (shown["value"], shown["n"], shown["batch"]) == (100, 2, 30.0)
    assert shown["ratios"] == {"lmdb": 1, "mnesia": None}
    assert shown["targets"]["lmdb"] == {"at_least": 0.6, "reached": True}
    assert shown["targets"]["mnesia"] == {"at_least": 10.0, "reached": None}
    assert shown["left_out"] == {"mnesia": "gone"}
    assert shown["clock"] == "wall"
    assert figure_of("get", palaver=[{"ops": 1, "wall_s": 1.0, "cpu_s": 1.0}]).batch() is None


# -- the plan ------------------------------------------------------------------------------------


def test_the_plan_has_all_that_is_asked_for() -> None:
    assert set(BY_NAME) == set(FigureName)
    assert set(ASKED_FOR) <= set(BY_NAME)
    in_turns = {work.name for work in WORKS}
    assert {plan.work for plan in PLANS} == in_turns | {"bulk_load", "start_up_s"}
    assert {work.work for work in WORKS} | {"bulk_load", "start"} == set(FUNCTIONS)


def test_the_targets_are_those_that_were_set() -> None:
    for plan in PLANS:
        grouped = "tasks" in plan.name or "threads" in plan.name
        if plan.name.startswith("durable"):
            assert plan.targets[Peer.LMDB] == 0.6
        if grouped and plan.name != "durable_tasks_1":
            assert plan.targets[Peer.MNESIA] == 10.0
        if plan.name in ("get", "get_hot", "transaction_read_1", "transaction_read_100"):
            assert plan.targets == {Peer.LMDB: 0.5}


def test_a_quick_work_is_less_of_it_and_never_nothing() -> None:
    for plan in WORKS:
        quick = plan.size.quick()
        assert quick.width == plan.size.width
        assert plan.size.width <= quick.count < plan.size.count
        assert 0 < quick.limit_s < plan.size.limit_s


def test_every_value_is_of_a_kind_that_some_figure_has() -> None:
    assert {plan.value for plan in PLANS} == set(Value)


# -- the disk ------------------------------------------------------------------------------------

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/real xfs rw 0 0
tmpfs /over tmpfs rw 0 0
/dev/vdc /over btrfs rw 0 0
/dev/vdd /with\\040blank zfs rw 0 0
nonsense
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/somebody", "ext4"),
        ("/tmp/x", "tmpfs"),
        ("/tmpx", "ext4"),
        ("/tmp/real/x", "xfs"),
        ("/over/x", "btrfs"),
        ("/with blank/x", "zfs"),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(folder: str, kind: str) -> None:
    assert disk.file_system(Path(folder), MOUNTS) == kind


def test_a_folder_in_memory_is_never_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(disk, "file_system", lambda _: "ext4")
    assert disk.choose() == tmp_path
    monkeypatch.setattr(disk, "file_system", lambda at: "tmpfs" if at == tmp_path else "ext4")
    assert disk.choose() != tmp_path
    monkeypatch.setattr(disk, "file_system", lambda _: "tmpfs")
    with pytest.raises(BenchFailed, match="give one on a disk by --dir"):
        disk.choose()


def test_the_cost_of_a_sync_is_measured_and_nothing_left(tmp_path: Path) -> None:
    assert disk.sync_us(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []
    assert disk.file_system(tmp_path) != "unknown"
