"""The client library as people's devices use it, and its state as the chronicle hears of it.

What a device keeps is told to the `Chronicle`: promises are checked against what was durable.
"""

from __future__ import annotations

from collections.abc import Sequence

from palaver.supervisors.simulations.chronicle import Chronicle, DeviceLog
from palaver.transport.client import Client, ClientState, Outgoing, Snapshot, StateChange

__all__ = ["WatchedState", "Writer"]


class Writer(Client):
    """The client, and the beginnings of a group and of a change of members as `Outgoing`."""

    @property
    def watched(self) -> frozenset[str]:
        """The accounts whose presence is looked at."""
        return frozenset(self._engine.core.watched)

    def begin_group(self, name: str, members: Sequence[str]) -> Outgoing:
        """Put the making of a group on the outbox."""
        return self._engine.outgoing(self._engine.core.make_group(name, members))

    def begin_change(self, conv: bytes, add: Sequence[str], remove: Sequence[str]) -> Outgoing:
        """Put a change of a group's members on the outbox."""
        return self._engine.outgoing(self._engine.core.change_members(conv, add, remove))


class WatchedState:
    """A client's state whose steps go into the chronicle."""

    def __init__(self, inner: ClientState, chronicle: Chronicle, log: DeviceLog) -> None:
        self._inner = inner
        self._chronicle = chronicle
        self._log = log
        self.blocking = inner.blocking

    def open(self, account: str, device: int) -> Snapshot:
        """Open what was kept."""
        snapshot = self._inner.open(account, device)
        self._chronicle.opened(self._log)
        return snapshot

    def commit(self, change: StateChange) -> None:
        """Keep a step, then note that it is durable."""
        self._inner.commit(change)
        self._chronicle.kept(self._log, change)

    def close(self) -> None:
        """Let go of it."""
        self._inner.close()
