"""What waits for a process: messages, each with a tag that says how to handle it.

A mailbox is a plain list of `(message, tag)`, and exists only while it holds something or its
process runs: an idle process has `mailbox = None`, which saves its memory and is at the same time
the mark "not on the run queue". A turn takes the list as a whole. A limited mailbox is a deque
whose `append` is overridden and whose items are taken one by one, so that an unlimited one pays
nothing for the possibility.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, TypeAlias

from palaver.actors.runtime.calls import From
from palaver.actors.runtime.errors import MailboxFull
from palaver.actors.runtime.reasons import Overflow

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process

__all__ = [
    "CONTINUE",
    "INFO",
    "INIT",
    "SIGNAL",
    "STOP",
    "SYSTEM",
    "TERMINATE",
    "BoundedMailbox",
    "Item",
    "Mailbox",
    "MailboxLimit",
    "Tag",
]


class Tag:
    """How a message is to be handled."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


# A cast has the tag None, the cheapest to test for; a call has its From. The others:
INFO: Final = Tag("info")  # a plain message, sent by `send`
SIGNAL: Final = Tag("signal")  # Exit, Down, Response: never refused, never dropped
INIT: Final = Tag("init")
CONTINUE: Final = Tag("continue")
STOP: Final = Tag("stop")  # the parent of a trapping server wants it to end
SYSTEM: Final = Tag("system")  # a request of `sys`: a function that is given the process
TERMINATE: Final = Tag("terminate")  # never in a mailbox: what `terminate` is handling

Item: TypeAlias = tuple[Any, Tag | From | None]


@dataclass(frozen=True, slots=True)
class MailboxLimit:
    """At most `size` messages wait in a mailbox; what then happens to the next says `overflow`.

    * ``suspend``: it waits with its sender, who handles nothing more until there is room (a caller
      waits until its timeout). A sender holds at most `size` such messages; beyond them, and for a
      sender that is no process of the same node, `MailboxFull` is raised.
    * ``reject``: `MailboxFull` is raised in the sender.
    * ``drop_oldest``: the oldest message is dropped; if it is a call, that call fails with
      `MailboxFull`.
    * ``exit``: the receiver exits with the reason `Overflow(size)`.

    Signals (`Exit`, `Down`, `Response`) are counted, but always accepted and never dropped. A timer
    whose message is refused is lost.
    """

    size: int
    overflow: Literal["suspend", "reject", "drop_oldest", "exit"] = "suspend"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("a mailbox holds at least one message")
        if self.overflow not in ("suspend", "reject", "drop_oldest", "exit"):
            raise ValueError(f"unknown overflow policy {self.overflow!r}")


class BoundedMailbox(deque[Item]):
    """A mailbox with a limit."""

    __slots__ = ("owner", "room", "sweep_at", "waiting")

    def __init__(self, owner: Process) -> None:
        super().__init__()
        self.owner = owner
        assert owner.limit is not None
        self.room = owner.limit.size
        # What suspended senders could not put here, in order; empty unless the mailbox is full.
        self.waiting: deque[tuple[Process | None, Item]] = deque()
        self.sweep_at = 64

    def append(self, item: Item) -> None:
        """Take a user's message, or do what the limit says."""
        owner = self.owner
        limit = owner.limit
        assert limit is not None
        if len(self) < self.room:
            super().append(item)
        elif limit.overflow == "suspend":
            self._suspend_sender(item, limit.size)
        elif limit.overflow == "drop_oldest":
            self._drop_oldest(limit.size)
            super().append(item)
        elif limit.overflow == "exit":
            owner.die(Overflow(limit.size))
            if isinstance(item[1], From):
                super().append(item)  # it fails with that reason when the owner exits
        else:
            raise MailboxFull(owner.pid, limit.size)

    def begin(self, item: Item) -> None:
        """Take the first item of a process that was idle, or is new: its `init` takes no room."""
        super().append(item)
        if item[1] is INIT:
            self.room += 1

    def popleft(self) -> Item:
        """The next message; takes in what waited for its place."""
        item = super().popleft()
        if item[1] is INIT:
            self.room -= 1
        self._fill()
        return item

    def __delitem__(self, index: SupportsIndex) -> None:  # type: ignore[override]
        """Take one out of the middle; takes in what waited for its place."""
        super().__delitem__(index)
        self._fill()

    def _fill(self) -> None:
        waiting = self.waiting
        while waiting and len(self) < self.room:
            sender, held = waiting.popleft()
            super().append(held)
            if sender is not None:
                sender.release()

    def _suspend_sender(self, item: Item, size: int) -> None:
        tag = item[1]
        if isinstance(tag, From) and tag.waits:
            # A caller waits anyway, until its timeout: there is no need to suspend it as well.
            # Calls that have timed out are swept, so impatient callers cannot pile up here.
            if len(self.waiting) >= self.sweep_at:
                self.waiting = deque(
                    entry
                    for entry in self.waiting
                    if entry[0] is not None or not isinstance(entry[1][1], From) or entry[1][1].open
                )
                self.sweep_at = max(64, 2 * len(self.waiting))
            self.waiting.append((None, item))
            return
        sender = self.owner.scheduler.current
        if sender is None or sender is self.owner or sender.held >= size:
            raise MailboxFull(self.owner.pid, size)
        self.waiting.append((sender, item))
        sender.hold()

    def take_signal(self, item: Item) -> None:
        """Take a signal: it is counted, but always accepted."""
        super().append(item)

    def _drop_oldest(self, size: int) -> None:
        for index, (_, tag) in enumerate(self):
            if type(tag) is not Tag or tag is INFO:
                del self[index]
                if isinstance(tag, From):
                    tag.fail(MailboxFull(self.owner.pid, size))
                return


Mailbox: TypeAlias = list[Item] | BoundedMailbox
