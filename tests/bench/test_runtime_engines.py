"""The work itself, tiny, for every engine that is installed; and what happens without one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext, suppress
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.runtime import engines, palaver_engine, worker
from palaver.supervisors.cli.bench.runtime.engines import Engine
from palaver.supervisors.cli.bench.runtime.plan import PLANS, Peer, Size
from palaver.supervisors.cli.bench.runtime.results import WorkFailed, check_count

WORKS = tuple(dict.fromkeys(plan.work or plan.name.value for plan in PLANS))
COUNT, WIDTH = 60, 10

# All that an engine can do, in one process: the start is what takes the time.
ALL = f"""
import json, sys
from palaver.supervisors.cli.bench.runtime.worker import works_of
works = works_of(sys.argv[1])
print(json.dumps({{name: work(6 if "restart" in name else {COUNT}, {WIDTH})
                  for name, work in works.items()}}))
"""


def needs(module: str) -> Any:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


needs_erlang = pytest.mark.skipif(shutil.which("erlc") is None, reason="Erlang is not installed")


@pytest.mark.parametrize(
    "engine",
    [
        "palaver",
        "default_gc",
        "asyncio",
        "thespian",
        pytest.param("uvloop", marks=needs("uvloop")),
        pytest.param("pykka", marks=[needs("pykka"), pytest.mark.peer]),
        pytest.param("xoscar", marks=[needs("xoscar"), pytest.mark.peer]),
        pytest.param("xoscar_ref", marks=[needs("xoscar"), pytest.mark.peer]),
    ],
)
def test_an_engine_does_all_the_work_that_it_has_a_notion_of(engine: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALL, engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    found = engines.palaver() if engine == "palaver" else engines.find(Peer(engine), tmp_path)
    assert isinstance(found, Engine)
    assert set(results) == set(WORKS) - set(found.without)
    for name, result in results.items():
        check_result(name, result, 6 if "restart" in name else COUNT)


def check_result(name: str, result: dict[str, float], count: int) -> None:
    assert result["ops"] == count
    if name == "bytes_per_process":
        assert result["bytes"] >= 0
    else:
        assert result["wall_s"] > 0
        assert result["cpu_s"] >= 0


@pytest.mark.peer
@needs_erlang
def test_erlang_does_all_the_work(tmp_path: Path) -> None:
    found = engines.find(Peer.ERLANG, tmp_path)
    assert isinstance(found, Engine)
    assert found.version.startswith("OTP ")
    for name in WORKS:
        count = 6 if "restart" in name else COUNT
        check_result(name, found.run(name, Size(count, WIDTH, 4), timeout_s=60), count)


@pytest.mark.peer
@needs_erlang
def test_what_goes_wrong_in_erlang_is_said(tmp_path: Path) -> None:
    found = engines.find(Peer.ERLANG, tmp_path)
    assert isinstance(found, Engine)
    with pytest.raises(BenchFailed, match=r"no_such_work \(erlang\): .*function_clause"):
        found.run("no_such_work", Size(1), timeout_s=60)


# -- engines that are not there ------------------------------------------------------------------


def test_without_erlang_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engines.find(Peer.ERLANG, tmp_path) == (
        "Erlang is not installed (Debian: apt install erlang-base)"
    )


def test_an_erlang_that_cannot_compile_or_start_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, script in (("erl", "exit 1"), ("erlc", "exit 1")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    assert "cannot compile" in str(engines.find(Peer.ERLANG, tmp_path))
    (tmp_path / "erlc").write_text("#!/bin/sh\nexit 0\n")
    assert "does not start" in str(engines.find(Peer.ERLANG, tmp_path))


@pytest.mark.parametrize("peer", [Peer.PYKKA, Peer.XOSCAR, Peer.XOSCAR_REF])
def test_without_a_library_it_is_said_what_to_install(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(engines, "version", missing)
    assert "is not installed (pip install 'palaver[bench]')" in str(engines.find(peer, tmp_path))


# -- work that fails -----------------------------------------------------------------------------


def test_lost_and_doubled_messages_fail_the_work() -> None:
    check_count(5, 5, "casts")
    for seen in (4, 6):
        with pytest.raises(WorkFailed, match=f"{seen} casts arrived of 5"):
            check_count(seen, 5, "casts")


def test_a_driver_that_ends_fails_the_work() -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(WorkFailed, match="ZeroDivisionError"):
        palaver_engine.on_a_node(broken, None, nullcontext)(1, 1)


def test_failed_work_is_said_on_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.main(["nobody", "cast", "1", "0", "0"]) == 1
    assert "no engine is named 'nobody'" in capsys.readouterr().err
    done: list[tuple[int, int]] = []

    def work(count: int, width: int) -> dict[str, float]:
        done.append((count, width))
        return {"ops": count, "wall_s": 1.0, "cpu_s": 1.0}

    monkeypatch.setattr(worker, "works_of", lambda _engine: {"ring": work})
    assert worker.main(["fake", "ring", "100", "50", "10"]) == 0
    assert done == [(10, 10), (100, 50)]  # a warm-up first, no wider than it is long
    assert json.loads(capsys.readouterr().out) == {"ops": 100, "wall_s": 1.0, "cpu_s": 1.0}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo first >&2; echo the reason >&2; exit 3", r"cast \(fake\): the reason"),
        ("exit 3", r"cast \(fake\): no reason given"),
        ("echo nonsense", r"printed no result"),
    ],
)
def test_a_process_that_fails_is_reported(script: str, said: str) -> None:
    engine = Engine("fake", "1", ("/bin/sh", "-c", script, "sh"))
    with pytest.raises(BenchFailed, match=said):
        engine.run("cast", Size(1), timeout_s=60)


def test_a_process_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "followed"
    mark.touch()
    engine = Engine("fake", "1", ("/bin/sh", "-c", f"tail -f {mark} & wait", "sh"))
    with pytest.raises(BenchFailed, match="was not done in 1 s"):
        engine.run("cast", Size(1), timeout_s=1.0)
    while is_running(str(mark)):  # a killed process takes a moment to be gone
        pass


def is_running(argument: str) -> bool:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            if argument.encode() in file.read_bytes():
                return True
    return False
