"""What a run says: one JSON object, or a table with a column for each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from palaver.supervisors.cli.bench import procfs
from palaver.supervisors.cli.bench.report import shown
from palaver.supervisors.cli.bench.runtime.engines import Engine
from palaver.supervisors.cli.bench.runtime.figures import RuntimeFigure
from palaver.supervisors.cli.bench.runtime.plan import PALAVER, Clock, Peer

_ABOUT_MACHINE = ("processor", "cores", "memory_mb", "system", "python", "load_average", "command")
_BUSY = 1.15
_COLUMN = 12
"""Columns of the terminal for each engine."""
_OWN_COLUMNS = 25
"""For Palaver's figures and their units."""


def machine(engines: Sequence[Engine], folder: Path) -> dict[str, Any]:
    """Describe where the figures were measured, and with what."""
    found = procfs.machine(procfs.Cores.choose(), folder)
    shown: dict[str, Any] = {name: found[name] for name in _ABOUT_MACHINE}
    loop = asyncio.new_event_loop()
    shown["event_loop"] = f"asyncio's own ({type(loop).__name__})"
    loop.close()
    shown["versions"] = {engine.name: engine.version for engine in engines}
    return shown


def report_json(
    about: Mapping[str, Any], figures: Sequence[RuntimeFigure], missing: Mapping[str, str]
) -> dict[str, Any]:
    """Return the whole result: the machine, the figures, and who was left out and why."""
    return {
        "machine": dict(about),
        "figures": [figure.as_json() for figure in figures],
        "left_out": dict(missing),
    }


def print_table(
    about: Mapping[str, Any],
    figures: Sequence[RuntimeFigure],
    missing: Mapping[str, str],
    peers: Sequence[Peer],
) -> None:
    """Print the figures: the medians, and below each peer's the ratio to it."""
    print_figures(about, figures, missing, peers, f"Palaver on {about['event_loop']}")


def print_figures(
    about: Mapping[str, Any],
    figures: Sequence[RuntimeFigure],
    missing: Mapping[str, str],
    peers: Sequence[StrEnum],
    setting: str,
) -> None:
    """Print a run of any bench that measures Palaver and peers side by side.

    Args:
        about: the machine.
        figures: what was measured.
        missing: who is not there at all, and why.
        peers: the columns.
        setting: what else matters to these figures, for the line about the machine.
    """
    console = Console(highlight=False)
    names = max(len(figure.name) for figure in figures)
    least = names + _OWN_COLUMNS + _COLUMN * len(peers)
    console = Console(highlight=False, width=max(console.width, least))
    versions = about["versions"]
    console.print(
        f"[bold]{about['processor']}[/], {about['cores']} cores, {about['python']}, "
        f"{about['system']}, load {about['load_average']}; {setting}"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("figure", no_wrap=True)
    table.add_column(f"{PALAVER}\n{versions[PALAVER]}", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for peer in peers:
        heading = f"{peer.value}\n{versions.get(peer, '-')}"
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        summary = figure.figure().summary
        ours = (
            f"[bold]{brief(summary.value)}[/]\n[dim]{brief(summary.min)}..{brief(summary.max)}[/]"
        )
        table.add_row(figure.name, ours, figure.plan.unit, *(_beside(figure, p) for p in peers))
    console.print(table)
    clock = figures[0].clock.value
    console.print(f"[dim]x above 1: Palaver is better; ! below its target; {clock} time[/]")
    for figure in figures:
        for name, target in figure.targets().items():
            if target["reached"] is False:
                has = figure.ratios()[name]
                console.print(
                    f"[yellow]! {figure.name}[/]: x{has} to {name}, target x{target['at_least']}"
                )
    for name, why in missing.items():
        console.print(f"[yellow]left out: {name}[/]: {why}")
    for line in _gaps(figures, missing):
        console.print(f"[dim]{line}[/]")
    busy = max(figure.disturbed() for figure in figures)
    if busy > _BUSY and figures[0].clock is Clock.WALL:
        console.print(
            f"[yellow]a busy machine: the work took up to {busy:.2g} times the CPU time that it "
            "used[/]; --clock cpu disregards the others' part"
        )


def _gaps(figures: Sequence[RuntimeFigure], missing: Mapping[str, str]) -> list[str]:
    """Say which figures have no value for whom, and why."""
    lines = []
    for figure in figures:
        by_reason: dict[str, list[str]] = {}
        for name, why in figure.left_out.items():
            if name not in missing:
                by_reason.setdefault(why, []).append(name)
        lines += [f"no {figure.name} of {', '.join(by)}: {why}" for why, by in by_reason.items()]
    return lines


def _beside(figure: RuntimeFigure, peer: StrEnum) -> str:
    other = figure.figure().others.get(peer)
    if other is None:
        return "[dim]-[/]"
    has = figure.ratios().get(peer)
    if has is None:
        return brief(other.value)
    missed = figure.targets().get(peer, {}).get("reached") is False
    colour = "red" if missed else "green" if has >= 1 else "yellow"
    return f"{brief(other.value)}\n[{colour}]x{shown(has)}{'!' if missed else ''}[/]"


def brief(number: float) -> str:
    """Return a number in three digits: 3.28 M, 184 k, 640."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g}"
