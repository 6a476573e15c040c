"""What a client must not forget, and the port it is kept through.

The client changes its state in turns. Each turn's change is committed as one atomic step *before*
anything that depends on it leaves the client: a message is on the outbox before it is sent, a
position is kept before it is acknowledged. A program that is killed at any instant therefore
resumes with nothing lost and nothing shown twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from palaver.transport.client.errors import StateMismatch

__all__ = ["ClientState", "MemoryState", "OutboxItem", "Snapshot", "StateChange"]


class OutboxItem(NamedTuple):
    """A command that waits for its answer: its id, the wire's opcode, and its other arguments."""

    cid: int
    op: int
    args: bytes
    """CBOR of the arguments that stay the same on every try."""


@dataclass(slots=True)
class Snapshot:
    """All that is kept for one device."""

    position: int = 0
    """Everything in the device's queue up to here was handled."""
    next_cid: int = 0
    """The next client message id; 0 where none was ever used."""
    after: int = 0
    """The highest stamp seen anywhere."""
    outbox: dict[int, OutboxItem] = field(default_factory=dict)
    seen: dict[bytes, int] = field(default_factory=dict)
    """Per conversation the last seq that was shown."""
    awaited: dict[bytes, int] = field(default_factory=dict)
    """Per conversation the last own seq that not everyone has read yet."""


@dataclass(slots=True)
class StateChange:
    """One atomic step; None and empty mean unchanged."""

    position: int | None = None
    next_cid: int | None = None
    after: int | None = None
    added: list[OutboxItem] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    seen: dict[bytes, int | None] = field(default_factory=dict)
    """None gives a conversation up, one not used for longest."""
    awaited: dict[bytes, int | None] = field(default_factory=dict)
    """None takes the conversation off."""

    @property
    def urgent(self) -> bool:
        """Whether something waits for this step; the rest goes with the next one that is."""
        return bool(self.position is not None or self.added or self.removed or self.awaited)

    def apply(self, snapshot: Snapshot) -> None:
        """Bring a snapshot to the state after this step."""
        if self.position is not None:
            snapshot.position = self.position
        if self.next_cid is not None:
            snapshot.next_cid = self.next_cid
        if self.after is not None:
            snapshot.after = self.after
        for item in self.added:
            snapshot.outbox[item.cid] = item
        for cid in self.removed:
            snapshot.outbox.pop(cid, None)
        for kept, changed in ((snapshot.seen, self.seen), (snapshot.awaited, self.awaited)):
            for conv, seq in changed.items():
                if seq is None:
                    kept.pop(conv, None)
                else:
                    kept[conv] = seq


class ClientState(Protocol):
    """Where a client keeps its state. One client uses one state at a time.

    Attributes:
        blocking: True where a commit waits for a disk; its calls then run in one worker thread.
    """

    blocking: bool

    def open(self, account: str, device: int) -> Snapshot:
        """Return what is kept for this device; the caller owns the snapshot.

        Raises:
            StateMismatch: It is another device's state.
            StateError: It cannot be read.
        """

    def commit(self, change: StateChange) -> None:
        """Keep a step, whole or not at all; durable when this returns.

        Raises:
            StateError: It cannot be written.
        """

    def close(self) -> None:
        """Let go of it; harmless where it is not open."""


class MemoryState:
    """State that lives as long as this object: it survives a client, not the program."""

    __slots__ = ("_owner", "_snapshot", "blocking")

    def __init__(self) -> None:
        self.blocking = False
        self._owner: tuple[str, int] | None = None
        self._snapshot = Snapshot()

    def open(self, account: str, device: int) -> Snapshot:
        """Return a copy of what is kept; see :class:`ClientState`."""
        if self._owner not in (None, (account, device)):
            raise StateMismatch(f"this state belongs to {self._owner}, not {(account, device)}")
        self._owner = (account, device)
        kept = self._snapshot
        return Snapshot(
            kept.position,
            kept.next_cid,
            kept.after,
            dict(kept.outbox),
            dict(kept.seen),
            dict(kept.awaited),
        )

    def commit(self, change: StateChange) -> None:
        """Keep a step."""
        change.apply(self._snapshot)

    def close(self) -> None:
        """Do nothing: the state stays for the next client."""
