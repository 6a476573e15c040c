"""The dirty operations, one by one, without an activity around them: mnesia's `dirty_*`."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from . import terms
from .core import Core
from .table import Table

R = TypeVar("R")


class DirtyOperations(Core):
    """Operations that take effect at once, isolated from nothing.

    Each is the operation of the same name of an activity (see `Activity`), as one of `async_dirty`.
    """

    @overload
    def dirty_read(self, table: type[R] | Table[R], key: Any) -> list[R]: ...
    @overload
    def dirty_read(self, table: str, key: Any) -> list[Any]: ...
    def dirty_read(self, table: Any, key: Any) -> list[Any]:
        """Return the records with this key."""
        state = self.state(table)
        slot = state.copy.get(terms.encode(key))
        if slot is None:
            state.missing()
            return []
        return list(slot) if state.is_bag else [slot]

    @overload
    def dirty_get(self, table: type[R] | Table[R], key: Any) -> R | None: ...
    @overload
    def dirty_get(self, table: str, key: Any) -> Any: ...
    def dirty_get(self, table: Any, key: Any) -> Any:
        """Return the record with this key (in a bag the first), None when there is none."""
        state = self.state(table)
        slot = state.copy.get(terms.encode(key))
        if slot is None:
            state.missing()
            return None
        return slot[0] if state.is_bag else slot

    def dirty_write(self, record: Any, table: Any = None) -> None:
        """Write a record."""
        with self.dirty_activity("async_dirty") as activity:
            activity.write(record, table)

    def dirty_delete(self, table: Any, key: Any) -> None:
        """Delete all records with this key."""
        with self.dirty_activity("async_dirty") as activity:
            activity.delete(table, key)

    def dirty_delete_object(self, record: Any, table: Any = None) -> None:
        """Delete this record, if it is there just so."""
        with self.dirty_activity("async_dirty") as activity:
            activity.delete_object(record, table)

    def dirty_update_counter(self, table: Any, key: Any, increment: int) -> int:
        """Add to the counter of a key, in one step; return it."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.update_counter(table, key, increment)

    def dirty_match_object(self, pattern: Any, table: Any = None) -> list[Any]:
        """Return the records that match."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.match_object(pattern, table)

    def dirty_index_match_object(
        self, pattern: Any, attribute: str, table: Any = None
    ) -> list[Any]:
        """Return the records that match, by an index."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.index_match_object(pattern, attribute, table)

    def dirty_select(self, table: Any, match_spec: Any) -> list[Any]:
        """Return what a match specification makes of the records that match."""
        with self.dirty_activity("async_dirty") as activity:
            found: list[Any] = activity.select(table, match_spec)
            return found

    def dirty_index_read(self, table: Any, value: Any, attribute: str) -> list[Any]:
        """Return the records whose `attribute` has this value, by the index of it."""
        with self.dirty_activity("async_dirty") as activity:
            found: list[Any] = activity.index_read(table, value, attribute)
            return found

    def dirty_all_keys(self, table: Any) -> list[Any]:
        """Return the keys of a table."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.all_keys(table)

    def dirty_first(self, table: Any) -> Any:
        """Return the first key, END in an empty table."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.first(table)

    def dirty_last(self, table: Any) -> Any:
        """Return the last key, END in an empty table."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.last(table)

    def dirty_next(self, table: Any, key: Any) -> Any:
        """Return the key after `key`, END after the last."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.next(table, key)

    def dirty_prev(self, table: Any, key: Any) -> Any:
        """Return the key before `key`, END before the first."""
        with self.dirty_activity("async_dirty") as activity:
            return activity.prev(table, key)
