"""The groups of one scope, as one node sees them: the state machine of OTP's `pg`, without effects.

`handle(event)` changes the state and returns what is to be done. What a node has joined is told to
the scope processes of other nodes that it knows, its peers, and only to them:

* who is new sends `Discover` to every node; so it does to a node that comes (back) up.
* `Discover` is answered with `Sync`, everything that is joined here; an unknown sender becomes a
  peer, and is sent a `Discover` in turn.
* `Sync` replaces what is known of a peer; from then on its `Join` and `Leave` keep it current.
* when a peer is gone, so are its members; its late messages are dropped, as from a stranger.

So all that are connected agree once all messages have arrived, if those of a pair arrive in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from palaver.actors.names.group_messages import (
    Demonitor,
    Discover,
    Effect,
    Event,
    Group,
    Join,
    Joined,
    Leave,
    Left,
    LocalJoin,
    LocalLeave,
    MemberDown,
    MonitorGroup,
    MonitorScope,
    NodeUp,
    Notify,
    PeerDown,
    Send,
    SendToNode,
    Sync,
    Unwatch,
    Watch,
    WatchPeer,
)
from palaver.actors.runtime import Pid, Ref

__all__ = ["GroupState"]


class Members:
    """Who has joined a group, and how often."""

    __slots__ = ("_list", "counts")

    def __init__(self) -> None:
        self.counts: dict[Pid, int] = {}
        self._list: tuple[Pid, ...] | None = None

    def add(self, pid: Pid) -> None:
        """It joins once more."""
        self.counts[pid] = self.counts.get(pid, 0) + 1
        self._list = None

    def remove(self, pid: Pid) -> bool:
        """It leaves once; whether it was in."""
        count = self.counts.get(pid, 0)
        if count == 0:
            return False
        if count == 1:
            del self.counts[pid]
        else:
            self.counts[pid] = count - 1
        self._list = None
        return True

    def listed(self) -> tuple[Pid, ...]:
        """Each as often as it has joined; made anew only after a change."""
        if self._list is None:
            self._list = tuple(pid for pid, count in self.counts.items() for _ in range(count))
        return self._list


Groups = dict[Group, Members]


class GroupState:
    """The groups of a scope, for the scope process `me`."""

    __slots__ = ("_all", "_group_monitors", "_joined", "_local", "_me", "_peers", "_scope_monitors")

    def __init__(self, me: Pid) -> None:
        self._me = me
        self._all: Groups = {}
        self._local: Groups = {}
        # By member of this node: which groups it has joined, and how often each.
        self._joined: dict[Pid, dict[Group, int]] = {}
        self._peers: dict[Pid, Groups] = {}
        self._scope_monitors: dict[Ref, Pid] = {}
        self._group_monitors: dict[Group, dict[Ref, Pid]] = {}

    # -- what there is ------------------------------------------------------------------------

    def members(self, group: Group) -> tuple[Pid, ...]:
        """The members of a group on all nodes."""
        found = self._all.get(group)
        return () if found is None else found.listed()

    def local_members(self, group: Group) -> tuple[Pid, ...]:
        """The members of a group on this node."""
        found = self._local.get(group)
        return () if found is None else found.listed()

    def groups(self) -> list[Group]:
        """The groups that have members."""
        return list(self._all)

    def local_groups(self) -> list[Group]:
        """The groups that have members on this node."""
        return list(self._local)

    def joined(self) -> Iterable[Pid]:
        """The processes of this node that have joined any group."""
        return self._joined

    def has_joined(self, pid: Pid, group: Group) -> bool:
        """Whether a process of this node has joined a group."""
        return group in self._joined.get(pid, ())

    def peers(self) -> Iterable[Pid]:
        """The scope processes of other nodes that are known."""
        return self._peers

    # -- what happens -------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        """Change the state; what is to be done, in this order."""
        effects: list[Effect] = []
        self._HANDLERS[type(event)](self, event, effects)
        return effects

    def _local_join(self, event: LocalJoin, effects: list[Effect]) -> None:
        group = event.group
        for pid in event.members:
            groups = self._joined.get(pid)
            if groups is None:
                self._joined[pid] = {group: 1}
                effects.append(Watch(pid))
            else:
                groups[group] = groups.get(group, 0) + 1
            _add(self._local, group, pid)
        self._add_all(group, event.members, effects)
        self._tell_peers(Join(self._me, group, event.members), effects)

    def _local_leave(self, event: LocalLeave, effects: list[Effect]) -> None:
        group = event.group
        left: list[Pid] = []
        for pid in event.members:
            groups = self._joined.get(pid)
            if groups is None or group not in groups:
                continue
            left.append(pid)
            _remove(self._local, group, pid)
            if groups[group] > 1:
                groups[group] -= 1
                continue
            del groups[group]
            if not groups:
                del self._joined[pid]
                effects.append(Unwatch(pid))
        if left:
            self._remove_all(group, left, effects)
            self._tell_peers(Leave(self._me, tuple(left), (group,)), effects)

    def _member_down(self, event: MemberDown, effects: list[Effect]) -> None:
        counts = self._joined.pop(event.pid, None)
        if counts is None:
            return
        groups = tuple(group for group, count in counts.items() for _ in range(count))
        for group in groups:
            _remove(self._local, group, event.pid)
            self._remove_all(group, (event.pid,), effects)
        self._tell_peers(Leave(self._me, (event.pid,), groups), effects)

    def _node_up(self, event: NodeUp, effects: list[Effect]) -> None:
        effects.append(SendToNode(event.node_name, Discover(self._me)))

    def _discover(self, event: Discover, effects: list[Effect]) -> None:
        peer = event.peer
        groups = tuple((group, members.listed()) for group, members in self._local.items())
        effects.append(Send(peer, Sync(self._me, groups)))
        if peer not in self._peers:
            self._peers[peer] = {}
            effects += (WatchPeer(peer), Send(peer, Discover(self._me)))

    def _sync(self, event: Sync, effects: list[Effect]) -> None:
        known = self._peers.get(event.peer)
        if known is None:
            self._peers[event.peer] = known = {}
            effects.append(WatchPeer(event.peer))
        now = dict(event.groups)
        for group, members in list(known.items()):
            gone = _beyond(members.listed(), now.get(group, ()))
            self._leave_peer(known, group, gone, effects)
        for group, pids in event.groups:
            before = known[group].listed() if group in known else ()
            self._join_peer(known, group, _beyond(pids, before), effects)

    def _join(self, event: Join, effects: list[Effect]) -> None:
        known = self._peers.get(event.peer)
        if known is not None:
            self._join_peer(known, event.group, event.members, effects)

    def _leave(self, event: Leave, effects: list[Effect]) -> None:
        known = self._peers.get(event.peer)
        if known is not None:
            for group in event.groups:
                self._leave_peer(known, group, event.members, effects)

    def _peer_down(self, event: PeerDown, effects: list[Effect]) -> None:
        for group, members in self._peers.pop(event.peer, {}).items():
            self._remove_all(group, members.listed(), effects)

    def _monitor_scope(self, event: MonitorScope, effects: list[Effect]) -> None:
        self._scope_monitors[event.ref] = event.owner

    def _monitor_group(self, event: MonitorGroup, effects: list[Effect]) -> None:
        self._group_monitors.setdefault(event.group, {})[event.ref] = event.owner

    def _demonitor(self, event: Demonitor, effects: list[Effect]) -> None:
        self._scope_monitors.pop(event.ref, None)
        for group, refs in self._group_monitors.items():
            if event.ref in refs:
                del refs[event.ref]
                if not refs:
                    del self._group_monitors[group]
                return

    # -- the parts of it ----------------------------------------------------------------------

    def _tell_peers(self, message: Join | Leave, effects: list[Effect]) -> None:
        effects += [Send(peer, message) for peer in self._peers]

    def _join_peer(
        self, known: Groups, group: Group, pids: tuple[Pid, ...], effects: list[Effect]
    ) -> None:
        for pid in pids:
            _add(known, group, pid)
        self._add_all(group, pids, effects)

    def _leave_peer(
        self, known: Groups, group: Group, pids: tuple[Pid, ...], effects: list[Effect]
    ) -> None:
        self._remove_all(group, [pid for pid in pids if _remove(known, group, pid)], effects)

    def _add_all(self, group: Group, pids: tuple[Pid, ...], effects: list[Effect]) -> None:
        for pid in pids:
            _add(self._all, group, pid)
        self._notify(Joined, group, pids, effects)

    def _remove_all(self, group: Group, pids: Iterable[Pid], effects: list[Effect]) -> None:
        left = tuple(pids)
        for pid in left:
            _remove(self._all, group, pid)
        self._notify(Left, group, left, effects)

    def _notify(
        self,
        kind: type[Joined | Left],
        group: Group,
        pids: tuple[Pid, ...],
        effects: list[Effect],
    ) -> None:
        if pids:
            for monitors in (self._scope_monitors, self._group_monitors.get(group, {})):
                effects += [
                    Notify(owner, kind(ref, group, pids)) for ref, owner in monitors.items()
                ]

    _HANDLERS: ClassVar[dict[type[Any], Callable[[GroupState, Any, list[Effect]], None]]] = {
        LocalJoin: _local_join,
        LocalLeave: _local_leave,
        MemberDown: _member_down,
        NodeUp: _node_up,
        PeerDown: _peer_down,
        Discover: _discover,
        Sync: _sync,
        Join: _join,
        Leave: _leave,
        MonitorScope: _monitor_scope,
        MonitorGroup: _monitor_group,
        Demonitor: _demonitor,
    }


def _add(groups: Groups, group: Group, pid: Pid) -> None:
    members = groups.get(group)
    if members is None:
        groups[group] = members = Members()
    members.add(pid)


def _remove(groups: Groups, group: Group, pid: Pid) -> bool:
    members = groups.get(group)
    if members is None or not members.remove(pid):
        return False
    if not members.counts:
        del groups[group]
    return True


def _beyond(pids: tuple[Pid, ...], others: tuple[Pid, ...]) -> tuple[Pid, ...]:
    """Those of `pids` that are not in `others`, each as often as it is there too much."""
    counts: dict[Pid, int] = {}
    for pid in others:
        counts[pid] = counts.get(pid, 0) + 1
    beyond: list[Pid] = []
    for pid in pids:
        if counts.get(pid, 0) > 0:
            counts[pid] -= 1
        else:
            beyond.append(pid)
    return tuple(beyond)
