"""`Registry`: processes found by keys of any kind, with a value each; after Elixir's `Registry`.

    rooms: Registry[str, int] = Registry("rooms")            # one process per key

    class Tree(Supervisor):
        def specification(self):
            return SupervisorFlags("rest_for_one"), [
                ChildSpec("rooms", RegistryServer, (rooms,)),  # first: the others stand on it
                ChildSpec("lobby", Room, (rooms, "lobby")),
            ]

    class Room(GenServer):
        def init(self, rooms, key):
            rooms.register(self.pid, key, 0)

    rooms.whereis("lobby")                                   # its pid, or None

The object is what everybody holds; the process, a `RegistryServer` under a supervisor, is its life.
Reading is a look into a dict, without a message, as reading from ETS is; and since a node runs in
one thread, so is writing: there is nothing to partition. While the process does not run, nobody is
registered, and registering raises `NotRunning`.

As in Elixir, who registers is bound to the registry as by a link: when the registry's process
exits, the registered ones get its exit signal, because nobody could find them any more. (There,
the link is a real one. Here it works in that direction only, for the other one is not needed: the
table hears of the end of a process before anybody else does.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, overload

import structlog

from palaver.actors.names.errors import (
    AlreadyRegistered,
    AlreadyRunning,
    NotRegistered,
    NotRunning,
)
from palaver.actors.names.tables import DuplicateTable, Entry, Registration, Table, UniqueTable
from palaver.actors.names.watching import Watch, exit_signal, local_process, tell
from palaver.actors.runtime import NOREPLY, From, GenServer, Node, Pid, ProcessContext

__all__ = ["Registered", "Registry", "RegistryServer", "Unregistered"]

log = structlog.get_logger("palaver.actors")

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registered:
    """To a listener: `pid` was registered in the registry of this name."""

    registry: str
    key: Any
    pid: Pid
    value: Any


@dataclass(frozen=True, slots=True)
class Unregistered:
    """To a listener: a registration of `pid` has ended, by `unregister` or with the process."""

    registry: str
    key: Any
    pid: Pid


class Registry(Generic[K, V]):
    """Processes by key; `K` is the type of the keys, `V` that of the values.

    A registry is of the node on which its `RegistryServer` runs: only processes of that node can be
    registered. Every method is for the thread of the node.

    Args:
        name: What it is called: in messages to listeners, and as the name of its process.
        keys: ``unique``: one process per key. ``duplicate``: any number, each any number of times.
        listeners: Pids or names of processes that are sent `Registered` and `Unregistered`. These
            are signals: a full mailbox does not refuse them. They are not sent for what vanishes
            with the registry's own process: monitor that.
        meta: What `meta` returns, from each start of the process on.
    """

    __slots__ = (
        "_initial_meta",
        "_life",
        "_listeners",
        "_members",
        "_meta",
        "_node",
        "_pid",
        "_table",
        "name",
        "unique",
    )

    def __init__(
        self,
        name: str,
        *,
        keys: Literal["unique", "duplicate"] = "unique",
        listeners: Sequence[Pid | str] = (),
        meta: Mapping[Hashable, object] | None = None,
    ) -> None:
        if keys not in ("unique", "duplicate"):
            raise ValueError(f"keys are unique or duplicate, not {keys!r}")
        self.name = name
        self.unique = keys == "unique"
        self._listeners = tuple(listeners)
        self._initial_meta = dict(meta or {})
        self._members = Watch(self._member_gone)
        self._life = Watch(self._ended)
        self._reset()

    def __repr__(self) -> str:
        kind = "unique" if self.unique else "duplicate"
        return f"<registry {self.name}, {kind}, {len(self._table)} registrations>"

    @property
    def title(self) -> str:
        """What errors call it."""
        return f"registry {self.name}"

    def _reset(self) -> None:
        self._table: Table[K, V] = UniqueTable() if self.unique else DuplicateTable()
        self._meta = dict(self._initial_meta)
        self._node: Node | None = None
        self._pid: Pid | None = None

    # -- registering --------------------------------------------------------------------------

    @overload
    def register(self: Registry[K, None], pid: Pid, key: K) -> None: ...

    @overload
    def register(self, pid: Pid, key: K, value: V) -> None: ...

    def register(self, pid: Pid, key: K, value: Any = None) -> None:
        """Register a process under a key, with a value, until it exits or is unregistered.

        Elixir registers only the calling process; here it may be any of the same node.

        Raises `AlreadyRegistered` (a `NameTaken`) if a unique key belongs to a process, be it the
        same; `NotRunning`, `NotLocal`, or `NoProcess` if the process has exited.
        """
        local_process(pid, self._running())
        table = self._table
        holder = table.holder(key)
        if holder is not None:
            raise AlreadyRegistered(self.name, key, holder)
        if not table.has(pid):
            self._members.add(pid)
        table.add(pid, key, value)
        if self._listeners:
            self._tell(Registered(self.name, key, pid, value))

    def unregister(self, pid: Pid, key: K) -> None:
        """Remove every registration of a process under a key; harmless if there is none."""
        self._remove(pid, key, None)

    def unregister_match(self, pid: Pid, key: K, where: Callable[[V], bool]) -> int:
        """Remove those registrations of a process under a key whose value `where` accepts.

        Returns how many there were.
        """
        return self._remove(pid, key, where)

    def update_value(self, pid: Pid, key: K, update: Callable[[V], V]) -> tuple[V, V]:
        """Replace the value of a unique registration; returns the new one and the old one.

        Raises `NotRegistered`, `NotRunning`, and TypeError if the keys are not unique.
        """
        table = self._table
        if not isinstance(table, UniqueTable):
            raise TypeError(f"{self.name} has duplicate keys: it cannot tell which value is meant")
        self._running()
        entry = table.entries.get(key)
        if entry is None or entry.pid is not pid:
            raise NotRegistered(self.name, key, pid)
        value = update(entry.value)
        if table.entries.get(key) is not entry:  # the function itself has unregistered it
            raise NotRegistered(self.name, key, pid)
        table.replace(pid, key, value)
        return value, entry.value

    # -- finding ------------------------------------------------------------------------------

    def whereis(self, key: K) -> Pid | None:
        """The process with this key; None if there is none. TypeError if keys are not unique."""
        table = self._table
        if not isinstance(table, UniqueTable):
            raise TypeError(f"{self.name} has duplicate keys: use lookup")
        entry = table.entries.get(key)
        return None if entry is None else entry.pid

    def lookup(self, key: K) -> list[Entry[V]]:
        """The `(pid, value)` of each registration under a key."""
        return self._table.lookup(key)

    def match(self, key: K, where: Callable[[V], bool]) -> list[Entry[V]]:
        """`lookup`, but only those whose value `where` accepts."""
        return [entry for entry in self._table.lookup(key) if where(entry.value)]

    def count_match(self, key: K, where: Callable[[V], bool]) -> int:
        """How many `match` would find."""
        return sum(1 for entry in self._table.lookup(key) if where(entry.value))

    def select(
        self, where: Callable[[Registration[K, V]], bool] | None = None
    ) -> list[Registration[K, V]]:
        """The `(key, pid, value)` of all registrations that `where` accepts; looks at every one."""
        everything = list(self._table.registrations())
        return everything if where is None else [each for each in everything if where(each)]

    def count_select(self, where: Callable[[Registration[K, V]], bool]) -> int:
        """How many `select` would find."""
        return len(self.select(where))

    def keys(self, pid: Pid) -> list[K]:
        """The keys of a process; with duplicate keys, one for each registration."""
        return self._table.keys(pid)

    def values(self, pid: Pid, key: K) -> list[V]:
        """The values that a process has under a key, the oldest first."""
        return self._table.values(pid, key)

    def count(self) -> int:
        """How many registrations there are."""
        return len(self._table)

    def dispatch(self, key: K, callback: Callable[[Pid, V], object]) -> int:
        """Call `callback(pid, value)` for each registration under a key, as they are now.

        A callback that raises an `Exception` is logged and does not keep the others from their
        turn. Returns for how many it did not raise.
        """
        served = 0
        for pid, value in self._table.lookup(key):
            try:
                callback(pid, value)
                served += 1
            except Exception:
                log.exception("dispatch failed", registry=self.name, key=repr(key), pid=str(pid))
        return served

    # -- metadata -----------------------------------------------------------------------------

    def meta(self, key: Hashable, default: T | None = None) -> Any | T | None:
        """What was put under this key, or `default`."""
        return self._meta.get(key, default)

    def put_meta(self, key: Hashable, value: object) -> None:
        """Keep something beside the registrations, as long as the process runs."""
        self._running()
        self._meta[key] = value

    def delete_meta(self, key: Hashable) -> None:
        """Forget what was put under this key; harmless if nothing was."""
        self._meta.pop(key, None)

    # -- its process --------------------------------------------------------------------------

    @property
    def pid(self) -> Pid | None:
        """The registry's process; None while it does not run."""
        return self._pid

    def attach_(self, owner: ProcessContext) -> None:
        """Begin to live with a process; for `RegistryServer`. Raises `AlreadyRunning`."""
        if self._pid is not None:
            raise AlreadyRunning(self.title, self._pid)
        self._life.add(owner.pid)
        self._pid = owner.pid
        self._node = owner.node

    def _running(self) -> Node:
        if self._node is None:
            raise NotRunning(self.title)
        return self._node

    def _remove(self, pid: Pid, key: K, where: Callable[[V], bool] | None) -> int:
        removed = self._table.remove(pid, key, where)
        if removed and not self._table.has(pid):
            self._members.remove(pid)
        if self._listeners:
            for _ in range(removed):
                self._tell(Unregistered(self.name, key, pid))
        return removed

    def _member_gone(self, pid: Pid, reason: object) -> None:
        keys = self._table.drop(pid)
        if self._listeners:
            for key in keys:
                self._tell(Unregistered(self.name, key, pid))

    def _ended(self, pid: Pid, reason: object) -> None:
        registered = list(self._table.pids())
        self._reset()
        for member in registered:
            self._members.remove(member)
            exit_signal(member, pid, reason)

    def _tell(self, message: Registered | Unregistered) -> None:
        node = self._node
        for listener in self._listeners:
            if isinstance(listener, Pid):
                tell(listener, message)
            elif node is not None:
                tell(node.whereis(listener), message)


class RegistryServer(GenServer):
    """The process of a registry: while it runs, processes can be registered.

    Start it with the `Registry` as its argument, before whatever uses that. It takes the registry's
    name, and does nothing else: all work is done by who asks.
    """

    __slots__ = ("registry",)

    def init(self, registry: Registry[Any, Any]) -> None:
        """Begin; raises `AlreadyRunning`, or `NameTaken` if another process has the name."""
        self.registry = registry
        if self.whereis(registry.name) is not self.pid:
            self.register(registry.name)
        registry.attach_(self)

    def handle_call(self, request: object, from_: From) -> Any:
        """Refuse: a registry is asked through its object."""
        self.reply_error(from_, TypeError(f"a registry does not understand {request!r}"))
        return NOREPLY

    def handle_cast(self, message: object) -> None:
        """Drop it, as any message that is not expected."""
        self.handle_info(message)

    def format_status(self) -> str:
        """What a crash report shows."""
        return repr(self.registry)
