"""A figure of the runtime: the samples of its rounds, the ratios to peers, the targets."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from statistics import median
from typing import Any, Protocol

from palaver.supervisors.cli.bench.runtime.plan import PALAVER, Clock, Size
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.stats import Better, Figure, Summary, ratio


class Plan(Protocol):
    """What a figure has to know of its plan."""

    @property
    def name(self) -> StrEnum:
        """What it is called."""

    @property
    def unit(self) -> str:
        """What it counts."""

    @property
    def better(self) -> Better:
        """Which way it is good."""

    @property
    def about(self) -> str:
        """What it is, in a sentence."""

    @property
    def work(self) -> str:
        """The work that it is made of; empty where that has the same name."""

    @property
    def targets(self) -> Mapping[str, float]:
        """The least ratio that is wanted, by peer."""


class RuntimeFigure:
    """One figure for all engines."""

    __slots__ = ("clock", "left_out", "plan", "samples", "sizes")

    def __init__(self, plan: Plan, clock: Clock = Clock.WALL) -> None:
        self.plan = plan
        self.clock = clock
        self.samples: dict[str, list[Result]] = {}
        self.sizes: dict[str, Size] = {}
        # Peers without a value, and why.
        self.left_out: dict[str, str] = {}

    @property
    def name(self) -> str:
        """What it is called."""
        return self.plan.name.value

    @property
    def work(self) -> str:
        """The work that it is made of."""
        return self.plan.work or self.name

    @property
    def is_timed(self) -> bool:
        """Whether the clock matters to it."""
        return self.plan.unit != "B"

    def add(self, engine: str, size: Size, result: Result) -> None:
        """Add what an engine did in one round."""
        self.samples.setdefault(engine, []).append(result)
        self.sizes[engine] = size

    def leave_out(self, engine: str, why: str) -> None:
        """Leave an engine out, also what it did in the rounds before."""
        self.samples.pop(engine, None)
        self.left_out[engine] = why

    def values(self, engine: str, clock: Clock | None = None) -> list[float]:
        """Return one value for each round: operations a second, or bytes for each process."""
        return [self.value_of(sample, clock or self.clock) for sample in self.samples[engine]]

    def value_of(self, sample: Result, clock: Clock) -> float:
        """Return the value of one sample."""
        return value_of(sample, clock)

    def figure(self) -> Figure:
        """Return the medians of the rounds, for Palaver and all that have a value."""
        plan = self.plan
        ours = Summary.of(self.values(PALAVER))
        figure = Figure(self.name, plan.unit, plan.better, ours, plan.about)
        for engine in self.samples:
            if engine != PALAVER:
                figure.others[engine] = Summary.of(self.values(engine))
        return figure

    def ratios(self) -> dict[str, float | int | None]:
        """Return the ratio of the medians to every peer; None to those left out."""
        return {**dict.fromkeys(self.left_out), **self.figure().ratios()}

    def ratios_by_round(self, clock: Clock) -> dict[str, dict[str, float | int]]:
        """Return the ratios within each round: their median, least and greatest."""
        ours = self.values(PALAVER, clock)
        found: dict[str, dict[str, float | int]] = {}
        for engine in self.samples:
            if engine == PALAVER:
                continue
            pairs = zip(ours, self.values(engine, clock), strict=True)
            ratios = [ratio(mine, theirs, self.plan.better) for mine, theirs in pairs]
            known = [each for each in ratios if each is not None]
            if known:
                found[engine] = Summary.of(known).as_json()
        return found

    def disturbed(self) -> float:
        """Return how much longer Palaver's work took than it used a CPU; 1 on a quiet machine."""
        timed = [sample for sample in self.samples[PALAVER] if sample.get("cpu_s")]
        return median(sample["wall_s"] / sample["cpu_s"] for sample in timed) if timed else 1.0

    def targets(self) -> dict[str, dict[str, float | bool | None]]:
        """Return the least ratio that is wanted to a peer, and whether it is reached."""
        ratios = self.ratios()
        found: dict[str, dict[str, float | bool | None]] = {}
        for engine, least in self.plan.targets.items():
            if engine in ratios:
                has = ratios[engine]
                found[engine] = {
                    "at_least": least,
                    "reached": None if has is None else has >= least,
                }
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the figure's JSON object."""
        shown = self.figure().as_json()
        shown["clock"] = self.clock.value if self.is_timed else None
        shown["ratios"] = self.ratios()
        for clock in Clock:
            shown[f"ratios_by_round_{clock.value}"] = self.ratios_by_round(clock)
        shown["targets"] = self.targets()
        shown["left_out"] = self.left_out
        shown["counts"] = {
            engine: {"count": size.count, "width": size.width, "warm_up": size.warm_up}
            for engine, size in self.sizes.items()
        }
        shown["samples"] = self.samples
        return shown


def value_of(sample: Result, clock: Clock) -> float:
    """Return operations a second by the clock, or bytes for each process; 0 if not measurable."""
    if "bytes" in sample:
        return sample["bytes"] / sample["ops"]
    time_s = sample[clock.key]
    return sample["ops"] / time_s if time_s > 0 else 0.0
