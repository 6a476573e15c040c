"""Running a tape again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palaver.actors.simulation.driving.runner import Runner
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.reporting.failure import Report, SimulationFailed
from palaver.actors.simulation.world.running import Outcome, Scenario

__all__ = ["replay"]


def replay(
    tape: RecordedTape | Path | str,
    scenario: Scenario | str | Runner | None = None,
    *,
    secrets: bool = False,
    page: Path | str | None = None,
    **options: Any,
) -> Outcome:
    """Run a tape again; if it does not fail any more, what came of it.

    Args:
        tape: A tape, its text, or a file of one.
        scenario: What to run; what the tape names (``module:function``) if None.
        secrets: Show what servers hide from reports.
        page: Where to save the report as an HTML page, should it fail.
        options: Further arguments of `run`: ``max_virtual_s``, ``max_steps``.

    Raises:
        SimulationFailed: It failed; its text is the whole report.
        TapeUnreadable: It is no tape.
        ScenarioUnknown: What it names cannot be imported.
    """
    if isinstance(tape, Path):
        tape = RecordedTape.load(tape)
    elif isinstance(tape, str):
        tape = RecordedTape.parse(tape)
    runner = Runner.of(scenario if scenario is not None else tape.scenario, **options)
    outcome = runner(tape.source)
    if outcome.failure is None:
        return outcome
    report = Report(runner, tape, secrets=secrets)
    if page is not None:
        report.save(page)
    raise SimulationFailed(report) from outcome.failure
