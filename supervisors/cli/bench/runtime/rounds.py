"""The rounds: in each, every engine does every figure's work, one engine right after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.runtime.engines import Engine
from palaver.supervisors.cli.bench.runtime.figures import RuntimeFigure
from palaver.supervisors.cli.bench.runtime.plan import PALAVER, Clock, FigurePlan

Tell = Callable[[str], None]


@dataclass(slots=True)
class RuntimeBench:
    """One run.

    Args:
        plans: What is measured.
        ours: Palaver.
        peers: Those that are installed.
        missing: Those that are not, and what to install.
        rounds: How often.
        quick: Whether with the small counts.
        tell: Is told what is measured.
        clock: What the figures are made of.
        timeout_s: How long one piece of work may take.
    """

    plans: Sequence[FigurePlan]
    ours: Engine
    peers: Sequence[Engine]
    missing: Mapping[str, str]
    rounds: int
    quick: bool
    tell: Tell
    clock: Clock = Clock.WALL
    timeout_s: float = 180.0
    figures: list[RuntimeFigure] = field(default_factory=list)

    def run(self) -> list[RuntimeFigure]:
        """Measure everything.

        A peer that fails is left out of that figure, with its reason.

        Raises:
            BenchFailed: when Palaver fails.
        """
        self.figures = [self._begun(plan) for plan in self.plans]
        for number in range(1, self.rounds + 1):
            for plan, figure in zip(self.plans, self.figures, strict=True):
                for engine in (self.ours, *self.peers):
                    if engine.name not in figure.left_out:
                        self.tell(f"round {number}/{self.rounds}: {figure.name}, {engine.name}")
                        self._measure(plan, figure, engine)
        return self.figures

    def _begun(self, plan: FigurePlan) -> RuntimeFigure:
        figure = RuntimeFigure(plan, self.clock)
        figure.left_out.update(self.missing)
        for engine in self.peers:
            if figure.work in engine.without:
                figure.left_out[engine.name] = engine.without[figure.work]
        return figure

    def _measure(self, plan: FigurePlan, figure: RuntimeFigure, engine: Engine) -> None:
        size = plan.size_for(engine.name, quick=self.quick)
        try:
            result = engine.run(figure.work, size, timeout_s=self.timeout_s)
        except BenchFailed as failed:
            if engine.name == PALAVER:
                raise
            figure.leave_out(engine.name, str(failed))
            self.tell(f"left out: {failed}")
        else:
            figure.add(engine.name, size, result)
