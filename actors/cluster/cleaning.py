"""`Cleaner`: has the tables of replicas removed that this node is not to keep any more.

A partition that has moved away leaves its tables here. They are removed once the move is over: the
placement does not name this node, another node leads the partition, and a majority of its replicas
durably has all that the tables here have. Nothing is noted anywhere: what is to be removed is what
is there, so a crash at any moment is made up for by the next look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from palaver.actors.cluster.background import Finished, begin
from palaver.actors.cluster.membership import GetMembers
from palaver.actors.cluster.names import MEMBERSHIP, OWNERSHIP
from palaver.actors.cluster.ownership_messages import Forget, GetPartitions, PartitionStatus
from palaver.actors.cluster.roster import Members
from palaver.actors.cluster.settings import ClusterSettings
from palaver.actors.distribution import Distribution
from palaver.actors.runtime import (
    CallFailed,
    Exit,
    GenServer,
    ProcessContext,
    Stop,
    is_abnormal,
)

__all__ = ["Cleaner", "is_covered"]


class _Look(NamedTuple):
    pass


def is_covered(
    left: PartitionStatus, row: tuple[str, ...], found: Mapping[str, PartitionStatus]
) -> bool:
    """Whether nobody needs the tables that a node has left of a partition.

    Args:
        left: of the node that keeps no replica any more.
        row: the nodes that are to have one.
        found: what those of them say that answer.
    """
    have = {
        name
        for name, each in found.items()
        if name in row and each.replica and each.ready and each.position >= left.held
    }
    owner = found.get(left.owner)
    leads = left.phase == "leading" and owner is not None and owner.role == "leading"
    return leads and left.owner in have and 2 * len(have) > len(row)


class Cleaner(GenServer):
    """Looks every `audit_s` whether there are tables to be removed, and may be."""

    __slots__ = ("_busy", "_distribution", "_settings")

    def init(self, distribution: Distribution, settings: ClusterSettings) -> None:
        """Begin with a first look, some time from now."""
        self.trap_exit = True
        self._distribution = distribution
        self._settings = settings
        self._busy = False
        self._arm()

    def _arm(self) -> None:
        pause_s = self._settings.audit_s * self.random.uniform(0.75, 1.25)
        self.send_after(pause_s, self.pid, _Look())

    def handle_info(self, message: Any) -> Any:
        """See to the time and to finished work."""
        if isinstance(message, _Look):
            self._arm()
            if not self._busy:
                self._busy = True
                begin(self, "look", self._look)
        elif isinstance(message, Finished):
            self._busy = False
            if message.error is not None and not isinstance(message.error, CallFailed):
                raise message.error
        elif isinstance(message, Exit):
            return Stop(message.reason) if is_abnormal(message.reason) else None
        return None

    async def _look(self, ctx: ProcessContext) -> None:
        members: Members = await ctx.call(MEMBERSHIP, GetMembers())
        if members.placement is None or not members.joined:
            return
        own: tuple[PartitionStatus, ...] = await ctx.call(OWNERSHIP, GetPartitions())
        placed = members.placement.partitions
        left = {
            each.number: each
            for each in own
            if each.held and not each.replica and members.me not in placed[each.number]
        }
        asked: dict[str, list[int]] = {}
        for number in left:
            for name in placed[number]:
                if name in members.live():
                    asked.setdefault(name, []).append(number)
        found: dict[int, dict[str, PartitionStatus]] = {number: {} for number in left}
        for name, numbers in asked.items():
            dest, request = self._distribution.at(name, OWNERSHIP), GetPartitions(tuple(numbers))
            try:
                answer = await ctx.call(dest, request, timeout_s=self._settings.peer_timeout_s)
            except CallFailed:
                continue  # it is asked again the next time
            for each in answer:
                found[each.number][name] = each
        for number, each in left.items():
            if is_covered(each, placed[number], found[number]):
                ctx.cast(OWNERSHIP, Forget(number, placed[number]))
