"""How a benchmark speaks to a person: progress on stderr, a table on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from palaver.supervisors.cli.bench.stats import Figure, rounded

Tell = Callable[[str], None]
_LEAST_WIDTH = 110
"""Columns that the table needs; a narrower terminal wraps its lines rather than cuts them."""


@contextmanager
def progress() -> Iterator[Tell]:
    """Yield a function that tells what is measured: a spinner, or lines without a terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False, soft_wrap=True)
        return
    with console.status("starting") as status:
        yield lambda text: status.update(str(text))


def shown(number: float) -> str:
    """Return a number as a person reads it."""
    value = rounded(number)
    return f"{value:,}"


def print_table(
    machine: Mapping[str, Any], figures: Sequence[Figure], left_out: Mapping[str, str]
) -> None:
    """Print the figures, each beside its peers and floors with the ratio to them."""
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, _LEAST_WIDTH))
    console.print(
        f"[bold]{machine['processor']}[/], {machine['cores']} cores, {machine['python']}, "
        f"{machine['system']}; server on core {machine['server_cores']}, "
        f"load on {machine['load_cores']}"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("figure", no_wrap=True)
    for name in ("median", "unit", "least .. greatest", "n"):
        table.add_column(name, justify="left" if name == "unit" else "right", no_wrap=True)
    table.add_column("beside it: x above 1 is better", no_wrap=True)
    for figure in figures:
        summary = figure.summary
        table.add_row(
            figure.name,
            f"[bold]{shown(summary.value)}[/]",
            figure.unit,
            f"{shown(summary.min)} .. {shown(summary.max)}",
            str(summary.n),
            _beside(figure),
        )
    console.print(table)
    for name, why in left_out.items():
        console.print(f"[yellow]left out: {name}[/]: {why}")


def _beside(figure: Figure) -> str:
    ratios = figure.ratios()
    parts = []
    for name, other in figure.others.items():
        if name in ratios:
            colour = "green" if ratios[name] >= 1 else "red"
            value = f"[{colour}]x{shown(ratios[name])}[/]"
        else:
            value = "-"
        parts.append(f"{name} {shown(other.value)} {value}")
    return "\n".join(parts)
