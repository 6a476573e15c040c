"""What a run says: one JSON object, or a table with what is beside each figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from palaver.supervisors.cli.bench import procfs
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure
from palaver.supervisors.cli.bench.cluster.servers import nats_program
from palaver.supervisors.cli.bench.runtime.report import brief

__all__ = ["machine", "print_table", "report_json"]

_ABOUT_MACHINE = ("processor", "cores", "memory_mb", "system", "python", "load_average", "command")
_LEAST_WIDTH = 118
"""Columns that the table needs; a narrower terminal wraps its lines rather than cuts them."""


def machine(folder: Path) -> dict[str, Any]:
    """Describe where the figures were measured, and with what.

    Raises:
        BenchFailed: there is no nats-server.
    """
    from importlib.metadata import version

    found = procfs.machine(procfs.Cores.choose(), folder)
    shown: dict[str, Any] = {name: found[name] for name in _ABOUT_MACHINE}
    shown["versions"] = {
        "palaver": version("palaver"),
        "nats-server": nats_program().version,
        "nats-py": version("nats-py"),
    }
    return shown


def report_json(
    about: Mapping[str, Any], figures: Sequence[ClusterFigure], left_out: Mapping[str, str]
) -> dict[str, Any]:
    """Return the whole result: the machine, the figures, and what was left out and why."""
    return {
        "machine": dict(about),
        "figures": [figure.as_json() for figure in figures],
        "left_out": dict(left_out),
    }


def print_table(
    about: Mapping[str, Any], figures: Sequence[ClusterFigure], left_out: Mapping[str, str]
) -> None:
    """Print the figures, the part that failed, and the targets that were missed."""
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, _LEAST_WIDTH))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    console.print(
        f"[bold]{about['processor']}[/], {about['cores']} cores, {about['python']}, "
        f"{about['system']}, load {about['load_average']}; {versions}"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("figure", "median", "unit", "least .. greatest", "n", "beside it", "ratio"):
        left = name in ("figure", "unit", "beside it")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    table.add_column("added", justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    for figure in figures:
        table.add_row(*_row(figure))
    console.print(table)
    console.print("[dim]ratio above 1: Palaver is better; ! below its target[/]")
    for name, on in dict.fromkeys((figure.part.value, figure.on) for figure in figures):
        console.print(f"[dim]{name}: {on}[/]")
    for name, why in left_out.items():
        console.print(f"[yellow]left out: {name}[/]: {why}")


def _row(figure: ClusterFigure) -> list[str]:
    summary, other = figure.summary, figure.other
    row = [
        figure.name,
        f"[bold]{brief(summary.value)}[/]",
        figure.unit,
        f"{brief(summary.min)} .. {brief(summary.max)}",
        str(summary.n),
    ]
    if other is None:
        row += ["", "", ""]
    else:
        has, added = figure.ratio, figure.added
        row.append(f"{figure.beside} {brief(other.value)}")
        row.append("-" if has is None else f"[{'green' if has >= 1 else 'yellow'}]x{has:.3g}[/]")
        row.append("" if added is None or figure.better == "higher" else f"{added:+.3g}")
    reached = figure.reached
    if figure.target is None:
        row.append("")
    else:
        colour, mark = ("red", "!") if reached is False else ("green", "")
        row.append(f"[{colour}]{figure.target}{mark}[/]")
    return row
