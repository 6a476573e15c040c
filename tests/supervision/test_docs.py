"""The programs in `docs/supervision.md` run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "supervision.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == 3


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_the_program_runs(number: int) -> None:
    program = compile(PROGRAMS[number], f"{PAGE.name}, program {number}", "exec", dont_inherit=True)
    exec(program, {"__name__": "__main__"})
