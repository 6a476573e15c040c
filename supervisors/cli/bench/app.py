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

from palaver.supervisors.cli.bench.cluster.figures import Part
from palaver.supervisors.cli.bench.runtime.plan import Clock, FigureName
from palaver.supervisors.cli.bench.runtime.plan import Peer as RuntimePeer
from palaver.supervisors.cli.bench.tables.plan import FigureName as TablesFigureName
from palaver.supervisors.cli.bench.tables.plan import Peer as TablesPeer

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


@bench_app.command("runtime")
def runtime_command(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small counts and 2 rounds: about a minute.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", min=1, max=100, help="Rounds of each figure. Default: 5, quick 2."
        ),
    ] = None,
    only: Annotated[
        list[FigureName] | None,
        typer.Option("--only", help="Measure this figure only; can be given more than once."),
    ] = None,
    against: Annotated[
        list[RuntimePeer] | None,
        typer.Option("--vs", help="Measure beside this one only; can be given more than once."),
    ] = None,
    clock: Annotated[
        Clock,
        typer.Option(
            "--clock",
            help="Figures of the time that passed, or of the CPU time used: steadier on a machine "
            "that does other things too.",
        ),
    ] = Clock.WALL,
) -> None:
    """Measure the actor runtime: spawn, memory, casts, calls, ring, fan-in, restarts.

    Erlang (one scheduler), Pykka, xoscar, Thespian and plain asyncio tasks do the same work beside
    it, each in OS processes of its own, in turns. Who is not installed is left out and said so.
    """
    from palaver.supervisors.cli.bench import report as progress_report
    from palaver.supervisors.cli.bench.children import BenchFailed
    from palaver.supervisors.cli.bench.runtime import engines, report
    from palaver.supervisors.cli.bench.runtime.plan import PLANS
    from palaver.supervisors.cli.bench.runtime.rounds import RuntimeBench

    peers = list(dict.fromkeys(against)) if against else list(RuntimePeer)
    plans = [plan for plan in PLANS if not only or plan.name in only]
    with _temporary(None) as place, _ended_in_order(), progress_report.progress() as tell:
        tell("looking for the peers")
        found = {peer: engines.find(peer, place) for peer in peers}
        there = [engine for engine in found.values() if isinstance(engine, engines.Engine)]
        missing = {peer.value: why for peer, why in found.items() if isinstance(why, str)}
        ours = engines.palaver()
        about = report.machine([ours, *there], place)
        bench = RuntimeBench(
            plans, ours, there, missing, rounds or (2 if quick else 5), quick, tell, clock
        )
        try:
            figures = bench.run()
        except BenchFailed as error:
            tell(f"failed: {error}")
            raise typer.Exit(1) from error
    if as_json:
        _print_json(report.report_json(about, figures, missing))
    else:
        report.print_table(about, figures, missing, peers)


@bench_app.command("tables")
def tables_command(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small tables and 1 round: under 40 s.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", min=1, max=100, help="Rounds of each figure. Default: 3, quick 1."
        ),
    ] = None,
    only: Annotated[
        list[TablesFigureName] | None,
        typer.Option("--only", help="Measure this figure only; can be given more than once."),
    ] = None,
    against: Annotated[
        list[TablesPeer] | None,
        typer.Option("--vs", help="Measure beside this one only; can be given more than once."),
    ] = None,
    clock: Annotated[
        Clock,
        typer.Option(
            "--clock",
            help="Figures of the time that passed, or of the CPU time used, which leaves out "
            "the waiting for the disk.",
        ),
    ] = Clock.WALL,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Where the tables lie meanwhile (a disk, not memory). Default: the system's "
            "folder for temporary files, if that is on a disk.",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Measure the tables: durable writes, group commit, reads, queues, indexes, start-up.

    Bare LMDB (the floor), Mnesia and SQLite do the same work beside it, each in an OS process and
    a folder of its own, in turns. Who is not installed is left out and said so.
    """
    from palaver.supervisors.cli.bench import report as progress_report
    from palaver.supervisors.cli.bench.children import BenchFailed
    from palaver.supervisors.cli.bench.runtime.report import report_json
    from palaver.supervisors.cli.bench.tables import disk, engines, report
    from palaver.supervisors.cli.bench.tables.plan import PLANS, QUICK_RECORDS, RECORDS
    from palaver.supervisors.cli.bench.tables.rounds import TablesBench

    peers = list(dict.fromkeys(against)) if against else list(TablesPeer)
    plans = [plan for plan in PLANS if not only or plan.name in only]
    with _ended_in_order(), progress_report.progress() as tell:
        try:
            with _temporary(folder or disk.choose()) as place:
                tell("looking for the peers")
                found = {peer: engines.find(peer, place) for peer in peers}
                there = [each for each in found.values() if not isinstance(each, str)]
                missing = {peer.value: why for peer, why in found.items() if isinstance(why, str)}
                ours = engines.palaver()
                records = QUICK_RECORDS if quick else RECORDS
                about = report.machine([ours, *there], place, records)
                bench = TablesBench(
                    plans, ours, there, missing, rounds or (1 if quick else 3), quick, tell,
                    place, clock,
                )  # fmt: skip
                figures = bench.run()
        except BenchFailed as error:
            tell(f"failed: {error}")
            raise typer.Exit(1) from error
    if as_json:
        _print_json(report_json(about, figures, missing))
    else:
        report.print_table(about, figures, missing, peers)


@bench_app.command("cluster")
def cluster_command(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small counts and few rounds: under 60 s.")
    ] = False,
    only: Annotated[
        list[Part] | None,
        typer.Option("--only", help="Measure this part only; can be given more than once."),
    ] = None,
    kills: Annotated[
        int | None,
        typer.Option(
            "--kills",
            min=1,
            max=1000,
            help="Kills of each kind in the part failover, some 25 s for each three. Default: 10.",
        ),
    ] = None,
    messages: Annotated[
        int | None,
        typer.Option(
            "--messages",
            min=1000,
            max=100_000_000,
            help="Messages that the part catchup catches up. Default: 1,000,000, quick 20,000.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Where the servers' data lies meanwhile (a disk, not memory). Default: the "
            "system's folder for temporary files, if that is on a disk.",
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Measure the cluster: the replicated log, what crosses nodes, failover, catching up, scaling.

    Three real NATS servers and real nodes run in a temporary folder, on the loopback; what is bare
    of each does the same work beside it, in turns. A part that fails is left out and said so.
    """
    from palaver.supervisors.cli.bench import procfs
    from palaver.supervisors.cli.bench import report as progress_report
    from palaver.supervisors.cli.bench.children import BenchFailed
    from palaver.supervisors.cli.bench.cluster import report
    from palaver.supervisors.cli.bench.cluster.bench import FULL, QUICK, ClusterBench
    from palaver.supervisors.cli.bench.tables import disk

    parts = [part for part in Part if not only or part in only]
    procfs.raise_file_limit()
    with _ended_in_order(), progress_report.progress() as tell:
        try:
            with _temporary(folder or disk.choose()) as place:
                about = report.machine(place)
                plan = (QUICK if quick else FULL).with_options(kills=kills, messages=messages)
                bench = ClusterBench(plan, place, tell)
                figures = bench.run(parts)
        except BenchFailed as error:
            tell(f"failed: {error}")
            raise typer.Exit(1) from error
    if as_json:
        _print_json(report.report_json(about, figures, bench.left_out))
    else:
        report.print_table(about, figures, bench.left_out)


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
