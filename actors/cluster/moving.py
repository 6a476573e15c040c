"""One change of the placement, from its beginning to its end.

For a few partitions at a time: the new replicas are added beside the old ones, and waited for until
they have caught up; the partition is handed over, if its owner is to be another one; the replicas
that are not needed any more are dropped. Each of these steps leaves every partition with a majority
of its replicas, so it does no harm to stop anywhere, or if two nodes should ever do it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from palaver.actors.cluster.errors import CannotHandOver, CannotRebalance, Rebalancing
from palaver.actors.cluster.membership import GetMembers
from palaver.actors.cluster.moves import What, check_rows, moved, sharers, with_final, with_new
from palaver.actors.cluster.names import MEMBERSHIP, OWNERSHIP, REBALANCER, STANDING
from palaver.actors.cluster.ownership_messages import (
    GetPartition,
    GetPartitions,
    GiveTo,
    PartitionStatus,
)
from palaver.actors.cluster.placement import place
from palaver.actors.cluster.ports import Machines
from palaver.actors.cluster.records import (
    PLACEMENT,
    REBALANCE,
    NodeRecord,
    NodeState,
    Placement,
    RebalanceRecord,
    decoded,
    node_key,
)
from palaver.actors.cluster.registers import Guarded
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.cluster.standing import GetConnections
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import CallFailed, NoProcess, ProcessContext
from palaver.storage.replicated.ports import RegisterChanged, RegistersUnavailable

__all__ = ["Change", "IsBusy", "Progress"]

_AT_ONCE: Final = 4
"""Partitions that get new replicas at the same time."""

_TRIES: Final = 8


class Progress(NamedTuple):
    """How far a change is.

    Attributes:
        what, node: the change.
        done, total: steps.
        text: the last one.
    """

    what: str
    node: str
    done: int
    total: int
    text: str


class IsBusy(NamedTuple):
    """Call of a node's rebalancer: whether it is at a change now."""


