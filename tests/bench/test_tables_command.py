"""`palaver bench tables` as a whole: real rounds with tiny counts, and its rules."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from palaver.supervisors.cli.bench import bench_app
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.runtime.plan import Clock
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.tables import disk, engines, rounds
from palaver.supervisors.cli.bench.tables.engines import TablesEngine
from palaver.supervisors.cli.bench.tables.plan import PLANS, WORKS, Size
from palaver.supervisors.cli.bench.tables.rounds import TablesBench


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    works = [
        dataclasses.replace(each, size=dataclasses.replace(each.size, count=800)) for each in WORKS
    ]
    monkeypatch.setattr(rounds, "WORKS", works)
    monkeypatch.setattr(rounds, "QUICK_RECORDS", 300)
    monkeypatch.setattr(rounds, "QUICK_LOADED", 300)


@pytest.mark.usefixtures("tiny")
def test_the_command_measures_palaver_beside_the_floor(tmp_path: Path) -> None:
    names = ("durable_put_10", "commit_p50_us", "durable_put_1", "durable_tasks_64", "get",
             "disk_bytes", "start_up_s")  # fmt: skip
    only = [word for name in names for word in ("--only", name)]
    beside = ["--vs", "lmdb", "--vs", "sqlite", "--dir", str(tmp_path)]
    flags = ["--json", "--quick", "--rounds", "2"]
    done = CliRunner().invoke(bench_app, ["tables", *flags, *only, *beside])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result) == {"machine", "figures", "left_out"}
    machine = result["machine"]
    assert machine["versions"].keys() == {"palaver", "lmdb", "sqlite"}
    assert machine["sync_us"] > 0
    assert machine["file_system"]
    figures = {figure["name"]: figure for figure in result["figures"]}
    assert figures.keys() == set(names)
    for name, figure in figures.items():
        assert figure["n"] == (1 if name in ("disk_bytes", "start_up_s") else 2)
        assert figure["value"] > 0
        peers = {"lmdb"} if name == "durable_tasks_64" else {"lmdb", "sqlite"}
        assert set(figure["samples"]) == {"palaver", *peers}
    tasks = figures["durable_tasks_64"]
    assert 1 < tasks["batch"] <= 64
    assert tasks["ratios"]["sqlite"] is None
    # The last round's: as many in a transaction of the floor's as our group commit had.
    batch = tasks["samples"]["palaver"][-1]["batch"]
    assert tasks["counts"]["lmdb"]["width"] == round(batch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_the_table_without_erlang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = ["--quick", "--rounds", "1", "--only", "durable_threads_8", "--only", "select"]
    beside = ["--vs", "mnesia", "--vs", "lmdb"]
    done = CliRunner().invoke(bench_app, ["tables", *flags, *beside])
    assert done.exit_code == 0, done.output
    said = done.stdout.replace("\n", " ")
    assert "left out: mnesia: Erlang is not installed (Debian: apt install erlang-base)" in said
    assert "records in a commit; lmdb has as many" in said
    assert "targets reached: " in said
    assert "round 1/1: select, lmdb" in done.stderr


@pytest.mark.usefixtures("tiny")
def test_a_failure_of_palaver_is_said_and_nothing_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = TablesEngine("palaver", "0", ("/bin/sh", "-c", "echo lost one >&2; exit 1", "sh"))
    monkeypatch.setattr(engines, "palaver", lambda: broken)
    done = CliRunner().invoke(
        bench_app, ["tables", "--json", "--quick", "--only", "get", "--vs", "lmdb"]
    )
    assert done.exit_code == 1
    assert "failed: get (palaver): its process has ended: lost one" in done.stderr
    assert done.stdout == ""


def test_without_a_disk_the_command_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "file_system", lambda _: "tmpfs")
    done = CliRunner().invoke(bench_app, ["tables", "--only", "get"])
    assert done.exit_code == 1
    assert "--dir" in done.stderr


# -- the rounds ----------------------------------------------------------------------------------


class FakeSession:
    """Takes no time, and notes that it was its turn."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    def do(self, work: str, size: Size, *, timeout_s: float) -> Result:
        self.engine.done.append((work, size))
        if work in self.engine.fails:
            raise BenchFailed(f"{work} broke")
        return {"ops": 100, "wall_s": 1.0, "cpu_s": 1.0, "bytes": 1.0, "bytes_in_use": 2.0,
                "p50_us": 1.0, "p99_us": 2.0, **self.engine.more}  # fmt: skip


