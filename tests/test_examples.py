"""Every example runs to its end, as a user would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "fastapi_app.py": [
        "tea: ['hello', 'anybody here?']",
        "crash: 503",
        "tea again: []",
        "processes left: 0",
    ],
    "scraper.py": ["fetched 19 pages, retried 8 times", "gave up /page/13: crash"],
    "sync_program.py": ["balances: [1000, 1000, 1000, 1000]", "refused: account 0", "left: 600"],
    "counter.py": ["count: 42", "the call failed", "after the restart: 40"],
    "job_queue.py": ["done: 59, given up: 1, retried: 8", "longest backlog: 8 of at most 8"],
    "thespian_program.py": [
        "coffee for Ann",
        "refused: tea",
        "cocoa for Eve",
        "1000 actors in one process: one of many",
        "the café is closed",
    ],
    "library_tables.py": [
        "bob: no copy left, nothing was written",
        "ann has: ['Erlang Programming', 'Programming Erlang']",
        "by index: ['Programming Phoenix']",
        "told of: [('ann', '1-934'), ('ann', '0-596')]",
    ],
    "embedded_node.py": ["stored as seq 1", "hello from a library"],
    "simulated_bank.py": [
        "careful accounts: 60 runs, no money was made or lost",
        "careless accounts: found by seed",
        "no money is made or lost: ",
        "deviations became 1 in ",
    ],
    "simulated_jobs.py": [
        "with leases: 60 runs, all jobs done in each",
        "without: found by seed",
        "eventually: all jobs are done: not within 10 s",
        "deviations became 1 in ",
        "is killed",
    ],
    "rate_limiter.py": [
        "mallory's logins allowed: 3 of 10",
        "ann's login allowed: True",
        "requests served at the limit's pace: 20",
        "idle buckets left: 0",
    ],
}


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in SAYS[name]:
        assert text in done.stdout
