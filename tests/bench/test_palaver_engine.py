"""The scenarios over Palaver's wire, against a small node that keeps or breaks its promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palaver.supervisors.cli.bench.chat import SHOWN, Bench, Plan, figures
from palaver.supervisors.cli.bench.children import BenchFailed, run_worker
from palaver.supervisors.cli.bench.procfs import Cores
from palaver.supervisors.cli.bench.stats import report_json

TINY = Plan(
    steady_rounds=2,
    steady_round_s=0.2,
    warmup_s=0.1,
    idle_steps=(20, 40),
    idle_rounds=1,
    offline_messages=200,
    offline_rounds=2,
    logins=30,
    login_rounds=2,
    kill_messages=100,
    floor_rounds=2,
    floor_round_s=0.1,
    floor_idle=20,
    settle_s=0.05,
    quiet_s=0.3,
)
STEADY: dict[str, Any] = {
    "scenario": "steady",
    "pairs": 5,
    "window": 10,
    "warmup_s": 0.05,
    "rounds": 1,
    "round_s": 0.1,
}

Make = Callable[..., Any]


def run(server: Any, job: dict[str, Any]) -> Any:
    common = {
        "engine": "palaver",
        "endpoint": server.endpoint,
        "server_pid": server.pid,
        "epoch": 1,
        "timeout_s": 20,
        "settle_s": 0.05,
    }
    return run_worker(common | job, cores=Cores.choose().load, timeout_s=30)


def test_a_server_goes_through_everything_and_all_figures_come_of_it(
    tmp_path: Path, fake_server: Make
) -> None:
    server = fake_server()
    server.stop()
    told: list[str] = []
    bench = Bench(TINY, tmp_path, Cores.choose(), told.append, pairs=10, offline_pairs=20)
    samples, batch = bench.measure(server)
    assert batch == 7
    samples |= bench.floors(batch)
    found = figures(samples, {"twin": samples})
    result = json.loads(json.dumps(report_json({}, found, {})))
    by_name = {each["name"]: each for each in result["figures"]}
    assert set(by_name) == {name for name, *_ in SHOWN} - {"idle_connection_kb_at_1000"}
    for name, figure in by_name.items():
        assert figure["n"] >= 1
        assert figure["min"] <= figure["value"] <= figure["max"], name
        assert figure["ratios"].get("twin", 1) == 1, name
    assert by_name["acked_lost_on_kill"]["value"] == 100  # it keeps everything in memory only
    assert by_name["messages_per_s"]["n"] == 2
    assert set(by_name["server_cpu_us_per_message"]["ratios"]) <= {"twin", "floor_websockets"}
    assert "floor_lmdb" in by_name["offline_store_per_s"]["ratios"]
    assert "fake: saturation, 10 pairs with 10 in flight" in told


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("lose", "arrived where|seq|position"),
        ("double", "seq|position"),
        ("swap", "arrived where|seq|position"),
        ("refuse", "overloaded"),
        ("silent", "1 messages were not delivered|no message"),
    ],
)
def test_a_broken_promise_is_noticed(fake_server: Make, fault: str, said: str) -> None:
    # One message in flight on one pair: what is missing is never made up for by others.
    with pytest.raises(BenchFailed, match=said):
        run(fake_server(fault), STEADY | {"settled_timeout_s": 1})


def test_paced_load_keeps_its_pace(fake_server: Make) -> None:
    (found,) = run(fake_server(), STEADY | {"rate": 200.0, "round_s": 0.5})
    assert 50 < found["messages"] < 150
    assert {"send_ack_p50_ms", "send_ack_p99_ms", "deliver_p50_ms", "pacing_p99_ms"} <= set(found)


def test_who_is_not_known_cannot_log_in(fake_server: Make) -> None:
    server = fake_server()
    job = {"scenario": "logins", "first_user": 1990, "logins": 20, "rounds": 1}
    with pytest.raises(BenchFailed, match=r"logins \(palaver\)"):
        run(server, job)


def test_nobody_listens(fake_server: Make) -> None:
    server = fake_server()
    server.kill()
    endpoint = server.endpoint
    job = STEADY | {"engine": "palaver", "endpoint": endpoint, "server_pid": 1, "epoch": 1}
    with pytest.raises(BenchFailed, match="user"):
        run_worker(job | {"timeout_s": 5}, cores=Cores.choose().load, timeout_s=20)


def test_an_engine_that_does_not_exist(fake_server: Make) -> None:
    with pytest.raises(BenchFailed, match="no load engine is named 'telepathy'"):
        run(fake_server(), STEADY | {"engine": "telepathy"})


def test_a_scenario_that_takes_too_long_is_ended(fake_server: Make) -> None:
    with pytest.raises(BenchFailed, match="not done in time"):
        run(fake_server(), STEADY | {"round_s": 60, "timeout_s": 1})
