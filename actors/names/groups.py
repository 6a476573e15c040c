"""`Scope`: named groups of processes, on one node or several; OTP's `pg`.

    groups = Scope("chat")

    ChildSpec("groups", ScopeServer, (groups,))    # under a supervisor, before who uses it

    class Member(GenServer):
        def init(self, groups):
            groups.join("lobby", self.pid)

    groups.get_members("lobby")
    groups.broadcast("lobby", "good morning")

A group is there while it has members. A process may join any number of groups, and a group any
number of times; then it has to leave as often, and is listed as often. It joins on its own node;
scope processes of the same name on other nodes are told, so every node's view is a local one, and
all views agree once nothing changes any more (eventual consistency). The end of a member removes
it, on its own node before anybody handles a `Down` of it.

As with a registry, the object is what everybody holds, the process is its life, and nothing on the
own node needs a message. If the scope's process exits, its groups are empty and monitors end; the
members go on, and have to join again (they can monitor `Scope.pid`). That is as in OTP:
https://www.erlang.org/docs/25/man/pg.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog

from palaver.actors.names import group_messages as messages
from palaver.actors.names.errors import AlreadyRunning, NotLocal, NotRunning
from palaver.actors.names.fabric import GroupFabric, GroupLine, LocalOnly
from palaver.actors.names.group_messages import PEER_EVENTS, Event, Group, Joined, Left, PeerEvent
from palaver.actors.names.group_state import GroupState
from palaver.actors.names.watching import Watch, Watching, discard, is_local, local_process, tell
from palaver.actors.runtime import (
    NOREPLY,
    Crash,
    From,
    GenServer,
    MailboxFull,
    Node,
    Pid,
    ProcessContext,
)

__all__ = ["GroupMonitor", "Scope", "ScopeServer"]

log = structlog.get_logger("palaver.actors")


class GroupMonitor(Watching):
    """A monitor of a scope or a group; ends with its owner."""

    __slots__ = ("_forget", "owner")

    def __init__(self, owner: Pid, forget: Callable[[GroupMonitor], object]) -> None:
        self.owner = owner
        self._forget = forget

    def down(self, pid: Pid, reason: object) -> None:
        """The owner has exited."""
        self._forget(self)


class _Running:
    """A scope while its process runs."""

    __slots__ = ("line", "monitors", "node", "pid", "state")

    def __init__(self, node: Node, pid: Pid, line: GroupLine) -> None:
        self.node = node
        self.pid = pid
        self.line = line
        self.state = GroupState(pid)
        self.monitors: dict[GroupMonitor, None] = {}


class Scope:
    """The groups of one scope, as seen from one node. Scopes know nothing of each other.

    Every method is for the thread of the node. Reading is a look into a dict; while the process
    does not run there are no groups, and `join` and the monitors raise `NotRunning`.

    Args:
        name: The scope's name, and that of its process. Nodes that have a scope of the same name,
            on the same fabric, share its groups.
        fabric: What connects it with other nodes.
    """

    __slots__ = ("_fabric", "_life", "_members", "_running", "name")

    def __init__(self, name: str = "pg", *, fabric: GroupFabric | None = None) -> None:
        self.name = name
        self._fabric: GroupFabric = LocalOnly() if fabric is None else fabric
        self._members = Watch(self._member_gone)
        self._life = Watch(self._ended)
        self._running: _Running | None = None

    def __repr__(self) -> str:
        return f"<scope {self.name}, {len(self.which_groups())} groups>"

    # -- membership ---------------------------------------------------------------------------

    def join(self, group: Group, pids: Pid | Iterable[Pid]) -> None:
        """Let processes of this node join a group, each as often as it is named.

        The caller sees it at once. A process that has exited joins and leaves in the same moment.
        Raises `NotLocal` (then nobody has joined) and `NotRunning`.
        """
        running = self._required()
        members = self._local(pids, running.node)
        if members:
            self._do(running, messages.LocalJoin(group, members))

    def leave(self, group: Group, pids: Pid | Iterable[Pid]) -> bool:
        """Let processes of this node leave a group, each as often as it is named.

        False, OTP's `not_joined`, if none of them had joined it. Raises `NotLocal`, `NotRunning`.
        """
        running = self._required()
        members = self._local(pids, running.node)
        if not any(running.state.has_joined(pid, group) for pid in members):
            return False
        self._do(running, messages.LocalLeave(group, members))
        return True

    def get_members(self, group: Group) -> tuple[Pid, ...]:
        """The members of a group on all nodes, in no order, each as often as it has joined."""
        return () if self._running is None else self._running.state.members(group)

    def get_local_members(self, group: Group) -> tuple[Pid, ...]:
        """The members of a group on this node, in no order, each as often as it has joined."""
        return () if self._running is None else self._running.state.local_members(group)

    def which_groups(self) -> list[Group]:
        """All groups; each has a member."""
        return [] if self._running is None else self._running.state.groups()

    def which_local_groups(self) -> list[Group]:
        """The groups that have a member on this node."""
        return [] if self._running is None else self._running.state.local_groups()

    # -- monitors -----------------------------------------------------------------------------

    def monitor_scope(self, owner: Pid) -> tuple[GroupMonitor, dict[Group, tuple[Pid, ...]]]:
        """Let `owner` know of every change: the monitor, and all groups as they are now.

        From then on the owner gets `Joined` and `Left`; these are signals, as `Down` is: a full
        mailbox does not refuse them. Raises `NotRunning`, `NotLocal`, `NoProcess`.
        """
        running = self._required()
        ref = self._new_monitor(running, owner)
        self._do(running, messages.MonitorScope(ref, owner))
        return ref, {group: running.state.members(group) for group in running.state.groups()}

    def monitor(self, owner: Pid, group: Group) -> tuple[GroupMonitor, tuple[Pid, ...]]:
        """Let `owner` know of every change of one group: the monitor, and who is in it now.

        The group need not have members. See `monitor_scope`.
        """
        running = self._required()
        ref = self._new_monitor(running, owner)
        self._do(running, messages.MonitorGroup(ref, owner, group))
        return ref, running.state.members(group)

    def demonitor(self, ref: GroupMonitor) -> bool:
        """End a monitor; False if it has ended before.

        What it has sent and its owner has not handled yet is taken out of the owner's mailbox.
        """
        if not self._end_monitor(ref):
            return False
        discard(
            ref.owner, lambda message: isinstance(message, Joined | Left) and message.ref is ref
        )
        return True

    # -- using groups -------------------------------------------------------------------------

    def broadcast(self, group: Group, message: object) -> int:
        """Send a plain message to every member, once however often it has joined.

        A member whose full mailbox refuses the message does not get it; the others do. Returns to
        how many it was sent.
        """
        running = self._running
        if running is None:
            return 0
        sent = 0
        for pid in dict.fromkeys(running.state.members(group)):
            try:
                running.node.send(pid, message)
                sent += 1
            except MailboxFull as error:
                log.debug("broadcast refused", scope=self.name, group=repr(group), why=str(error))
        return sent

    def random_member(self, group: Group) -> Pid | None:
        """Any member, by the node's `random`; None if there is none."""
        return self._any_of(self.get_members(group))

    def closest_member(self, group: Group) -> Pid | None:
        """Any member on this node, else any at all; None if there is none."""
        return self._any_of(self.get_local_members(group) or self.get_members(group))

    def _any_of(self, pids: tuple[Pid, ...]) -> Pid | None:
        return self._running.node.random.choice(pids) if self._running and pids else None

    # -- its process --------------------------------------------------------------------------

    @property
    def pid(self) -> Pid | None:
        """The scope's process; None while it does not run."""
        return None if self._running is None else self._running.pid

    def attach_(self, owner: ProcessContext) -> None:
        """Begin to live with a process; for `ScopeServer`. Raises `AlreadyRunning`."""
        if self._running is not None:
            raise AlreadyRunning(f"scope {self.name}", self._running.pid)
        node, pid = owner.node, owner.pid

        def deliver(event: PeerEvent) -> None:
            tell(pid, event)

        running = _Running(node, pid, self._fabric.open(self.name, pid, deliver))
        self._life.add(pid)
        self._running = running
        for node_name in running.line.nodes():
            self._do(running, messages.NodeUp(node_name))

    def receive_(self, event: PeerEvent) -> None:
        """Take what came from the fabric; for `ScopeServer`."""
        if self._running is not None:
            self._do(self._running, event)

    def _required(self) -> _Running:
        if self._running is None:
            raise NotRunning(f"scope {self.name}")
        return self._running

    def _local(self, pids: Pid | Iterable[Pid], node: Node) -> tuple[Pid, ...]:
        members = (pids,) if isinstance(pids, Pid) else tuple(pids)
        for pid in members:
            if not is_local(pid, node):
                raise NotLocal(pid, node.name)
        return members

    def _new_monitor(self, running: _Running, owner: Pid) -> GroupMonitor:
        local_process(owner, running.node)
        ref = GroupMonitor(owner, self._end_monitor)
        running.monitors[ref] = None
        ref.add(owner)
        return ref

    def _end_monitor(self, ref: GroupMonitor) -> bool:
        running = self._running
        if running is None or ref not in running.monitors:
            return False
        del running.monitors[ref]
        ref.remove(ref.owner)
        self._do(running, messages.Demonitor(ref))
        return True

    def _member_gone(self, pid: Pid, reason: object) -> None:
        if self._running is not None:
            self._do(self._running, messages.MemberDown(pid))

    def _ended(self, pid: Pid, reason: object) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        for member in running.state.joined():
            self._members.remove(member)
        for ref in running.monitors:
            ref.remove(ref.owner)
        try:
            running.line.close()
        except Exception:
            log.exception("the fabric failed", scope=self.name)

    def _do(self, running: _Running, event: Event) -> None:
        """Let something happen, and do what follows from it."""
        dead: list[Pid] = []
        for effect in running.state.handle(event):
            if isinstance(effect, messages.Watch):
                if not self._members.add(effect.pid):
                    dead.append(effect.pid)
            elif isinstance(effect, messages.Unwatch):
                self._members.remove(effect.pid)
            elif isinstance(effect, messages.Notify):
                tell(effect.owner, effect.event)
            else:
                self._use_line(running, effect)
        for pid in dead:
            self._do(running, messages.MemberDown(pid))

    def _use_line(
        self, running: _Running, effect: messages.Send | messages.SendToNode | messages.WatchPeer
    ) -> None:
        line = running.line
        try:
            if isinstance(effect, messages.Send):
                line.send(effect.peer, effect.message)
            elif isinstance(effect, messages.SendToNode):
                line.send_to_node(effect.node_name, effect.message)
            else:
                line.watch(effect.peer)
        except Exception as error:
            # It may be a member's end or its join that runs here, and that has no part in it. The
            # peers may have missed something: a new scope process tells them everything anew.
            log.exception("the fabric failed", scope=self.name)
            running.node.exit(running.pid, Crash(error))


class ScopeServer(GenServer):
    """The process of a scope, which also hears from its peers on other nodes.

    Start it with the `Scope` as its argument, before whatever uses that. It takes the scope's name.
    """

    __slots__ = ("scope",)

    def init(self, scope: Scope) -> None:
        """Begin; raises `AlreadyRunning`, or `NameTaken` if another process has the name."""
        self.scope = scope
        if self.whereis(scope.name) is not self.pid:
            self.register(scope.name)
        scope.attach_(self)

    def handle_call(self, request: object, from_: From) -> Any:
        """Refuse: a scope is asked through its object."""
        self.reply_error(from_, TypeError(f"a scope does not understand {request!r}"))
        return NOREPLY

    def handle_cast(self, message: object) -> None:
        """Drop it, as any message that is not expected."""
        super().handle_info(message)

    def handle_info(self, message: Any) -> None:
        """Take what came from the fabric."""
        if type(message) in PEER_EVENTS:
            self.scope.receive_(message)
        else:
            super().handle_info(message)

    def format_status(self) -> str:
        """What a crash report shows."""
        return repr(self.scope)
