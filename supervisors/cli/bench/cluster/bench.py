"""`palaver bench cluster`: the parts in their order, each with a limit of time of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop
from nats.errors import Error as BareNatsError

from palaver.actors.embedding import calm_garbage_collector
from palaver.storage.errors import StoreError
from palaver.storage.replicated.ports import JournalError
from palaver.supervisors.cli.bench.children import BenchFailed
from palaver.supervisors.cli.bench.cluster.catchup import CatchupPlan, measure_catchup
from palaver.supervisors.cli.bench.cluster.fabric import fabric_figures
from palaver.supervisors.cli.bench.cluster.failover import FailoverPlan, measure_failover
from palaver.supervisors.cli.bench.cluster.figures import ClusterFigure, Part
from palaver.supervisors.cli.bench.cluster.nodes import NodesPlan, measure_nodes
from palaver.supervisors.cli.bench.cluster.replicated import ReplicatedPlan, measure_replicated
from palaver.supervisors.cli.bench.load import LoadFault
from palaver.supervisors.cli.bench.report import Tell
from palaver.supervisors.cli.output import CommandError
from palaver.transport.client import ClientError
from palaver.transport.fabric import NatsError
from palaver.transport.http.admin_port import AdminRefused

__all__ = ["FULL", "QUICK", "ClusterBench", "ClusterPlan"]

_FAILURES: Final = (
    BenchFailed, CommandError, LoadFault, ClientError, AdminRefused, NatsError, BareNatsError,
    JournalError, StoreError, OSError,
)  # fmt: skip
"""What may go wrong with servers, nodes, load and disks: that part is left out."""

_LIMIT_S: Final = 3600.0
"""How long a part may take, whatever its options: beyond, something hangs."""


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """How much each part measures.

    Attributes:
        replicated: of the replicated log.
        fabric_rounds, fabric_scale: of what crosses between nodes.
        failover: of kills.
        catchup: of fresh replicas.
        nodes: of one node and two.
    """

    replicated: ReplicatedPlan = field(default_factory=ReplicatedPlan)
    fabric_rounds: int = 5
    fabric_scale: float = 1.0
    failover: FailoverPlan = field(default_factory=FailoverPlan)
    catchup: CatchupPlan = field(default_factory=CatchupPlan)
    nodes: NodesPlan = field(default_factory=NodesPlan)

    def with_options(self, *, kills: int | None, messages: int | None) -> ClusterPlan:
        """Return the plan with what the command line says; None leaves it as it is."""
        plan = self
        if kills is not None:
            plan = replace(plan, failover=FailoverPlan(kills, kills, kills))
        if messages is not None:
            plan = replace(plan, catchup=replace(plan.catchup, messages=messages))
        return plan


FULL: Final = ClusterPlan()
QUICK: Final = ClusterPlan(
    replicated=ReplicatedPlan(windows=(1, 64), rounds=2, round_s=0.5, warmup_s=0.2),
    fabric_rounds=2,
    fabric_scale=0.15,
    failover=FailoverPlan(owner_kills=1, leader_kills=0, bare_kills=1),
    catchup=CatchupPlan(messages=20_000, rounds=1),
    nodes=NodesPlan(pairs=20, rounds=1, round_s=1.5, warmup_s=0.5, idle_s=2.0, grows=False),
)


class ClusterBench:
    """One run of some parts.

    Args:
        plan: how much.
        folder: where all servers' data lies meanwhile.
        tell: is told what is measured.

    Attributes:
        left_out: parts that have failed, and why.
    """

    def __init__(self, plan: ClusterPlan, folder: Path, tell: Tell) -> None:
        self.plan = plan
        self.left_out: dict[str, str] = {}
        self._folder = folder
        self._tell = tell
        self._parts: Mapping[Part, Callable[[Path], list[ClusterFigure]]] = {
            Part.REPLICATED: self._replicated,
            Part.FABRIC: self._fabric,
            Part.FAILOVER: self._failover,
            Part.CATCHUP: self._catchup,
            Part.NODES: self._nodes,
        }

    def run(self, parts: Sequence[Part]) -> list[ClusterFigure]:
        """Measure these parts, one after the other; one that fails is left out, with its reason.

        Raises:
            BenchFailed: every one has failed.
        """
        figures: list[ClusterFigure] = []
        for part in parts:
            folder = self._folder / part.value
            folder.mkdir()
            try:
                with _errors_only():
                    figures += self._parts[part](folder)
            except _FAILURES as failed:
                why = str(failed) or type(failed).__name__
                self.left_out[part.value] = why
                self._tell(f"left out: {part.value}: {why}")
        if not figures:
            raise BenchFailed("; ".join(f"{part}: {why}" for part, why in self.left_out.items()))
        return figures

    def _replicated(self, folder: Path) -> list[ClusterFigure]:
        return _run(measure_replicated(self.plan.replicated, folder, self._tell))

    def _fabric(self, _: Path) -> list[ClusterFigure]:
        plan = self.plan
        return fabric_figures(rounds=plan.fabric_rounds, scale=plan.fabric_scale, tell=self._tell)

    def _failover(self, folder: Path) -> list[ClusterFigure]:
        return _run(measure_failover(self.plan.failover, folder, self._tell))

    def _catchup(self, folder: Path) -> list[ClusterFigure]:
        return _run(measure_catchup(self.plan.catchup, folder, self._tell))

    def _nodes(self, folder: Path) -> list[ClusterFigure]:
        return _run(measure_nodes(self.plan.nodes, folder, self._tell))


def _run(measuring: Coroutine[Any, Any, list[ClusterFigure]]) -> list[ClusterFigure]:
    """Run a part on the loop and with the collector that a node has."""

    async def limited() -> list[ClusterFigure]:
        try:
            async with asyncio.timeout(_LIMIT_S):
                return await measuring
        except TimeoutError:
            raise BenchFailed(f"it was not done within {_LIMIT_S:.0f} s") from None

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, calm_garbage_collector():
        return runner.run(limited())


@contextmanager
def _errors_only() -> Iterator[None]:
    """Let parts of a node that run in this process log errors only, and those to stderr."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("error"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
