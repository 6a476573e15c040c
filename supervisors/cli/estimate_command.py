"""`palaver estimate`: prints what `estimate.py` computes, with every assumption beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from palaver.supervisors.cli.estimate import (
    Assumptions,
    Estimate,
    Figures,
    estimate,
    figures_from_bench,
)
from palaver.supervisors.cli.options import JsonOption
from palaver.supervisors.cli.output import (
    EXIT_USAGE,
    CommandError,
    console,
    print_json,
    print_table,
)

_MAX_REPORT_BYTES = 4 << 20


def estimate_command(
    users: Annotated[
        float | None,
        typer.Option("--users", "-u", help="People who use it on a day.", show_default=False),
    ] = None,
    messages: Annotated[
        float | None,
        typer.Option(
            "--messages", "-m", help="Messages a person sends in a day.", show_default=False
        ),
    ] = None,
    media: Annotated[
        float | None,
        typer.Option(
            "--media", help="Pictures and videos a person sends in a day.", show_default=False
        ),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            "-a",
            metavar="NAME=VALUE",
            show_default=False,
            help="Replace any assumption or figure by its name; repeatable.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            "-f",
            metavar="FILE",
            show_default=False,
            help="What `palaver bench chat --json` printed on your machine.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan capacity: from people to requests, megabits, terabytes, connections and nodes.

    Every assumption is printed with the name by which --assume replaces it:

        palaver estimate --users 2e6 --assume peak=4 --assume replicas=3 --figures bench.json
    """
    assumed, measured = _inputs(users, messages, media, assume or [], figures)
    result = estimate(assumed, measured)
    if as_json:
        print_json(
            {
                "estimate": asdict(result),
                "assumptions": asdict(assumed),
                "figures": asdict(measured),
            }
        )
    else:
        _print(result, assumed, measured)


def _inputs(
    users: float | None,
    messages: float | None,
    media: float | None,
    assume: Sequence[str],
    figures: Path | None,
) -> tuple[Assumptions, Figures]:
    given = {"daily_users": users, "messages": messages, "media": media}
    assumptions: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    changed: dict[str, Any] = {}
    of_assumptions = {f.name for f in fields(Assumptions)}
    of_figures = {f.name for f in fields(Figures)} - {"source"}
    for text in assume:
        name, _, raw = text.partition("=")
        name = name.strip().replace("-", "_")
        try:
            value = float(raw.replace("_", ""))
        except ValueError:
            raise CommandError(
                f"--assume {text}: must have the form NAME=NUMBER", code=EXIT_USAGE
            ) from None
        if name in of_assumptions:
            assumptions[name] = value
        elif name in of_figures:
            changed[name] = value
        else:
            raise CommandError(
                f"--assume {text}: there is no assumption {name!r}",
                "palaver estimate prints all names",
                code=EXIT_USAGE,
            )
    try:
        measured = _figures(figures) if figures else Figures()
        if changed:
            measured = replace(measured, source=measured.source + ", some replaced", **changed)
        return Assumptions(**assumptions), measured
    except ValueError as error:
        raise CommandError(str(error), code=EXIT_USAGE) from None


def _figures(file: Path) -> Figures:
    try:
        if file.stat().st_size > _MAX_REPORT_BYTES:
            raise CommandError(f"{file} is too large for a bench report")
        report = json.loads(file.read_text("utf-8"))
        if not isinstance(report, dict):
            raise ValueError("is not a JSON object")
        return figures_from_bench(report)
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"{file}: {error}", f"palaver bench chat --json > {file}", code=EXIT_USAGE
        ) from None


def _print(e: Estimate, a: Assumptions, f: Figures) -> None:
    print_table(
        "Assumptions  [dim](--assume NAME=VALUE)[/]",
        ["name", "value", "unit", "meaning"],
        [[x.name, _short(getattr(a, x.name)), x.metadata["unit"], x.metadata["help"]]
         for x in fields(a)],
    )  # fmt: skip
    console().print()
    print_table(
        f"Figures  [dim]({f.source})[/]",
        ["name", "value"],
        [[x.name, _short(getattr(f, x.name))] for x in fields(f) if x.name != "source"],
    )
    console().print()
    print_table(
        f"What {_short(a.daily_users)} people a day need",
        ["", "mean", "peak", "unit"],
        [
            ["messages sent", _short(e.sends_mean_per_s), _short(e.sends_peak_per_s), "1/s"],
            ["deliveries to devices", _short(e.deliveries_mean_per_s),
             _short(e.deliveries_peak_per_s), "1/s"],
            ["requests of clients", _short(e.requests_mean_per_s),
             _short(e.requests_peak_per_s), "1/s"],
            ["logins", None, _short(e.logins_peak_per_s), "1/s"],
            ["network in", _short(e.in_mean_mbps), _short(e.in_peak_mbps), "Mb/s"],
            ["network out", _short(e.out_mean_mbps), _short(e.out_peak_mbps), "Mb/s"],
            ["connections", None, _short(e.connections_peak), ""],
            ["memory of connections", None, _short(e.connections_memory_gb), "GB"],
            ["processor cores", None, _short(e.cores_peak), "cores"],
        ],
    )  # fmt: skip
    console().print()
    print_table(
        "Storage",
        ["", "amount", "unit"],
        [
            ["messages written", _short(e.messages_gb_per_day), "GB/day"],
            ["media written", _short(e.media_gb_per_day), "GB/day"],
            ["if nothing expired", _short(e.stored_tb_per_year), "TB/year"],
            ["waiting in queues", _short(e.queues_gb), "GB"],
            [f"media of {_short(a.media_days)} days", _short(e.media_tb), "TB"],
        ],
    )
    console().print()
    spare = f"{_short(a.spare_nodes)} spare"
    console().print(
        f"[bold green]{e.nodes} nodes[/] ({spare}; cpu {e.nodes_cpu}, memory {e.nodes_memory},"
        f" network {e.nodes_network}, disk {e.nodes_disk}; [bold]{e.bottleneck}[/] decides)"
    )
    if e.nodes > 1:
        console().print(
            "[dim]That nodes share the work is a cluster's doing; this version runs one node.[/]"
        )


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
