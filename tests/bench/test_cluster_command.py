"""`palaver bench cluster` as a whole: real servers with tiny counts, and its rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from palaver.supervisors.cli.bench import bench_app
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.cluster import bench, report
from palaver.supervisors.cli.bench.cluster.bench import ClusterBench, ClusterPlan
from palaver.supervisors.cli.bench.cluster.catchup import CatchupPlan
from palaver.supervisors.cli.bench.cluster.failover import FailoverPlan
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part, Target
from palaver.supervisors.cli.bench.cluster.replicated import ReplicatedPlan
from palaver.supervisors.trees.nats_binary import NatsServerMissing, find_nats_server

ABOUT = {
    "processor": "a processor", "cores": 2, "python": "CPython 3", "system": "Linux",
    "load_average": 0.1, "versions": {"palaver": "1", "nats-server": "2.11.0"},
}  # fmt: skip
FIGURE = ClusterFigure(
    Part.FABRIC, "fabric_call_per_s", "1/s", "higher", "round trips", "two nodes", [4000.0],
    "nats-py", "request and reply", [8000.0], target=Target("ratio", at_least=0.9),
)  # fmt: skip


@pytest.fixture
def nats_server() -> None:
    try:
        find_nats_server()
    except NatsServerMissing as error:
        pytest.skip(str(error))


@pytest.mark.peer
@pytest.mark.usefixtures("nats_server")
def test_the_replicated_log_is_measured_for_real(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = ReplicatedPlan(windows=(1, 32), rounds=2, round_s=0.15, warmup_s=0.05)
    monkeypatch.setattr(bench, "QUICK", ClusterPlan(replicated=tiny))
    flags = ["--quick", "--only", "replicated", "--json", "--dir", str(tmp_path)]
    done = CliRunner().invoke(bench_app, ["cluster", *flags])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result) == {"machine", "figures", "left_out"}
    assert result["left_out"] == {}
    assert set(result["machine"]["versions"]) == {"palaver", "nats-server", "nats-py"}
    names = [f"replicated_{what}_{n}" for n in (1, 32) for what in ("per_s", "p50_ms", "p99_ms")]
    assert [figure["name"] for figure in result["figures"]] == names
    for figure in result["figures"]:
        assert figure["part"] == "replicated"
        assert figure["n"] == figure["beside"]["n"] == 2
        assert figure["value"] > 0
        assert figure["beside"]["name"] == "jetstream"
        assert "sync_interval always" in figure["on"]
        assert figure["details"]["message_bytes"] == 1000
        assert figure["ratio"] > 0
    assert {figure["target"]["of"] for figure in result["figures"] if figure["target"]} == {
        "ratio",
        "added",
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.peer
@pytest.mark.usefixtures("nats_server")
def test_fresh_replicas_catch_up_for_real(tmp_path: Path) -> None:
    flags = ["--quick", "--only", "catchup", "--messages", "2000", "--json"]
    done = CliRunner().invoke(bench_app, ["cluster", *flags, "--dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)["figures"]
    assert [figure["name"] for figure in figures] == [
        f"catchup_{how}_{what}" for how in ("snapshot", "replay") for what in ("per_s", "s")
    ]
    for figure in figures:
        assert figure["details"]["messages"] == 2000
        assert figure["beside"]["name"] == "nats-py"
        assert figure["value"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The parts do what a test says instead."""
    does: dict[str, Any] = {}

    def instead(name: str) -> Any:
        def part(_: ClusterBench, folder: Path) -> list[ClusterFigure]:
            assert folder.is_dir()
            structlog.get_logger("palaver.nats").warning("a server is gone")
            found = does[name]
            if isinstance(found, BaseException):
                raise found
            return list(found)

        return part

    for name in Part:
        monkeypatch.setattr(ClusterBench, f"_{name.value}", instead(name.value))
        does[name.value] = [FIGURE]
    monkeypatch.setattr(report, "machine", lambda _: ABOUT)
    return does


def test_a_part_that_fails_is_left_out_and_said_so(parts: dict[str, Any], tmp_path: Path) -> None:
    parts["replicated"] = BenchFailed("nobody leads it")
    done = CliRunner().invoke(bench_app, ["cluster", "--quick", "--dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "left out: replicated: nobody leads it" in done.stdout
    assert "nats-py 8 k" in done.stdout
    assert "x0.5" in done.stdout
    assert "ratio ≥ 0.9!" in done.stdout
    assert "a server is gone" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_where_every_part_fails_the_command_does(parts: dict[str, Any], tmp_path: Path) -> None:
    parts["fabric"] = BenchFailed("there is no nats-server")
    flags = ["cluster", "--only", "fabric", "--json", "--dir", str(tmp_path)]
    done = CliRunner().invoke(bench_app, flags)
    assert done.exit_code == 1
    assert "there is no nats-server" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_asked_for_is_measured_in_the_usual_order(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    for name in parts:
        if name not in ("fabric", "replicated"):
            parts[name] = AssertionError(name)
    flags = ["cluster", "--only", "fabric", "--only", "replicated", "--json"]
    done = CliRunner().invoke(bench_app, [*flags, "--dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["figures"]) == 2


def test_the_plan_has_what_the_command_line_says() -> None:
    plan = bench.FULL.with_options(kills=3, messages=5000)
    assert plan.failover == FailoverPlan(3, 3, 3)
    assert plan.catchup == CatchupPlan(messages=5000)
    assert bench.QUICK.with_options(kills=None, messages=None) == bench.QUICK


@pytest.mark.peer
@pytest.mark.long
@pytest.mark.usefixtures("nats_server")
def test_everything_is_measured_for_real(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench_app, ["cluster", "--quick", "--json", "--dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["left_out"] == {}
    assert {figure["part"] for figure in result["figures"]} == {part.value for part in Part}
    for figure in result["figures"]:
        assert figure["value"] > 0
    assert list(tmp_path.iterdir()) == []
