"""What many runs came to: how many, how much time, which faults, what was reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from palaver.actors.simulation.driving.tapes import by_kind
from palaver.actors.simulation.world.coverage import Coverage
from palaver.actors.simulation.world.running import Outcome

__all__ = ["Statistics"]


@dataclass
class Statistics:
    """The figures of some runs; `add` counts one more, `merge` takes others in."""

    runs: int = 0
    failures: int = 0
    virtual_s: float = 0.0
    """Virtual seconds of all runs together."""
    wall_s: float = 0.0
    """Real seconds from the start to the end, of all processes at once."""
    steps: int = 0
    choices: int = 0
    deviations: dict[str, int] = field(default_factory=dict)
    """How many there were of each kind: which faults, and how often."""
    coverage: Coverage = field(default_factory=Coverage)
    """What was reached, how often and in how many runs."""

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.failures += outcome.failure is not None
        self.virtual_s += outcome.virtual_s
        self.steps += outcome.steps
        self.choices += outcome.tape.choices
        _count(self.deviations, by_kind(outcome.tape.deviations))
        self.coverage.merge(outcome.coverage)

    def merge(self, other: Statistics) -> None:
        """Take the figures of other runs in; the real time is the caller's matter."""
        self.runs += other.runs
        self.failures += other.failures
        self.virtual_s += other.virtual_s
        self.steps += other.steps
        self.choices += other.choices
        _count(self.deviations, other.deviations)
        self.coverage.merge(other.coverage)

    @property
    def ratio(self) -> float:
        """Virtual seconds for each real one; 0 if no time was measured."""
        return self.virtual_s / self.wall_s if self.wall_s > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """As JSON can carry it; `of_json` reads it."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "coverage"}
        return {
            **plain,
            "reached": dict(self.coverage.reached),
            "reached_in": dict(self.coverage.runs),
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Statistics:
        """What `as_json` made."""
        plain = dict(data)
        coverage = Coverage()
        coverage.reached.update(plain.pop("reached"))
        coverage.runs.update(plain.pop("reached_in"))
        return cls(**plain, coverage=coverage)

    def __str__(self) -> str:
        """The figures in a few lines."""
        figures = (
            f"{self.runs:,} runs, {self.failures:,} failed; {self.steps:,} steps, "
            f"{self.choices:,} choices; {self.virtual_s:,.0f} virtual seconds in "
            f"{self.wall_s:,.1f} real ones: {self.ratio:,.0f} times faster"
        )
        lines = [figures, "deviations: " + _listed(self.deviations)]
        if self.coverage.reached:
            lines.append("reached: " + _listed(self.coverage.reached))
        if self.coverage.missed:
            lines.append("NEVER reached: " + ", ".join(self.coverage.missed))
        return "\n".join(lines)


def _count(into: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        into[name] = into.get(name, 0) + count


def _listed(counts: Mapping[str, int]) -> str:
    ordered: Iterable[tuple[str, int]] = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered) or "none"