class FakeEngine:
    def __init__(self, name: str, *fails: str, without: Any = (), **more: float) -> None:
        self.name = name
        self.without = dict.fromkeys(without, "it has no such thing")
        self.fails = fails
        self.more = more
        self.done: list[tuple[str, Size]] = []
        self.folders: list[str] = []

    @contextmanager
    def session(self, folder: Path, records: int) -> Iterator[FakeSession]:
        self.folders.append(folder.name)
        yield FakeSession(self)


def bench_of(
    names: tuple[str, ...], ours: FakeEngine, *peers: FakeEngine, told: list[str] | None = None
) -> TablesBench:
    plans = [plan for plan in PLANS if plan.name in names]
    tell = [].append if told is None else told.append
    return TablesBench(
        plans, ours, peers, {"sqlite": "gone"}, 2, False, tell, Path("/nowhere"), Clock.WALL
    )  # type: ignore[arg-type]


def test_the_engines_take_turns_and_a_work_of_two_figures_is_done_once() -> None:
    told: list[str] = []
    lmdb = FakeEngine("lmdb", without=("transaction",))
    names = ("durable_put_1", "commit_p50_us", "transaction")
    figures = bench_of(names, FakeEngine("palaver"), lmdb, told=told).run()
    assert told == [
        "round 1/2: durable_put_1, palaver",
        "round 1/2: durable_put_1, lmdb",
        "round 1/2: transaction, palaver",
        "round 2/2: durable_put_1, palaver",
        "round 2/2: durable_put_1, lmdb",
        "round 2/2: transaction, palaver",
    ]
    put, p50, transaction = figures
    assert put.figure().summary.n == p50.figure().summary.n == 2
    assert put.ratios() == {"lmdb": 1, "sqlite": None}
    assert transaction.left_out == {"sqlite": "gone", "lmdb": "it has no such thing"}


def test_the_floor_commits_batches_as_large_as_the_group_commits() -> None:
    ours = FakeEngine("palaver", batch=37.4)
    lmdb, mnesia = FakeEngine("lmdb"), FakeEngine("mnesia")
    bench_of(("durable_tasks_64",), ours, lmdb, mnesia).run()
    assert {size.width for _, size in ours.done} == {64}
    assert {size.width for _, size in mnesia.done} == {64}
    assert {size.width for _, size in lmdb.done} == {37}


def test_a_peer_that_fails_is_left_out_of_that_figure_only() -> None:
    mnesia = FakeEngine("mnesia", "put")
    put, get = bench_of(("durable_put_10", "get"), FakeEngine("palaver"), mnesia).run()
    assert put.left_out["mnesia"] == "put broke"
    assert "mnesia" not in put.samples
    assert len(get.samples["mnesia"]) == 2
    assert [work for work, _ in mnesia.done] == ["put", "get", "get"]


def test_palaver_must_not_fail() -> None:
    with pytest.raises(BenchFailed, match="get broke"):
        bench_of(("get",), FakeEngine("palaver", "get"), FakeEngine("lmdb")).run()


def test_a_start_is_measured_in_processes_of_its_own_over_what_was_loaded() -> None:
    ours, mnesia = FakeEngine("palaver"), FakeEngine("mnesia", "bulk_load")
    load, memory, start = bench_of(("bulk_load", "memory_bytes", "start_up_s"), ours, mnesia).run()
    assert [work for work, _ in ours.done] == ["bulk_load", "start"]
    assert ours.folders == ["palaver-loaded"] * 2
    assert load.figure().summary.n == 1
    assert memory.figure().summary.n == start.figure().summary.n == 1
    assert [work for work, _ in mnesia.done] == ["bulk_load"]
    assert start.left_out["mnesia"] == "there is nothing to start with"
    assert load.left_out["mnesia"] == "bulk_load broke"


def test_without_the_start_only_the_load_is_measured() -> None:
    ours = FakeEngine("palaver")
    bench_of(("disk_bytes",), ours).run()
    assert [work for work, _ in ours.done] == ["bulk_load"]
