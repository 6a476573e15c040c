"""A figure of the cluster: Palaver's rounds, those of what is beside it, the ratio, the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any, Literal

from palaver.supervisors.cli.bench.stats import Better, Summary, ratio, rounded

__all__ = ["ClusterFigure", "Part", "Target"]


class Part(StrEnum):
    """What can be measured by itself."""

    REPLICATED = "replicated"
    FABRIC = "fabric"
    FAILOVER = "failover"
    CATCHUP = "catchup"
    NODES = "nodes"


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of a figure.

    Attributes:
        of: `ratio` to what is beside it, what is `added` to that, or the figure's own `value`,
            `greatest` of its rounds.
        at_least, at_most: the bound; one of them.
    """

    of: Literal["ratio", "added", "value", "greatest"]
    at_least: float | None = None
    at_most: float | None = None

    def reached(self, found: float | None) -> bool | None:
        """Return whether this is good enough; None where nothing was found."""
        if found is None:
            return None
        if self.at_least is not None and found < self.at_least:
            return False
        return self.at_most is None or found <= self.at_most

    def __str__(self) -> str:
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return bound if self.of in ("value", "greatest") else f"{self.of} {bound}"


@dataclass(slots=True)
class ClusterFigure:
    """One line of the result.

    Attributes:
        part, name, unit, better: which figure, of what, and which way it is good.
        about: what it is.
        on: what it was measured on.
        ours: Palaver's rounds (or tries).
        beside: who did the same beside it, "" for nobody.
        beside_about: what that is.
        theirs: its rounds: as many as ours, each right before or after, if they are `paired`.
        paired: whether a round of ours and one of theirs belong together.
        target: what is wanted of it.
        details: what else belongs to it.
    """

    part: Part
    name: str
    unit: str
    better: Better
    about: str
    on: str
    ours: Sequence[float]
    beside: str = ""
    beside_about: str = ""
    theirs: Sequence[float] = ()
    paired: bool = True
    target: Target | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        """Palaver's median, and how far the rounds are apart."""
        return Summary.of(self.ours)

    @property
    def other(self) -> Summary | None:
        """The same of what is beside it."""
        return Summary.of(self.theirs) if self.theirs else None

    @property
    def ratio(self) -> float | None:
        """How many times better Palaver is; above 1 always means better.

        The median of the rounds' ratios where rounds are paired, else the ratio of the medians.
        """
        if not self.theirs:
            return None
        if not self.paired:
            return ratio(self.summary.value, median(self.theirs), self.better)
        found = [
            ratio(ours, theirs, self.better)
            for ours, theirs in zip(self.ours, self.theirs, strict=True)
        ]
        known = [each for each in found if each is not None]
        return median(known) if known else None

    @property
    def added(self) -> float | None:
        """How much more than beside it, in the figure's unit; the median of the rounds."""
        if not self.theirs:
            return None
        if not self.paired:
            return self.summary.value - median(self.theirs)
        return median(a - b for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None where there is none, or nothing to tell by."""
        if self.target is None:
            return None
        values = {"ratio": self.ratio, "added": self.added, "value": self.summary.value}
        return self.target.reached(values.get(self.target.of, self.summary.max))

    def as_json(self) -> dict[str, Any]:
        """Return the figure as `--json` prints it."""
        shown: dict[str, Any] = {
            "part": self.part.value,
            "name": self.name,
            **self.summary.as_json(),
            "unit": self.unit,
            "better": self.better,
            "about": self.about,
            "on": self.on,
            "beside": None,
            "ratio": _rounded(self.ratio),
            "added": _rounded(self.added),
            "rounds": [rounded(each) for each in self.ours],
            "target": None,
            "details": dict(self.details),
        }
        if (other := self.other) is not None:
            shown["beside"] = {
                "name": self.beside,
                "about": self.beside_about,
                **other.as_json(),
                "rounds": [rounded(each) for each in self.theirs],
            }
        if (target := self.target) is not None:
            bounds = {"at_least": target.at_least, "at_most": target.at_most}
            named = {name: bound for name, bound in bounds.items() if bound is not None}
            shown["target"] = {"of": target.of, **named, "reached": self.reached}
        return shown


def _rounded(number: float | None) -> float | int | None:
    return None if number is None else rounded(number)
