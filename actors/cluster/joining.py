"""How a node comes to belong to a cluster, and how a cluster begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from palaver.actors.cluster.errors import NameInUse
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.placement import place
from palaver.actors.cluster.records import (
    CLUSTER,
    PLACEMENT,
    ClusterRecord,
    NodeRecord,
    claim_key,
    decoded,
    node_key,
)
from palaver.actors.cluster.registers import Guarded
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import ProcessContext
from palaver.storage.replicated.ports import Register, RegisterChanged

__all__ = ["Joining", "found"]

_LOOKS: Final = 8
"""How often a node looks whether the other one of its name has answered."""


class Joining:
    """One attempt of a node to take its register.

    A node that was killed comes back at once under its name, and its register looks as if it were
    still alive. So it asks: it writes `claim.<name>`, to which one that is alive answers by a
    refresh of its register, and waits a while. The other one may be alive and cut off: then it
    finds out when it comes back, and stops.
    """

    def __init__(
        self, distribution: Distribution, registers: Guarded, settings: ClusterSettings
    ) -> None:
        self._name = distribution.name
        self._creation = distribution.creation
        self._registers = registers
        self._settings = settings

    async def run(self, ctx: ProcessContext) -> tuple[NodeRecord, int]:
        """Take the register; what it holds, and its revision.

        Raises `NameInUse`, `WrongCluster`; `RegisterChanged` or `RegistersUnavailable` when it is
        to be tried again.
        """
        await self._check(ctx)
        settings, key = self._settings, node_key(self._name)
        new = NodeRecord(
            self._name,
            self._creation,
            "joining",
            since_ms=ctx.clock.time_ms(),
            version=settings.version,
            ws_url=settings.ws_url,
            http_url=settings.http_url,
        )
        register = await self._registers.get(ctx, key)
        if register is None:
            return new, await self._registers.put(ctx, key, new, None)
        old: NodeRecord = decoded(NodeRecord, register.value)
        if old.creation > self._creation:
            raise NameInUse(
                f"a later incarnation of {self._name} has joined already: two nodes have that "
                "name, or this machine's clock was set back"
            )
        if old.creation == self._creation:
            new = replace(new, state=old.state, since_ms=old.since_ms, beat=old.beat + 1)
        elif old.state in ("draining", "leaving"):
            new = replace(new, state=old.state, since_ms=old.since_ms)
        if old.creation != self._creation and old.state != "down":
            register = await self._claim(ctx, register, old)
            old = decoded(NodeRecord, register.value)
            kept = old.state in ("draining", "leaving")
            new = replace(new, state=old.state if kept else "joining")
        return new, await self._registers.put(ctx, key, new, register.revision)

    async def _check(self, ctx: ProcessContext) -> None:
        register = await self._registers.get(ctx, CLUSTER)
        if register is None:
            return
        settings = self._settings
        asked = ClusterRecord(settings.cluster, settings.partitions)
        asked.check(decoded(ClusterRecord, register.value))

    async def _claim(self, ctx: ProcessContext, seen: Register, old: NodeRecord) -> Register:
        """Ask whether the name is in use; the register as it stands if nobody answers."""
        key = claim_key(self._name)
        # Something that changes with every claim, so that it is told even to who has seen another.
        claim = replace(old, creation=self._creation, beat=ctx.clock.time_ms())
        before = await self._registers.get(ctx, key)
        await self._registers.put(ctx, key, claim, None if before is None else before.revision)
        register = seen
        for _ in range(_LOOKS):
            await ctx.sleep(self._settings.claim_s / _LOOKS)
            now = await self._registers.get(ctx, node_key(self._name))
            if now is None or now.revision <= seen.revision:
                continue
            register = now
            holder: NodeRecord = decoded(NodeRecord, now.value)
            if holder.state == "down":
                return register  # it was just about to stop
            # Another newcomer, or the one that was there.
            if holder.creation != old.creation or holder.answered == self._creation:
                raise NameInUse(
                    f"a node named {self._name} is alive: give this one another name, or stop "
                    "that one first"
                )
        return register


async def found(
    ctx: ProcessContext,
    registers: Guarded,
    settings: ClusterSettings,
    nodes: tuple[str, ...],
    recorder: Recorder,
) -> None:
    """Make the registers of a new cluster, unless another node has; all may try at once."""
    cluster = ClusterRecord(settings.cluster, settings.partitions)
    try:
        await registers.put(ctx, CLUSTER, cluster, None)
    except RegisterChanged:
        there = await registers.get(ctx, CLUSTER)
        if there is None or decoded(ClusterRecord, there.value) != cluster:
            return  # the watch tells, and this node is refused
    placement = place(
        nodes, settings.partitions, replicas=settings.replicas, island=settings.island
    )
    try:
        await registers.put(ctx, PLACEMENT, placement, None)
    except RegisterChanged:
        return
    recorder.tell("founded", settings.cluster, f"by {', '.join(nodes)}")
