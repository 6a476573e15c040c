"""An owner's epoch, from the takeover to its end: publishing, proof that it leads, going back.

taking over   the takeover is published until it counts, is refused, or time is up
leading       entries are published; checkpoints prove that the journal still takes them
over          nothing more is published, whatever is answered later
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from .entries import TAKEOVER, Standing, pack
from .errors import JournalLost, JournalRefuses, JournalSilent, NotOwner, ReplicaOrphaned
from .ports import Journal, JournalError, JournalGone, JournalRefused
from .publishing import Item, Pending, Publisher
from .settings import Handle, Limits, Timers

__all__ = ["Leadership", "Reading"]


class Reading(Protocol):
    """What an owner's epoch has to know of the replica under it."""

    partition: int
    read: Standing

    def confirmed(self) -> None:
        """The engine has said where an entry of the owner stands."""

    def lose(self, why: Exception, *, certain: bool) -> None:
        """The owner cannot lead any longer."""

    def stop(self, error: Exception) -> None:
        """The replica cannot go on."""


class Leadership:
    """One node's epoch in a partition; see the module.

    Args:
        reading: the replica.
        journal: of the partition.
        timers: time.
        limits: of the store.
        owner: this node's name.
        epoch: the one to begin.
        token: distinguishes this takeover from every other one, of any node and time.

    Attributes:
        publisher: what is to be published.
        serving: whether everything before the takeover is in the tables, and appends are taken.
        over: whether this epoch has come to its end here.
    """

    def __init__(
        self,
        reading: Reading,
        journal: Journal,
        timers: Timers,
        limits: Limits,
        owner: str,
        epoch: int,
        token: str,
    ) -> None:
        self._reading = reading
        self._journal = journal
        self._timers = timers
        self._limits = limits
        self._body = pack(TAKEOVER, epoch, 0, (owner, token))
        self.epoch = epoch
        self.token = token
        self.publisher = Publisher(epoch, token, limits.publish)
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.serving = False
        self.over = False
        self._counts_at: int | None = None
        self._stands_at: int | None = None
        self._proof_s = self._sent_s = timers.now_s()
        self._checkpoint_s = self._sent_s
        self._retry_s = limits.retry_s
        self._flush_due = False
        self._returning: Handle | None = None
        self._ticking: Handle | None = None
        self._trouble = JournalError("no answer")

    # -- taking over -------------------------------------------------------------------------

    def begin(self) -> None:
        """Publish the takeover; `settled` tells how that ends."""
        self._ticking = self._timers.call_later(self._limits.takeover_s, self._out_of_time)
        self._publish_takeover(first=True)

    def _publish_takeover(self, *, first: bool = False) -> None:
        if self.over or self._counts_at is not None:
            return
        read = self._reading.read.position if first else None
        self._sent_s = self._timers.now_s()
        self._journal.publish(self.token, self._body, partial(self._takeover_answered, read))

    def _takeover_answered(self, read: int | None, answer: int | JournalError) -> None:
        if self.over or self._counts_at is not None:
            return
        if isinstance(answer, JournalError):
            if not self._is_final(answer):
                self._timers.call_later(self._next_retry_s(), self._publish_takeover)
        elif read is not None and answer <= read:
            self._reading.stop(JournalLost(self._reading.partition, read, answer))
        else:
            self._stands_at = answer
            self.look()

    def look(self) -> None:
        """See what has been read of the journal: whether the takeover counts."""
        read = self._reading.read
        if self.over or self._counts_at is not None:
            return
        if read.token == self.token:
            self._counts_at = read.position
            self._proof_s = self._sent_s
            self._retry_s = self._limits.retry_s
            if self._ticking is not None:
                self._ticking.cancel()
            self._tick()
        elif read.epoch >= self.epoch or (
            self._stands_at is not None and self._stands_at <= read.position
        ):
            self.end(NotOwner(self._reading.partition, read.owner, read.epoch))

    @property
    def counts(self) -> bool:
        """Whether the takeover has been read, and counts."""
        return self._counts_at is not None

    def durable(self, position: int) -> None:
        """See how far the tables are: appends are taken as soon as they have the takeover."""
        if self.over or self.serving or self._counts_at is None or position < self._counts_at:
            return
        self.serving = True
        if not self.settled.done():
            self.settled.set_result(None)

    def _out_of_time(self) -> None:
        self.end(self._silence())

    def end(self, why: Exception) -> tuple[list[Item], list[Item]]:
        """Publish nothing more; return the items that may count yet, and those that cannot."""
        if self.over:
            return [], []
        self.over = True
        self.serving = False
        for timer in (self._ticking, self._returning):
            if timer is not None:
                timer.cancel()
        if not self.settled.done():
            self.settled.set_exception(why)
            self.settled.exception()  # whoever asked may have gone
        return self.publisher.give_up()

    # -- leading -----------------------------------------------------------------------------

    def add(self, items: list[Item]) -> None:
        """Publish commands, with whatever else is appended in this turn."""
        add = self.publisher.add
        for item in items:
            add(item)
        if not self._flush_due:
            self._flush_due = True
            self._timers.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if not self.over:
            self.go_on()

    def go_on(self) -> None:
        """Publish what is to be published now, again or for the first time."""
        publisher = self.publisher
        if publisher.must_go_back(self._reading.read.position):
            if self._returning is None:
                self._returning = self._timers.call_later(self._next_retry_s(), self._go_back)
            return
        now_s = self._timers.now_s()
        read = self._reading.read.position
        for pending in publisher.take(now_s):
            self._publish(pending, read)

    def _go_back(self) -> None:
        self._returning = None
        if self.over:
            return
        if not self.publisher.must_go_back(self._reading.read.position):
            self.go_on()
            return
        for pending in self.publisher.go_back(self._timers.now_s()):
            self._publish(pending, None)

    def _publish(self, pending: Pending, read: int | None) -> None:
        self._journal.publish(
            self.publisher.id_of(pending), pending.body, partial(self._answered, pending, read)
        )

    def _answered(self, pending: Pending, read: int | None, answer: int | JournalError) -> None:
        if self.over:
            return
        if isinstance(answer, JournalError):
            if not self._is_final(answer):
                self.publisher.answered(pending, None)
                self.go_on()
        elif read is not None and answer <= read:
            # A place that has been read already cannot be given to what was never published.
            self._reading.stop(JournalLost(self._reading.partition, read, answer))
        else:
            self.publisher.answered(pending, answer)
            self._reading.confirmed()

    def _is_final(self, error: JournalError) -> bool:
        """Note what is wrong with the journal; stop the replica if it is gone."""
        self._trouble = error
        if isinstance(error, JournalGone):
            self._reading.stop(ReplicaOrphaned(self._reading.partition, str(error)))
        return isinstance(error, JournalGone)

    def _silence(self) -> JournalSilent | JournalRefuses:
        """Say what has kept the journal from taking anything."""
        refuses = isinstance(self._trouble, JournalRefused)
        kind = JournalRefuses if refuses else JournalSilent
        return kind(self._reading.partition, str(self._trouble))

    def heard(self, pending: Pending) -> None:
        """Take an entry that counts for the proof that this node led when it was published."""
        self._proof_s = max(self._proof_s, pending.sent_s)
        self._retry_s = self._limits.retry_s

    def _next_retry_s(self) -> float:
        delay_s = self._retry_s
        self._retry_s = min(2 * delay_s, self._limits.retry_most_s)
        return delay_s

    # -- proof -------------------------------------------------------------------------------

    def proves(self) -> bool:
        """Whether the journal has given a sign within the lease; ends the epoch if not."""
        if self._timers.now_s() - self._proof_s <= self._limits.lease_s:
            return True
        self._reading.lose(self._silence(), certain=False)
        return False

    def _tick(self) -> None:
        if self.over or (self.serving and not self.proves()):
            return
        now_s = self._timers.now_s()
        if now_s - self._checkpoint_s >= self._limits.checkpoint_s:
            self._checkpoint_s = now_s
            self.publisher.checkpoint()
            self.go_on()
        self._ticking = self._timers.call_later(self._limits.checkpoint_s / 2, self._tick)
