"""`palaver simulate`: run simulated towns, or scenarios of one's own, with many seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaver.supervisors.cli.options import JsonOption
from palaver.supervisors.cli.output import (
    EXIT_FAILED,
    EXIT_USAGE,
    CommandError,
    console,
    print_json,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from palaver.actors.simulation.driving import Campaign, Runner

# What simulates is imported when it is asked for: no other command has to wait for it.

_SHRINK_S = 120.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    seeds: int
    first: int
    jobs: int
    budget_s: float | None
    max_failures: int
    shrink_s: float
    secrets: bool
    html: Path | None
    quiet: bool


def simulate_command(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCENARIO]...",
            show_default=False,
            help="Names from --list, or module:function of your own. All of the list if none.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", "-n", min=1, help="Runs of each scenario.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", "-k", min=0, help="The first seed.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    budget: Annotated[
        float | None,
        typer.Option("--budget", min=0.0, show_default=False, help="Seconds for each scenario."),
    ] = None,
    max_failures: Annotated[
        int, typer.Option("--max-failures", min=1, help="So many failing seeds are enough.")
    ] = 1,
    shrink: Annotated[
        float, typer.Option("--shrink", min=0.0, help="Seconds for making a failure short.")
    ] = _SHRINK_S,
    replay: Annotated[
        str | None,
        typer.Option(
            "--replay", metavar="TAPE", show_default=False, help="Run a tape (text or file) again."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", show_default=False, help="Save a failure's page."),
    ] = None,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Show in reports what servers hide.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Tell the scenarios' names.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Search for schedules in which the system breaks a promise: many simulated days, by seeds.

    A run is whole nodes, gateways, clients, disks and networks in one thread, under virtual time.
    A failing one is made as short as it can be, and can be run again:

        palaver simulate talk --seeds 10000 --jobs 2
        palaver simulate --replay pt1~...
        palaver simulate my_tests.bank:transfers --html failure.html

    Ends with 1 if a promise was broken, or if something that has to be reached in a long search
    never was.
    """
    if "" not in sys.path:  # a scenario of one's own is where one is
        sys.path.insert(0, "")
    if show_list:
        _print_list(as_json)
        return
    if replay is not None:
        _replay(replay, html, as_json=as_json, secrets=secrets)
        return
    wanted = _Wanted(
        seeds, seed, jobs, budget, max_failures, shrink, secrets, html, as_json
    )  # fmt: skip
    results = [_search(runner, wanted) for runner in _runners(scenarios or [])]
    if as_json:
        print_json([result for result, _ in results])
    if not all(passed for _, passed in results):
        raise typer.Exit(EXIT_FAILED)


def _print_list(as_json: bool) -> None:
    from palaver.supervisors.simulations.scenarios import SCENARIOS

    rows = [(one.name, one.summary, "yes" if one.default else "no") for one in SCENARIOS.values()]
    if as_json:
        print_json([dict(zip(("name", "summary", "default"), row, strict=True)) for row in rows])
    else:
        print_table("", ["scenario", "what", "by default"], rows)


def _runners(names: Sequence[str]) -> list[Runner]:
    from palaver.actors.simulation.driving import Runner, ScenarioUnknown
    from palaver.supervisors.simulations.scenarios import SCENARIOS

    if not names:
        return [one.runner for one in SCENARIOS.values() if one.default]
    found = []
    for name in names:
        known = SCENARIOS.get(name)
        try:
            found.append(known.runner if known is not None else Runner.of(name))
        except ScenarioUnknown as error:
            raise CommandError(str(error), "palaver simulate --list", code=EXIT_USAGE) from None
    return found


