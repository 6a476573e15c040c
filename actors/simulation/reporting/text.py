"""A failure's report as text: what a person needs, on about a screen and a half."""

from __future__ import annotations

import shlex
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from palaver.actors.runtime.observer import shorten
from palaver.actors.simulation.reporting.sequence import WIDTH, draw_sequence

if TYPE_CHECKING:
    from palaver.actors.simulation.reporting.facts import Comparison, Facts
    from palaver.actors.simulation.reporting.failure import Report

__all__ = ["as_text", "headline", "place_of", "replay_lines", "seen_as_text", "warning_of"]

MAX_DEVIATIONS: Final = 20
MAX_TREE: Final = 40
MAX_CRASHES: Final = 2
MAX_CRASH_LINES: Final = 14
MAX_TAPE: Final = 4000
"""Characters; a longer tape is only in a file of use."""


def as_text(report: Report, facts: Facts) -> str:
    """The whole report."""
    parts = [_head(report, facts), _deviated(facts)]
    if facts.comparison is not None:
        parts.append(_compared(facts.comparison))
    parts.append(f"before the failure:\n{draw_sequence(facts.lines, about=_about(facts))}")
    parts += [_trees(facts), _crashes(facts), "\n".join(replay_lines(report))]
    return "\n\n".join(filter(None, parts))


def seen_as_text(facts: Facts) -> str:
    """What was seen of a run that cannot be run again by its tape alone."""
    drawing = draw_sequence(facts.lines, about=_about(facts))
    parts = [_deviated(facts), f"before the failure:\n{drawing}", _trees(facts), _crashes(facts)]
    return "\n\n".join(filter(None, parts))


def headline(facts: Facts) -> str:
    """What failed, in one line."""
    failure = facts.failure
    if failure is None:
        return "it did not fail"
    return f"{type(failure).__name__} at {facts.outcome.virtual_s:.6f} s of virtual time"


def place_of(failure: BaseException) -> str | None:
    """Where it was raised: the innermost line outside of the kit."""
    frames = traceback.extract_tb(failure.__traceback__)
    own = [frame for frame in frames if "/simulation/world/" not in frame.filename]
    if not own:
        return None
    file = own[-1].filename.removeprefix(f"{Path.cwd()}/")
    return f"{file}:{own[-1].lineno} in {own[-1].name}"


def replay_lines(report: Report) -> list[str]:
    """How to run it again."""
    tape = str(report.tape)
    lines: list[str] = []
    if report.page is not None:
        lines.append(f"page:    {report.page}")
    if len(tape) > MAX_TAPE:
        tape = tape[:60] + "…"
        lines.append(f"the tape has {len(str(report.tape)):,} characters: save it with tape.save()")
    if report.how:
        return [*lines, f"replay:  {report.how}"]
    lines.append(f"replay:  palaver simulate --replay {shlex.quote(tape)}")
    lines.append(f"in code: replay({tape!r})")
    return lines


def warning_of(report: Report) -> str:
    """What to say if two runs of one tape were not the same; else nothing."""
    hashes = report.hashes
    if hashes is None or hashes[0] == hashes[1]:
        return ""
    return (
        f"the same tape gave different traces (hashes {hashes[0]:016x} and {hashes[1]:016x}): "
        "something is not on the tape: real time, random numbers, sets, globals, files, threads"
    )


def _about(facts: Facts) -> str:
    return "" if facts.failure is None else str(facts.failure)


def _head(report: Report, facts: Facts) -> str:
    lines = [f"{report.tape.scenario}: {headline(facts)}"]
    if facts.failure is not None:
        said = str(facts.failure).strip() or repr(facts.failure)
        lines += [f"  {line}" for line in said.splitlines()[:12]]
        if place := place_of(facts.failure):
            lines.append(f"  raised at {place}")
    if report.seed is not None:
        lines.append(f"found with seed {report.seed}")
    if report.shrunk is not None:
        lines.append(f"shrunk: {report.shrunk}")
    if text := warning_of(report):
        lines.append(f"WARNING: {text}")
    return "\n".join(lines)


def _deviated(facts: Facts) -> str:
    if not facts.deviations:
        return "nothing deviated: the quiet run fails"
    lines = [f"what deviated from the quiet run ({len(facts.deviations)}):"]
    lines += [f"{one}" for one in facts.deviations[:MAX_DEVIATIONS]]
    left = len(facts.deviations) - MAX_DEVIATIONS
    if left > 0:
        lines.append(f"  and {left:,} more")
    return "\n".join(lines)


def _compared(comparison: Comparison) -> str:
    if not comparison.only_here and not comparison.only_quiet:
        return ""
    lines = [
        f"it parted from the quiet run at {comparison.parted_s:.6f} s, "
        f"after {comparison.same:,} events that are the same"
        + (" (the quiet run fails too)" if comparison.quiet_failed else "")
    ]
    for title, events in (
        ("only here:", comparison.only_here),
        ("only in the quiet run:", comparison.only_quiet),
    ):
        if events:
            lines.append(f"  {title}")
            lines += [f"    {_cut(event, WIDTH - 4)}" for event in events]
    return "\n".join(lines)


def _trees(facts: Facts) -> str:
    lines = ["processes at that moment:"]
    for node, tree in facts.trees.items():
        lines.append(f"  {node}")
        room = max(5, MAX_TREE // max(1, len(facts.trees)))
        for one in tree[:room]:
            lines.append(f"    {_cut(str(one), WIDTH - 4)}")
            if one.state is not None:
                lines.append(_cut(f"      {'  ' * one.depth}{one.state}", WIDTH))
        if len(tree) > room:
            lines.append(f"    and {len(tree) - room:,} more")
    return "\n".join(lines) if len(lines) > 1 else ""


def _crashes(facts: Facts) -> str:
    if not facts.crashes:
        return ""
    shown = facts.crashes[-MAX_CRASHES:]
    lines = [f"crash reports (the last {len(shown)} of {len(facts.crashes)}):"]
    for crash in shown:
        text = str(crash).splitlines()
        if len(text) > MAX_CRASH_LINES:  # the beginning says who, the end where
            half = MAX_CRASH_LINES // 2
            text = [*text[:half], "  …", *text[-half:]]
        lines += [f"  {line}" for line in text]
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def brief(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {shorten(str(error), 200)}"
