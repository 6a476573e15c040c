"""A dirty activity: every operation takes effect at once, nothing is isolated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .activity import Activity
from .commit import Commit
from .copies import SCAN_ROWS, Copy, Key, Pair, Slot
from .indexes import bounds_of, value_of
from .schema import Definition
from .table import TableState

if TYPE_CHECKING:
    from .activities import Activities


class Dirty(Activity):
    """A dirty activity: every operation takes effect at once, nothing is isolated."""

    __slots__ = ("_depth", "_look_at", "commits")

    def __init__(self, database: Activities, kind: str) -> None:
        super().__init__(database, kind)
        self._depth = 0
        self._look_at = 100
        #: of a `sync_dirty`, those that are not known to be durable
        self.commits: list[Commit] = []

    def slot(self, state: TableState, key: Key) -> Slot | None:
        """Return what is under an encoded key."""
        return state.copy.get(key)

    def scan(
        self,
        state: TableState,
        low: Key = b"",
        high: Key | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Pair]:
        """Return the slots with low <= key < high, in the order of the keys."""
        return state.copy.scan(low, high, limit=limit, reverse=reverse)

    def pairs(self, state: TableState) -> Iterator[Pair]:
        """Yield all slots of a table; those of an ordered_set in order."""
        return _in_order(state.copy) if _ordered(state.definition) else state.copy.pairs()

    def index_keys(self, state: TableState, attribute: str, value: bytes) -> list[Key]:
        """Return the keys of the slots that may hold a record with this value."""
        return state.indexes[attribute].lookup(value_of(value))

    def index_range(
        self, state: TableState, attribute: str, low: bytes, high: bytes | None
    ) -> list[Key]:
        """Return the keys of the slots that may hold a record with low <= value < high."""
        entries = state.indexes[attribute].range(*bounds_of(low, high))
        return [key for _, key in entries]

    def put(
        self,
        state: TableState,
        key: Key,
        slot: Slot | None,
        payload: bytes | None,
        operation: str,
        what: Any,
    ) -> None:
        """Write a slot, or delete it (None), at once."""
        payloads = {} if payload is None else {state: {key: payload}}
        operations = [(operation, state, key, what)] if state.watchers else []
        commit = self._database.commit(self.kind, {state: {key: slot}}, payloads, None, operations)
        if self.kind == "sync_dirty":
            self.commits.append(commit)
            if len(self.commits) >= self._look_at:
                self.commits = [one for one in self.commits if one.error or not one.answered]
                self._look_at = 2 * len(self.commits) + 100

    def write(self, record: Any, table: Any = None) -> None:
        """Write a record at once."""
        with self._step():  # a bag's slot is read and written
            super().write(record, table)

    def delete(self, table: Any, key: Any) -> None:
        """Delete all records with this key at once."""
        with self._step():
            super().delete(table, key)

    def delete_object(self, record: Any, table: Any = None) -> None:
        """Delete this record at once, if it is there just so."""
        with self._step():
            super().delete_object(record, table)

    def update_counter(self, table: Any, key: Any, increment: int) -> int:
        """Add to the counter of a key at once, in one step: see `Activity.update_counter`."""
        with self._step():
            return super().update_counter(table, key, increment)

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Let nobody else commit within the block; wait for nothing within it."""
        database = self._database
        if self._depth:
            yield
            return
        database.make_room()
        with database.mutex:
            self._depth = 1
            try:
                yield
            finally:
                self._depth = 0
        database.press_on()

    def close(self) -> None:
        """End it; every later use raises NoTransaction."""
        self._over = True


def _ordered(definition: Definition) -> bool:
    return definition.type == "ordered_set"


def _in_order(copy: Copy) -> Iterator[Pair]:
    low = b""
    while found := copy.scan(low, None, limit=SCAN_ROWS):
        yield from found
        low = found[-1][0] + b"\x00"
