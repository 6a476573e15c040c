"""Secondary indexes: from the value of an attribute to the keys of the records that have it.

An entry is the encoded value followed by the encoded key. Both are self-delimiting, so entries lie
in the order of (value, key), and all of one value lie together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, TypeAlias

from sortedcontainers import SortedList

from palaver.storage.transaction import successor

from .copies import DiscCopy, Key

Value: TypeAlias = bytes
Entry: TypeAlias = tuple[Value, Key]
Undo: TypeAlias = tuple[Callable[..., object], tuple[Any, ...]]
"""What to call, with what, to take a change back."""


LONG_VALUE_BYTES = 256
_KEPT_BYTES = 240


def value_of(encoded: bytes) -> Value:
    """Return what an index has for an encoded value: itself, or of a long one a beginning and hash.

    Entries share their rows from 480 bytes on (see `spaces`): whole long values would put all
    records of one value into one row. So a long value is found by equality exactly, and by a range
    together with what begins as the range does.
    """
    if len(encoded) <= LONG_VALUE_BYTES:
        return encoded
    return encoded[:_KEPT_BYTES] + blake2b(encoded, digest_size=16).digest()


def bounds_of(low: bytes, high: bytes | None) -> tuple[Value, Value | None]:
    """Return bounds between which an index has at least what is between these encoded values."""
    if high is not None and len(high) > _KEPT_BYTES:
        high = successor(high[:_KEPT_BYTES])
    return low[:_KEPT_BYTES], high


class MemoryIndex:
    """An index in memory, of a table in memory: built when the table is loaded."""

    __slots__ = ("_mutex", "_order", "_values")

    on_disc = False

    def __init__(self, mutex: Any) -> None:
        self._mutex = mutex
        self._values: dict[Value, dict[Key, None]] = {}
        self._order: SortedList[Value] | None = None

    def change(self, value: Value, key: Key, present: bool, commit: int) -> Undo:
        """Add an entry that is not there, or take one out; return how to undo it."""
        self._set(value, key, present)
        return self._set, (value, key, not present)

    def _set(self, value: Value, key: Key, present: bool) -> None:
        keys = self._values.get(value)
        if present:
            if keys is None:
                self._values[value] = {key: None}
                if self._order is not None:
                    self._order.add(value)
            else:
                keys[key] = None
        elif keys is not None and key in keys:
            del keys[key]
            if not keys:
                del self._values[value]
                if self._order is not None:
                    self._order.discard(value)

    def lookup(self, value: Value) -> list[Key]:
        """Return the keys of the records with this value."""
        with self._mutex:
            return list(self._values.get(value, ()))

    def range(self, low: Value, high: Value | None, *, reverse: bool = False) -> list[Entry]:
        """Return the entries with low <= value < high, in order."""
        found: list[Entry] = []
        with self._mutex:
            if self._order is None:
                self._order = SortedList(self._values)
            for value in self._order.irange(low, high, (True, False), reverse):
                found.extend((value, key) for key in sorted(self._values[value], reverse=reverse))
        return found

    def settle(self, entries: Iterable[Entry], commit: int) -> None:
        """Nothing to do: it is in memory."""


class DiscIndex:
    """An index on the disk, of a table on the disk only."""

    __slots__ = ("copy", "space")

    on_disc = True

    def __init__(self, copy: DiscCopy, space: int) -> None:
        self.copy = copy
        self.space = space

    def change(self, value: Value, key: Key, present: bool, commit: int) -> Undo:
        """Add an entry, or take it out; return how to undo it."""
        entry, payload = self.row(value, key, present)
        return self.copy.restore, (entry, self.copy.swap(entry, payload, commit))

    def row(self, value: Value, key: Key, present: bool) -> tuple[bytes, bytes | None]:
        """Return the row of an entry; see `index_row`."""
        return index_row(value, key, present)

    def lookup(self, value: Value) -> list[Key]:
        """Return the keys of the records with this value."""
        skip = len(value)
        return [entry[skip:] for entry, _ in self.copy.scan(value, successor(value))]

    def range(self, low: Value, high: Value | None, *, reverse: bool = False) -> list[Entry]:
        """Return the entries with low <= value < high, in order."""
        return [
            (entry[: (size := int.from_bytes(payload, "big"))], entry[size:])
            for entry, payload in self.copy.scan(low, high, reverse=reverse)
        ]

    def settle(self, entries: Iterable[Entry], commit: int) -> None:
        """Hear that a commit's changes of these entries are durable."""
        self.copy.settle((value + key for value, key in entries), commit)


def index_row(value: Value, key: Key, present: bool) -> tuple[bytes, bytes | None]:
    """Return the row of an entry: its key, and the length of its value as its payload."""
    return value + key, len(value).to_bytes(4, "big") if present else None


Index: TypeAlias = MemoryIndex | DiscIndex
