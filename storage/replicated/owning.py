"""What a node does for a partition that it leads: appends, their answers, and how that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import structlog

from palaver.storage.batch import Done
from palaver.storage.errors import Overloaded
from palaver.storage.machine import Command

from .calls import Call, Calls
from .entries import ENTRY_OVERHEAD_BYTES, PART_OVERHEAD_BYTES, Body
from .errors import EntryTooLarge, NotOwner, OwnershipLost
from .leading import Leadership, Reading
from .ports import Journal
from .publishing import Item, Pending
from .settings import Surroundings

__all__ = ["MAX_TOGETHER", "Owned", "Owner"]

MAX_TOGETHER = 4096
"""Commands of one append that go into one entry at most: every replica's tables have to take them
at once (`Store.open`'s `max_backlog`)."""

log = structlog.get_logger("palaver")


class Owned(Reading, Protocol):
    """The replica of a partition that is led, or may be."""

    @property
    def hindrance(self) -> Exception | None:
        """What keeps it from applying."""

    @property
    def reads(self) -> bool:
        """Whether it reads the journal."""

    def own_items(self) -> list[Item]:
        """Take out of the entries that count those that will not be answered by the tables."""


class Owner:
    """One partition, as its owner sees it.

    Args:
        replica: the tables.
        journal: of the partition.
        around: the node.

    Attributes:
        calls: the appends that are not answered.
    """

    def __init__(self, replica: Owned, journal: Journal, around: Surroundings) -> None:
        self._replica = replica
        self._partition = replica.partition
        self._journal = journal
        self._around = around
        self._limits = around.limits
        self._leader: Leadership | None = None
        self._leads = 0
        self._answer_due = False
        self.calls = Calls()

    # -- from the beginning to the end ---------------------------------------------------------

    async def lead(self, epoch: int) -> None:
        """Take the partition over; see `ReplicatedStore.lead`."""
        replica, leader = self._replica, self._leader
        if replica.hindrance is not None:
            raise replica.hindrance
        if not replica.reads:
            raise self._not_owner()
        if leader is None or leader.epoch != epoch:
            if epoch <= replica.read.epoch or (leader is not None and epoch < leader.epoch):
                raise self._not_owner()
            self.drop("it is taken over anew")
            leader = self._leader = self._begin(epoch)
        try:
            await asyncio.shield(leader.settled)
        except BaseException:
            if self._leader is leader and not leader.serving:
                leader.end(self._not_owner())
                self._leader = None
            raise

    def _begin(self, epoch: int) -> Leadership:
        around = self._around
        self._leads += 1
        token = f"{around.node_name}.{around.incarnation}.{self._leads}"
        leader = Leadership(
            self._replica,
            self._journal,
            around.timers,
            self._limits,
            around.node_name,
            epoch,
            token,
        )
        leader.begin()
        return leader

    def _not_owner(self) -> NotOwner:
        read, hindrance = self._replica.read, self._replica.hindrance
        why = "" if hindrance is None else str(hindrance)
        return NotOwner(self._partition, read.owner, read.epoch, why)

    def drop(self, why: str) -> None:
        """Lead no longer, because somebody said so; harmless when it does not."""
        leader, self._leader = self._leader, None
        if leader is not None:
            self._end(leader, self._not_owner(), why, certain=False)

    def lose(self, why: Exception, *, certain: bool) -> None:
        """Lead no longer, for a reason that nobody has chosen; harmless when it does not.

        Args:
            why: the reason.
            certain: whether what does not count yet never will.
        """
        leader, self._leader = self._leader, None
        if leader is None:
            return
        served = leader.serving
        self._end(leader, why, str(why), certain=certain)
        if served:
            log.warning("a partition was lost", partition=self._partition, why=str(why))
            self._around.timers.call_soon(lambda: self._around.on_lost(self._partition, str(why)))

    def _end(self, leader: Leadership, error: Exception, why: str, *, certain: bool) -> None:
        published, gathered = leader.end(error)
        fates = (
            (self._replica.own_items(), False),
            (published, certain),
            (gathered, True),
        )
        for items, none in fates:
            for item in items:
                item.fail(OwnershipLost(self._partition, why, certain=none))
        self._answer_soon()

    def forsake(self, why: str) -> None:
        """Answer what counts and will not be answered by the tables."""
        for item in self._replica.own_items():
            item.fail(OwnershipLost(self._partition, why, certain=False))
        self._answer_soon()

    # -- appends -------------------------------------------------------------------------------

    def append(self, commands: Sequence[Command], done: Done | None, expected: int | None) -> None:
        """Publish commands; see `ReplicatedStore.append`."""
        leader = self.require()
        size, backlog = len(commands), self.calls.backlog
        if backlog + size > self._limits.max_backlog:
            raise Overloaded(backlog, self._limits.max_backlog)
        call = Call(size, done)
        items = self._items(commands, expected, call) if size else []
        call.size_bytes = sum(len(item.encoded) for item in items)
        if self.calls.size_bytes and (
            self.calls.size_bytes + call.size_bytes > self._limits.max_backlog_bytes
        ):
            raise Overloaded(self.calls.size_bytes, self._limits.max_backlog_bytes)
        self.calls.add(call)
        if items:
            leader.add(items)
        else:
            self._answer_soon()

    def _items(
        self, commands: Sequence[Command], expected: int | None, call: Call, first: int = 0
    ) -> list[Item]:
        together = expected is not None
        if len(commands) > MAX_TOGETHER:
            if together:
                raise EntryTooLarge(len(commands), MAX_TOGETHER, "commands")
            return self._halves(commands, call, first)
        encoded = self._around.codec.encode(commands)
        limit = self._limits.publish.entry_bytes - ENTRY_OVERHEAD_BYTES - PART_OVERHEAD_BYTES
        if len(encoded) <= limit:
            return [Item(commands, encoded, expected, call, first)]
        if len(commands) == 1 or together:
            raise EntryTooLarge(len(encoded), limit)
        return self._halves(commands, call, first)

    def _halves(self, commands: Sequence[Command], call: Call, first: int) -> list[Item]:
        half = len(commands) // 2
        return [
            *self._items(commands[:half], None, call, first),
            *self._items(commands[half:], None, call, first + half),
        ]

    def _answer_soon(self) -> None:
        if len(self.calls) and not self._answer_due:
            self._answer_due = True
            self._around.timers.call_soon(self._answer)

    def _answer(self) -> None:
        self._answer_due = False
        self.calls.answer()

    async def answered(self) -> None:
        """Return when every append up to now is answered."""
        if len(self.calls):
            event = asyncio.Event()
            self.calls.add(Call(0, partial(_set, event)))
            await event.wait()

    # -- whether it leads ----------------------------------------------------------------------

    def serves(self) -> bool:
        """Whether this node leads, and can prove it."""
        leader = self._leader
        return leader is not None and leader.serving and leader.proves()

    def require(self) -> Leadership:
        """Return the epoch of this node.

        Raises:
            NotOwner: it does not lead, or cannot prove it.
        """
        leader = self._leader
        if leader is None or not leader.serving or not leader.proves():
            raise self._not_owner()
        return leader

    # -- what the replica reads ----------------------------------------------------------------

    def counted(self, entry: Body) -> Pending | None:
        """Return what this node has published as this entry, which counts; None: it has not."""
        leader = self._leader
        if leader is None or self._replica.read.token != leader.token:
            return None
        pending = leader.publisher.counted(entry.number)
        if pending is not None:
            leader.heard(pending)
        return pending

    def confirmed(self) -> Pending | None:
        """Return what counts next because the engine has said so, None: nothing does."""
        leader, read = self._leader, self._replica.read
        if leader is None or read.token != leader.token:
            return None
        pending = leader.publisher.next_at(read.position + 1)
        if pending is not None:
            leader.publisher.counted(pending.number)
            leader.heard(pending)
        return pending

    def taken_over(self) -> None:
        """See whose takeover has been read."""
        leader = self._leader
        if leader is None:
            return
        if leader.counts and self._replica.read.token != leader.token:
            self.lose(self._not_owner(), certain=True)
        else:
            leader.look()

    def go_on(self) -> None:
        """Publish what may be published now that more has been read."""
        if self._leader is not None:
            self._leader.look()
        if self._leader is not None:
            self._leader.go_on()

    def durable(self, position: int) -> None:
        """See how far the tables are."""
        if self._leader is not None:
            self._leader.durable(position)


def _set(event: asyncio.Event, _: object) -> None:
    event.set()
