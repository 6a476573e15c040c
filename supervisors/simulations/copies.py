"""The copies of a cluster's partitions: what may be done to them, and what must be true of them.

A cluster of three bears the loss of one disk, or one copy that has gone astray, at a time. So the
next one is taken only when what the last one cost is made good.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from palaver.actors.cluster.auditing import compare
from palaver.actors.cluster.records import PLACEMENT
from palaver.supervisors.simulations.cluster_nodes import ClusterNode, SimulatedCluster

__all__ = ["Copies"]

#: A journal may be told so late to forget what a copy had that has been lost since.
_LATE_S: Final = 60.0


class Copies:
    """Looks after the copies of a cluster.

    Args:
        cluster: whose.
        partitions: how many there are.
    """

    def __init__(self, cluster: SimulatedCluster, partitions: int) -> None:
        self._cluster = cluster
        self._partitions = partitions
        self._wiped: list[ClusterNode] = []
        self._spoilt: dict[int, int] = {}
        self._had: dict[tuple[ClusterNode, int], tuple[float, int]] = {}
        self._rows: dict[int, tuple[str, ...]] = {}
        self._too_few: str | None = None
        for number in range(partitions):
            log = cluster.engine.engine.log(number)
            log.forgetting.append(partial(self._forgets, number))
        cluster.engine.engine.table.witnesses.append(self._placed_anew)

    def wipe(self, node: ClusterNode) -> bool:
        """Take a node's disk away, unless another one lacks what it has lost; whether it was so."""
        self._wiped = [one for one in self._wiped if not self._is_made_good(one)]
        if any(one is not node for one in self._wiped):
            return False
        self._remember(node)
        if node not in self._wiped:
            self._wiped.append(node)
        node.host.crash()
        node.host.disk.clear()
        return True

    def spoil(self, node: ClusterNode, number: int) -> bool:
        """Lead one copy astray, unless another one has not come back yet; whether it was so."""
        if not self._agrees(number) or not node.follows(number):
            return False
        self._remember(node)
        self._spoilt[number] = self._cluster.engine.engine.log(number).last
        node.spoil(number)
        return True

    def hold(self) -> bool:
        """Whether there have been enough copies at any moment; raises if there were too few."""
        if self._too_few is not None:
            raise AssertionError(self._too_few)
        return True

    def _remember(self, node: ClusterNode) -> None:
        until_s = self._cluster.world.now_s + _LATE_S
        for number in range(self._partitions):
            self._had[node, number] = (until_s, node.durable(number))

    def _forgets(self, number: int, up_to: int) -> None:
        """See who has what a journal is about to forget."""
        cluster = self._cluster
        have = [node.host.name for node in cluster.nodes if self._has(node, number, up_to)]
        if len(have) <= cluster.replicas // 2:
            self._too_few = f"partition {number} forgets up to {up_to}: only {have} have it"

    def _placed_anew(self, key: str) -> None:
        """See who has what the journals have not, when the placement changes."""
        if key != PLACEMENT:
            return
        cluster = self._cluster
        for number, log in cluster.engine.engine.logs.items():
            before, row = self._rows.get(number, ()), cluster.placed(number)
            self._rows[number] = row
            had, have = (
                [
                    node.host.name
                    for node in cluster.nodes
                    if node.host.name in names and self._has(node, number, log.first - 1)
                ]
                for names in (before, row)
            )
            if len(have) < min(len(had), cluster.replicas // 2 + 1):
                self._too_few = (
                    f"partition {number} goes from {before} to {row}: only {have} have what its "
                    f"journal has forgotten, before it was {had}"
                )

    def _has(self, node: ClusterNode, number: int, position: int) -> bool:
        until_s, had = self._had.get((node, number), (0.0, 0))
        if had >= position and self._cluster.world.now_s < until_s:
            return True
        return node.durable(number) >= position

    def _is_made_good(self, node: ClusterNode) -> bool:
        """Whether a node that was wiped has again what the journals have not."""
        if not node.is_up:
            return False
        logs = self._cluster.engine.engine.logs
        return all(
            node.durable(number) >= log.first - 1
            for number, log in logs.items()
            if node.host.name in self._cluster.placed(number)
        )

    def _agrees(self, number: int) -> bool:
        """Whether all copies have been seen to be equal since one was led astray."""
        placed = self._cluster.placed(number)
        nodes = [node for node in self._cluster.nodes if node.host.name in placed]
        digests = {
            node.host.name: state.digests
            for node in nodes
            if (state := node.state(number)) is not None and not state.catching_up
        }
        if not placed or len(digests) < len(placed):
            return False
        verdict = compare(digests, len(placed))
        agree = not verdict.wrong and not verdict.torn
        return agree and verdict.position > self._spoilt.get(number, 0)
