"""Names in the whole cluster: at most one process has each, on whatever node; OTP's `global`.

    names = GlobalNames(distribution)
    ChildSpec("global", GlobalServer, (names,))               # on every node

    if await names.register_name(self, "bank", self.pid):     # in a process, or with a Node
        ...
    names.whereis_name("bank")                                # its pid, or None; no message
    self.call(names.name("bank"), Deposit(5))                 # whoever has the name then

Every node knows all names; they are members of a scope of process groups, so they go with their
process, and with the connection to its node. To register, a name is locked on every node, one
after the other in the order of their names, and all know of it when `register_name` returns. Nodes
that are not connected cannot be asked: when two parts of a cluster come together, a name may have a
process in each. Then one keeps it, the same one to every node, and the others give it up.
https://www.erlang.org/doc/apps/kernel/global.html
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Hashable
from typing import Any, Final

import structlog

from palaver.actors.distribution.distribution import Distribution
from palaver.actors.distribution.requests import (
    GlobalNameConflict,
    LockName,
    RegisterName,
    Resolve,
    Seen,
    UnregisterName,
)
from palaver.actors.distribution.rpc import Caller
from palaver.actors.names import Joined, Left, Scope, ScopeServer
from palaver.actors.names.watching import is_local, tell
from palaver.actors.runtime import (
    KILL,
    NOREPLY,
    Addressable,
    CallFailed,
    Down,
    From,
    NoProcess,
    Pid,
    ProcessContext,
    Ref,
    RuntimeFault,
)
from palaver.actors.runtime.process import Process

__all__ = ["GlobalName", "GlobalNames", "GlobalServer"]

log = structlog.get_logger("palaver.actors")

NAME: Final = "global"
"""The name of the server on every node, and of its scope."""

RESOLVES: Final = ("exit", "notify", "notify_all")


class GlobalName(Addressable):
    """Whoever has a global name at the time of use; OTP's `{global, Name}`.

    A destination of messages, calls and monitors. If nobody has the name, that is as if a name of
    a node were not registered.
    """

    __slots__ = ("_names", "name")

    def __init__(self, names: GlobalNames, name: Hashable) -> None:
        self._names = names
        self.name = name

    @property
    def process_(self) -> Process | None:
        """The runtime's way to the process, or to what stands for it here."""
        pid = self._names.whereis_name(self.name)
        return None if pid is None else pid.process_

    def __repr__(self) -> str:
        return f"global[{self.name!r}]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GlobalName) and (other._names, other.name) == (
            self._names,
            self.name,
        )

    def __hash__(self) -> int:
        return hash((id(self._names), self.name))


