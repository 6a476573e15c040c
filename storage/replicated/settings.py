"""What a replicated store is given: its limits, and its ways to the world."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from palaver.storage.errors import StoreError
from palaver.storage.installing import SnapshotInfo
from palaver.storage.machine import Command
from palaver.storage.store import Store

from .publishing import PublishLimits

__all__ = [
    "Codec",
    "FetchSnapshot",
    "Handle",
    "Limits",
    "LoopTimers",
    "ReplicaState",
    "RunBlocking",
    "Surroundings",
    "Timers",
    "no_snapshot",
]


class Codec(Protocol):
    """Commands as bytes."""

    def encode(self, commands: Sequence[Command]) -> bytes:
        """Return the bytes of commands."""

    def decode(self, encoded: bytes) -> Sequence[Command]:
        """Return commands that a machine applies exactly as those that were encoded.

        Raises:
            ValueError: these bytes are none, or hold a command that this version does not know.
        """


class Handle(Protocol):
    """What was asked to be called later."""

    def cancel(self) -> None:
        """Do not; harmless when it has been called."""


class Timers(Protocol):
    """Time, and a way to be called later; the running loop's by default."""

    def now_s(self) -> float:
        """Return the time in seconds; it never goes back."""

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> Handle:
        """Call `fn` once, `delay_s` seconds from now."""

    def call_soon(self, fn: Callable[[], None]) -> Any:
        """Call `fn` once, in the next turn."""


class LoopTimers:
    """The timers of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now_s = loop.time
        self.call_soon = loop.call_soon
        self.call_later = loop.call_later


FetchSnapshot = Callable[[int], Awaitable[tuple[str | os.PathLike[str], SnapshotInfo]]]
"""Brings a snapshot of a partition from another replica; raises `StoreError` when it cannot.

The file is whoever's who brings it: it may be removed when the next one is asked for.
"""

RunBlocking = Callable[..., Awaitable[Any]]
"""Runs a function that blocks, with its arguments; `asyncio.to_thread` by default."""


async def no_snapshot(partition: int) -> tuple[str, SnapshotInfo]:
    """Stand in for `FetchSnapshot` where there is no other replica."""
    raise StoreError(f"no other replica of partition {partition} is known")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes and times of a replicated store.

    Attributes:
        publish: of entries and the window of those under way.
        max_backlog: commands of a partition that wait for their answers at most; beyond,
            Overloaded.
        max_backlog_bytes: the same in bytes, encoded.
        feed_bytes: entries that were read and are not in the tables yet, in bytes; beyond, the
            replica reads nothing more for a time.
        feed_entries: the same, in number.
        lease_s: for how long an owner serves without a sign of the journal that it leads, seconds.
        checkpoint_s: time between two checkpoints of an owner, seconds; well below `lease_s`.
        takeover_s: how long a takeover may take, seconds.
        retry_s: before something is tried again for the first time; doubled up to `retry_most_s`.
        retry_most_s: the longest time between two tries, seconds.
        look_s: time between two looks at the bounds of the journal, seconds.
        lost_looks: looks one after the other that find the journal shorter than the replica until
            that is looked into: any machine may answer them, also one that lags.
        close_s: how long `close` waits for what is pending, seconds.
        tail_entries: entries that stay in the journal whoever has applied them, for replicas that
            were away for a short time.
        tail_bytes: but no more than about so many bytes, which the journal has to have room for.
    """

    publish: PublishLimits = field(default_factory=PublishLimits)
    max_backlog: int = 20_000
    max_backlog_bytes: int = 64 << 20
    feed_bytes: int = 16 << 20
    feed_entries: int = 1024
    lease_s: float = 3.0
    checkpoint_s: float = 1.0
    takeover_s: float = 20.0
    retry_s: float = 0.05
    retry_most_s: float = 1.0
    look_s: float = 5.0
    lost_looks: int = 4
    close_s: float = 3.0
    tail_entries: int = 10_000
    tail_bytes: int = 512 << 20


class ReplicaState(NamedTuple):
    """What a replica of a partition is at a moment.

    Attributes:
        partition: which one.
        position: in the journal, of the last entry that is durable in the tables.
        applied: the last sequence of the tables.
        epoch: the current one, as far as the replica has read; 0 before the first.
        owner: whose it is; "" before the first.
        leading: whether this node leads and serves.
        following: whether entries are read and applied.
        catching_up: whether the replica is behind what it knew of when it began to follow, or
            installs a snapshot.
        behind: entries that the journal is known to have and the tables have not.
        digests: (position, digest of the history) of the last checkpoints, oldest first.
        first: position of the journal's first entry, as it was seen last; 1 before that.
        last: of the last one that is known of.
        trouble: what keeps the replica from applying or leading, "" when nothing does.
        backlog: commands of this node that wait for their answers.
    """

    partition: int
    position: int
    applied: int
    epoch: int
    owner: str
    leading: bool
    following: bool
    catching_up: bool
    behind: int
    digests: tuple[tuple[int, int], ...]
    first: int
    last: int
    trouble: str
    backlog: int

    @property
    def eligible(self) -> bool:
        """Whether this replica may lead."""
        return self.following and not self.trouble


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all replicas of a node share; see `ReplicatedStore`."""

    store: Store
    codec: Codec
    timers: Timers
    limits: Limits
    node_name: str
    incarnation: str
    fetch_snapshot: FetchSnapshot
    run_blocking: RunBlocking
    on_lost: Callable[[int, str], None]
    on_trouble: Callable[[int, Exception | None], None]
