"""The rounds: in each, every engine does every work, one engine right after the other.

An engine is one process over one folder for the whole run, which idles while the others work. The
start-up is measured afterwards, in processes of its own, over a folder that was filled for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.runtime.plan import PALAVER, Clock
from palaver.supervisors.cli.bench.runtime.results import Result
from palaver.supervisors.cli.bench.tables.engines import Session, TablesEngine
from palaver.supervisors.cli.bench.tables.figures import TablesFigure
from palaver.supervisors.cli.bench.tables.plan import (
    LOADED,
    QUICK_LOADED,
    QUICK_RECORDS,
    RECORDS,
    WORKS,
    FigurePlan,
    Peer,
    Size,
    WorkPlan,
)

Tell = Callable[[str], None]

BULK_LOAD, START_UP = "bulk_load", "start_up_s"


@dataclass(slots=True)
class TablesBench:
    """One run.

    Args:
        plans: What is measured.
        ours: Palaver.
        peers: Those that are installed.
        missing: Those that are not, and what to install.
        rounds: How often.
        quick: Whether with less of everything.
        tell: Is told what is measured.
        folder: Where the engines' folders are made.
        clock: What the figures are made of.
        timeout_s: How long one piece of work may take.
    """

    plans: Sequence[FigurePlan]
    ours: TablesEngine
    peers: Sequence[TablesEngine]
    missing: Mapping[str, str]
    rounds: int
    quick: bool
    tell: Tell
    folder: Path
    clock: Clock = Clock.WALL
    timeout_s: float = 180.0
    figures: list[TablesFigure] = field(default_factory=list)

    def run(self) -> list[TablesFigure]:
        """Measure everything.

        A peer that fails is left out of the figures concerned, with its reason.

        Raises:
            BenchFailed: Palaver fails.
        """
        self.figures = [self._begun(plan) for plan in self.plans]
        wanted = {plan.work for plan in self.plans}
        works = [work for work in WORKS if work.name in wanted]
        if works:
            self._in_turns(works)
        if wanted & {BULK_LOAD, START_UP}:
            for engine in (self.ours, *self.peers):
                self._weigh(engine, with_starts=START_UP in wanted)
        return self.figures

    def _begun(self, plan: FigurePlan) -> TablesFigure:
        figure = TablesFigure(plan, self.clock)
        there = [engine.name for engine in self.peers]
        figure.left_out.update(self.missing)
        figure.left_out.update({n: why for n, why in plan.without.items() if n in there})
        works = {work.name: work.work for work in WORKS}
        for engine in self.peers:
            why = engine.without.get(works.get(figure.work, ""))
            if why is not None:
                figure.left_out[engine.name] = why
        return figure

    def _of(self, work: str) -> list[TablesFigure]:
        return [figure for figure in self.figures if figure.work == work]

    # -- the works that all do in turns ----------------------------------------------------------

    def _in_turns(self, works: Sequence[WorkPlan]) -> None:
        records = QUICK_RECORDS if self.quick else RECORDS
        engines = (self.ours, *self.peers)
        with ExitStack() as running:
            sessions = {
                engine.name: running.enter_context(
                    engine.session(self.folder / engine.name, records)
                )
                for engine in engines
            }
            for number in range(1, self.rounds + 1):
                for work in works:
                    self._turn(f"round {number}/{self.rounds}", work, sessions)
        for engine in engines:
            shutil.rmtree(self.folder / engine.name, ignore_errors=True)

    def _turn(self, when: str, work: WorkPlan, sessions: Mapping[str, Session]) -> None:
        size = work.size.quick() if self.quick else work.size
        ours: Result = {}
        for name, session in sessions.items():
            if all(name in figure.left_out for figure in self._of(work.name)):
                continue
            own = size
            if work.batch_of_ours and name in (Peer.LMDB, Peer.LMDB_CBOR):
                own = replace(size, width=max(1, round(ours.get("batch", 1))))
            self.tell(f"{when}: {work.name}, {name}")
            result = self._done(work.name, work.work, name, session, own)
            if name == PALAVER and result is not None:
                ours = result

    def _done(
        self, plan: str, work: str, engine: str, session: Session, size: Size
    ) -> Result | None:
        try:
            result = session.do(work, size, timeout_s=self.timeout_s)
        except BenchFailed as failed:
            if engine == PALAVER:
                raise
            for figure in self._of(plan):
                figure.leave_out(engine, str(failed))
            self.tell(f"left out: {failed}")
            return None
        for figure in self._of(plan):
            if engine not in figure.left_out:
                figure.add_sample(engine, size, result)
        return result

    # -- loading and starting --------------------------------------------------------------------

    def _weigh(self, engine: TablesEngine, *, with_starts: bool) -> None:
        size = Size(QUICK_LOADED if self.quick else LOADED, 1_000)
        folder = self.folder / f"{engine.name}-loaded"
        try:
            with engine.session(folder, size.count) as session:
                self.tell(f"{BULK_LOAD}, {engine.name}")
                loaded = self._done(BULK_LOAD, BULK_LOAD, engine.name, session, size)
            if loaded is None:
                for figure in self._of(START_UP):
                    figure.left_out.setdefault(engine.name, "there is nothing to start with")
            starts = (self.rounds + 1) // 2 if with_starts and loaded else 0  # they take long
            for number in range(1, starts + 1):
                with engine.session(folder, size.count) as session:
                    self.tell(f"round {number}/{starts}: {START_UP}, {engine.name}")
                    self._done(START_UP, "start", engine.name, session, size)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
