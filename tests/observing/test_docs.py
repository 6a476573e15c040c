"""The programs in `docs/observing.md` run, and what `docs/hot-code.md` shows is Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


PROGRAMS = blocks("observing.md")


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_the_program_runs(number: int) -> None:
    program = compile(
        PROGRAMS[number], f"observing.md, program {number}", "exec", dont_inherit=True
    )
    exec(program, {"__name__": "__main__"})


def test_there_are_programs_and_fragments() -> None:
    assert len(PROGRAMS) == 3
    for block in blocks("hot-code.md"):
        compile(block, "hot-code.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
