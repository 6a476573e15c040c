"""Reads the programs out of pages, and runs them as a reader would.

The convention, which can be seen in a page's source:

* A ```python block is a program of its own, run in a fresh interpreter.
* One that begins with a line ``# name.py`` is kept under that name in the page's folder, so that
  later programs may import it. ``test_*.py`` is run by pytest.
* ``<!-- continues -->`` before a block: it goes on where the block before it ended.
* ``<!-- not run: why -->`` before a block: a part of something, only to be read.
* A ```text block right after a program is what it prints; ``…`` stands for any text.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"(?:<!-- (?P<note>[^>]*) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NAME = re.compile(r"# (\w+\.py)\n")


@dataclass
class Program:
    """One program of a page."""

    page: Path
    line: int
    source: str
    prints: str | None = None
    earlier: list[Program] = field(default_factory=list)  # what it may import

    def __str__(self) -> str:
        return f"{self.page.stem}:{self.line}"

    @property
    def name(self) -> str:
        """The name of its file."""
        found = NAME.match(self.source)
        return found[1] if found else "program.py"

    def run(self, folder: Path) -> str:
        """Run it in an interpreter of its own; what it printed."""
        for program in (*self.earlier, self):
            (folder / program.name).write_text(program.source)
        by_pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
        run = [*by_pytest, self.name] if self.name.startswith("test_") else [self.name]
        done = subprocess.run(
            [sys.executable, "-W", "error", *run],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def programs_of(page: Path) -> list[Program]:
    """The programs of a page, in order."""
    text = page.read_text()
    programs: list[Program] = []
    ended_at = -1  # where the program before a block ended
    for block in FENCE.finditer(text):
        kind, note, source = block["kind"], block["note"] or "", block["text"]
        if kind == "text" and ended_at >= 0 and not text[ended_at : block.start()].strip():
            programs[-1].prints = source
        ended_at = -1
        if kind != "python" or note.startswith("not run: "):
            continue
        if note == "continues":
            programs[-1].source += source
        else:
            named = [program for program in programs if NAME.match(program.source)]
            line = text.count("\n", 0, block.start("text"))
            programs.append(Program(page, line, source, earlier=named))
        ended_at = block.end()
    return programs


def printed(said: str, wanted: str) -> bool:
    """Whether a program has printed what the page shows; ``…`` stands for any text."""
    pattern = ".*?".join(re.escape(part) for part in wanted.rstrip().split("…"))
    return re.fullmatch(pattern, said.rstrip(), re.DOTALL) is not None
