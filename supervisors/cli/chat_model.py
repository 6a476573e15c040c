"""What a chat shows, as plain data: entries with their ticks, and what others are doing.

Nothing here draws or talks to a server. Text of others is made harmless here, once, before any
screen gets it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from enum import IntEnum

MAX_ENTRIES = 2000
MAX_TEXT_CHARS = 8000


class Tick(IntEnum):
    """How far a message of one's own has come."""

    FAILED = -1
    WAITING = 0
    SENT = 1  # durable at the server
    DELIVERED = 2  # on a device of everyone
    READ = 3  # read by everyone

    @property
    def mark(self) -> str:
        """The tick as WhatsApp draws it; a read one is blue as well."""
        return {-1: "✗", 0: "◌", 1: "✓", 2: "✓✓", 3: "✓✓"}[self]

    @property
    def word(self) -> str:
        """The tick as a word, where there is no colour."""
        return self.name.lower()


@dataclass(slots=True, eq=False)
class Entry:
    """One line of the conversation: a message, or a note of the program (`who` is empty)."""

    who: str
    text: str
    when_ms: int
    mine: bool = False
    seq: int | None = None
    tick: Tick | None = None
    file: bytes | None = None
    file_name: str = ""
    progress: float | None = None  # of a transfer, 0 to 1

    @property
    def is_note(self) -> bool:
        """Whether the program says this, and nobody else."""
        return not self.who


@dataclass(slots=True)
class Room:
    """One conversation on the screen."""

    peer: str  # the account of a direct one, the name of a group
    account: str  # one's own
    conv: bytes
    is_group: bool = False
    members: tuple[str, ...] = ()
    entries: list[Entry] = field(default_factory=list)
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)  # delivered, read
    typing: set[str] = field(default_factory=set)
    online: bool = False
    last_seen_ms: int | None = None

    def add(self, entry: Entry) -> Entry:
        """Show an entry; the oldest leave when there are too many."""
        self.entries.append(entry)
        if len(self.entries) > MAX_ENTRIES:
            del self.entries[: MAX_ENTRIES // 10]
        if entry.who:
            self.typing.discard(entry.who)
        return entry

    def settle(self, entry: Entry, seq: int) -> None:
        """The server gave one's own message this number: put it where everyone has it."""
        entry.seq = seq
        at = self.entries.index(entry)
        numbers = [e.seq for e in self.entries]
        later = next((i for i, n in enumerate(numbers[:at]) if n is not None and n > seq), None)
        if later is not None:
            self.entries.insert(later, self.entries.pop(at))
            return
        for i in range(len(numbers) - 1, at, -1):
            number = numbers[i]
            if number is not None and number < seq:
                self.entries.insert(i, self.entries.pop(at))
                return

    def has(self, seq: int) -> bool:
        """Whether the message of this number is shown already."""
        return any(e.seq == seq for e in reversed(self.entries))

    def others(self) -> list[str]:
        """The members but oneself."""
        return [m for m in self.members if m != self.account]

    def receipt(self, account: str, delivered: int, read: int) -> list[Entry]:
        """Take a receipt; returns one's own messages whose tick it changed."""
        if account == self.account:
            return []
        before = self.marks.get(account, (0, 0))
        self.marks[account] = (max(before[0], delivered, read), max(before[1], read))
        return self.retick()

    def retick(self) -> list[Entry]:
        """Set all ticks by the receipts so far; returns the messages that changed."""
        others = self.others()
        if not others:
            return []
        marks = [self.marks.get(m, (0, 0)) for m in others]
        delivered, read = min(m[0] for m in marks), min(m[1] for m in marks)
        changed = []
        for entry in self.entries:
            if not entry.mine or entry.seq is None or entry.tick is None:
                continue
            seen = (
                Tick.READ
                if entry.seq <= read
                else (Tick.DELIVERED if entry.seq <= delivered else Tick.SENT)
            )
            if seen > entry.tick:
                entry.tick = seen
                changed.append(entry)
        return changed

    def status(self, clock: str | None = None) -> str:
        """What the other side does now: typing, online, or when it was last seen."""
        if self.typing:
            who = ", ".join(sorted(self.typing)) if self.is_group else ""
            return f"{who} typing...".strip()
        if self.is_group:
            return f"{len(self.members)} members"
        if self.online:
            return "online"
        return f"last seen {clock}" if clock else ""


def safe_text(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Text of someone else that can do nothing to a terminal.

    Control and format characters (escape sequences, direction overrides) become U+FFFD; line
    breaks and tabs stay. What is longer than `limit` is cut.
    """
    cut = text[:limit]
    shown = "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _HARMFUL or c in _JOINERS else "\ufffd"
        for c in cut
    )
    return shown + "..." if len(text) > limit else shown


_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # scripts and emoji need them
