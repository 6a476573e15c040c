"""Committing: from an activity's writes to a commit that is made in memory and on its way.

Everything happens under the database's mutex, so commits have one order; what it costs is
proportional to what is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .commit import Changes, Commit, part_of, write_row
from .copies import Key, Slot
from .errors import RecordDamaged
from .indexes import DiscIndex, Value
from .isolation import Place, Reads, Restart, Running, doom
from .spaces import LONG_KEY_BYTES, prefix_of
from .table import TableState

Payloads = dict[TableState, dict[Key, bytes]]
"""Records that were encoded when they were written."""

IndexChange = tuple[TableState, str, Value, Key, bool]


class Line(Protocol):
    """Where commits queue for the disk; see `pipeline`."""

    def submit(self, commit: Commit, reads: Reads | None) -> None:
        """Take a commit that is made in memory."""

    def admit(self) -> None:
        """Raise when nothing can be committed."""


class Committer:
    """Makes commits, one at a time.

    Args:
        mutex: held while the memory changes.
        running: the transactions that run.
        partitions: how many there are.
        partition_of: which one a key belongs to.
        line: where commits go.
    """

    def __init__(
        self,
        mutex: Any,
        running: Running,
        partitions: int,
        partition_of: Callable[[Key], int],
        line: Line,
    ) -> None:
        self._mutex = mutex
        self._running = running
        self._partition_of = partition_of if partitions > 1 else None
        self._line = line
        self._numbers = 0

    def next_number(self) -> int:
        """Return the number of the next commit; under the mutex."""
        self._numbers += 1
        return self._numbers

    def commit(
        self,
        kind: str,
        changes: Changes,
        payloads: Payloads,
        reads: Reads | None,
        tell: Callable[[Commit], None] | None = None,
    ) -> Commit:
        """Make the changes in memory and send them on.

        Args:
            kind: the kind of activity.
            changes: what to write.
            payloads: encoded records of `changes`, where there are any yet.
            reads: what was read, for a transaction.
            tell: adds the events, where somebody listens; called before the memory changes.

        Raises:
            Restart: somebody else has written what was read, or changed a table.
        """
        with self._mutex:
            self._line.admit()
            if reads is not None and reads.doomed:
                raise Restart
            if not all(state.alive for state in changes):
                raise Restart
            commit = Commit(self.next_number(), kind)
            moves = self._index_changes(changes)
            if tell is not None:
                tell(commit)
            running = self._running
            running.changing += 1
            try:
                self._change(commit, changes, payloads, moves, reads)
                # Whoever has seen it must be able to wait for it: so it is on its way before the
                # change is over.
                self._line.submit(commit, reads)
            finally:
                running.changing -= 1
        return commit

    def _change(
        self,
        commit: Commit,
        changes: Changes,
        payloads: Payloads,
        moves: list[IndexChange],
        reads: Reads | None,
    ) -> None:
        """Change the memory, and mark those whom it disturbs."""
        try:
            for state, writes in changes.items():
                self._write(commit, state, writes, payloads.get(state, {}))
            for move in moves:
                self._move(commit, *move)
        except BaseException:  # a disk that cannot be read; what was changed so far goes back
            commit.take_back()
            raise
        finally:
            others = self._running.others(reads)
            if others or self._partition_of:
                commit.places = _places(changes, moves)
                doom(others, commit.places)

    def _write(
        self,
        commit: Commit,
        state: TableState,
        writes: dict[Key, Slot | None],
        payloads: dict[Key, bytes],
    ) -> None:
        """Change one table's records in memory, and note it for the disk."""
        copy = state.copy
        number = commit.number
        swaps = commit.swaps
        retainers = state.retainers
        grown: dict[Key, int] = {}
        idle: set[Key] = set()
        for key, slot in writes.items():
            before = copy.peek(key)
            if slot is None and before is None:
                idle.add(key)
                continue
            if state.is_bag:
                change = state.count_of(slot) - state.count_of(before)
            else:
                change = (slot is not None) - (before is not None)
            if change:
                grown[key] = change
            for retainer in retainers:
                retainer.keep(key, before)
            swaps.append((copy, key, copy.swap(key, slot, number)))
        if idle:  # what was deleted, and was not there
            writes = {key: slot for key, slot in writes.items() if key not in idle}
        if state.damaged:
            for key in writes:
                text = state.damaged.pop(key, None)
                if text is not None:
                    commit.undo.append((state.damaged.__setitem__, (key, text)))
        if grown:
            change = sum(grown.values())
            state.size += change
            commit.sizes.append((state, change))
        if state.on_disc and writes:
            self._note(commit, state, writes, payloads)
            self._count(commit, state, grown)
            if copy.layered:
                commit.settles.append((copy, writes))

    def _note(
        self,
        commit: Commit,
        state: TableState,
        writes: dict[Key, Slot | None],
        payloads: dict[Key, bytes],
    ) -> None:
        """Add the rows to what the commit changes on the disk."""
        partition_of = self._partition_of
        prefix = state.prefix
        ops = part_of(commit, 0) if partition_of is None else None
        for key, slot in writes.items():
            payload = None
            if slot is not None:
                payload = payloads.get(key)
                if payload is None:
                    payload = state.encode(slot)
            if partition_of is not None:
                ops = part_of(commit, partition_of(key))
            assert ops is not None
            if payload is not None and len(key) < LONG_KEY_BYTES:  # nearly always
                ops.puts.append((prefix + key, payload))
            else:
                write_row(ops, state.space, prefix, key, payload)

    def _count(self, commit: Commit, state: TableState, grown: dict[Key, int]) -> None:
        """Add how the number of records changes in each partition."""
        if self._partition_of is None:
            change = sum(grown.values())
            if change:
                part_of(commit, 0).sizes[state.space] = change
            return
        for key, change in grown.items():
            sizes = part_of(commit, self._partition_of(key)).sizes
            sizes[state.space] = sizes.get(state.space, 0) + change

    def _index_changes(self, changes: Changes) -> list[IndexChange]:
        """Return what changes in the indexes of these tables, before anything is written."""
        found: list[IndexChange] = []
        for state, writes in changes.items():
            for attribute in state.indexes:
                for key, slot in writes.items():
                    old = _indexed(state, attribute, key)
                    new = state.values_of(attribute, slot)
                    found.extend((state, attribute, value, key, False) for value in old - new)
                    found.extend((state, attribute, value, key, True) for value in new - old)
        return found

    def _move(
        self,
        commit: Commit,
        state: TableState,
        attribute: str,
        value: Value,
        key: Key,
        present: bool,
    ) -> None:
        index = state.indexes[attribute]
        commit.undo.append(index.change(value, key, present, commit.number))
        if isinstance(index, DiscIndex):
            entry, payload = index.row(value, key, present)
            partition = 0 if self._partition_of is None else self._partition_of(key)
            ops = part_of(commit, partition)
            write_row(ops, index.space, prefix_of(index.space), entry, payload)
            commit.settles.append((index, ((value, key),)))


def _indexed(state: TableState, attribute: str, key: Key) -> set[Value]:
    """Return the values under which an index has a key."""
    try:
        return state.values_of(attribute, state.awake(state.copy.peek(key)))
    except RecordDamaged:  # it is about to be mended: what the index knows of it goes
        entries = state.indexes[attribute].range(b"", None)
        return {value for value, its_key in entries if its_key == key}


def _places(changes: Changes, moves: list[IndexChange]) -> list[Place]:
    places = [(state.space, key) for state, writes in changes.items() for key in writes]
    for state, attribute, value, _, _ in moves:
        places.append((state.definition.index[attribute], value))
    return places
