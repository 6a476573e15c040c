"""How a change of the schema is made: one commit that puts a table in the place of another.

The new table has spaces of its own, so old and new rows never meet; those of the old one are
emptied in the same commit. Undoing it brings the old table back as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .commit import Commit, part_of, write_row
from .copies import Key, Slot
from .core import Core
from .events import SchemaChanged
from .indexes import DiscIndex, Index
from .isolation import doom_all
from .loading import new_copy, new_index, state_of
from .schema import VERSION_ROW, Definition, next_space_row, table_key
from .spaces import SCHEMA_SPACE, prefix_of
from .table import TableState
from .within import refuse_within


class SchemaChanges(Core):
    """The part of the database that exchanges tables."""

    def fresh_definition(self, definition: Definition, **changes: Any) -> Definition:
        """Give a definition spaces of its own, so that old and new rows never meet."""
        space = self.next_space
        index = {name: space + 1 + at for at, name in enumerate(definition.index)}
        self.next_space = space + 1 + len(index)
        return replace(definition, space=space, index=index, **changes)

    def begin_change(self) -> Commit:
        """Return a commit that is to change the schema; under the mutex.

        Raises:
            NestedTransaction: in the middle of a transaction.
        """
        refuse_within(self)
        self.pipeline.admit()
        return Commit(self.committer.next_number(), "schema")

    def _install(
        self,
        operation: str,
        definition: Definition | None,
        old: TableState | None,
        slots: dict[Key, Slot],
        new: TableState | None = None,
    ) -> Commit:
        """Put a new table (or none) in the place of an old one (or none), as one commit."""
        commit = self.begin_change()
        # What has been seen can be waited for: so it is on its way before the change is over.
        with self.running.change():
            name = self.exchange(commit, definition, old, slots, new)
            self.submit_change(commit, operation, [name])
        return commit

    def exchange(
        self,
        commit: Commit,
        definition: Definition | None,
        old: TableState | None,
        slots: dict[Key, Slot],
        new: TableState | None = None,
    ) -> str:
        """Put a new table (or none) in the place of an old one (or none); return its name.

        For the package's own use, under the mutex.
        """
        name = definition.name if definition is not None else old.name if old else ""
        if definition is not None:
            if new is None:
                new = state_of(self, definition)
            else:
                new.copy = new_copy(self, new)
                for attribute, space in definition.index.items():
                    new.indexes[attribute] = new_index(self, new, space)
            if old is not None:
                new.watchers = old.watchers
            self._fill(commit, new, slots)
        if old is not None:
            for retainer in old.retainers:
                retainer.freeze()
            old.alive = False
            if old.on_disc:
                for partition in range(self._partitions()):
                    clears = part_of(commit, partition).clears
                    clears.extend((old.space, *old.definition.index.values()))
        self._schema_row(commit, name, definition)
        doom_all(self.running)
        self._reinstate(name, new)
        commit.undo.append((self._bring_back, (name, old)))
        return name

    def _reinstate(self, name: str, state: TableState | None) -> None:
        if state is None:
            self.states.pop(name, None)
        else:
            self.states[name] = state
        self.forget_handles()

    def _bring_back(self, name: str, old: TableState | None) -> None:
        """Undo an `_install`."""
        now = self.states.get(name)
        if now is not None:
            now.alive = False
        if old is not None:
            old.alive = True
        doom_all(self.running)
        self._reinstate(name, old)

    def _fill(self, commit: Commit, state: TableState, slots: dict[Key, Slot]) -> None:
        """Write all records of a new table, in memory and for the disk."""
        copy = state.copy
        for key, slot in slots.items():
            copy.swap(key, slot, commit.number)
            count = state.count_of(slot)
            state.size += count
            if state.on_disc:
                ops = part_of(commit, self._partition(key))
                write_row(ops, state.space, state.prefix, key, state.encode(slot))
                ops.sizes[state.space] = ops.sizes.get(state.space, 0) + count
            for attribute, index in state.indexes.items():
                for value in state.values_of(attribute, slot):
                    self._enter(commit, index, value, key)
        if copy.layered:
            commit.settles.append((copy, slots))

    def _enter(self, commit: Commit, index: Index, value: bytes, key: Key) -> None:
        index.change(value, key, True, commit.number)
        if isinstance(index, DiscIndex):
            entry, payload = index.row(value, key, True)
            ops = part_of(commit, self._partition(key))
            write_row(ops, index.space, prefix_of(index.space), entry, payload)
            commit.settles.append((index, ((value, key),)))

    def _schema_row(self, commit: Commit, name: str, definition: Definition | None) -> None:
        prefix = prefix_of(SCHEMA_SPACE)
        for partition in range(self._partitions()):
            ops = part_of(commit, partition)
            if definition is None:
                ops.deletes.append(prefix + table_key(name))
            else:
                ops.puts.append((prefix + table_key(name), definition.dump()))
            for key, payload in (VERSION_ROW, next_space_row(self.next_space)):
                ops.puts.append((prefix + key, payload))

    def submit_change(self, commit: Commit, operation: str, names: Iterable[str]) -> None:
        """Send a change of the schema on its way; under the mutex."""
        for name in names:
            commit.events.extend(self.subscriptions.schema(SchemaChanged(name, operation)))
        self.pipeline.submit(commit, None)

    def _finish(self, commit: Commit) -> None:
        self.press_on()
        if threading.get_ident() not in self.waits_elsewhere:
            self.wait(commit)

    def _partitions(self) -> int:
        return 0 if self.store is None else self.store.partitions

    def _partition(self, key: Key) -> int:
        assert self.store is not None
        return self.store.partition_of(key)
