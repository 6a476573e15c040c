"""`palaver simulate`: searching, telling what was reached, reporting and replaying a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_programs import inside

from palaver.supervisors.simulations.scenarios import SCENARIOS


def test_it_lists_the_scenarios() -> None:
    done = inside("simulate", "--list", "--json")
    assert done.returncode == 0
    listed = {one["name"]: one["default"] for one in json.loads(done.stdout)}
    assert listed == {one.name: "yes" if one.default else "no" for one in SCENARIOS.values()}
    assert all(name in inside("simulate", "--list").stdout for name in SCENARIOS)


def test_a_town_is_simulated() -> None:
    done = inside("simulate", "talk", "--seeds", "3", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["runs"], result["failures"], result["found"]) == (3, 0, [])
    assert result["virtual_s"] > 3
    assert result["times_faster"] > 0


def test_it_tells_what_was_reached() -> None:
    done = inside("simulate", "tossed_coins:sound", "-n", "20")
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
    assert "a coin fell on its head" in done.stdout


def test_what_is_never_reached_in_a_long_search_fails_it() -> None:
    done = inside("simulate", "tossed_coins:unmet", "-n", "300")
    assert done.returncode == 1
    assert "never reached: a coin stands on its edge" in done.stdout
    assert inside("simulate", "tossed_coins:unmet", "-n", "10").returncode == 0


def test_a_failure_is_shrunk_reported_and_can_be_replayed(tmp_path: Path) -> None:
    page = tmp_path / "failure.html"
    done = inside("simulate", "tossed_coins:unsound", "-n", "200", "--html", str(page))
    assert done.returncode == 1
    assert "no second coin stands on its edge" in done.stdout
    assert "<html" in page.read_text("utf-8")
    done = inside("simulate", "tossed_coins:unsound", "-n", "200", "--json")
    (result,) = json.loads(done.stdout)
    assert done.returncode == 1
    (found,) = result["found"]
    tape = result["shrunk"]
    assert len(tape) <= len(found["tape"])
    again = inside("simulate", "--replay", tape, "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["failed"] is True
    file = tmp_path / "tape"
    file.write_text(tape, "utf-8")
    assert inside("simulate", "--replay", str(file)).returncode == 1


def test_jobs_share_the_seeds() -> None:
    alone = inside("simulate", "tossed_coins:sound", "-n", "30", "--json")
    shared = inside("simulate", "tossed_coins:sound", "-n", "30", "--jobs", "2", "--json")
    (one,), (two,) = json.loads(alone.stdout), json.loads(shared.stdout)
    assert (two["runs"], two["reached"]) == (one["runs"], one["reached"])


@pytest.mark.parametrize("name", ["nowhere", "tossed_coins:nothing", "no_module:nothing"])
def test_a_scenario_that_is_not_there_is_a_wrong_use(name: str) -> None:
    done = inside("simulate", name)
    assert done.returncode == 2
    assert "error: " in done.stderr


def test_a_text_that_is_no_tape_is_a_wrong_use() -> None:
    done = inside("simulate", "--replay", "nonsense")
    assert done.returncode == 2
    assert "error: " in done.stderr
