"""What lasts as long as a connection to another node, and is ended with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from palaver.actors.runtime import Pid, Ref
from palaver.actors.runtime.process import Process

if TYPE_CHECKING:
    from palaver.actors.distribution.addresses import Remote, RemotePid
    from palaver.actors.distribution.decoding import Dialect
    from palaver.actors.distribution.distribution import Distribution
    from palaver.actors.distribution.signals import LinkId
    from palaver.actors.runtime.process import Watcher

__all__ = ["Monitoring", "Peer", "WatchedFrom"]


@dataclass(slots=True)
class Monitoring:
    """Somebody here watches a process there."""

    remote: Remote
    ref: Ref
    watcher: Watcher


class WatchedFrom(Ref):
    """Watches a process here for somebody there."""

    __slots__ = ("distribution", "number", "peer", "target", "too_late")

    def __init__(
        self,
        distribution: Distribution,
        peer: Peer,
        number: int,
        target: Process,
        *,
        too_late: bool,
    ) -> None:
        self.distribution = distribution
        self.peer = peer
        self.number = number
        self.target = target
        # An exit signal had ended it when the monitor came: to that there is no process.
        self.too_late = too_late

    def down(self, pid: Pid, reason: object) -> None:
        """The process has exited."""
        self.distribution.watched_exited(self, reason)

    def stop(self) -> None:
        """Watch no more."""
        if self.target.watchers is not None:
            self.target.watchers.pop(self, None)


class Peer:
    """A node to which there is a connection: what runs over it."""

    __slots__ = ("creation", "dialect", "links", "monitoring", "name", "numbers", "watched")

    def __init__(self, name: str, creation: int, dialect: Dialect | None = None) -> None:
        self.name = name
        self.creation = creation
        # Reads its messages; None if they come as copies.
        self.dialect = dialect
        # Dicts: what ends with the connection ends in the order in which it began.
        self.monitoring: dict[int, Monitoring] = {}
        self.numbers: dict[tuple[Ref, Remote], int] = {}
        self.watched: dict[int, WatchedFrom] = {}
        self.links: dict[tuple[Pid, RemotePid], dict[LinkId, None]] = {}

    def __repr__(self) -> str:
        return f"<peer {self.name}#{self.creation}>"
