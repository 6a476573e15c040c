"""Entries on their way from the journal into the tables: in order, each exactly once.

What decides is here; the store is given in as a function. Entries are handed to the store without
waiting for each other. Where one fails (no room, a disk that fails), those behind it fail too: each
begins with a look whether the one before it is there (`machine.Begin`). When all have come back
they are kept, in order, and handed over again later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

from palaver.storage.batch import Result
from palaver.storage.errors import (
    ApplyFailed,
    Overloaded,
    StoreClosed,
    StoreUnusable,
    WrongSequence,
)
from palaver.storage.machine import BESIDE, Command

from .entries import CHECKPOINT, Standing
from .machine import Begin, End, Expect, OutOfOrder, WrongPlace
from .publishing import Item
from .truncation import Sizes

__all__ = ["SKIPPED", "Fed", "Feed", "News"]

SKIPPED = 0
"""Kind of an entry that does not count."""

_ENTRIES = 64
"""Entries in the store's hands at most."""


class News(Enum):
    """What an answer of the store means."""

    QUIET = "nothing to be done"
    APPLIED = "an entry is durable"
    FAILED = "an entry failed here; hand over again later"
    DAMAGED = "an entry cannot be applied here; another replica has to help"


class Fed:
    """An entry that counts or is skipped, on its way into the tables.

    Attributes:
        first: its position, that of the first one where several that are skipped go together.
        standing: behind it.
        kind: of the entry, SKIPPED where it does not count.
        pieces: (expected sequence, commands) of each of its parts.
        items: the owner's own, who wait for the results; empty elsewhere.
        size_bytes: of the entry.
    """

    __slots__ = ("first", "handed", "items", "kind", "pieces", "size_bytes", "standing", "void")

    def __init__(
        self,
        standing: Standing,
        kind: int,
        pieces: Sequence[tuple[int | None, Sequence[Command]]],
        items: Sequence[Item],
        size_bytes: int,
    ) -> None:
        self.first = standing.position
        self.standing = standing
        self.kind = kind
        self.handed = False
        self.pieces = pieces
        self.items = items
        self.size_bytes = size_bytes
        self.void: ApplyFailed | None = None

    def commands(self) -> list[Command]:
        """Return what the store is to apply."""
        commands: list[Command] = [Begin(self.first)]
        if self.void is None:
            for expected, some in self.pieces:
                if expected is not None:
                    commands.append(Expect(expected, len(some)))
                commands += some
        commands.append(End(self.standing, self.kind == CHECKPOINT))
        return commands

    def resolve(self, results: Sequence[Result]) -> None:
        """Give the owner's items their results."""
        if not self.items:
            return
        if self.void is not None:
            for item in self.items:
                item.resolve([ApplyFailed(each, self.void.cause) for each in item.commands])
            return
        at = 1
        for item in self.items:
            if item.expected is not None:
                at += 1
            count = len(item.commands)
            item.resolve([_plain(result) for result in results[at : at + count]])
            at += count


def _plain(result: Result) -> Result:
    if type(result) is WrongPlace:
        return WrongSequence(result.expected, result.actual)
    return result


class Feed:
    """The entries of a partition that have been read and are not durable in the tables yet.

    Args:
        append: hands commands to the store; raises as `Store.append` does.
        told: called when the store has answered, with what that means.
        durable: where the tables are now.
        sizes: is told how large the entries were.

    Attributes:
        durable: the standing that the tables have.
        size_bytes: of all that is on its way.
        error: what failed, None when nothing does.
        marks: rises with every checkpoint that the tables take in.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Command], Callable[[list[Result]], None]], object],
        told: Callable[[News], None],
        durable: Standing,
        sizes: Sizes,
    ) -> None:
        self._append = append
        self._told = told
        self._waiting: deque[Fed] = deque()
        self._handed: deque[Fed] = deque()
        self._back: list[Fed] = []
        self._one_by_one = False
        self._life = 0
        self._sizes = sizes
        self.durable = durable
        self.size_bytes = 0
        self.error: Exception | None = None
        self.marks = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._handed) + len(self._back)

    @property
    def busy(self) -> bool:
        """Whether the store has something to answer."""
        return bool(self._handed)

    def put(self, fed: Fed) -> None:
        """Take the next entry; `pump` hands it over."""
        waiting = self._waiting
        if fed.kind == SKIPPED and waiting:
            before = waiting[-1]
            if before.kind == SKIPPED and not before.handed:
                before.standing = fed.standing  # they leave nothing but where they stand
                return
        waiting.append(fed)
        self.size_bytes += fed.size_bytes

    def pump(self) -> None:
        """Hand over what the store takes now; nothing any more when it is closing."""
        if self.error is not None:
            return
        most = 1 if self._one_by_one else _ENTRIES
        while self._waiting and len(self._handed) < most:
            fed = self._waiting[0]
            try:
                self._append(fed.commands(), partial(self._answered, self._life, fed))
            except StoreClosed:
                self._waiting.clear()  # it is in the journal
                return
            except Overloaded as error:
                if not self._handed:
                    self.error = error
                    self._told(News.FAILED)
                return
            fed.handed = True
            self._handed.append(self._waiting.popleft())

    def again(self) -> None:
        """Hand over again what failed."""
        if self.error is None or self._handed:
            return
        self.error = None
        self.pump()

    def _answered(self, life: int, fed: Fed, results: list[Result]) -> None:
        if life != self._life:
            return
        assert self._handed[0] is fed, "the store answers in the order of the appends"
        self._handed.popleft()
        news = News.QUIET
        if self.error is not None:
            self._back.append(fed)  # refused, because the one before it is not there
        elif results[0] is BESIDE and results[-1] is BESIDE:
            self._applied(fed)
            fed.resolve(results)
            news = News.APPLIED
        elif isinstance(results[0], OutOfOrder) and results[0].position >= fed.standing.position:
            self._applied(fed)  # its commit was reported as failed, and is there all the same
            news = News.APPLIED
        else:
            self._failed(fed, results)
        if self.error is None:
            self.pump()
        elif not self._handed:
            self._waiting.extendleft(reversed(self._back))
            self._back.clear()
            news = News.DAMAGED if isinstance(self.error, StoreUnusable) else News.FAILED
        self._told(news)

    def _applied(self, fed: Fed) -> None:
        self.durable = fed.standing
        self.marks += fed.kind == CHECKPOINT
        self.size_bytes -= fed.size_bytes
        self._sizes.add(fed.standing.position, fed.size_bytes)
        self._one_by_one = False

    def _failed(self, fed: Fed, results: list[Result]) -> None:
        error = next(
            result for result in (results[0], results[-1]) if isinstance(result, Exception)
        )
        if isinstance(error, ApplyFailed):
            # The machine could not finish the batch: a bug of it. Alone, the same everywhere.
            if self._one_by_one:
                fed.void = error
            self._one_by_one = True
        self.error = error
        self._back.append(fed)

    def items(self) -> list[Item]:
        """Take the owner's items out of all entries: nobody can wait for them any longer."""
        found: list[Item] = []
        for fed in (*self._back, *self._handed, *self._waiting):
            found += fed.items
            fed.items = ()
        return found

    def reset(self, durable: Standing) -> None:
        """Forget everything: the tables are others now."""
        self._life += 1
        self._waiting.clear()
        self._handed.clear()
        self._back.clear()
        self._one_by_one = False
        self.durable = durable
        self.marks += 1
        self.size_bytes = 0
        self.error = None