def _search(runner: Runner, wanted: _Wanted) -> tuple[dict[str, Any], bool]:
    from palaver.actors.simulation.driving import WorkerDied, search

    name = runner.name.rpartition(":")[2]
    with progress_bar(name, in_bytes=False, quiet=wanted.quiet) as told:
        try:
            campaign = search(
                runner,
                range(wanted.first, wanted.first + wanted.seeds),
                max_failures=wanted.max_failures,
                budget_s=wanted.budget_s,
                jobs=wanted.jobs,
                progress=lambda now: told(now.statistics.runs, wanted.seeds),
            )
        except WorkerDied as error:
            raise CommandError(str(error)) from None
    missed = campaign.statistics.coverage.missed if _is_long(campaign) else []
    report = _report(runner, campaign, wanted)
    if not wanted.quiet:
        _print_campaign(name, campaign, missed)
        if report is not None:
            console().print(str(report), markup=False)
    result = {
        "scenario": runner.name,
        "ended": campaign.ended,
        **campaign.statistics.as_json(),
        "times_faster": campaign.statistics.ratio,
        "missed": missed,
        "found": [
            {"seed": one.seed, "signature": one.signature, "text": one.text, "tape": str(one.tape)}
            for one in campaign.found
        ],
        "shrunk": None if report is None else str(report.tape),
    }
    return result, not campaign.found and not missed


#: Fewer runs may miss something by chance.
_LONG = 300


def _is_long(campaign: Campaign) -> bool:
    return not campaign.found and campaign.statistics.runs >= _LONG


def _report(runner: Runner, campaign: Campaign, wanted: _Wanted) -> Any:
    """The report of the first failure, shrunk within the time for it; None if there is none."""
    from palaver.actors.simulation.driving import NotReproduced
    from palaver.actors.simulation.driving.shrinking import shrink_tape
    from palaver.actors.simulation.reporting import Report

    if not campaign.found:
        return None
    first = campaign.found[0]
    with progress_bar("shrinking", in_bytes=False, quiet=wanted.quiet) as told:
        total = len(first.tape.deviations)
        try:
            shrunk = shrink_tape(
                runner,
                first.tape,
                wanted=first.signature,
                hash_=first.hash,
                budget_s=wanted.shrink_s,
                progress=lambda _runs, left: told(total - left, total),
            )
        except NotReproduced as error:
            raise CommandError(str(error)) from None
    report = Report(runner, shrunk.tape, seed=first.seed, shrunk=shrunk, secrets=wanted.secrets)
    if wanted.html is not None:
        report.save(wanted.html)
    return _Text(report)


class _Text:
    """A report that prints as its text."""

    def __init__(self, report: Any) -> None:
        self._report = report
        self.tape = report.tape

    def __str__(self) -> str:
        return str(self._report.text)


def _print_campaign(name: str, campaign: Campaign, missed: Sequence[str]) -> None:
    figures = campaign.statistics
    out = console()
    state = "[bold red]failed[/]" if campaign.found or missed else "[bold green]passed[/]"
    out.print(
        f"[bold]{name}[/] {state}: {figures.runs:,} runs, {figures.failures:,} failed, "
        f"{figures.virtual_s:,.0f} virtual seconds in {figures.wall_s:,.1f}: "
        f"{figures.ratio:,.0f} times faster"
    )
    reached = figures.coverage.reached
    rows = [
        (what, times, figures.coverage.runs.get(what, 0)) for what, times in sorted(reached.items())
    ]
    if rows:
        print_table("", ["reached", "times", "in runs"], rows)
    for what in missed:
        out.print(f"[bold red]never reached:[/] {what}")
    for one in campaign.found:
        out.print(f"[red]seed {one.seed}[/]: {one.signature}", highlight=False)


def _replay(tape: str, html: Path | None, *, as_json: bool, secrets: bool) -> None:
    from palaver.actors.simulation.driving import (
        RecordedTape,
        ScenarioUnknown,
        TapeUnreadable,
        replay,
    )
    from palaver.actors.simulation.reporting import SimulationFailed

    try:
        found = RecordedTape.load(tape) if Path(tape).is_file() else RecordedTape.parse(tape)
        (runner,) = _runners([found.scenario])
        outcome = replay(found, runner, secrets=secrets, page=html)
    except (TapeUnreadable, ScenarioUnknown) as error:
        raise CommandError(str(error), code=EXIT_USAGE) from None
    except SimulationFailed as failed:
        if as_json:
            print_json({"failed": True, "text": str(failed.__cause__), "tape": str(found)})
        else:
            console().print(str(failed), markup=False)
        raise typer.Exit(EXIT_FAILED) from None
    if as_json:
        print_json({"failed": False, "hash": f"{outcome.hash:016x}", "steps": outcome.steps})
    else:
        console().print(
            f"it does not fail: {outcome.steps:,} steps, {outcome.virtual_s:,.1f} virtual seconds, "
            f"hash {outcome.hash:016x}"
        )
