"""What a node does with the signals of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from palaver.actors.distribution import signals
from palaver.actors.distribution.addresses import RemoteCall, RemotePid
from palaver.actors.distribution.peer import Peer, WatchedFrom
from palaver.actors.distribution.signals import Signal, Where
from palaver.actors.distribution.vocabulary import Unreadable
from palaver.actors.runtime import NOPROC, Alias, Crash, MailboxFull, NoProcess, Pid, lifecycle
from palaver.actors.runtime.links import drop_link, link
from palaver.actors.runtime.mailbox import INFO
from palaver.actors.runtime.process import ALIVE, Process

if TYPE_CHECKING:
    from palaver.actors.distribution.distribution import Distribution

__all__ = ["Arriving"]


class Arriving:
    """The other half of `Distribution`: each signal, done to what it is for."""

    def __init__(self, distribution: Distribution) -> None:
        self._here = distribution
        self._directory = distribution.directory
        self._does: dict[type, Callable[[Peer, Any], None]] = {
            signals.Post: self._post,
            signals.Ask: self._ask,
            signals.Answer: self._answer,
            signals.Fail: self._fail,
            signals.NoTarget: self._no_target,
            signals.Abandon: self._abandon,
            signals.Watch: self._watch,
            signals.Unwatch: self._unwatch,
            signals.Gone: self._gone,
            signals.LinkTo: self._link,
            signals.UnlinkFrom: self._unlink,
            signals.ExitLinked: self._exit_linked,
            signals.ExitSent: self._exit_sent,
            signals.Grouped: self._grouped,
            signals.GroupedTo: self._grouped_to,
        }

    def handle(self, peer: Peer, signal: Signal) -> None:
        """Do what a signal says."""
        self._does[type(signal)](peer, signal)

    def _unpacked_reason(self, peer: Peer, packed: Any) -> Any:
        """An exit reason; if it cannot be read, that is the reason."""
        try:
            return self._here.unpacked(peer, packed)
        except Unreadable as error:
            return Crash(error)

    def _address(self, where: Where) -> Any:
        """The own pid, name or alias that is meant; None if it means nothing here (any more)."""
        found = self._directory.found(where)
        return found if isinstance(found, (str, Pid, Alias)) else None

    def _process(self, where: Where) -> Process | None:
        """The process that is meant, or the alias that stands for it; None if there is none."""
        address = self._address(where)
        if address is None or isinstance(address, RemotePid):
            return None  # of an earlier incarnation of this node
        return self._here.node.find(address)

    # -- messages and calls --------------------------------------------------------------------

    def _post(self, peer: Peer, signal: signals.Post) -> None:
        process = self._process(signal.target)
        if process is None:
            return
        try:
            message = self._here.unpacked(peer, signal.message)
        except Unreadable as error:
            self._here.unreadable(peer, f"a message to {process.pid}", error)
            return
        if signal.how == "signal" and not isinstance(process, Alias):
            process.tell(message)
            return
        item = (message, None if signal.how == "cast" else INFO)
        try:
            if process.mailbox is None:
                process.activate(item)
            else:
                process.mailbox.append(item)
        except MailboxFull as error:
            self._here.refused(process.pid, error)

    def _ask(self, peer: Peer, signal: signals.Ask) -> None:
        call = self._directory.found(signal.call)
        assert isinstance(call, RemoteCall)
        if signal.asker is not None:
            call.asked_by(self._directory.found(signal.asker))
        process = self._process(signal.target)
        if process is None:
            call.close()
            self._here.send(peer, signals.NoTarget(int(signal.call.key)))
            return
        try:
            request = self._here.unpacked(peer, signal.request)
            lifecycle.ask(process, request, call, process.pid)
        except (MailboxFull, Unreadable) as error:
            call.fail(error)

    def _answer(self, peer: Peer, signal: signals.Answer) -> None:
        call, _ = self._here.answered(signal.call)
        if call is None:
            return
        try:
            value = self._here.unpacked(peer, signal.value)
        except Unreadable as error:
            call.fail(error)
        else:
            call.deliver(value)

    def _fail(self, peer: Peer, signal: signals.Fail) -> None:
        call, _ = self._here.answered(signal.call)
        if call is None:
            return
        try:
            error = self._here.unpacked(peer, signal.error)
        except Unreadable as unreadable:
            error = unreadable
        call.fail(
            error if isinstance(error, BaseException) else Unreadable(f"{error!r} is no error")
        )

    def _no_target(self, peer: Peer, signal: signals.NoTarget) -> None:
        call, remote = self._here.answered(signal.call)
        if call is not None:
            call.fail(NoProcess(remote))  # type: ignore[arg-type]

    def _abandon(self, peer: Peer, signal: signals.Abandon) -> None:
        call = self._directory.known(signal.call)
        if isinstance(call, RemoteCall):
            call.close()

    # -- monitors ------------------------------------------------------------------------------

    def _watch(self, peer: Peer, signal: signals.Watch) -> None:
        process = self._process(signal.target)
        if isinstance(process, Alias):
            process = process.owner
        if process is None:
            self._here.send(peer, signals.Gone(signal.number, self._here.packed_reason(NOPROC)))
            return
        too_late = process.exiting is not ALIVE
        watched = WatchedFrom(self._here, peer, signal.number, process, too_late=too_late)
        peer.watched[signal.number] = watched
        lifecycle.watchers_of(process)[watched] = watched

    def _unwatch(self, peer: Peer, signal: signals.Unwatch) -> None:
        watched = peer.watched.pop(signal.number, None)
        if watched is not None:
            watched.stop()

    def _gone(self, peer: Peer, signal: signals.Gone) -> None:
        one = peer.monitoring.pop(signal.number, None)
        if one is not None:
            del peer.numbers[one.ref, one.remote]
            reason = self._unpacked_reason(peer, signal.reason)
            one.watcher.down(one.remote, reason)  # type: ignore[arg-type]

    # -- links and exit signals ----------------------------------------------------------------

    def _link(self, peer: Peer, signal: signals.LinkTo) -> None:
        process = self._process(signal.target)
        if process is None or process.exiting is not ALIVE:
            reason = self._here.packed_reason(NOPROC)
            none = signals.ExitLinked((signal.link,), signal.target, signal.source, reason)
            self._here.send(peer, none)
            return
        remote = self._directory.found(signal.source)
        known = peer.links.setdefault((process.pid, remote), {})
        known[signal.link] = None
        link(process, remote)  # if it was linked before, nothing happens

    def _unlink(self, peer: Peer, signal: signals.UnlinkFrom) -> None:
        ends = self._ended_links(peer, signal)
        if ends is not None and not peer.links.get(ends, {}):
            peer.links.pop(ends, None)
            process = ends[0].process_
            if process is not None:
                drop_link(process, ends[1])  # type: ignore[arg-type]

    def _exit_linked(self, peer: Peer, signal: signals.ExitLinked) -> None:
        ends = self._ended_links(peer, signal)
        if ends is None:
            return  # it was undone here, or ended with the process
        peer.links.pop(ends, None)
        process = ends[0].process_
        if process is not None:
            drop_link(process, ends[1])  # type: ignore[arg-type]
            reason = self._unpacked_reason(peer, signal.reason)
            process.exit_signal(ends[1], reason, linked=True)

    def _ended_links(
        self, peer: Peer, signal: signals.UnlinkFrom | signals.ExitLinked
    ) -> tuple[Pid, RemotePid] | None:
        """Strike out the links of a signal; between whom they were, if any of them was there."""
        target = self._directory.found(signal.target)
        ends = (target, self._directory.found(signal.source))
        known = peer.links.get(ends)
        if known is None or not any(link in known for link in signal.links):
            return None
        for each in signal.links:
            known.pop(each, None)
        return ends

    def _exit_sent(self, peer: Peer, signal: signals.ExitSent) -> None:
        process = self._process(signal.target)
        if process is not None:
            sender = None if signal.source is None else self._directory.found(signal.source)
            reason = self._unpacked_reason(peer, signal.reason)
            process.exit_signal(sender, reason, linked=False)

    # -- groups --------------------------------------------------------------------------------

    def _grouped(self, peer: Peer, signal: signals.Grouped) -> None:
        self._to_group(peer, signal.message, signal.scope, None)

    def _grouped_to(self, peer: Peer, signal: signals.GroupedTo) -> None:
        target = self._directory.found(signal.target)
        self._to_group(peer, signal.message, None, target)

    def _to_group(self, peer: Peer, packed: Any, scope: str | None, target: Any) -> None:
        try:
            message = self._here.unpacked(peer, packed)
        except Unreadable as error:
            self._here.unreadable(peer, "a message to a group", error)
            return
        self._here.groups.arrived(scope, target, message)
