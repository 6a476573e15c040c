"""A figure of the runtime: the samples of its rounds, the ratios to peers, the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from palaver.supervisors.cli.bench.runtime.plan import PALAVER, FigurePlan, Size
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.stats import Figure, Summary, ratio


class RuntimeFigure:
    """One figure for all engines."""

    __slots__ = ("left_out", "plan", "samples", "sizes")

    def __init__(self, plan: FigurePlan) -> None:
        self.plan = plan
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

    def add(self, engine: str, size: Size, result: Result) -> None:
        """Add what an engine did in one round."""
        self.samples.setdefault(engine, []).append(result)
        self.sizes[engine] = size

    def leave_out(self, engine: str, why: str) -> None:
        """Leave an engine out, also what it did in the rounds before."""
        self.samples.pop(engine, None)
        self.left_out[engine] = why

    def values(self, engine: str, *, clock: str = "wall_s") -> list[float]:
        """Return one value for each round: operations a second, or bytes for each process."""
        return [value_of(sample, clock) for sample in self.samples[engine]]

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

    def ratios_by_round(self, engine: str, *, clock: str = "wall_s") -> list[float]:
        """Return the ratio to a peer within each round."""
        pairs = zip(
            self.values(PALAVER, clock=clock), self.values(engine, clock=clock), strict=True
        )
        found = [ratio(ours, theirs, self.plan.better) for ours, theirs in pairs]
        return [each for each in found if each is not None]

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
        shown["ratios"] = self.ratios()
        peers = [engine for engine in self.samples if engine != PALAVER]
        shown["ratios_by_round"] = {e: _spread(self.ratios_by_round(e)) for e in peers}
        if self.plan.unit != "B":
            shown["ratios_cpu"] = {
                e: _spread(self.ratios_by_round(e, clock="cpu_s")) for e in peers
            }
        shown["targets"] = self.targets()
        shown["left_out"] = self.left_out
        shown["counts"] = {
            engine: {"count": size.count, "width": size.width, "warm_up": size.warm_up}
            for engine, size in self.sizes.items()
        }
        shown["samples"] = self.samples
        return shown


def value_of(sample: Result, clock: str) -> float:
    """Return operations a second by the clock, or bytes for each process; 0 if not measurable."""
    if "bytes" in sample:
        return sample["bytes"] / sample["ops"]
    return sample["ops"] / sample[clock] if sample[clock] > 0 else 0.0


def _spread(ratios: Sequence[float]) -> dict[str, float | int] | None:
    return Summary.of(ratios).as_json() if ratios else None
