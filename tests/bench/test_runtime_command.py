"""`palaver bench runtime` as a whole: real rounds with tiny counts, and its rules."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from palaver.supervisors.cli.bench import bench_app
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.runtime import engines, plan, report
from palaver.supervisors.cli.bench.runtime.figures import RuntimeFigure
from palaver.supervisors.cli.bench.runtime.plan import PLANS, Clock, Peer, Size
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.runtime.rounds import RuntimeBench

PEERS = ("erlang", "pykka", "xoscar", "thespian", "asyncio")
TINY = Size(100, 10)
WEIGHED = Size(1_000)
"""So many that they do not find room in the memory that starting has left."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def size_of(name: str) -> Size:
        if name == "bytes_per_process":
            return WEIGHED
        return Size(5, 20) if "restart" in name else TINY

    plans = [
        dataclasses.replace(each, quick=size_of(each.name), others=dict.fromkeys(each.others, TINY))
        for each in PLANS
    ]
    monkeypatch.setattr(plan, "PLANS", plans)


def there(peer: str) -> bool:
    if peer == "erlang":
        return engines.shutil.which("erlc") is not None
    return peer == "asyncio" or find_spec(peer) is not None


@pytest.mark.peer
@pytest.mark.usefixtures("tiny")
def test_the_command_measures_all_that_are_there() -> None:
    flags = ["--json", "--quick", "--rounds", "1", "--only", "call", "--only", "bytes_per_process"]
    beside = [word for peer in PEERS for word in ("--vs", peer)]
    done = CliRunner().invoke(bench_app, ["runtime", *flags, *beside])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result) == {"machine", "figures", "left_out"}
    assert result["left_out"].keys() == {peer for peer in PEERS if not there(peer)}
    versions = result["machine"]["versions"]
    assert versions.keys() == {"palaver", *(peer for peer in PEERS if there(peer))}
    assert "asyncio's own" in result["machine"]["event_loop"]
    memory, call = result["figures"]
    assert (memory["name"], call["name"]) == ("bytes_per_process", "call")
    assert (memory["better"], call["better"]) == ("lower", "higher")
    for figure in (memory, call):
        assert set(figure["ratios"]) == set(PEERS)
        assert set(figure["samples"]) == set(versions)
        assert figure["n"] == 1
    for peer in filter(there, PEERS):
        ratio = call["value"] / call["others"][peer]["value"]
        assert call["ratios"][peer] == pytest.approx(ratio, rel=0.01)
        assert call["counts"][peer]["count"] >= 10


@pytest.mark.usefixtures("tiny")
def test_the_table_without_erlang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = ["--quick", "--rounds", "2", "--only", "ring", "--vs", "erlang", "--vs", "asyncio"]
    done = CliRunner().invoke(bench_app, ["runtime", *flags])
    assert done.exit_code == 0, done.output
    assert "left out: erlang: Erlang is not installed (Debian: apt install erlang-base)" in (
        done.stdout.replace("\n", " ")
    )
    assert "round 2/2: ring, asyncio" in done.stderr
    assert "ring" in done.stdout


@pytest.mark.usefixtures("tiny")
def test_a_failure_of_palaver_is_said_and_nothing_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = engines.Engine("palaver", "0", ("/bin/sh", "-c", "echo lost one >&2; exit 1", "sh"))
    monkeypatch.setattr(engines, "palaver", lambda: broken)
    flags = ["--json", "--quick", "--only", "call", "--vs", "asyncio"]
    done = CliRunner().invoke(bench_app, ["runtime", *flags])
    assert done.exit_code == 1
    assert "failed: call (palaver): lost one" in done.stderr
    assert done.stdout == ""


# -- the rounds ----------------------------------------------------------------------------------


class Fake(engines.Engine):
    """Takes no time, and notes that it was its turn."""

    def run(self, work: str, size: Size, *, timeout_s: float) -> Result:
        return FAKES[self.name](work, size)


FAKES: dict[str, Any] = {}


def fake(name: str, act: Any, **without: str) -> Fake:
    FAKES[name] = act
    return Fake(name, "1", (), without)


