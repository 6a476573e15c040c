"""A node's part in a cluster: its signals to other nodes, theirs to it; Erlang's distribution.

What holds between processes of one node holds between nodes, as on the BEAM ("Signals" in
https://www.erlang.org/doc/system/ref_man_processes.html): what one process sends another arrives in
the order sent, and is lost only when the connection is. Then links and monitors fire
`noconnection`, calls fail with `NodeDown`, and those who asked get a `Nodedown`, after all that.

It stands on a `Carrier`, which keeps the connections, and is told by it what comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from palaver.actors.distribution import signals
from palaver.actors.distribution.addresses import Remote, RemoteName, RemotePid
from palaver.actors.distribution.arriving import Arriving
from palaver.actors.distribution.directory import Directory
from palaver.actors.distribution.groups import NodeGroups
from palaver.actors.distribution.nodes import NodeMonitors
from palaver.actors.distribution.packing import MAX_MESSAGE_BYTES, Bytes, Copies, Packing
from palaver.actors.distribution.peer import Monitoring, Peer, WatchedFrom
from palaver.actors.distribution.signals import Signal
from palaver.actors.distribution.vocabulary import Unreadable, Vocabulary
from palaver.actors.runtime import (
    NOCONNECTION,
    NOPROC,
    From,
    MailboxFull,
    Node,
    NodeDown,
    NoProcess,
    Pid,
    Ref,
)
from palaver.actors.runtime.links import drop_link
from palaver.actors.runtime.mailbox import INFO, SIGNAL, Item
from palaver.actors.runtime.process import Process

if TYPE_CHECKING:
    from palaver.actors.distribution.decoding import Dialect
    from palaver.actors.runtime.process import Watcher

__all__ = ["Carrier", "Distribution"]

log = structlog.get_logger("palaver.actors")


class Carrier(Protocol):
    """What brings signals to other nodes; the port that a fabric between nodes implements.

    It promises that signals to one node arrive in the order sent, and all up to the moment at which
    the connection is lost, of which both sides hear in bounded time. It tells its `Distribution`:
    `up` when there is a connection (to another incarnation only after `down`), `arrived` for each
    signal of it, `down` when it is lost. It calls these in the thread of the node, and none of them
    from within `send` or `disconnect`.
    """

    def send(self, node_name: str, signal: Signal) -> None:
        """Send to a connected node; dropped if the connection is being lost."""

    def disconnect(self, node_name: str) -> None:
        """Give up the connection to a node."""


@dataclass(slots=True)
class _Asked:
    """A call that is under way to another node."""

    call: From
    remote: Remote
    peer: Peer


class Distribution:
    """What a node is to the other nodes.

    Args:
        node: whose.
        creation: which of its incarnations this is; greater than those before.
        carrier: brings signals to the others.
        vocabulary: what messages may consist of, if they cross as bytes; None: as copies, within
            one program.
        max_message_bytes: the most that a message may take.
    """

    def __init__(
        self,
        node: Node,
        creation: int,
        carrier: Carrier,
        vocabulary: Vocabulary | None = None,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self.node = node
        self.name = node.name
        self.creation = creation
        self.directory = Directory(self)
        self.groups = NodeGroups(self)
        self._carrier = carrier
        self._peers: dict[str, Peer] = {}
        self._asked: dict[int, _Asked] = {}
        self._arriving = Arriving(self)
        where, found = self.directory.where, self.directory.found
        self._packing: Packing = (
            Copies(where, found)
            if vocabulary is None
            else Bytes(vocabulary, where, max_message_bytes)
        )
        self._monitors = NodeMonitors(node)
        self._last_number = 0

    def __repr__(self) -> str:
        return f"<distribution of {self.name}#{self.creation}, {len(self._peers)} peers>"

    # -- for programs --------------------------------------------------------------------------

    def nodes(self) -> tuple[str, ...]:
        """The other nodes to which there is a connection now; Erlang's `nodes()`."""
        return tuple(self._peers)

    def at(self, node_name: str, name: str) -> RemoteName | str:
        """The address of whoever has a registered name on a node; Erlang's `{Name, Node}`."""
        return name if node_name == self.name else RemoteName(self, node_name, name)

    def monitor_node(self, owner: Pid, node_name: str) -> Ref:
        """Send `owner` one `Nodedown(node_name)` when the connection is lost; at once, if none is.

        OTP's `erlang:monitor_node/2`.
        """
        return self._monitors.add(owner, node_name, up=node_name in self._peers)

    def monitor_nodes(self, owner: Pid) -> Ref:
        """Send `owner` a `Nodeup` and a `Nodedown` for every connection that comes and goes.

        OTP's `net_kernel:monitor_nodes/1`: a `Nodeup` comes before any signal of that connection, a
        `Nodedown` after all of them.
        """
        return self._monitors.add_all(owner)

    def demonitor_nodes(self, ref: Ref) -> None:
        """End a monitor of nodes; harmless when repeated."""
        self._monitors.remove(ref)

    def disconnect(self, node_name: str) -> None:
        """Give up the connection to a node; both sides lose all that runs over it."""
        self._carrier.disconnect(node_name)

    # -- what the carrier tells ----------------------------------------------------------------

    def up(self, node_name: str, creation: int, dialect: Dialect | None = None) -> None:
        """There is a connection to a node; `dialect` reads its messages, if they are bytes."""
        assert node_name not in self._peers, f"{node_name} is up already"
        self._peers[node_name] = Peer(node_name, creation, dialect)
        self._monitors.up(node_name)
        self.groups.up(node_name)

    def arrived(self, node_name: str, signal: Signal) -> None:
        """A signal has come over the connection to a node."""
        self._arriving.handle(self._peers[node_name], signal)

    def down(self, node_name: str) -> None:
        """The connection to a node is lost: end all that ran over it."""
        peer = self._peers.pop(node_name)
        lost = [number for number, asked in self._asked.items() if asked.peer is peer]
        for number in lost:
            asked = self._asked.pop(number)
            self.directory.forget(number)
            if asked.call.open:
                asked.call.fail(NodeDown(node_name))
        for watched in peer.watched.values():
            watched.stop()
        for pid, remote in peer.links:
            process = pid.process_
            if process is not None:
                drop_link(process, remote)  # type: ignore[arg-type]
                process.exit_signal(remote, NOCONNECTION, linked=True)
        for one in peer.monitoring.values():
            one.watcher.down(one.remote, NOCONNECTION)  # type: ignore[arg-type]
        self.groups.down(node_name)
        self._monitors.down(node_name)

    # -- peers ---------------------------------------------------------------------------------

    def peer(self, node_name: str, creation: int | None = None) -> Peer | None:
        """The node of this name, if it is connected, and is the one of this incarnation."""
        peer = self._peers.get(node_name)
        if peer is not None and creation is not None and peer.creation != creation:
            return None
        return peer

    def is_up(self, peer: Peer) -> bool:
        """Whether this very connection is there."""
        return self._peers.get(peer.name) is peer

    def send(self, peer: Peer, signal: Signal) -> None:
        """Send a signal, if this very connection is there."""
        if self.is_up(peer):
            self._carrier.send(peer.name, signal)

    def packed(self, value: Any) -> Any:
        """A message as it crosses; raises `CannotCross`."""
        return self._packing.pack(value)

    def packed_reason(self, reason: Any) -> Any:
        """A reason as it crosses; as a text, if it cannot."""
        return self._packing.pack_reason(reason)

    def unpacked(self, peer: Peer, packed: Any) -> Any:
        """A message of a node; raises `Unreadable`."""
        return self._packing.unpack(peer, packed)

    def next_number(self) -> int:
        """A number for a monitor or a link."""
        self._last_number += 1
        return self._last_number

    # -- messages and calls --------------------------------------------------------------------

    def post(self, remote: Remote, item: Item) -> None:
        """Send what a process would find in its mailbox; raises `CannotCross`."""
        message, tag = item
        if isinstance(tag, From):
            self._ask(remote, message, tag)
            return
        packed = self.packed(message)  # also if it goes nowhere: what is wrong is always wrong
        peer = self._peers.get(remote.where.node_name)
        if peer is not None:
            how: Any = "info" if tag is INFO else "signal" if tag is SIGNAL else "cast"
            self.send(peer, signals.Post(remote.where, how, packed))

    def _ask(self, remote: Remote, request: Any, call: From) -> None:
        packed = self.packed(request)
        where = remote.where
        peer = self._peers.get(where.node_name)
        if peer is None:
            earlier = where.node_name == self.name  # a process of an earlier life of this node
            call.fail(NoProcess(remote) if earlier else NodeDown(where.node_name))  # type: ignore[arg-type]
            return
        number = self.directory.number(call)
        self._asked[number] = _Asked(call, remote, peer)
        call.callee = remote  # type: ignore[assignment]
        asker = None if call.pid is None else self.directory.where(call.pid)
        self.send(peer, signals.Ask(where, self.directory.where(call), asker, call.waits, packed))

    def answered(self, number: int) -> tuple[From | None, Remote | None]:
        """A call of ours is over: who waits for it, if anybody does, and whom it asked."""
        asked = self._asked.pop(number, None)
        call = self.directory.own_ref(number)
        self.directory.forget(number)
        remote = None if asked is None else asked.remote
        return (call if isinstance(call, From) and call.open else None), remote

    def abandon(self, call: From) -> None:
        """Nobody waits for the answer of a call any more."""
        number = self.directory.told(call)
        asked = None if number is None else self._asked.pop(number, None)
        if number is not None and asked is not None:
            where = self.directory.where(call)
            self.directory.forget(number)
            self.send(asked.peer, signals.Abandon(where))

    def reply(self, peer: Peer, answer: signals.Answer | signals.Fail) -> None:
        """Answer a call of another node; raises `CannotCross` for a value that is no data."""
        if isinstance(answer, signals.Answer):
            self.send(peer, signals.Answer(answer.call, self.packed(answer.value)))
        else:
            self.send(peer, signals.Fail(answer.call, self.packed_reason(answer.error)))

    # -- monitors ------------------------------------------------------------------------------

    def watch(self, remote: Remote, ref: Ref, watcher: Watcher) -> None:
        """Somebody here wants to know of the end of a process there."""
        peer = self._peers.get(remote.where.node_name)
        if peer is None:
            gone = NOPROC if remote.where.node_name == self.name else NOCONNECTION
            watcher.down(remote, gone)  # type: ignore[arg-type]
        elif (ref, remote) not in peer.numbers:
            number = self.next_number()
            peer.monitoring[number] = Monitoring(remote, ref, watcher)
            peer.numbers[ref, remote] = number
            self.send(peer, signals.Watch(number, remote.where))

    def unwatch(self, remote: Remote, ref: Ref) -> None:
        """No longer."""
        peer = self._peers.get(remote.where.node_name)
        number = None if peer is None else peer.numbers.pop((ref, remote), None)
        if peer is not None and number is not None:
            del peer.monitoring[number]
            self.send(peer, signals.Unwatch(number))

    def watched_exited(self, watched: WatchedFrom, reason: object) -> None:
        """A process here that is monitored from elsewhere has exited."""
        peer = watched.peer
        if peer.watched.pop(watched.number, None) is not None:
            gone = self.packed_reason(NOPROC if watched.too_late else reason)
            self.send(peer, signals.Gone(watched.number, gone))

    # -- links and exit signals ----------------------------------------------------------------

    def link(self, remote: Remote, process: Process) -> None:
        """A process here has linked itself to one there."""
        if not isinstance(remote, RemotePid):
            raise TypeError(f"a process is linked to a pid, not to {remote!r}")
        peer = self._peers.get(remote.node_name)
        if peer is None:
            drop_link(process, remote)  # type: ignore[arg-type]
            gone = NOPROC if remote.node_name == self.name else NOCONNECTION
            process.exit_signal(remote, gone, linked=True)
        elif (process.pid, remote) not in peer.links:
            link = (self.name, self.next_number())
            peer.links[process.pid, remote] = {link: None}
            source = self.directory.where(process.pid)
            self.send(peer, signals.LinkTo(link, source, remote.where))

    def unlink(self, remote: Remote, process: Process) -> None:
        """A process here has undone its link to one there."""
        peer = self._peers.get(remote.where.node_name)
        if peer is not None and isinstance(remote, RemotePid):
            links = peer.links.pop((process.pid, remote), None)
            if links is not None:
                source = self.directory.where(process.pid)
                self.send(peer, signals.UnlinkFrom(tuple(links), source, remote.where))

    def exit_linked(self, remote: Remote, sender: Pid | None, reason: object) -> None:
        """A process here that was linked to one there has exited."""
        peer = self._peers.get(remote.where.node_name)
        if peer is not None and sender is not None and isinstance(remote, RemotePid):
            links = peer.links.pop((sender, remote), None)
            if links is not None:
                source, packed = self.directory.where(sender), self.packed_reason(reason)
                self.send(peer, signals.ExitLinked(tuple(links), source, remote.where, packed))

    def exit_sent(self, remote: Remote, sender: Pid | None, reason: object) -> None:
        """A process here sends an exit signal; raises `CannotCross` if the reason is no data."""
        packed = self.packed(reason)
        peer = self._peers.get(remote.where.node_name)
        if peer is not None:
            source = None if sender is None else self.directory.where(sender)
            self.send(peer, signals.ExitSent(source, remote.where, packed))

    def unreadable(self, peer: Peer, what: str, error: Unreadable) -> None:
        """A message from elsewhere cannot be read here: it is dropped."""
        log.error("message from another node dropped", peer=peer.name, what=what, why=str(error))

    def refused(self, target: object, error: MailboxFull) -> None:
        """A mailbox here has refused a message from elsewhere: it is dropped, as a timer's is."""
        log.debug("message from another node lost", dest=str(target), reason=str(error))
