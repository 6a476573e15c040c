"""One partition of one node: read from its journal, applied to its tables, perhaps led."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import structlog

from palaver.storage.errors import (
    ApplyFailed,
    BackupError,
    Overloaded,
    StoreError,
)
from palaver.storage.installing import SnapshotInfo

from .entries import (
    CHECKPOINT,
    COMMANDS,
    TAKEOVER,
    Body,
    Standing,
    Unreadable,
    parts_of,
    unpack,
)
from .errors import (
    EntryUnreadable,
    OwnershipLost,
    ReplicaDamaged,
    ReplicaForeign,
)
from .feeding import SKIPPED, Fed, Feed, News
from .following import Following
from .machine import read_checkpoints, read_standing
from .owning import Owner
from .ports import Journal
from .publishing import Item, Pending
from .settings import Handle, ReplicaState, Surroundings
from .truncation import Sizes

__all__ = ["Replica"]

log = structlog.get_logger("palaver")


class Replica:
    """A partition's tables on this node, and how they follow the journal; see the module.

    Attributes:
        partition: which one.
        read: the standing behind the last entry that was read.
        owner: what the node does for the partition when it leads it.
    """

    def __init__(self, partition: int, journal: Journal, around: Surroundings) -> None:
        self.partition = partition
        self._around = around
        self._store = around.store
        self._limits = around.limits
        self._stopped: Exception | None = None
        self._troubles: dict[str, Exception] = {}
        self._retrying: Handle | None = None
        self._retry_s = around.limits.retry_s
        self._idle: list[asyncio.Event] = []
        self._rebuilding = False
        self._closing = False
        self._digests: tuple[tuple[int, int], ...] = ()  # of the last checkpoints
        self._marks_seen = -1
        self._swapping: asyncio.Task[None] | None = None
        self.read = self._store.view(partition, read_standing)
        self.sizes = Sizes(around.limits.tail_bytes)
        self._feed = Feed(
            lambda commands, done: self._store.append(partition, commands, done),
            self._told,
            self.read,
            self.sizes,
        )
        self.owner = Owner(self, journal, around)
        name = f"{around.node_name}.{around.incarnation}"
        self._following = Following(self, journal, around.timers, around.limits, name)

    # -- following ---------------------------------------------------------------------------

    def follow(self) -> None:
        """Begin to read and apply; nothing if it does already.

        Raises:
            ReplicaForeign: the tables were filled without a journal.
            ReplicaStopped: it was stopped before, and nothing has changed.
        """
        if self._following.state != "off":
            return
        if self._stopped is not None:
            raise self._stopped
        applied = self._store.applied(self.partition)
        if not self.read.position and applied:
            raise ReplicaForeign(self.partition, applied)
        self._following.start()

    def unfollow(self) -> None:
        """Read nothing more; an owner does no longer lead. What was read is applied."""
        self._stopped = None
        self._rebuilding = False
        self.trouble("stopped", None)
        self.owner.drop("it follows no longer")
        self._following.stop()

    def rebuild(self) -> None:
        """Put a snapshot of another replica in place of the tables, and follow from there."""
        self.owner.drop("it is being rebuilt")
        self._following.stop()
        self._stopped = None
        self.trouble("stopped", None)
        self._rebuilding = True
        self._following.start(by_snapshot=True)

    def arrived(self, position: int, body: bytes) -> bool:
        """Take the entry behind the last one; False: no more until the tables have caught up."""
        try:
            entry = unpack(body)
            standing, counts = self.read.after(position, entry)
            fed = self._fed(standing, entry, len(body)) if counts else None
        except Unreadable as error:
            self.stop(EntryUnreadable(self.partition, position, str(error)))
            return False
        self._take(standing, Fed(standing, SKIPPED, (), (), 0) if fed is None else fed)
        if fed is not None and fed.kind == TAKEOVER:
            self.owner.taken_over()
        self._take_confirmed()
        limits, feed = self._limits, self._feed
        return feed.size_bytes < limits.feed_bytes and len(feed) < limits.feed_entries

    def _fed(self, standing: Standing, entry: Body, size_bytes: int) -> Fed:
        if entry.kind == TAKEOVER:
            return Fed(standing, TAKEOVER, (), (), size_bytes)
        pending = self.owner.counted(entry)
        if entry.kind == CHECKPOINT:
            return Fed(standing, CHECKPOINT, (), (), size_bytes)
        if pending is not None:
            return _own(standing, pending)
        decode = self._around.codec.decode
        try:
            pieces = [(part.expected, decode(part.encoded)) for part in parts_of(entry.payload)]
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(f"its commands: {error}") from error
        return Fed(standing, COMMANDS, pieces, (), size_bytes)

    def confirmed(self) -> None:
        """Apply the owner's entries from memory as soon as the engine says where they stand."""
        self._take_confirmed()
        self.arrived_all()

    def _take_confirmed(self) -> None:
        while (pending := self.owner.confirmed()) is not None:
            standing = self.read.counted(self.read.position + 1)
            self._take(standing, _own(standing, pending))

    def _take(self, standing: Standing, fed: Fed) -> None:
        self.read = standing
        self._feed.put(fed)

    def arrived_all(self) -> None:
        """Hand over what has come, and let the owner publish what may be published now."""
        self._feed.pump()
        self.owner.go_on()

    # -- the tables --------------------------------------------------------------------------

    def _told(self, news: News) -> None:
        feed = self._feed
        if news is News.FAILED:
            self._failing(feed.error)
        elif news is News.DAMAGED:
            self.stop(ReplicaDamaged(self.partition, str(feed.error)))
        elif news is News.APPLIED:
            if "tables" in self._troubles and feed.error is None:
                self.trouble("tables", None)
            self._retry_s = self._limits.retry_s
            self.owner.durable(feed.durable.position)
        if self._idle and (not len(feed) or feed.error is not None):
            idle, self._idle = self._idle, []
            for event in idle:
                event.set()
        limits = self._limits
        if 2 * feed.size_bytes <= limits.feed_bytes and 2 * len(feed) <= limits.feed_entries:
            self._following.resume()
        self.owner.calls.answer()

    def _failing(self, error: Exception | None) -> None:
        assert error is not None
        if not isinstance(error, Overloaded | ApplyFailed):
            # It is in the journal, and is applied here as soon as that can be.
            self.lose(error, certain=False)
            self.trouble("tables", error)
        if self._closing:
            self.owner.forsake("the store is closing")
            return
        self._retrying = self._around.timers.call_later(self._retry_s, self._again)
        self._retry_s = min(2 * self._retry_s, self._limits.retry_most_s)

    def _again(self) -> None:
        self._retrying = None
        self._feed.again()

    def trouble(self, source: str, error: Exception | None) -> None:
        """Note and tell what keeps the replica from going on, None: nothing does any longer.

        Args:
            source: where that is: "journal", "tables", or "stopped".
            error: what it is.
        """
        before = self._troubles.pop(source, None)
        if error is not None:
            self._troubles[source] = error
        if str(error) != str(before):
            if error is not None:
                log.warning("a replica is in trouble", partition=self.partition, error=str(error))
            self._around.timers.call_soon(self._tell_trouble)

    def _tell_trouble(self) -> None:
        self._around.on_trouble(self.partition, self._worst())

    def _worst(self) -> Exception | None:
        return next(
            (self._troubles[s] for s in ("stopped", "tables", "journal") if s in self._troubles),
            None,
        )

    def stop(self, error: Exception) -> None:
        """Read and apply nothing more: an operator (or a rebuilding) has to help."""
        self._stopped = error
        self.lose(error, certain=False)
        self._following.stop()
        self.trouble("stopped", error)

    @property
    def position(self) -> int:
        """Of the last entry that is durable in the tables."""
        return self._feed.durable.position

    @property
    def first(self) -> int:
        """Of the journal's first entry, as it was seen last."""
        return self._following.first

    def truncated(self, position: int) -> None:
        """The journal has forgotten everything up to a position."""
        self._following.first = max(self._following.first, position + 1)

    async def settled(self) -> None:
        """Return when everything that was read is durable, or cannot be now."""
        if len(self._feed) and self._feed.error is None:
            event = asyncio.Event()
            self._idle.append(event)
            await event.wait()

    async def install(self) -> None:
        """Put another replica's snapshot in place of the tables.

        Raises:
            StoreError: there is none, or it is not to be used.
        """
        if self._swapping is not None:
            await asyncio.wait([self._swapping])  # an earlier one, which nobody waits for any more
        self.owner.drop("entries that it needs are gone from the journal")
        if not self._rebuilding:
            await self.settled()
            if len(self._feed):
                raise StoreError(f"what was read before cannot be applied: {self._feed.error}")
        source, info = await self._around.fetch_snapshot(self.partition)
        applied = self._store.applied(self.partition)
        if not self._rebuilding and info.applied < applied:
            raise BackupError(
                f"the snapshot is at sequence {info.applied}, this replica at {applied}"
            )
        # A thread cannot be stopped: whatever becomes of this one, its end is taken note of.
        self._swapping = asyncio.get_running_loop().create_task(self._swap(source, info))
        await asyncio.shield(self._swapping)

    async def forget(self) -> None:
        """Remove the tables; see `ReplicatedStore.forget`."""
        self.unfollow()
        await self.settled()
        if self._swapping is not None:
            await asyncio.wait([self._swapping])
        self._swapping = asyncio.get_running_loop().create_task(self._clear())
        await asyncio.shield(self._swapping)

    async def _clear(self) -> None:
        before = self._feed.durable.position
        try:
            await self._around.run_blocking(self._store.clear, self.partition)
        finally:
            self._swapping = None
        self._begin_anew()
        log.info("a replica's tables were removed", partition=self.partition, before=before)

    async def _swap(self, source: str | os.PathLike[str], info: SnapshotInfo) -> None:
        before = self._feed.durable.position
        try:
            await self._around.run_blocking(self._store.install, self.partition, source, info)
        finally:
            self._swapping = None
        self._replaced()
        self._rebuilding = False
        position = self.read.position
        log.info("a replica took a snapshot", partition=self.partition, before=before, now=position)

    def install_given(self, source: str | os.PathLike[str], info: SnapshotInfo) -> None:
        """Put this snapshot in place of the tables; see `ReplicatedStore.install`."""
        self._store.install(self.partition, source, info)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Go on with other tables, if it is followed."""
        following = self._following.state != "off"
        self.owner.drop("its tables were replaced")
        self._following.stop()
        self._replaced()
        if following:
            self._following.start()

    def _replaced(self) -> None:
        standing = self._store.view(self.partition, read_standing)
        for item in self._feed.items():
            item.fail(OwnershipLost(self.partition, "the tables were replaced", certain=False))
        self._feed.reset(standing)
        self.trouble("tables", None)
        self.read = standing
        self.owner.calls.answer()

    def lose(self, why: Exception, *, certain: bool) -> None:
        """See `Owner.lose`."""
        self.owner.lose(why, certain=certain)

    def own_items(self) -> list[Item]:
        """Take out of the entries that count those of the owner's commands that cannot be answered.

        Empty where everything goes well: then they are, as soon as they are durable.
        """
        if self._feed.error is None and self._stopped is None:
            return []
        return self._feed.items()

    @property
    def hindrance(self) -> Exception | None:
        """What keeps this replica from applying: it has stopped for good, or its disk fails."""
        return self._stopped or self._troubles.get("tables")

    @property
    def known(self) -> bool:
        """Whether it is followed, or was until something stopped it."""
        return self.reads or self._stopped is not None

    @property
    def reads(self) -> bool:
        """Whether the journal is being read, or will be again."""
        return self._following.state != "off"

    # -- the rest ----------------------------------------------------------------------------

    def state(self) -> ReplicaState:
        """Return what this replica is now."""
        following, feed, read = self._following, self._feed, self.read
        position = feed.durable.position
        if self._marks_seen != feed.marks:
            with suppress(StoreError):  # a disk that fails: what was known before
                marks = self._store.view(self.partition, read_checkpoints)
                self._digests = tuple((mark.position, mark.digest) for mark in marks)
                self._marks_seen = feed.marks
        goal, worst = following.goal, self._worst()
        last = max(following.last, read.position)
        return ReplicaState(
            partition=self.partition,
            position=position,
            applied=self._store.applied(self.partition),
            epoch=read.epoch,
            owner=read.owner,
            leading=self.owner.serves(),
            following=following.state != "off",
            catching_up=following.state == "installing" or goal is None or position < goal,
            behind=max(0, last - position),
            digests=self._digests,
            first=following.first,
            last=last,
            trouble="" if worst is None else str(worst),
            backlog=self.owner.calls.backlog,
        )

    async def close(self) -> None:
        """End what is under way; what waits for the tables in vain is answered."""
        self._closing = True
        self.unfollow()
        if self._retrying is not None:
            self._retrying.cancel()
        if self._swapping is not None:
            await asyncio.wait([self._swapping])
        self.owner.forsake("the store is closing")


def _own(standing: Standing, pending: Pending) -> Fed:
    pieces = [(item.expected, item.commands) for item in pending.items]
    return Fed(standing, pending.kind, pieces, pending.items, len(pending.body))
