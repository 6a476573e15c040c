"""What there is to know of a failing tape: it and the quiet tape are run again, and watched."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from palaver.actors.runtime.reasons import Crash
from palaver.actors.simulation.driving.runner import Runner
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.reporting.tree import TreeLine
from palaver.actors.simulation.reporting.watching import Watch
from palaver.actors.simulation.world.running import Outcome
from palaver.actors.simulation.world.sources import Quiet
from palaver.actors.simulation.world.trace import KEPT_LINES, Line
from palaver.actors.simulation.world.world import World

if TYPE_CHECKING:
    from palaver.actors.runtime import CrashReport

__all__ = ["Comparison", "Deviation", "Facts", "gather", "observed"]

#: Lines of these kinds, right after a deviation, are what it did.
_EFFECTS: Final = frozenset({"fault", "host"})

_EACH: Final = 8
_ADDRESSES: Final = re.compile(r"\b(?:0x)?[0-9a-f]{9,16}\b")


@dataclass(frozen=True, slots=True)
class Deviation:
    """Something that happened otherwise than in the quiet run."""

    at_s: float
    stream: str
    number: int
    value: int
    said: str
    """In words."""

    def __str__(self) -> str:
        """It, in a line."""
        return f"{self.at_s:12.6f}  {self.stream} #{self.number} = {self.value}: {self.said}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a run differs from the quiet one."""

    same: int
    """So many events are the same in both, from the start."""
    parted_s: float
    """Virtual time at which they part."""
    only_here: list[str]
    """Some of what did not happen in the quiet run, the first."""
    only_quiet: list[str]
    """Some of what happened only in the quiet run, up to the time of the failure."""
    quiet_failed: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """A failing run, seen closely."""

    outcome: Outcome
    lines: list[Line]
    """The last events up to the failure."""
    deviations: list[Deviation]
    trees: dict[str, list[TreeLine]]
    crashes: list[CrashReport]
    comparison: Comparison | None
    """None if the runs are so long that their beginnings are forgotten."""

    @property
    def failure(self) -> Exception | None:
        """What was raised."""
        return self.outcome.failure


def gather(runner: Runner, tape: RecordedTape, *, secrets: bool = False) -> Facts:
    """Run a tape and the quiet one, watching both closely."""
    handled = sys.exc_info()[1]
    with Watch(secrets=secrets) as watch:
        outcome = runner(tape.source, prepare=watch.prepare)
    with Watch(secrets=secrets) as quiet_watch:
        quiet = runner(Quiet(tape.seed), prepare=quiet_watch.prepare)
    _detach(outcome.failure, handled)
    for crash in watch.crashes:
        if isinstance(crash.reason, Crash):
            _detach(crash.reason.exception, handled)
    lines = _lines(outcome, watch)
    return Facts(
        outcome=outcome,
        lines=lines,
        deviations=_deviations(outcome, watch, lines),
        trees=watch.trees,
        crashes=watch.crashes,
        comparison=_compare(lines, _lines(quiet, quiet_watch), quiet, outcome.virtual_s),
    )


def _detach(error: BaseException | None, handled: BaseException | None) -> None:
    """Forget that an exception of the run was raised while another was being handled outside."""
    seen: set[int] = set()
    while error is not None and handled is not None and id(error) not in seen:
        seen.add(id(error))
        if error.__context__ is handled:
            error.__context__ = None
        error = error.__cause__ or error.__context__


def observed(world: World, failure: Exception, watch: Watch) -> Facts:
    """What a watch has seen of a world that was driven by hand."""
    outcome = Outcome(
        failure, world.tape, world.trace, world.coverage, world.now_s, world.loop.steps
    )
    lines = _lines(outcome, watch)
    return Facts(
        outcome, lines, _deviations(outcome, watch, lines), watch.trees, watch.crashes, None
    )


def _lines(outcome: Outcome, watch: Watch) -> list[Line]:
    """The events up to the failure, with one label for each process, deviations in words."""
    found: list[Line] = []
    for raw in outcome.trace.lines:
        line = watch.labels.line(raw)
        if line.kind == "deviation":
            number = _number(line)
            line = line._replace(text=f"#{number}: {watch.said.get((line.who, number), '')}")
        elif line.kind in _EFFECTS and found and found[-1].kind == "deviation":
            # What the deviation did comes right after it: that says more than its number.
            before = found[-1]
            if ": option " in before.text and before.at_s == line.at_s:
                effect = " ".join(filter(None, (line.who, line.text, line.to)))
                watch.said[before.who, _number(before)] = effect
                found[-1] = before._replace(text=f"#{_number(before)}: {effect}")
                continue
        found.append(line)
        if line.kind == "failure":
            break
    return found


def _number(deviation: Line) -> int:
    return int(deviation.text[1:].partition(":")[0])


def _deviations(outcome: Outcome, watch: Watch, lines: list[Line]) -> list[Deviation]:
    times = {(line.who, _number(line)): line.at_s for line in lines if line.kind == "deviation"}
    return [
        Deviation(
            times.get((stream, number), 0.0), stream, number, value,
            watch.said.get((stream, number), ""),
        )
        for (stream, number), value in outcome.tape.deviations.items()
    ]  # fmt: skip


def _compare(
    here: list[Line], quiet: list[Line], outcome: Outcome, until_s: float
) -> Comparison | None:
    if len(here) >= KEPT_LINES or len(quiet) >= KEPT_LINES:
        return None
    here = [line for line in here if line.kind not in ("deviation", "failure")]
    quiet = [line for line in quiet if line.kind != "failure"]
    same = 0
    while same < min(len(here), len(quiet)) and _event(here[same]) == _event(quiet[same]):
        same += 1
    parted_s = here[same].at_s if same < len(here) else until_s
    mine, theirs = here[same:], [line for line in quiet[same:] if line.at_s <= until_s]
    return Comparison(
        same=same,
        parted_s=parted_s,
        only_here=_surplus(mine, theirs),
        only_quiet=_surplus(theirs, mine),
        quiet_failed=outcome.failure is not None,
    )


def _event(line: Line) -> tuple[str, str, str | None, str]:
    # Objects are elsewhere in memory in each run.
    return (line.kind, line.who, line.to, _ADDRESSES.sub("0x…", line.text))


def _surplus(some: Iterable[Line], others: Iterable[Line]) -> list[str]:
    """The first of those that happened more often among some than among the others."""
    left = Counter(map(_event, others))
    found: list[str] = []
    for line in some:
        event = _event(line)
        if left[event] > 0:
            left[event] -= 1
        elif len(found) < _EACH:
            found.append(str(line))
    return found