class GlobalNames:
    """The global names, as seen from one node. Reading is a look into a dict.

    While the node's `GlobalServer` does not run, nobody has a name here. Names are any hashable
    data that can cross to other nodes.
    """

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution
        self.scope = Scope(NAME, fabric=distribution.groups)

    def __repr__(self) -> str:
        return f"<global names on {self.distribution.name}, {len(self.registered_names())} names>"

    def whereis_name(self, name: Hashable) -> Pid | None:
        """The process that has a name, on whatever node; OTP's `global:whereis_name/1`."""
        members = self.scope.get_members(name)
        return _keeper(name, members) if members else None

    def registered_names(self) -> list[Any]:
        """All names; OTP's `global:registered_names/0`."""
        return self.scope.which_groups()

    def name(self, name: Hashable) -> GlobalName:
        """The address of whoever has a name."""
        return GlobalName(self, name)

    async def register_name(
        self,
        caller: Caller,
        name: Hashable,
        pid: Pid,
        *,
        resolve: Resolve = "exit",
        timeout_s: float | None = 30.0,
    ) -> bool:
        """Let a process, of whatever node, have a name; False if some process has it.

        Args:
            caller: the process that asks, or its node.
            name: the name.
            pid: who is to have it; may have others.
            resolve: what becomes of it if, when parts of the cluster come together, another keeps
                the name. ``exit``: it is killed. ``notify``: it is sent a `GlobalNameConflict`, and
                has the name no more. ``notify_all``: it is that also if it would keep the name.
            timeout_s: for asking all nodes; None: as long as it takes.

        Raises:
            CallTimeout: it took too long; whether it has the name now is not known.
            CallFailed: the node of `pid` is not connected, or has no `GlobalServer`, or is another
                incarnation of it (`NodeDown`, `NoProcess`).
            CannotCross: the name is no data.
        """
        return await self._register(caller, RegisterName(name, pid, resolve, False), timeout_s)

    async def re_register_name(
        self,
        caller: Caller,
        name: Hashable,
        pid: Pid,
        *,
        resolve: Resolve = "exit",
        timeout_s: float | None = 30.0,
    ) -> None:
        """Let a process have a name, in the place of whoever has it now."""
        await self._register(caller, RegisterName(name, pid, resolve, True), timeout_s)

    async def unregister_name(
        self, caller: Caller, name: Hashable, *, timeout_s: float | None = 30.0
    ) -> None:
        """Free a name; harmless if nobody has it. All nodes know it when this returns."""
        for pid in self.scope.get_members(name):
            there = self.distribution.at(pid.node_name, NAME)
            await caller.call(there, UnregisterName(name, pid), timeout_s=timeout_s)

    async def _register(
        self, caller: Caller, request: RegisterName, timeout_s: float | None
    ) -> bool:
        if request.resolve not in RESOLVES:
            raise ValueError(f"resolve is one of {', '.join(RESOLVES)}, not {request.resolve!r}")
        there = self.distribution.at(request.pid.node_name, NAME)
        done: bool = await caller.call(there, request, timeout_s=timeout_s)
        return done


def _keeper(name: Hashable, members: tuple[Pid, ...]) -> Pid:
    """Who of several keeps a name: the same to every node, and not always of the same node."""
    if len(members) == 1:
        return members[0]

    def order(pid: Pid) -> bytes:
        return hashlib.sha256(f"{name!r} {pid.node_name} {pid.serial}".encode()).digest()

    return min(members, key=order)


