"""Thespian's own test suite on this base: see `conform.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFORM = Path(__file__).parent / "conform.py"


def conform(*options: str) -> None:
    done = subprocess.run(
        [sys.executable, str(CONFORM), *options],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed, " in done.stdout.splitlines()[-1]


@pytest.mark.timeout(900)
def test_thespians_own_tests_pass() -> None:
    conform("--quick")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_that_the_simple_base_passes_passes() -> None:
    conform()
