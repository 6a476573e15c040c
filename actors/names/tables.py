"""The tables of a registry: plain data, no runtime.

Both kinds hold what is registered by key, and the keys of each process, so that looking up,
registering, unregistering and the end of a process cost what they concern, never a search.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from palaver.actors.runtime import Pid

__all__ = ["DuplicateTable", "Entry", "Registration", "Table", "UniqueTable"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Entry(NamedTuple, Generic[V]):
    """What is registered under a key: a process and its value."""

    pid: Pid
    value: V


class Registration(NamedTuple, Generic[K, V]):
    """One registration, with its key."""

    key: K
    pid: Pid
    value: V


class Table(ABC, Generic[K, V]):
    """Who is registered under what."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[Pid, dict[K, None]] = {}

    def pids(self) -> Iterable[Pid]:
        """Every process that is registered."""
        return self._keys

    def has(self, pid: Pid) -> bool:
        """Whether the process is registered under any key."""
        return pid in self._keys

    @abstractmethod
    def __len__(self) -> int:
        """How many registrations there are."""

    @abstractmethod
    def holder(self, key: K) -> Pid | None:
        """The process that has this key for itself."""

    @abstractmethod
    def add(self, pid: Pid, key: K, value: V) -> None:
        """Register; the key is free."""

    @abstractmethod
    def remove(self, pid: Pid, key: K, where: Callable[[V], bool] | None = None) -> int:
        """Remove the registrations of a process under a key; how many there were."""

    @abstractmethod
    def drop(self, pid: Pid) -> list[K]:
        """Remove a process; the key of each registration it had."""

    @abstractmethod
    def lookup(self, key: K) -> list[Entry[V]]:
        """What is registered under a key, the oldest process first."""

    @abstractmethod
    def values(self, pid: Pid, key: K) -> list[V]:
        """The values of a process under a key."""

    @abstractmethod
    def keys(self, pid: Pid) -> list[K]:
        """The key of each registration of a process."""

    @abstractmethod
    def registrations(self) -> Iterator[Registration[K, V]]:
        """Everything there is; the table must not change meanwhile."""

    def _note(self, pid: Pid, key: K) -> None:
        keys = self._keys.get(pid)
        if keys is None:
            self._keys[pid] = {key: None}
        else:
            keys[key] = None

    def _forget(self, pid: Pid, key: K) -> None:
        keys = self._keys[pid]
        del keys[key]
        if not keys:
            del self._keys[pid]


class UniqueTable(Table[K, V]):
    """One process per key."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[K, Entry[V]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def holder(self, key: K) -> Pid | None:
        """The process that has this key for itself."""
        entry = self.entries.get(key)
        return None if entry is None else entry.pid

    def add(self, pid: Pid, key: K, value: V) -> None:
        """Register; the key is free."""
        self.entries[key] = Entry(pid, value)
        self._note(pid, key)

    def replace(self, pid: Pid, key: K, value: V) -> None:
        """Give an existing registration another value."""
        self.entries[key] = Entry(pid, value)

    def remove(self, pid: Pid, key: K, where: Callable[[V], bool] | None = None) -> int:
        """Remove the registration of a process under a key; 1 if there was one."""
        entry = self.entries.get(key)
        if entry is None or entry.pid is not pid or not (where is None or where(entry.value)):
            return 0
        del self.entries[key]
        self._forget(pid, key)
        return 1

    def drop(self, pid: Pid) -> list[K]:
        """Remove a process; the keys it had."""
        keys = list(self._keys.pop(pid, ()))
        for key in keys:
            del self.entries[key]
        return keys

    def lookup(self, key: K) -> list[Entry[V]]:
        """What is registered under a key: nothing, or one entry."""
        entry = self.entries.get(key)
        return [] if entry is None else [entry]

    def values(self, pid: Pid, key: K) -> list[V]:
        """The value of a process under a key, if it has it."""
        entry = self.entries.get(key)
        return [entry.value] if entry is not None and entry.pid is pid else []

    def keys(self, pid: Pid) -> list[K]:
        """The keys of a process."""
        return list(self._keys.get(pid, ()))

    def registrations(self) -> Iterator[Registration[K, V]]:
        """Everything there is; the table must not change meanwhile."""
        return (Registration(key, pid, value) for key, (pid, value) in self.entries.items())


class DuplicateTable(Table[K, V]):
    """Any number of processes per key, each any number of times."""

    __slots__ = ("_count", "entries")

    def __init__(self) -> None:
        super().__init__()
        # By process within the key, so that the end of one does not search among the others.
        self.entries: dict[K, dict[Pid, list[V]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def holder(self, key: K) -> Pid | None:
        """Nobody has a key for itself here."""
        return None

    def add(self, pid: Pid, key: K, value: V) -> None:
        """Register, once more if need be."""
        by_pid = self.entries.setdefault(key, {})
        values = by_pid.get(pid)
        if values is None:
            by_pid[pid] = [value]
            self._note(pid, key)
        else:
            values.append(value)
        self._count += 1

    def remove(self, pid: Pid, key: K, where: Callable[[V], bool] | None = None) -> int:
        """Remove the registrations of a process under a key; how many there were."""
        values = self.entries.get(key, {}).get(pid)
        if values is None:
            return 0
        kept = [] if where is None else [value for value in values if not where(value)]
        removed = len(values) - len(kept)
        self._count -= removed
        if kept:
            self.entries[key][pid] = kept
        else:
            self._forget(pid, key)
            self._discard(pid, key)
        return removed

    def drop(self, pid: Pid) -> list[K]:
        """Remove a process; the key of each registration it had."""
        keys: list[K] = []
        for key in self._keys.pop(pid, ()):
            keys += [key] * len(self.entries[key][pid])
            self._discard(pid, key)
        self._count -= len(keys)
        return keys

    def lookup(self, key: K) -> list[Entry[V]]:
        """What is registered under a key, the oldest process first."""
        by_pid = self.entries.get(key)
        if by_pid is None:
            return []
        return [Entry(pid, value) for pid, values in by_pid.items() for value in values]

    def values(self, pid: Pid, key: K) -> list[V]:
        """The values of a process under a key, the oldest first."""
        return list(self.entries.get(key, {}).get(pid, ()))

    def keys(self, pid: Pid) -> list[K]:
        """The key of each registration of a process."""
        return [key for key in self._keys.get(pid, ()) for _ in self.entries[key][pid]]

    def registrations(self) -> Iterator[Registration[K, V]]:
        """Everything there is; the table must not change meanwhile."""
        return (
            Registration(key, pid, value)
            for key, by_pid in self.entries.items()
            for pid, values in by_pid.items()
            for value in values
        )

    def _discard(self, pid: Pid, key: K) -> None:
        by_pid = self.entries[key]
        del by_pid[pid]
        if not by_pid:
            del self.entries[key]
