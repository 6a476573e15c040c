"""What a replicated store needs of a distributed engine: a journal per partition, and registers.

Nothing that is promised to clients rests on a register: it only says who should try to lead. Who
leads is decided by the journal, in which everybody sees the same entries in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

__all__ = [
    "Entry",
    "Follow",
    "Journal",
    "JournalError",
    "JournalGone",
    "JournalRefused",
    "JournalShort",
    "JournalTruncated",
    "JournalUnavailable",
    "Register",
    "RegisterChanged",
    "Registers",
    "RegistersUnavailable",
]


class JournalError(Exception):
    """A journal cannot do what was asked of it; the text says why.

    Only `JournalGone` is final; everything else may pass, and is tried again.
    """


class JournalUnavailable(JournalError):
    """No quorum, no connection or no answer in time: what was published may be there or not."""


class JournalTruncated(JournalError):
    """The entry that was asked for has been truncated: a snapshot is needed.

    Attributes:
        first: the first position that is still there.
    """

    def __init__(self, first: int) -> None:
        super().__init__(f"the journal begins at position {first}")
        self.first = first


class JournalRefused(JournalError):
    """An entry was refused and is not there; it will be again until an operator has acted."""


class JournalShort(JournalError):
    """The journal seems to end before an entry that was in it.

    The machine that said so may not have heard of the latest. Who has read that entry publishes to
    make sure: a new entry cannot be given a place that was given before.
    """


class JournalGone(JournalError):
    """The journal that was followed is no more, or another one has its name; this is final.

    An engine says so only when it is certain, and then for every question. The text says what an
    operator has to do.
    """


class Entry(NamedTuple):
    """One entry of a journal.

    Attributes:
        position: its place; positions rise by one, without a gap, from 1.
        id: the name that its publisher gave it; the same entry may be there twice.
        body: what was published.
    """

    position: int
    id: str
    body: bytes


class Follow(Protocol):
    """Entries are being delivered; ends by `close` or by a failure."""

    def close(self) -> None:
        """Deliver nothing more; harmless when repeated."""


class Journal(Protocol):
    """The log of one partition, kept by a quorum of machines that write it to their disks.

    All methods are for the thread of the loop, and callbacks run there, never from within the call
    that they belong to.
    """

    def publish(self, id: str, body: bytes, done: Callable[[int | JournalError], None]) -> None:  # noqa: A002
        """Append an entry.

        `done` is called once: with its position when a quorum has written it to disk, or with a
        `JournalError`. After `JournalUnavailable` it may be there all the same, now or later, and
        the same id may be published again: within a window the engine keeps only one of them, but
        nothing may rest on that. Several may be under way; a later one may succeed where an earlier
        one fails.

        A position is unique, but says nothing of positions before it having been seen. A journal
        that is gone says so, or does not answer.
        """

    def follow(
        self,
        after: int,
        deliver: Callable[[list[Entry]], None],
        failed: Callable[[JournalError], None],
    ) -> Follow:
        """Deliver every entry behind position `after`, in order, those to come included.

        Each list has positions that rise by one; the first has `after + 1`, each next one goes on
        from the one before. After `failed` nothing is delivered: `JournalTruncated` when
        `after + 1` is gone, `JournalGone` when the journal is, otherwise follow again, after what
        was delivered. An engine calls `failed` too when it is silent for longer than its heartbeat
        allows.
        """

    async def bounds(self) -> tuple[int, int]:
        """Return (position of the first entry, of the last), (n + 1, n) if it is empty.

        Of a moment between the call and its answer, or older: another machine may answer that has
        not heard of the latest. Raises `JournalUnavailable`, `JournalGone`.
        """

    async def truncate(self, up_to: int) -> None:
        """Forget entries up to a position; harmless when repeated. Raises as `bounds` does."""


class Register(NamedTuple):
    """What a register holds.

    Attributes:
        value: its bytes.
        revision: rises with every change of any register.
    """

    value: bytes
    revision: int


class RegistersUnavailable(Exception):
    """No quorum or no answer in time: a write may have been done or not."""


class RegisterChanged(Exception):
    """The register is not as the writer expected it; nothing was written."""


class Registers(Protocol):
    """A few small values with compare-and-set, the same on all nodes: who owns what, who belongs.

    Keys are letters, digits, "-", "_", "=", "/" and "."; at most 128 characters. Values have at
    most 64 KiB. All methods are for the thread of the loop.
    """

    async def read(self, key: str) -> Register | None:
        """Return what a register holds, perhaps not the latest; None if there is none.

        Raises `RegistersUnavailable`.
        """

    async def write(self, key: str, value: bytes, expected: int | None) -> int:
        """Write if the register's revision is `expected`, None: if there is none; its new revision.

        Raises `RegisterChanged`, or `RegistersUnavailable`: then read again to find out.
        """

    async def delete(self, key: str, expected: int) -> None:
        """Remove a register of this revision. Raises as `write` does."""

    async def items(self, prefix: str) -> Mapping[str, Register]:
        """Return all registers whose key begins so, perhaps not the latest.

        Raises `RegistersUnavailable`.
        """

    def watch(self, prefix: str, changed: Callable[[str, Register | None], None]) -> Follow:
        """Tell what every register with this prefix holds now, and of every change to come.

        None is a register that was removed. Changes of one register may be left out, but the last
        one is told. The engine recovers by itself from whatever happens to its connection: then it
        tells again what it may have told before.
        """