class GlobalServer(ScopeServer):
    """Keeps the names of the processes of its node, and the locks of all; named ``global``."""

    __slots__ = ("locks", "names", "resolves")

    def init(self, names: GlobalNames) -> None:  # type: ignore[override]
        """Begin to hear of all names."""
        super().init(names.scope)
        self.names = names
        # By name: the monitor of who has locked it, and who waits for that.
        self.locks: dict[Any, tuple[Ref, deque[From]]] = {}
        # What is to become of the processes of this node that have a name.
        self.resolves: dict[tuple[Any, Pid], Resolve] = {}
        names.scope.monitor_scope(self.pid)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Change a name of a process of this node; lock one; say what is known."""
        if isinstance(request, RegisterName):
            self.spawn(_register, self, request, from_)
        elif isinstance(request, UnregisterName):
            self.spawn(_unregister, self, request, from_)
        elif isinstance(request, LockName):
            self._lock(request.name, from_)
        elif isinstance(request, Seen):
            return True
        else:
            return super().handle_call(request, from_)
        return NOREPLY

    def handle_info(self, message: Any) -> None:
        """The news of the scope; the end of who has locked something."""
        if isinstance(message, Joined):
            self._resolve(message.group, message.pids)
        elif isinstance(message, Left):
            for pid in message.pids:
                self.resolves.pop((message.group, pid), None)
        elif isinstance(message, Down):
            self._unlock(message.ref)
        else:
            super().handle_info(message)

    # -- locks ---------------------------------------------------------------------------------

    def _lock(self, name: Any, from_: From) -> None:
        lock = self.locks.get(name)
        if lock is not None:
            lock[1].append(from_)
        elif from_.pid is not None:
            self.locks[name] = (self.monitor(from_.pid), deque())
            self.reply(from_, True)

    def _unlock(self, ref: Ref) -> None:
        for name, (holder, waiting) in list(self.locks.items()):
            if holder is not ref:
                continue
            del self.locks[name]
            while waiting and name not in self.locks:
                next_ = waiting.popleft()
                if next_.open:
                    self._lock(name, next_)
            if name in self.locks:
                self.locks[name][1].extend(waiting)

    # -- conflicts -----------------------------------------------------------------------------

    def _resolve(self, name: Any, joined: tuple[Pid, ...]) -> None:
        """If several have a name, see to those of this node that have to give it up.

        Who has joined may have left already, because its node was quicker to see the conflict.
        """
        scope = self.names.scope
        members = tuple(dict.fromkeys((*scope.get_members(name), *joined)))
        if len(members) < 2:
            return
        keeper = _keeper(name, members)
        for pid in scope.get_local_members(name):
            resolve = self.resolves.get((name, pid), "exit")
            if pid is keeper and resolve != "notify_all":
                continue
            other = next(each for each in members if each is not pid) if pid is keeper else keeper
            log.warning("global name conflict", name=repr(name), pid=str(pid), other=str(other))
            scope.leave(name, pid)
            self.resolves.pop((name, pid), None)
            if resolve == "exit":
                self.node.exit(pid, KILL)
            else:
                tell(pid, GlobalNameConflict(name, other))

    def format_status(self) -> str:
        """What a crash report shows."""
        return f"{self.names!r}, {len(self.locks)} locked"


async def _register(
    ctx: ProcessContext, server: GlobalServer, request: RegisterName, from_: From
) -> None:
    """The process of one registration; the locks that it takes last as long as it lives."""
    try:
        ctx.reply(from_, await _registered(ctx, server, request, from_))
    except RuntimeFault as error:  # there is no such process; the scope has ended
        ctx.reply_error(from_, error)


async def _registered(
    ctx: ProcessContext, server: GlobalServer, request: RegisterName, from_: From
) -> bool:
    names, name, pid = server.names, request.name, request.pid
    if not is_local(pid, ctx.node):
        raise NoProcess(pid)
    everywhere = await _lock_everywhere(ctx, names, name)
    members = names.scope.get_members(name)
    if members and not request.replace:
        return False
    for other in members:
        await _quietly(ctx, names, other.node_name, UnregisterName(name, other))
    if from_.open:  # else its caller has given up
        server.resolves[name, pid] = request.resolve
        names.scope.join(name, pid)
    await _seen(ctx, names, everywhere)
    return True


async def _unregister(
    ctx: ProcessContext, server: GlobalServer, request: UnregisterName, from_: From
) -> None:
    """The process of one `unregister_name`."""
    try:
        server.names.scope.leave(request.name, request.pid)
        await _seen(ctx, server.names, server.names.distribution.nodes())
        ctx.reply(from_, True)
    except RuntimeFault as error:
        ctx.reply_error(from_, error)


async def _lock_everywhere(ctx: ProcessContext, names: GlobalNames, name: Any) -> list[str]:
    """Lock a name on every node, in an order that is everybody's; which nodes there are."""
    here = names.distribution.name
    return [
        node_name
        for node_name in sorted({here, *names.distribution.nodes()})
        if await _quietly(ctx, names, node_name, LockName(name))
    ]


async def _seen(ctx: ProcessContext, names: GlobalNames, node_names: Any) -> None:
    """Wait until all these nodes know what this one has told them."""
    for node_name in node_names:
        await _quietly(ctx, names, node_name, Seen())


async def _quietly(ctx: ProcessContext, names: GlobalNames, node_name: str, request: Any) -> bool:
    """Ask the server of a node; False if there is none (any more): it has no part in this."""
    try:
        await ctx.call(names.distribution.at(node_name, NAME), request, timeout_s=None)
    except CallFailed:
        return False
    return True
