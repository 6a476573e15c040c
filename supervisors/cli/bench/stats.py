"""Statistics of a benchmark: percentiles, medians of rounds, ratios to peers and floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Better = Literal["higher", "lower", "zero"]
"""Which way a figure is good; `zero` counts something that should not happen at all."""


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0..1) of the samples lie, by linear interpolation.

    Raises:
        ValueError: for no samples, or a share outside 0..1.
    """
    if not samples:
        raise ValueError("no samples")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share {share} is not within 0..1")
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure out of several rounds: their median, how many they were, least and greatest."""

    value: float
    n: int
    min: float
    max: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Summary:
        """Summarise the results of the rounds (at least one)."""
        if not rounds:
            raise ValueError("no rounds")
        return cls(median(rounds), len(rounds), min(rounds), max(rounds))

    def as_json(self) -> dict[str, float | int]:
        """Return the four numbers under their JSON names."""
        return {
            "value": rounded(self.value),
            "n": self.n,
            "min": rounded(self.min),
            "max": rounded(self.max),
        }


def ratio(ours: float, theirs: float, better: Better) -> float | None:
    """Return how many times better `ours` is than `theirs`; above 1 always means better.

    Rates divide by theirs, costs are turned over. Counts of what should not happen at all
    (`zero`) may both be 0, so one is added to each: (theirs + 1) / (ours + 1). None where
    the division has no meaning.
    """
    if better == "zero":
        return (theirs + 1.0) / (ours + 1.0)
    over, under = (ours, theirs) if better == "higher" else (theirs, ours)
    return over / under if under > 0 else None


def rounded(number: float) -> float | int:
    """Round to four significant digits and at least whole numbers: what a figure is worth."""
    if number == int(number) or abs(number) >= 1000:
        return round(number)
    return float(f"{number:.4g}")


@dataclass(slots=True)
class Figure:
    """One line of a benchmark's result, beside the same figure of peers and floors."""

    name: str
    unit: str
    better: Better
    summary: Summary
    about: str = ""
    others: dict[str, Summary] = field(default_factory=dict)

    def ratios(self) -> dict[str, float | int]:
        """Return the ratio to each peer and floor (above 1: Palaver is better)."""
        found: dict[str, float | int] = {}
        for name, other in self.others.items():
            value = ratio(self.summary.value, other.value, self.better)
            if value is not None:
                found[name] = rounded(value)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the figure's JSON object."""
        shown: dict[str, Any] = {"name": self.name, **self.summary.as_json(), "unit": self.unit}
        shown["ratios"] = self.ratios()
        shown["others"] = {name: other.as_json() for name, other in self.others.items()}
        shown["better"] = self.better
        if self.about:
            shown["about"] = self.about
        return shown


def report_json(
    machine: Mapping[str, Any], figures: Sequence[Figure], left_out: Mapping[str, str]
) -> dict[str, Any]:
    """Return the whole result: the machine, the figures, and what was left out and why."""
    return {
        "machine": dict(machine),
        "figures": [figure.as_json() for figure in figures],
        "left_out": dict(left_out),
    }
