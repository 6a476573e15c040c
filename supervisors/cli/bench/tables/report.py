"""What a run says: one JSON object, or a table with a column for each engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from palaver.supervisors.cli.bench import procfs
from palaver.supervisors.cli.bench.report import shown
from palaver.supervisors.cli.bench.runtime.report import print_figures
from palaver.supervisors.cli.bench.stats import rounded
from palaver.supervisors.cli.bench.tables import disk
from palaver.supervisors.cli.bench.tables.engines import TablesEngine
from palaver.supervisors.cli.bench.tables.figures import TablesFigure
from palaver.supervisors.cli.bench.tables.plan import Peer

_ABOUT_MACHINE = (
    "processor", "cores", "memory_mb", "system", "python", "load_average", "free_disk_gb",
    "command",
)  # fmt: skip


def machine(engines: Sequence[TablesEngine], folder: Path, records: int) -> dict[str, Any]:
    """Describe where the figures were measured, and with what."""
    found = procfs.machine(procfs.Cores.choose(), folder)
    about: dict[str, Any] = {name: found[name] for name in _ABOUT_MACHINE}
    about["file_system"] = disk.file_system(folder)
    about["sync_us"] = rounded(disk.sync_us(folder))
    about["records"] = records
    about["versions"] = {engine.name: engine.version for engine in engines}
    return about


def print_table(
    about: Mapping[str, Any],
    figures: Sequence[TablesFigure],
    missing: Mapping[str, str],
    peers: Sequence[Peer],
) -> None:
    """Print the figures: the medians, below each peer's the ratio to it, and the targets."""
    setting = f"{about['file_system']}, a page and its fdatasync {shown(about['sync_us'])} us"
    print_figures(about, figures, missing, peers, setting)
    console = Console(highlight=False)
    for figure in figures:
        batch = figure.batch()
        if batch is not None:
            console.print(
                f"[dim]{figure.name}: {shown(batch)} records in a commit; lmdb has as many[/]"
            )
    reached = [
        target["reached"]
        for figure in figures
        for target in figure.targets().values()
        if target["reached"] is not None
    ]
    console.print(f"targets reached: {sum(reached)} of {len(reached)}")
