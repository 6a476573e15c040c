"""`palaver bench`: measure this machine, Palaver on it, and peers beside it."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

bench_app = typer.Typer(
    name="bench",
    help="Measure what Palaver does on this machine, beside peers and the machine's limits.",
    no_args_is_help=True,
)


class Peer(StrEnum):
    """Servers that Palaver can be measured against."""

    EJABBERD = "ejabberd"


@bench_app.callback()
def _bench() -> None:
    """Measure what Palaver does on this machine, beside peers and the machine's limits."""


@bench_app.command("chat")
def chat_command(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Small counts: under 40 s, under 90 s more with a peer."),
    ] = False,
    against: Annotated[
        Peer | None, typer.Option("--vs", help="Put a peer through the same, and add the ratios.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Where the servers' data lies meanwhile (a disk, not memory). Default: the "
            "system's folder for temporary files.",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Measure a node's message path: throughput, latency, memory, offline queues, a kill -9.

    A node is started in a temporary folder and pinned to one core, a load client in a process of
    its own to another. Nothing leaves the loopback; everything is ended and removed afterwards.
    """
    # Imported here: every `palaver` command imports this module, only this one needs those.
    from palaver.supervisors.cli.bench import procfs, report
    from palaver.supervisors.cli.bench.chat import FULL, QUICK, Bench
    from palaver.supervisors.cli.bench.children import BenchFailed
    from palaver.supervisors.cli.bench.stats import report_json

    procfs.raise_file_limit()
    with _temporary(folder) as place, _ended_in_order(), report.progress() as tell:
        cores = procfs.Cores.choose()
        machine = procfs.machine(cores, place)
        bench = Bench(QUICK if quick else FULL, place, cores, tell)
        try:
            figures = bench.run(ejabberd=against is Peer.EJABBERD)
        except BenchFailed as error:
            tell(f"failed: {error}")
            raise typer.Exit(1) from error
    if as_json:
        _print_json(report_json(machine, figures, bench.left_out))
    else:
        report.print_table(machine, figures, bench.left_out)


def _print_json(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


@contextmanager
def _temporary(folder: Path | None) -> Iterator[Path]:
    """Make a folder for one run, and remove it with all that is in it."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="palaver-bench-", dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: through the code that ends the children."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
