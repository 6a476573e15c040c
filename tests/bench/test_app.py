from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from palaver.supervisors.cli.bench import app, bench_app, chat
from palaver.supervisors.cli.bench.chat import QUICK, Bench
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.ejabberd import Installed, find_ejabberd
from palaver.supervisors.cli.bench.procfs import Cores
from palaver.supervisors.cli.bench.stats import Figure, Summary

FIGURE = Figure("messages_per_s", "1/s", "higher", Summary(15000.0, 5, 14000.0, 16000.0))


def bench_in(folder: Path, told: list[str]) -> Bench:
    return Bench(QUICK, folder, Cores.choose(), told.append)


def test_a_peer_that_is_not_installed_is_left_out_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(chat, "find_ejabberd", lambda: "ejabberd is not installed")
    bench = bench_in(tmp_path, told)
    assert bench.measure_ejabberd() == {}
    assert bench.left_out == {"ejabberd": "ejabberd is not installed"}
    assert told == ["left out: ejabberd is not installed"]


def test_a_peer_that_does_not_come_up_is_left_out_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(chat, "find_ejabberd", lambda: Installed("/bin/false", "", "0"))
    bench = bench_in(tmp_path, told)
    assert bench.measure_ejabberd() == {}
    assert "ended with 1" in bench.left_out["ejabberd"]


def test_nothing_is_found_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert "not installed" in str(find_ejabberd())


@pytest.mark.parametrize("flags", [["--json"], []])
def test_the_command_prints_the_figures(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def run(self: Bench, *, ejabberd: bool) -> list[Figure]:
        seen.append((self.plan, ejabberd, self.folder))
        self.left_out["ejabberd"] = "gone"
        return [FIGURE]

    monkeypatch.setattr(Bench, "run", run)
    arguments = ["chat", "--quick", "--vs", "ejabberd", "--dir", str(tmp_path), *flags]
    done = CliRunner().invoke(bench_app, arguments)
    assert done.exit_code == 0, done.output
    ((plan, ejabberd, folder),) = seen
    assert (plan, ejabberd, folder.parent) == (QUICK, True, tmp_path)
    assert not folder.exists()
    if flags:
        result = json.loads(done.stdout)
        assert set(result) == {"machine", "figures", "left_out"}
        assert result["figures"][0]["value"] == 15000
    else:
        assert "messages_per_s" in done.stdout
        assert "14,000 .. 16,000" in done.stdout
        assert "left out: ejabberd: gone" in done.stdout


def test_a_failure_is_said_and_nothing_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(_self: Bench, **_: bool) -> list[Figure]:
        raise BenchFailed("one message was lost")

    monkeypatch.setattr(Bench, "run", run)
    done = CliRunner().invoke(bench_app, ["chat", "--json", "--dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "one message was lost" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_sigterm_goes_through_the_code_that_ends_children(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def be_ended() -> None:
        with app._temporary(tmp_path) as place, app._ended_in_order():
            assert place.exists()
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        be_ended()
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []
