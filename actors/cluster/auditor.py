"""`Auditor`: compares replicas, knows how far they are, and tells the whole cluster's status."""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.cluster.auditing import compare, majority_position
from palaver.actors.cluster.background import Finished, begin
from palaver.actors.cluster.events import Recorder
from palaver.actors.cluster.membership import GetMembers
from palaver.actors.cluster.names import AUDITOR, MEMBERSHIP, OWNERSHIP
from palaver.actors.cluster.ownership_messages import GetPartitions, PartitionStatus, Rebuild
from palaver.actors.cluster.ports import ClusterStore
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.cluster.status import NodeSummary, cluster_status
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import (
    NOREPLY,
    CallFailed,
    Exit,
    From,
    GenServer,
    ProcessContext,
    ReceiveTimeout,
    Stop,
    is_abnormal,
)

__all__ = ["Audit", "Auditor", "GetStatus", "GetSummary"]


class GetStatus(NamedTuple):
    """Call: the cluster as plain data; see `status.cluster_status`.

    Attributes:
        everywhere: ask the other nodes too; those that do not answer in time are left out.
    """

    everywhere: bool = True


class GetSummary(NamedTuple):
    """Call: the `NodeSummary` of this node."""


class Audit(NamedTuple):
    """Cast: compare the replicas of a partition now. Whoever differs sees to itself."""

    number: int


class _Round(NamedTuple):
    pass


