"""The durable state of a simulated device: what is committed is there after every crash.

The contract of `ClientState`: a commit is whole or not at all, and durable when it returns. Where
it waits for a disk it runs in the loop's executor, so the machine may die before (nothing was
kept) and after, before the client hears of it (everything was).
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from palaver.transport.client import MemoryState, Snapshot, StateChange, StateError

__all__ = ["SimulatedState", "state_of"]


class SimulatedState:
    """A client's state on a simulated disk.

    Args:
        disk: what survives the machine's crashes.
        blocking: whether a commit takes time.
        fails: whether the disk fails the step that is about to be kept.
    """

    def __init__(
        self, disk: MutableMapping[str, Any], *, blocking: bool, fails: Callable[[], bool]
    ) -> None:
        self.blocking = blocking
        self._kept: MemoryState = disk.setdefault("state", MemoryState())
        self._fails = fails

    def open(self, account: str, device: int) -> Snapshot:
        """Return what is kept for this device."""
        return self._kept.open(account, device)

    def commit(self, change: StateChange) -> None:
        """Keep a step; raises StateError where the disk fails, and then nothing is kept."""
        if self._fails():
            raise StateError("the disk of this device failed")
        self._kept.commit(change)

    def close(self) -> None:
        """Let go of it; it stays on the disk."""


def state_of(account: str, device: int, snapshot: Snapshot) -> MemoryState:
    """A state that holds what a snapshot does: a backup that is put back."""
    state = MemoryState()
    state.open(account, device)
    state.commit(
        StateChange(
            position=snapshot.position,
            next_cid=snapshot.next_cid,
            after=snapshot.after,
            added=list(snapshot.outbox.values()),
            seen=dict(snapshot.seen),
            awaited=dict(snapshot.awaited),
        )
    )
    return state
