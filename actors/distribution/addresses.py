"""What stands on a node for what is on another: processes, names, aliases, references, calls.

The runtime finds a process by `process_`, and does to it what it does to any. So the pid of a
process of another node stands in for the process itself: it looks like an idle one that sees to
each item by itself (as an `Alias` does), and whatever reaches it (an item, a link, a monitor, an
exit signal) goes on its way to the other node. Nothing in the runtime's fast path knows of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from palaver.actors.distribution.signals import Answer, Fail, Where
from palaver.actors.runtime import Addressable, From, Pid, Ref
from palaver.actors.runtime.mailbox import SIGNAL, Item
from palaver.actors.runtime.process import ALIVE, Process

if TYPE_CHECKING:
    from palaver.actors.distribution.distribution import Distribution
    from palaver.actors.distribution.peer import Peer
    from palaver.actors.runtime.process import Watcher

__all__ = ["Remote", "RemoteAlias", "RemoteCall", "RemoteName", "RemotePid", "RemoteRef"]


class _Elsewhere:
    """The scheduler of what runs on no node of ours."""

    __slots__ = ()
    node: Final = None
    current: Final = None

    def __repr__(self) -> str:
        return "<elsewhere>"


_ELSEWHERE: Final[Any] = _Elsewhere()


class Remote:
    """Stands in for a process of another node: what the runtime asks of a process.

    Its watchers, its links and its unanswered calls are kept by the connection, which ends them all
    when it is lost.
    """

    __slots__ = ()

    distribution: Distribution

    # As those of an idle process that sees to each item itself.
    mailbox: Final = None
    fast: Final = None
    limit: Final = None
    exiting: Final = ALIVE
    wait: Final = None
    names: Final = None
    parent: Final = None
    trap_exit: Final = False
    obeys_parent: Final = False
    scheduler: Final = _ELSEWHERE

    @property
    def where(self) -> Where:
        """What it is called between nodes."""
        raise AttributeError("where")

    @property
    def process_(self) -> Any:
        """Itself: what stands in for the process."""
        return self

    @property
    def pid(self) -> Any:
        """Itself."""
        return self

    def activate(self, item: Item) -> None:
        """Send a message, a cast or a call; raises `CannotCross` if it is no data."""
        self.distribution.post(self, item)

    def tell(self, message: object) -> None:
        """Send a signal that no mailbox refuses."""
        self.distribution.post(self, (message, SIGNAL))

    def exit_signal(self, sender: Pid | None, reason: object, *, linked: bool) -> None:
        """Send an exit signal, or that of a link."""
        if linked:
            self.distribution.exit_linked(self, sender, reason)
        else:
            self.distribution.exit_sent(self, sender, reason)

    @property
    def links(self) -> Any:
        """Whom it is linked to is known to the connection, not here."""
        return None

    @links.setter
    def links(self, process: Process) -> None:
        """A process links itself to it (`links.link`)."""
        self.distribution.link(self, process)

    def unlinked(self, process: Process) -> None:
        """A process has undone its link."""
        self.distribution.unlink(self, process)

    @property
    def watchers(self) -> _Watchers:
        """Where who watches it enters itself."""
        return _Watchers(self)

    @property
    def pending(self) -> _Pending:
        """Where a call that nobody waits for any more is taken out."""
        return _Pending(self)


class _Watchers:
    """The part of a dict that is used of `Process.watchers`."""

    __slots__ = ("_remote",)

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def __setitem__(self, ref: Ref, watcher: Watcher) -> None:
        self._remote.distribution.watch(self._remote, ref, watcher)

    def pop(self, ref: Ref, default: None = None) -> None:
        """No longer watch."""
        self._remote.distribution.unwatch(self._remote, ref)


class _Pending:
    """The part of a dict that is used of `Process.pending`."""

    __slots__ = ("_remote",)

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def pop(self, call: From, default: None = None) -> None:
        """Nobody waits for an answer any more."""
        self._remote.distribution.abandon(call)


class RemotePid(Remote, Pid[Any]):  # type: ignore[override]
    """The pid of a process of another node; one object for each process, as long as it is used."""

    __slots__ = ("__weakref__", "creation", "distribution")

    def __init__(self, distribution: Distribution, where: Where) -> None:
        self.distribution = distribution
        self.node_name = where.node_name
        self.creation = where.creation
        self.serial = int(where.key)

    @property
    def where(self) -> Where:
        """What it is called between nodes."""
        return Where("pid", self.node_name, self.creation, self.serial)


class RemoteName(Remote, Addressable):
    """A name that is registered on another node; Erlang's `{Name, Node}`."""

    __slots__ = ("distribution", "name", "node_name")

    def __init__(self, distribution: Distribution, node_name: str, name: str) -> None:
        self.distribution = distribution
        self.node_name = node_name
        self.name = name

    @property
    def where(self) -> Where:
        """What it is called between nodes."""
        return Where("name", self.node_name, 0, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteName) and self.where == other.where

    def __hash__(self) -> int:
        return hash(self.where)

    def __repr__(self) -> str:
        return f"<{self.name} at {self.node_name}>"


class RemoteAlias(Remote, Addressable, Ref):
    """An alias of a process of another node."""

    __slots__ = ("__weakref__", "_where", "distribution")

    def __init__(self, distribution: Distribution, where: Where) -> None:
        self.distribution = distribution
        self._where = where

    @property
    def where(self) -> Where:
        """What it is called between nodes."""
        return self._where

    @property
    def node_name(self) -> str:
        """Whose it is."""
        return self._where.node_name


class RemoteRef(Ref):
    """A reference that another node made: it can be compared, and sent back."""

    __slots__ = ("__weakref__", "where")

    def __init__(self, where: Where) -> None:
        self.where = where

    def __repr__(self) -> str:
        return f"<ref {self.where.node_name}.{self.where.creation}.{self.where.key}>"


class RemoteCall(From):
    """Who asked, on another node; whoever has it, on whatever node, may answer.

    Closed by an answer, when the caller has given up, and with the connection to its node.
    """

    __slots__ = ("__weakref__", "_asker", "_distribution", "_peer", "where")

    def __init__(self, distribution: Distribution, where: Where, peer: Peer | None) -> None:
        self.callee = None
        self.where = where
        self._distribution = distribution
        self._peer = peer
        self._asker: Pid | None = None

    def asked_by(self, asker: Pid | None) -> None:
        """Say who asks."""
        self._asker = asker

    @property
    def pid(self) -> Pid | None:
        """The asking process; None if that is not known here."""
        return self._asker

    @property
    def open(self) -> bool:
        """Whether, as far as is known here, somebody still waits."""
        return self._peer is not None and self._distribution.is_up(self._peer)

    def deliver(self, value: Any) -> None:
        """Answer with a value; raises `CannotCross` if it is no data."""
        peer = self._peer
        if peer is not None and self.open:
            self._distribution.reply(peer, Answer(int(self.where.key), value))
        self.close()

    def fail(self, error: BaseException) -> None:
        """Answer with an exception."""
        peer = self._peer
        if peer is not None and self.open:
            self._distribution.reply(peer, Fail(int(self.where.key), error))
        self.close()

    def close(self) -> None:
        """Nobody waits any more."""
        self._peer = None
        self.forget()
