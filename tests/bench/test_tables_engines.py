"""The works themselves, tiny, on every engine that is installed; and what happens without one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.runtime import engines as erlang_engines
from palaver.supervisors.cli.bench.runtime.results import WorkFailed
from palaver.supervisors.cli.bench.tables import engines, worker
from palaver.supervisors.cli.bench.tables.adapter import Job
from palaver.supervisors.cli.bench.tables.engines import TablesEngine
from palaver.supervisors.cli.bench.tables.plan import WORKS, Peer, Size
from palaver.supervisors.cli.bench.tables.records import (
    QUEUES,
    account,
    fields_of,
    message,
    random_numbers,
)
from palaver.supervisors.cli.bench.tables.worker import Server, maker_of
from palaver.supervisors.cli.bench.tables.works import WORKS as FUNCTIONS

RECORDS = 300
WIDTH = 10
COUNT = WIDTH * QUEUES
IN_TURNS = tuple(dict.fromkeys(plan.work for plan in WORKS))
HANDFULS = ("transaction", "dirty_write", "get", "get_disc_only")
NAMES = ("palaver", "lmdb", "lmdb_cbor", "sqlite")


def has_mnesia(folder: Path) -> bool:
    return isinstance(engines.find(Peer.MNESIA, folder), TablesEngine)


def ops_of(work: str, count: int) -> set[int]:
    """How many operations a work of that count may report."""
    if work in HANDFULS:
        return {count // 100 * 100}
    if work == "select":
        return {max(1, count // RECORDS) * RECORDS}
    if work.endswith(("threads", "tasks")):
        return {count, count // WIDTH * WIDTH}
    return {count // WIDTH * WIDTH}


def check(work: str, result: dict[str, Any], count: int = COUNT) -> None:
    assert "failed" not in result, (work, result)
    assert result["ops"] in ops_of(work, count), work
    assert result["wall_s"] > 0
    assert result["cpu_s"] >= 0
    if work not in ("transaction", "dirty_write"):
        assert 0 < result["p50_us"] <= result["p99_us"]


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(maker_of(request.param), tmp_path / request.param, RECORDS)
    yield server
    server.adapter.close()


def without(engine: str) -> set[str]:
    found = None if engine == "palaver" else engines.find(Peer(engine), Path())
    return set(found.without) if isinstance(found, TablesEngine) else set()


@pytest.mark.parametrize("server", NAMES, indirect=True)
def test_an_engine_does_all_the_work_that_it_has_a_notion_of(
    server: Server, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["server"]
    for _ in range(2):  # a second round goes on where the first has ended
        for work in IN_TURNS:
            if work not in without(name):
                check(work, server.do(f"{work} {COUNT} {WIDTH} 60000"))
    adapter = server.adapter
    # put, put_threads and put_tasks, twice each
    assert adapter.get([RECORDS + 6 * COUNT - 1]) == account(RECORDS + 6 * COUNT - 1)


@pytest.mark.parametrize("server", NAMES, indirect=True)
def test_a_work_ends_when_its_time_is_up(server: Server) -> None:
    for work in ("put", "get", "put_threads", "put_tasks"):
        result = server.do(f"{work} 10000 {WIDTH} 0")
        assert "failed" not in result
        assert 0 < result["ops"] < 10_000


@pytest.mark.parametrize("server", NAMES, indirect=True)
def test_what_was_loaded_is_there_after_a_start(server: Server) -> None:
    loaded = server.do(f"bulk_load {RECORDS} 0 0")
    assert loaded["ops"] == RECORDS
    assert loaded["bytes"] > RECORDS * 50
    started = server.do(f"start {RECORDS} 0 0")
    assert started["ops"] == RECORDS
    assert started["wall_s"] > 0
    assert server.do(f"start {RECORDS + 1} 0 0") == {
        "failed": f"WorkFailed: {RECORDS} accounts arrived of {RECORDS + 1}"
    }


@pytest.mark.parametrize("server", NAMES, indirect=True)
def test_the_engines_hold_the_same_and_find_the_same(server: Server) -> None:
    server.do("get_disc_only 100 0 1000")
    adapter = server.adapter
    numbers = list(random_numbers(RECORDS, 50))
    for number in numbers:
        expected = account(number)
        assert adapter.get([number]) == expected
        assert adapter.get_disc_only([number]) == expected
        assert adapter.transact_reads([number]) == expected
    assert adapter.select() == sum(account(number).balance < 100_000 for number in range(RECORDS))
    assert adapter.ranges([0, 17], 20) == 40
    assert adapter.index_read([account(0).owner, account(25).owner, "nobody"]) == 20


@pytest.mark.parametrize("server", NAMES, indirect=True)
def test_a_queue_gives_its_first_messages_and_no_others(server: Server) -> None:
    server.do("put 10 10 1000")
    adapter = server.adapter
    for queue in (1, 2):
        adapter.append([adapter.message(message(queue, at)) for at in range(5)])
    assert [adapter.take(1, 3), adapter.take(1, 3), adapter.take(1, 3)] == [3, 2, 0]
    assert adapter.take(2, 100) == 5
    assert adapter.take(3, 1) == 0


def test_a_record_has_the_size_that_is_promised() -> None:
    import cbor2

    sizes = {len(cbor2.dumps(fields_of(account(n)))) for n in random_numbers(100_000, 500)}
    assert 100 <= min(sizes) <= max(sizes) <= 120


def test_the_group_commit_says_how_large_its_batches_were(tmp_path: Path) -> None:
    server = Server(maker_of("palaver"), tmp_path / "palaver", RECORDS)
    threads = server.do("put_threads 400 8 60000")
    tasks = server.do("put_tasks 400 100 60000")
    server.adapter.close()
    assert 1 <= threads["batch"] <= 8
    assert 10 < tasks["batch"] <= 100


# -- Mnesia --------------------------------------------------------------------------------------

needs_erlang = pytest.mark.skipif(shutil.which("erlc") is None, reason="Erlang is not installed")


@pytest.fixture
def mnesia(tmp_path: Path) -> TablesEngine:
    found = engines.find(Peer.MNESIA, tmp_path)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.mark.peer
@needs_erlang
def test_mnesia_does_all_the_work(mnesia: TablesEngine, tmp_path: Path) -> None:
    assert mnesia.version[0].isdigit()
    with mnesia.session(tmp_path / "tables", RECORDS) as session:
        for work in IN_TURNS:
            check(work, dict(session.do(work, Size(COUNT, WIDTH, 60.0), timeout_s=60)))
        with pytest.raises(BenchFailed, match=r"no_such_work \(mnesia\): function_clause"):
            session.do("no_such_work", Size(1), timeout_s=60)
        # and goes on after it
        assert session.do("put", Size(COUNT, WIDTH, 0.0), timeout_s=60)["ops"] == WIDTH


@pytest.mark.peer
@needs_erlang
def test_mnesia_has_after_a_start_what_was_loaded(mnesia: TablesEngine, tmp_path: Path) -> None:
    size = Size(RECORDS, 0, 0.0)
    with mnesia.session(tmp_path / "tables", RECORDS) as session:
        loaded = session.do("bulk_load", size, timeout_s=60)
        assert loaded["ops"] == RECORDS
        assert loaded["bytes"] > RECORDS * 50
    with mnesia.session(tmp_path / "tables", RECORDS) as session:
        assert session.do("start", size, timeout_s=60)["ops"] == RECORDS


def test_without_erlang_or_mnesia_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "compiled_erlang", lambda *_: ("/bin/false", "OTP 0"))
    assert engines.find(Peer.MNESIA, tmp_path) == (
        "Mnesia is not installed (Debian: apt install erlang-mnesia)"
    )
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engines.find(Peer.MNESIA, tmp_path) == (
        "Erlang is not installed (Debian: apt install erlang-base)"
    )
    assert erlang_engines.output_of(["/bin/false"]) is None


# -- work and processes that fail ----------------------------------------------------------------


def test_a_work_that_fails_is_said_and_the_next_one_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_adapter: object, _job: Job) -> dict[str, float]:
        raise WorkFailed("one was lost")

    monkeypatch.setitem(FUNCTIONS, "get", broken)
    server = Server(maker_of("lmdb"), tmp_path / "lmdb", RECORDS)
    assert server.do("get 100 0 1000") == {"failed": "WorkFailed: one was lost"}
    assert server.do("put 100 10 1000")["ops"] == 100
    server.adapter.close()


def test_a_worker_serves_until_its_input_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", worker.__name__, "lmdb", str(tmp_path / "lmdb"), "200"]
    jobs = "put 100 10 1000\nget 200 0 1000\n"
    done = subprocess.run(command, input=jobs, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["ops"] for line in done.stdout.splitlines()] == [100, 200]


def test_an_engine_that_does_not_exist_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert worker.main(["nobody", "/nowhere", "1"]) == 1
    assert "no engine is named 'nobody'" in capsys.readouterr().err


def script(text: str) -> TablesEngine:
    return TablesEngine("fake", "1", ("/bin/sh", "-c", text, "sh"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo the reason >&2; exit 3", r"put \(fake\): its process has ended: the reason"),
        ("exec 0<&-; exit 3", r"put \(fake\): its process has ended: no reason given"),
        ("read job; echo nonsense", r"put \(fake\) printed no result: b'nonsense"),
        ('read job; echo \'{"failed": "so it is"}\'', r"put \(fake\): so it is"),
    ],
)
def test_a_process_that_fails_is_reported(text: str, said: str, tmp_path: Path) -> None:
    session = script(text).session(tmp_path / "tables", 1)
    with session, pytest.raises(BenchFailed, match=said):
        session.do("put", Size(1), timeout_s=60)


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    with script("read job; exec tail -f /dev/null").session(tmp_path / "tables", 1) as session:
        with pytest.raises(BenchFailed, match=r"put \(fake\) was not done in 1 s"):
            session.do("put", Size(1), timeout_s=1.0)
        assert not session.alive


def test_a_process_is_not_left_behind_by_an_exception(tmp_path: Path) -> None:
    session = script("exec tail -f /dev/null").session(tmp_path / "tables", 1)
    assert session.alive
    with pytest.raises(KeyboardInterrupt), session:
        raise KeyboardInterrupt
    assert not session.alive
