"""The pages of the chronicle: one for each device, with all that it wrote and was shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from palaver.transport.client import Event, Receipt, SentMessage

__all__ = [
    "Broken",
    "Composed",
    "DeviceId",
    "DeviceLog",
    "HeardPresence",
    "HeardReceipt",
    "HeardTicks",
    "Said",
]

DeviceId = tuple[str, int]
"""An account and one of its devices."""


class Broken(AssertionError):
    """A promise of the messaging system was broken."""


class Said(NamedTuple):
    """Where a message came to stand: its author's name for it, and its stamp."""

    account: str
    device: int
    cid: int
    stamp: int


@dataclass(slots=True)
class Composed:
    """A message, group or change of members as its author wrote it."""

    moment: int
    to: str | bytes
    """An account, a conversation; of a new group its name."""
    kind: str
    """"message", "group" or "members"."""
    type: str
    body: bytes
    conversation: bytes | None
    members: tuple[str, ...] = ()
    seen_least: int = 0
    """What its author had been shown since the program began; the message must say as much."""
    shown_most: int = 0
    """What its device had ever been shown there; beyond it may only say what is its own."""
    after: int = 0
    """The greatest stamp that its author knew."""
    start: int = 0
    """Which start of its author's program wrote it."""
    kept: bool = False
    answer: SentMessage | None = None
    refusal: str = ""


class HeardPresence(NamedTuple):
    """What a device was told of an account."""

    moment: int
    account: str
    online: bool
    last_seen_ms: int | None


class HeardReceipt(NamedTuple):
    """What a device was told of how far an account is."""

    moment: int
    receipt: Receipt


class HeardTicks(NamedTuple):
    """What a device was told of an own message: everyone it is for has received or read it."""

    moment: int
    cid: int
    read: bool


@dataclass(slots=True)
class DeviceLog:
    """One device, from its registration to its end."""

    id: DeviceId
    registered: int
    """The moment at which it knew that it was registered."""
    asked: int
    """The moment at which it first asked for it: it may have been registered since then."""
    composed: dict[int, Composed] = field(default_factory=dict)
    events: dict[int, Event] = field(default_factory=dict)
    """By position in its queue."""
    shown_at: dict[int, int] = field(default_factory=dict)
    """By position, the moment at which it was first shown."""
    kept_at: list[tuple[int, int]] = field(default_factory=list)
    """(moment, position): from when on everything up to there was kept as handled."""
    settled: set[int] = field(default_factory=set)
    """Messages that the device has taken off its outbox, durably."""
    durable: int = 0
    next_position: int | None = None
    """Where the program's next event must stand; None before its first."""
    heads: dict[bytes, int] = field(default_factory=dict)
    """The greatest seq by conversation that it was shown."""
    fresh: dict[bytes, int] = field(default_factory=dict)
    """The greatest seq by conversation, since the program began."""
    receipts: list[HeardReceipt] = field(default_factory=list)
    presences: list[HeardPresence] = field(default_factory=list)
    last_seen: dict[str, int] = field(default_factory=dict)
    reached: list[HeardTicks] = field(default_factory=list)
    marks: dict[tuple[bytes, str], tuple[int, int]] = field(default_factory=dict)
    revoked: int | None = None
    """The moment at which somebody asked to revoke it."""
    lost: int | None = None
    """The moment at which it last lost its state."""
    starts: int = 0
    online: int = 0
    """The moment at which it last came online."""
    drained: int = 0
    """How many events it was shown since then that had waited for it."""

    def __str__(self) -> str:
        return f"{self.id[0]}/{self.id[1]}"
