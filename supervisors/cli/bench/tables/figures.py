"""A figure of the tables: the runtime's, with other values."""

from __future__ import annotations

from statistics import median
from typing import Any

from palaver.supervisors.cli.bench.runtime.figures import RuntimeFigure, value_of
from palaver.supervisors.cli.bench.runtime.plan import PALAVER, Clock
from palaver.supervisors.cli.bench.runtime.plan import Size as RuntimeSize
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.tables.plan import FigurePlan, Size, Value

_TIMED = (Value.RATE, Value.SECONDS)


class TablesFigure(RuntimeFigure):
    """One figure for all engines."""

    __slots__ = ("_value",)

    def __init__(self, plan: FigurePlan, clock: Clock = Clock.WALL) -> None:
        super().__init__(plan, clock)
        self._value = plan.value

    def add_sample(self, engine: str, size: Size, result: Result) -> None:
        """Add what an engine did in one round."""
        self.add(engine, RuntimeSize(int(result["ops"]), size.width), result)

    def value_of(self, sample: Result, clock: Clock) -> float:
        """Return the value of one sample."""
        if self._value is Value.RATE:
            return value_of({k: v for k, v in sample.items() if k != "bytes"}, clock)
        if self._value is Value.SECONDS:
            return sample[clock.key]
        if self._value in (Value.BYTES, Value.BYTES_IN_USE):
            return sample[self._value] / sample["ops"]
        return sample[self._value]

    @property
    def is_timed(self) -> bool:
        """Whether the clock matters to it."""
        return self._value in _TIMED

    def disturbed(self) -> float:
        """Return 1: what waits for the disk is no sign of a busy machine."""
        return 1.0

    def batch(self) -> float | None:
        """Return how many records Palaver's group commit had in a transaction, the median."""
        batches = [sample["batch"] for sample in self.samples[PALAVER] if "batch" in sample]
        return median(batches) if batches else None

    def as_json(self) -> dict[str, Any]:
        """Return the figure's JSON object."""
        shown = super().as_json()
        shown["batch"] = self.batch()
        return shown