class Auditor(GenServer):
    """Looks every `audit_s` after the partitions that this node leads.

    A replica that differs from a majority is told to look itself: it asks the others too, and acts
    only on what it has seen. So nobody throws away another's data.
    """

    __slots__ = ("_busy", "_distribution", "_recorder", "_settings", "_store", "_told", "_wanted")

    def init(
        self,
        distribution: Distribution,
        store: ClusterStore,
        settings: ClusterSettings,
        recorder: Recorder,
    ) -> None:
        """Begin with a first round, some time from now."""
        self.trap_exit = True
        self._distribution = distribution
        self._store = store
        self._settings = settings
        self._recorder = recorder
        self._busy = False
        self._wanted: dict[int, None] = {}
        self._told: dict[int, Any] = {}
        self._arm()

    def _arm(self) -> None:
        pause_s = self._settings.audit_s * self.random.uniform(0.75, 1.25)
        self.send_after(pause_s, self.pid, _Round())

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer `GetStatus` and `GetSummary`; what takes time is done beside."""
        if isinstance(request, GetStatus):
            begin(self, ("answer", from_), lambda ctx: self._status(ctx, request.everywhere))
            return NOREPLY
        if isinstance(request, GetSummary):
            begin(self, ("answer", from_), self._summary)
            return NOREPLY
        return super().handle_call(request, from_)

    def handle_cast(self, message: Any) -> None:
        """See to `Audit`."""
        if isinstance(message, Audit):
            self._wanted[message.number] = None
            self._go_on()
        else:
            super().handle_cast(message)

    def handle_info(self, message: Any) -> Any:
        """See to the time and to finished work."""
        if isinstance(message, _Round):
            self._arm()
            if not self._busy:
                self._busy = True
                begin(self, "audit", lambda ctx: self._audit(ctx, None))
        elif isinstance(message, Finished):
            self._finished(message)
        elif isinstance(message, Exit):
            return Stop(message.reason) if is_abnormal(message.reason) else None
        return None

    def _finished(self, done: Finished) -> None:
        if done.what != "audit":
            if done.error is None:
                self.reply(done.what[1], done.value)
            else:
                self.reply_error(done.what[1], done.error)
            return
        self._busy = False
        if done.error is not None and not isinstance(done.error, CallFailed):
            raise done.error
        self._go_on()

    def _go_on(self) -> None:
        if self._wanted and not self._busy:
            wanted, self._wanted = tuple(self._wanted), {}
            self._busy = True
            begin(self, "audit", lambda ctx: self._audit(ctx, wanted))

    # -- an audit ------------------------------------------------------------------------------

    async def _audit(self, ctx: ProcessContext, wanted: tuple[int, ...] | None) -> None:
        """Compare some partitions, or those that this node leads if None."""
        members: Members = await ctx.call(MEMBERSHIP, GetMembers())
        own: tuple[PartitionStatus, ...] = await ctx.call(OWNERSHIP, GetPartitions(wanted))
        if members.placement is None:
            return
        placed = members.placement.partitions
        mine = {
            each.number: each
            for each in own
            if each.replica and (wanted is not None or each.role == "leading")
        }
        states: dict[int, dict[str, PartitionStatus]] = {
            number: {members.me: each} for number, each in mine.items()
        }
        asked: dict[str, list[int]] = {}
        for number in mine:
            for name in placed[number]:
                if name != members.me and name in members.live():
                    asked.setdefault(name, []).append(number)
        for name, numbers in asked.items():
            for each in await self._ask(ctx, name, numbers):
                if each.replica:
                    states[each.number][name] = each
        for number, found in states.items():
            self._judge(ctx, number, found, len(placed[number]), members.me)

    async def _ask(
        self, ctx: ProcessContext, name: str, numbers: list[int]
    ) -> tuple[PartitionStatus, ...]:
        dest = self._distribution.at(name, OWNERSHIP)
        request = GetPartitions(tuple(numbers))
        try:
            found: tuple[PartitionStatus, ...] = await ctx.call(
                dest, request, timeout_s=self._settings.peer_timeout_s
            )
        except CallFailed:
            return ()  # it is asked again in the next round
        return found

    def _judge(
        self,
        ctx: ProcessContext,
        number: int,
        found: dict[str, PartitionStatus],
        replicas: int,
        me: str,
    ) -> None:
        verdict = compare({name: each.digests for name, each in found.items()}, replicas)
        if verdict.wrong != () or verdict.torn != ():
            if self._told.get(number) != verdict:
                who = ", ".join(verdict.wrong) or "no majority"
                text = f"at position {verdict.position}: {who}"
                self._recorder.tell("replicas differ", number, text, level="alarm")
            self._told[number] = verdict
        else:
            self._told.pop(number, None)
        for name in verdict.wrong:
            if name == me:
                ctx.cast(OWNERSHIP, Rebuild(number, "it differs from the other replicas"))
            elif found[me].role == "leading":
                ctx.cast(self._distribution.at(name, AUDITOR), Audit(number))
        if found[me].role == "leading" and me not in verdict.wrong:
            positions = [each.position for name, each in found.items() if name not in verdict.wrong]
            position = majority_position(positions, replicas)
            if position > 0:
                self._store.truncate_allowed(number, position)

    # -- status --------------------------------------------------------------------------------

    async def _summary(self, ctx: ProcessContext) -> NodeSummary:
        partitions = await ctx.call(OWNERSHIP, GetPartitions())
        return NodeSummary(self._distribution.name, partitions, self._recorder.recent())

    async def _status(self, ctx: ProcessContext, everywhere: bool) -> dict[str, Any]:
        members: Members = await ctx.call(MEMBERSHIP, GetMembers())
        summaries = [await self._summary(ctx)]
        refs = {}
        if everywhere:
            for name in members.live():
                if name != members.me:
                    dest = self._distribution.at(name, AUDITOR)
                    refs[ctx.send_request(dest, GetSummary())] = name
        until_s = ctx.clock.monotonic() + self._settings.peer_timeout_s
        while refs:
            left_s = until_s - ctx.clock.monotonic()
            try:
                response = await ctx.receive(
                    lambda message: getattr(message, "ref", None) in refs, timeout_s=max(0, left_s)
                )
            except ReceiveTimeout:
                break
            del refs[response.ref]
            if response.error is None:
                summaries.append(response.value)
        return cluster_status(members, summaries)
