"""A commit: what it changes, how that is taken back, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any

from .copies import Copy, Key, Slot
from .events import ActivityId
from .indexes import Index, Undo
from .isolation import Place
from .machine import Ops
from .spaces import LONG_KEY_BYTES
from .table import TableState

Changes = dict[TableState, dict[Key, Slot | None]]
"""The slots that an activity has written, by table and key; None where it has deleted."""

Waiter = Callable[[BaseException | None], None]
"""Hears that a commit is durable (None), or why it has been undone."""


NO_COMMITS: AbstractSet[Any] = frozenset()


class Stage(Enum):
    """How far a commit has come."""

    OPEN = "open"
    DURABLE = "durable"
    UNDONE = "undone"


class Commit:
    """One commit on its way from memory to the disk.

    Until it is durable it is kept, by the thousand under load, and so is everything that it holds:
    each list or set is one thing more that the garbage collector walks through, again and again.
    So what most commits do not need is made when it is first asked for.

    Attributes:
        number: its place in the order of all commits since the database was opened.
        activity: the kind of activity that made it.
        parts: what it changes on the disk, by partition; empty when it is in memory only.
        stage: how far it has come.
        answered: whether it is settled, and those who waited have heard.
        awaited: whether somebody waits who is not among the waiters.
        error: why it was undone.
        ticket: what the log knows its append by.
        places: what it writes; only kept where somebody may ask.
        after: commits in other partitions that have to be durable before it.
        crossing: how far its agreement between partitions has come, None with a single one.
    """

    __slots__ = (
        "_events",
        "_settles",
        "_sizes",
        "_undo",
        "_waiters",
        "activity",
        "after",
        "answered",
        "awaited",
        "crossing",
        "error",
        "number",
        "parts",
        "places",
        "stage",
        "swaps",
        "ticket",
    )

    def __init__(self, number: int, activity: str) -> None:
        self.number = number
        self.activity = activity
        self.parts: dict[int, Ops] = {}
        self.swaps: list[tuple[Copy, Key, Any]] = []
        self._settles: list[tuple[Copy | Index, Iterable[Any]]] | None = None
        self._undo: list[Undo] | None = None
        self._sizes: list[tuple[TableState, int]] | None = None
        self._events: list[tuple[list[Any], Any]] | None = None
        self._waiters: list[Waiter] | None = None
        self.stage = Stage.OPEN
        self.answered = False
        self.awaited = False
        self.error: BaseException | None = None
        self.ticket: Any = None
        self.places: Sequence[Place] = ()
        self.after: AbstractSet[Commit] = NO_COMMITS
        self.crossing: Any = None

    @property
    def undo(self) -> list[Undo]:
        """What takes it back, beside its swaps and sizes."""
        if self._undo is None:
            self._undo = []
        return self._undo

    @property
    def sizes(self) -> list[tuple[TableState, int]]:
        """By how many records tables grow."""
        if self._sizes is None:
            self._sizes = []
        return self._sizes

    @property
    def settles(self) -> list[tuple[Copy | Index, Iterable[Any]]]:
        """What is told that it is on the disk, and the keys."""
        if self._settles is None:
            self._settles = []
        return self._settles

    @property
    def events(self) -> list[tuple[list[Any], Any]]:
        """What subscribers hear when it is durable, each with those who hear it."""
        if self._events is None:
            self._events = []
        return self._events

    @property
    def waiters(self) -> list[Waiter]:
        """Those who hear what becomes of it."""
        if self._waiters is None:
            self._waiters = []
        return self._waiters

    @property
    def id(self) -> ActivityId:
        """What events name it by."""
        return ActivityId(self.activity, self.number)

    def take_back(self) -> None:
        """Undo everything in memory, the last first; all later commits are undone already."""
        for copy, key, before in reversed(self.swaps):
            copy.restore(key, before)
        for function, arguments in reversed(self._undo or ()):
            function(*arguments)
        for state, change in self._sizes or ():
            state.size -= change

    def settle(self) -> None:
        """Tell the copies that what they hold above the disk is on it."""
        for copy, keys in self._settles or ():
            copy.settle(keys, self.number)

    def announce(self, tell: Callable[[list[Any], Any], None]) -> None:
        """Pass its events on, each with those who hear it."""
        for receivers, event in self._events or ():
            tell(receivers, event)

    def tell(self, error: BaseException | None) -> None:
        """Answer those who wait."""
        self.stage = Stage.DURABLE if error is None else Stage.UNDONE
        self.error = error
        self.answered = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            waiter(error)


def part_of(commit: Commit, partition: int) -> Ops:
    """Return what the commit changes in a partition, to be added to."""
    ops = commit.parts.get(partition)
    if ops is None:
        ops = commit.parts[partition] = Ops()
    return ops


def write_row(ops: Ops, space: int, prefix: bytes, key: Key, payload: bytes | None) -> None:
    """Add one row's change to a command."""
    if len(key) >= LONG_KEY_BYTES:
        ops.longs.append((space, key, payload))
    elif payload is None:
        ops.deletes.append(prefix + key)
    else:
        ops.puts.append((prefix + key, payload))