class Change:
    """See the module."""

    def __init__(
        self,
        what: What,
        node: str,
        distribution: Distribution,
        registers: Guarded,
        settings: ClusterSettings,
        tell: Callable[[Progress], None],
        machines: Machines | None = None,
    ) -> None:
        self._machines = machines
        self._what = what
        self._node = node
        self._distribution = distribution
        self._registers = registers
        self._settings = settings
        self._tell = tell
        self._done = self._total = 0
        self._lock = RebalanceRecord("", 0, 0, "", 0)
        self._lock_revision = 0

    async def run(self, ctx: ProcessContext) -> Progress:
        """Make the change; the last progress.

        Raises `CannotRebalance`, `CallFailed`, or what the registers raise.
        """
        members = await self._members(ctx)
        nodes = sharers(members, self._settings, self._what, self._node)
        await self._take_lock(ctx, members)
        try:
            await self._change(ctx, nodes)
        except Exception:
            # Not when it is killed: then the next one sees that its node has begun anew, or the
            # same node goes on.
            await self._free_lock(ctx)
            raise
        await self._free_lock(ctx)
        return self._step("all is where it is to be")

    async def _change(self, ctx: ProcessContext, nodes: tuple[str, ...]) -> None:
        states: dict[What, NodeState] = {"drain": "draining", "undrain": "up", "remove": "leaving"}
        if self._what in states:
            await self._set_state(ctx, states[self._what])
        settings = self._settings
        current = await self._placement(ctx)
        target = place(
            nodes,
            settings.partitions,
            replicas=settings.replicas,
            island=settings.island,
            current=current,
        )
        numbers = moved(current, target)
        leaving = self._what in ("drain", "remove")
        self._total = 2 * len(numbers) + settings.partitions + 1 + leaving + (self._what in states)
        for start in range(0, len(numbers), _AT_ONCE):
            await self._move(ctx, target, numbers[start : start + _AT_ONCE])
        # What has only changed its order, and the islands.
        await self._write(ctx, lambda now: with_final(now, target, range(settings.partitions)))
        for number, row in enumerate(target.partitions):
            await self._give(ctx, number, row)
            self._step(f"partition {number} is owned as it is to be")
        if self._what in ("drain", "remove"):
            await self._clients_gone(ctx)
        if self._what == "remove":
            await self._forget(ctx)
        if self._machines is not None and self._what in ("remove", "rebalance"):
            await self._forget_machines(ctx, self._machines)

    # -- replicas ------------------------------------------------------------------------------

    async def _move(self, ctx: ProcessContext, target: Placement, numbers: tuple[int, ...]) -> None:
        """Bring the replicas of a few partitions to their places."""
        await self._write(ctx, lambda now: with_new(now, target, numbers))
        for number in numbers:
            await self._caught_up(ctx, number, target.partitions[number])
            self._step(f"partition {number} is on {', '.join(target.partitions[number])}")
        for number in numbers:
            await self._give(ctx, number, target.partitions[number])
            row = target.partitions[number]
            check_rows(number, row, await self._ready(ctx, number, row))
        await self._write(ctx, lambda now: with_final(now, target, numbers))
        for number in numbers:
            self._step(f"partition {number} has moved")

    async def _caught_up(self, ctx: ProcessContext, number: int, row: tuple[str, ...]) -> None:
        """Wait until all replicas are there; for as long as there is progress."""
        since_s, before = ctx.clock.monotonic(), -1
        while True:
            states = await self._states(ctx, number, row)
            ready = [name for name, each in states.items() if each.ready]
            if len(ready) == len(row):
                return
            now_s, position = ctx.clock.monotonic(), sum(each.position for each in states.values())
            if position > before:
                since_s, before = now_s, position
            if now_s - since_s > self._settings.catch_up_s:
                late = ", ".join(name for name in row if name not in ready)
                raise CannotRebalance(
                    f"{late} does not get on with partition {number} for "
                    f"{self._settings.catch_up_s:g} s: look at its log, then ask for the same again"
                )
            await ctx.sleep(self._settings.tick_s * ctx.random.uniform(0.7, 1.3))
            await self._hold_lock(ctx)

    async def _states(
        self, ctx: ProcessContext, number: int, row: Collection[str]
    ) -> dict[str, PartitionStatus]:
        states = {}
        for name in row:
            dest = self._distribution.at(name, OWNERSHIP)
            try:
                (one,) = await ctx.call(
                    dest, GetPartitions((number,)), timeout_s=self._settings.peer_timeout_s
                )
            except CallFailed:
                continue  # not there now; whoever asks sees that it is missing
            states[name] = one
        return states

    async def _ready(self, ctx: ProcessContext, number: int, row: Collection[str]) -> list[str]:
        states = await self._states(ctx, number, row)
        return [name for name, each in states.items() if each.ready]

    # -- owners --------------------------------------------------------------------------------

    async def _give(self, ctx: ProcessContext, number: int, row: tuple[str, ...]) -> None:
        """Bring about that the first of these owns a partition that another one owns."""
        members = await self._members(ctx)
        willing = [
            name
            for name in row
            if name in members.live() and members.nodes[name].state not in ("draining", "leaving")
        ]
        to = next(iter(willing), None)
        if to is None:
            return  # nobody who may own it; it stays where it is
        until_s = ctx.clock.monotonic() + self._settings.catch_up_s
        while True:
            one: PartitionStatus = await ctx.call(OWNERSHIP, GetPartition(number))
            if one.owner == to and one.phase == "leading":
                return
            if one.phase == "leading" and one.owner in members.live():
                dest = self._distribution.at(one.owner, OWNERSHIP)
                # It may just have lost it, or be busy with it: then this looks again.
                with suppress(CallFailed, CannotHandOver):
                    await ctx.call(dest, GiveTo(number, to), timeout_s=self._settings.host_s)
            if ctx.clock.monotonic() > until_s:
                raise CannotRebalance(
                    f"partition {number} does not come to {to}, it is {one.owner}'s "
                    f"({one.phase}): see the events, then ask for the same again"
                )
            await ctx.sleep(self._settings.tick_s / 4 * ctx.random.uniform(0.7, 1.3))
            members = await self._members(ctx)

    async def _clients_gone(self, ctx: ProcessContext) -> None:
        """Wait until no client is connected to the node, which sends them away by itself."""
        dest, left = self._distribution.at(self._node, STANDING), -1
        until_s = ctx.clock.monotonic() + self._settings.catch_up_s
        while left and ctx.clock.monotonic() < until_s:
            try:
                now = await ctx.call(
                    dest, GetConnections(), timeout_s=self._settings.peer_timeout_s
                )
            except CallFailed:
                now = 0  # it is not there, and so are they
            if now and now != left:
                self._tell(self._progress(f"{now} clients are still connected to {self._node}"))
            left = now
            if left:
                await ctx.sleep(self._settings.tick_s * ctx.random.uniform(0.7, 1.3))
                await self._hold_lock(ctx)
        self._step(f"{left or 'no'} clients are connected to {self._node}")

    # -- registers -----------------------------------------------------------------------------

    async def _members(self, ctx: ProcessContext) -> Members:
        members: Members = await ctx.call(MEMBERSHIP, GetMembers())
        return members

    async def _retry(self, ctx: ProcessContext, attempt: Callable[[], Any]) -> Any:
        """Do something with a register until it is done: what it is based on may be old."""
        for left in reversed(range(_TRIES)):
            try:
                return await attempt()
            except (RegisterChanged, RegistersUnavailable):
                if not left:
                    raise
                await ctx.sleep(self._settings.retry_s * ctx.random.uniform(0.7, 1.3))
        return None

    async def _placement(self, ctx: ProcessContext) -> Placement:
        register = await self._retry(ctx, lambda: self._registers.get(ctx, PLACEMENT))
        if register is None:
            raise CannotRebalance("the cluster is not founded yet: start its founding nodes")
        found: Placement = decoded(Placement, register.value)
        return found

    async def _write(self, ctx: ProcessContext, change: Callable[[Placement], Placement]) -> None:
        await self._hold_lock(ctx)

        async def attempt() -> None:
            register = await self._registers.get(ctx, PLACEMENT)
            if register is None:
                raise CannotRebalance("the register of the placement is gone: see the registers")
            now = decoded(Placement, register.value)
            new = change(now)
            if new is not now:
                await self._registers.put(ctx, PLACEMENT, new, register.revision)

        await self._retry(ctx, attempt)

    async def _set_state(self, ctx: ProcessContext, state: NodeState) -> None:
        key = node_key(self._node)

        async def attempt() -> None:
            register = await self._registers.get(ctx, key)
            if register is None:
                return  # it has a place, and nothing else is known of it
            record: NodeRecord = decoded(NodeRecord, register.value)
            if record.state != state and not (state == "up" and record.state == "joining"):
                new = replace(record, state=state, since_ms=ctx.clock.time_ms())
                await self._registers.put(ctx, key, new, register.revision)

        await self._retry(ctx, attempt)
        self._step(f"{self._node} is {state}")

    async def _forget(self, ctx: ProcessContext) -> None:
        """Remove the register of a node that was let go; one that runs sees it, and ends."""
        key = node_key(self._node)

        async def attempt() -> None:
            register = await self._registers.get(ctx, key)
            if register is not None:
                await self._registers.remove(ctx, key, register.revision)

        await self._retry(ctx, attempt)

    async def _forget_machines(self, ctx: ProcessContext, machines: Machines) -> None:
        """See to it that the journals do not wait for machines that are gone."""
        gone = self._node if self._what == "remove" else ""
        members = await self._members(ctx)
        self._tell(self._progress("the journals are looked at"))
        self._step(await ctx.bridge(machines.forget(gone, {*members.nodes} - {gone})))

    # -- one at a time -------------------------------------------------------------------------

    async def _take_lock(self, ctx: ProcessContext, members: Members) -> None:
        async def attempt() -> None:
            register = await self._registers.get(ctx, REBALANCE)
            epoch = 1
            if register is not None:
                held: RebalanceRecord = decoded(RebalanceRecord, register.value)
                epoch = held.epoch + 1
                record = members.nodes.get(held.node)
                alive = record is not None and record.creation == held.creation
                if alive and held.node != members.me and await self._is_busy(ctx, members, held):
                    raise Rebalancing(f"{held.node} is about to {held.what}: wait for its end")
            what = f"{self._what} {self._node}".strip()
            self._lock = RebalanceRecord(
                members.me, members.creation, epoch, what, ctx.clock.time_ms()
            )
            self._lock_revision = await self._registers.put(
                ctx, REBALANCE, self._lock, None if register is None else register.revision
            )

        await self._retry(ctx, attempt)

    async def _is_busy(self, ctx: ProcessContext, members: Members, held: RebalanceRecord) -> bool:
        """Whether the holder is at it; it may have failed to free the register."""
        if held.node not in members.live():
            return False
        dest = self._distribution.at(held.node, REBALANCER)
        try:
            return bool(await ctx.call(dest, IsBusy(), timeout_s=self._settings.peer_timeout_s))
        except NoProcess:
            return False
        except CallFailed:
            return True  # it is there, and does not answer now

    async def _free_lock(self, ctx: ProcessContext) -> None:
        free = replace(self._lock, node="", creation=0)
        await self._registers.try_put(ctx, REBALANCE, free, self._lock_revision)

    async def _hold_lock(self, ctx: ProcessContext) -> None:
        """Stop if another one has begun, because this node was taken for dead."""
        register = await self._retry(ctx, lambda: self._registers.get(ctx, REBALANCE))
        if register is None or register.revision > self._lock_revision:
            raise Rebalancing("another node has taken this change over: ask for the same again")

    def _step(self, text: str) -> Progress:
        self._done += 1
        progress = self._progress(text)
        self._tell(progress)
        return progress

    def _progress(self, text: str) -> Progress:
        total = max(self._total, self._done)
        return Progress(self._what, self._node, self._done, total, text)
