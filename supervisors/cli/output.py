"""What the commands print: tables, progress, errors; JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class CommandError(Exception):
    """A command cannot be done: one sentence of what is wrong, perhaps one of what to do."""

    def __init__(self, text: str, hint: str | None = None, *, code: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.code = code


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr; made when used, so that redirections are seen."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_error(text: str, hint: str | None = None) -> None:
    """Print an error to stderr, and what to do about it."""
    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), text))
    if hint:
        out.print(Text.assemble(("  try: ", "bold cyan"), hint))


def print_json(value: object) -> None:
    """Print a value as one JSON document."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")


def plain(value: object) -> Any:
    """A value with its dataclasses as JSON objects."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    return value


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings; numbers stand right-aligned."""
    out = console()
    if title:
        out.print(f"[bold]{title}[/]")
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        right = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        table.add_column(
            column,
            justify="right" if right else "left",
            header_style="dim",
            no_wrap=not out.is_terminal,
        )
    for row in rows:
        table.add_row(*("-" if cell is None else Text(str(cell)) for cell in row))
    out.soft_wrap = False
    if not out.is_terminal:  # a pipe has no width: never cut a cell
        out.width = max(
            out.width, table.__rich_measure__(out, out.options.update(max_width=10_000)).maximum + 2
        )
    out.print(table)


@contextmanager
def progress_bar(
    title: str, *, in_bytes: bool = True, quiet: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's stderr while the block runs: call it with done and total."""
    out = console(stderr=True)
    out.soft_wrap = False
    amount = [DownloadColumn(binary_units=True), TransferSpeedColumn()]
    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        *(amount if in_bytes else [MofNCompleteColumn()]),
        TimeRemainingColumn(),
        console=out,
        disable=quiet or not out.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=None)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield told


def when(ms: int | None) -> str:
    """A unix time in milliseconds as local date and time."""
    if ms is None:
        return "-"
    return datetime.fromtimestamp(ms / 1000, tz=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