def bench_of(peers: list[Fake], told: list[str], names: tuple[str, ...]) -> RuntimeBench:
    def ours(_work: str, size: Size) -> Result:
        return {"ops": size.count, "wall_s": 2.0, "cpu_s": 1.0}

    plans = [each for each in PLANS if each.name in names]
    return RuntimeBench(
        plans, fake("palaver", ours), peers, {"pykka": "gone"}, 2, True, told.append, Clock.CPU
    )


def test_the_engines_take_turns() -> None:
    def theirs(_work: str, size: Size) -> Result:
        return {"ops": size.count, "wall_s": 1.0, "cpu_s": 2.0}

    told: list[str] = []
    peers = [fake("erlang", theirs), fake("asyncio", theirs, restart="has no such thing")]
    figures = bench_of(peers, told, ("call", "restart_all")).run()
    assert told == [
        "round 1/2: call, palaver",
        "round 1/2: call, erlang",
        "round 1/2: call, asyncio",
        "round 1/2: restart_all, palaver",
        "round 1/2: restart_all, erlang",
        "round 2/2: call, palaver",
        "round 2/2: call, erlang",
        "round 2/2: call, asyncio",
        "round 2/2: restart_all, palaver",
        "round 2/2: restart_all, erlang",
    ]
    call, restart_all = figures
    assert call.ratios() == {"pykka": None, "erlang": 2, "asyncio": 4}  # half as many in twice
    assert restart_all.left_out == {"pykka": "gone", "asyncio": "has no such thing"}


def test_a_peer_that_fails_is_left_out_of_that_figure_only() -> None:
    rounds = iter(range(100))

    def theirs(work: str, size: Size) -> Result:
        if work == "ring" and next(rounds) == 1:
            raise BenchFailed("ring (erlang): it fell")
        return {"ops": size.count, "wall_s": 1.0, "cpu_s": 1.0}

    told: list[str] = []
    figures = bench_of([fake("erlang", theirs)], told, ("call", "ring")).run()
    assert "left out: ring (erlang): it fell" in told
    call, ring = figures
    assert call.ratios()["erlang"] == 1
    assert ring.ratios() == {"pykka": None, "erlang": None}
    assert ring.left_out["erlang"] == "ring (erlang): it fell"


# -- the table -----------------------------------------------------------------------------------

ABOUT = {
    "processor": "Abacus",
    "cores": 2,
    "python": "CPython 3.11",
    "system": "Linux",
    "load_average": 0.1,
    "event_loop": "asyncio's own",
    "versions": {"palaver": "0.1.0", "erlang": "OTP 25", "asyncio": "3.11"},
}


def table(capsys: pytest.CaptureFixture[str], figure: RuntimeFigure) -> str:
    peers = [Peer.ERLANG, Peer.PYKKA, Peer.ASYNCIO]
    report.print_table(ABOUT, [figure], {"pykka": "not installed"}, peers)
    return " ".join(capsys.readouterr().out.split())


def test_the_table_says_what_is_missed_missing_and_disturbed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figure = RuntimeFigure(next(each for each in PLANS if each.name == "call"))
    figure.add("palaver", TINY, {"ops": 1000, "wall_s": 1.0, "cpu_s": 0.5})
    figure.add("erlang", TINY, {"ops": 2000, "wall_s": 1.0, "cpu_s": 1.0})
    figure.left_out |= {"pykka": "not installed", "asyncio": "has no such thing"}
    shown = table(capsys, figure)
    assert "2 k" in shown
    assert "x0.5!" in shown
    assert "! call: x0.5 to erlang, target x1.0" in shown
    assert "left out: pykka: not installed" in shown
    assert "no call of asyncio: has no such thing" in shown
    assert "a busy machine: the work took up to 2 times the CPU time" in shown


def test_the_table_is_silent_where_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    figure = RuntimeFigure(next(each for each in PLANS if each.name == "ring"))
    figure.add("palaver", TINY, {"ops": 3_280_000, "wall_s": 1.0, "cpu_s": 1.0})
    figure.add("erlang", TINY, {"ops": 640, "wall_s": 1.0, "cpu_s": 1.0})
    shown = table(capsys, figure)
    assert "3.28 M" in shown
    assert "640" in shown
    assert "x5,125" in shown
    assert "!" not in shown.replace("! below its target", "")
    assert "busy" not in shown
