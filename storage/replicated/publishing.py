"""The owner's side of a journal: appends become entries, entries are published until they count.

What decides is here and is told of everything; what publishes is elsewhere (`leading`).

Entries are numbered. Several are under way; which of them count is decided by the journal's order
alone (`entries`). Where one is lost, those behind it are skipped by every reader, so the publisher
goes back to it and publishes it and all behind it again (go-back-N). Readers skip whatever they see
twice. An entry whose fate is unknown is published again under the same id, so that an engine that
remembers ids need not keep it twice. One that is known to stand at a place where it did not count
gets a new id: the engine would take it for the one that stands there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from palaver.storage.batch import Result
from palaver.storage.machine import Command

from .calls import Call
from .entries import (
    CHECKPOINT,
    COMMANDS,
    ENTRY_OVERHEAD_BYTES,
    PART_OVERHEAD_BYTES,
    Part,
    pack,
    pack_commands,
)

__all__ = ["Item", "Pending", "PublishLimits", "Publisher"]


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """How much goes into an entry, and how many are under way.

    Attributes:
        entry_bytes: size of an entry at most.
        entry_commands: commands in an entry at most, unless one append has more.
        window: entries under way at most.
    """

    entry_bytes: int = 1 << 20
    entry_commands: int = 512
    window: int = 4


class Item:
    """Commands of one append that go into one entry; `first` is the number of the first one."""

    __slots__ = ("call", "commands", "encoded", "expected", "first")

    def __init__(
        self,
        commands: Sequence[Command],
        encoded: bytes,
        expected: int | None,
        call: Call,
        first: int,
    ) -> None:
        self.first = first
        self.commands = commands
        self.encoded = encoded
        self.expected = expected
        self.call = call

    def resolve(self, results: Sequence[Result]) -> None:
        """Note what became of the commands."""
        self.call.add(self.first, results)

    def fail(self, error: Exception) -> None:
        """Make `error` the outcome of every command."""
        self.call.add(self.first, [error] * len(self.commands))


class Pending:
    """An entry that has been published and is not known to count yet.

    Attributes:
        under_way: whether the engine has not answered yet.
        position: where the engine says that it stands, None when it has not or could not.
        sent_s: when it was published last.
    """

    __slots__ = ("attempt", "body", "items", "kind", "number", "position", "sent_s", "under_way")

    def __init__(self, kind: int, number: int, body: bytes, items: Sequence[Item]) -> None:
        self.kind = kind
        self.number = number
        self.body = body
        self.items = items
        self.attempt = 0
        self.under_way = False
        self.position: int | None = None
        self.sent_s = 0.0


class Publisher:
    """What one epoch's owner has to publish.

    Args:
        epoch: the owner's.
        token: distinguishes this takeover from every other; begins the entries' ids.
        limits: of entries.
    """

    def __init__(self, epoch: int, token: str, limits: PublishLimits) -> None:
        self.epoch = epoch
        self.token = token
        self._limits = limits
        self._number = 0
        self._gathered: deque[Item] = deque()
        self._pending: deque[Pending] = deque()
        self._under_way = 0
        self._failed = False
        self._checkpoint_due = False

    def add(self, item: Item) -> None:
        """Take commands to be published."""
        self._gathered.append(item)

    def checkpoint(self) -> None:
        """Let the next entry be a checkpoint."""
        self._checkpoint_due = True

    @property
    def idle(self) -> bool:
        """Whether nothing is to be published and everything that was counts."""
        return not (self._gathered or self._pending or self._checkpoint_due)

    def id_of(self, pending: Pending) -> str:
        """Return the id under which an entry is to be published now."""
        again = f".{pending.attempt}" if pending.attempt else ""
        return f"{self.token}-{pending.number}{again}"

    def take(self, now_s: float) -> list[Pending]:
        """Return the new entries that are to be published now, in this order."""
        entries: list[Pending] = []
        while (
            not self._failed
            and len(self._pending) < self._limits.window
            and (self._gathered or self._checkpoint_due)
        ):
            pending = self._next()
            self._pending.append(pending)
            self._send(pending, now_s)
            entries.append(pending)
        return entries

    def _next(self) -> Pending:
        self._number += 1
        if self._checkpoint_due:
            self._checkpoint_due = False
            return Pending(
                CHECKPOINT, self._number, pack(CHECKPOINT, self.epoch, self._number, None), ()
            )
        items = list(self._gather())
        parts = [Part(item.expected, item.encoded) for item in items]
        return Pending(
            COMMANDS, self._number, pack_commands(self.epoch, self._number, parts), items
        )

    def _gather(self) -> Iterator[Item]:
        limits, gathered = self._limits, self._gathered
        left_bytes = limits.entry_bytes - ENTRY_OVERHEAD_BYTES
        left_commands = limits.entry_commands
        first = True
        while gathered:
            item = gathered[0]
            left_bytes -= len(item.encoded) + PART_OVERHEAD_BYTES
            left_commands -= len(item.commands)
            if not first and (left_bytes < 0 or left_commands < 0):
                return
            first = False
            yield gathered.popleft()

    def _send(self, pending: Pending, now_s: float) -> None:
        pending.under_way = True
        pending.sent_s = now_s
        self._under_way += 1

    def answered(self, pending: Pending, position: int | None) -> None:
        """Note what the engine says of an entry: where it stands, or None: it may stand or not."""
        if not pending.under_way:
            return
        pending.under_way = False
        self._under_way -= 1
        pending.position = position
        if position is None and self._pending and pending.number >= self._pending[0].number:
            self._failed = True

    def next_at(self, position: int) -> Pending | None:
        """Return the entry that counts next if the engine says that it stands at `position`."""
        if self._pending and self._pending[0].position == position:
            return self._pending[0]
        return None

    def counted(self, number: int) -> Pending | None:
        """Take out the entry of this number: it counts. None when it is none of those."""
        if not self._pending or self._pending[0].number != number:
            return None
        pending = self._pending.popleft()
        if pending.under_way:
            pending.under_way = False
            self._under_way -= 1
        if not self._pending:
            self._failed = False
        return pending

    def must_go_back(self, position: int) -> bool:
        """Whether the first entry has to be published again.

        Args:
            position: up to which the journal has been read.
        """
        if self._under_way or not self._pending:
            return False
        stands = self._pending[0].position
        return stands is None or stands <= position

    def go_back(self, now_s: float) -> list[Pending]:
        """Return the entries that are to be published again, in this order."""
        self._failed = False
        for pending in self._pending:
            if pending.position is not None:
                # It stands where it does not count, or will when the first one comes behind it.
                pending.position = None
                pending.attempt += 1
            self._send(pending, now_s)
        return list(self._pending)

    def give_up(self) -> tuple[list[Item], list[Item]]:
        """Forget everything; return what was published and may count yet, and what was not."""
        published = [item for pending in self._pending for item in pending.items]
        gathered = list(self._gathered)
        self._pending.clear()
        self._gathered.clear()
        self._under_way = 0
        self._failed = self._checkpoint_due = False
        return published, gathered
