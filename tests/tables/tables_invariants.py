"""What holds in every database whenever nothing is under way: memory, indexes and disk agree."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

from palaver.storage.tables import Database, spaces
from palaver.storage.tables.copies import DiscCopy, MemoryCopy
from palaver.storage.tables.errors import CommitFailed
from palaver.storage.tables.identity import same_term
from palaver.storage.tables.indexes import DiscIndex, MemoryIndex
from palaver.storage.tables.machine import decisions, prepared, read_sizes
from palaver.storage.tables.schema import read_schema
from palaver.storage.tables.table import TableState

Slots = dict[bytes, Any]


def rest(db: Database) -> None:
    """Wait until nothing is on its way; what is lost on it has been told to those it belongs to."""
    while db.pipeline.backlog:
        try:
            db.sync_log()
        except CommitFailed:
            continue
    if db.log is not None:
        idle = threading.Event()
        db.pipeline.when_idle(idle.set)
        db.log.finish(idle)


def check(db: Database, *, undisturbed: bool = True) -> None:
    """Check everything that holds at rest; AssertionError says what does not.

    Args:
        db: which.
        undisturbed: that no commit has failed; else an agreement may be ended at the next start.
    """
    rest(db)
    check_leftovers(db)
    assert all(state.alive and db.states[state.name] is state for state in db._by_handle.values())
    spaces_taken: list[int] = []
    for name, state in db.states.items():
        assert state.name == name
        assert state.alive
        definition = state.definition
        assert set(state.indexes) == set(definition.index)
        spaces_taken += [definition.space, *definition.index.values()]
        check_table(db, state)
    assert len(set(spaces_taken)) == len(spaces_taken)
    assert all(space < db.next_space for space in spaces_taken)
    if db.store is not None:
        check_disc(db, undisturbed)


def check_leftovers(db: Database) -> None:
    """Nothing is kept of what has ended."""
    if len(db.running):
        gc.collect()  # a generator that was dropped half consumed
    assert not len(db.running)
    assert not db.running.changing
    pipeline = db.pipeline
    assert pipeline.first is None
    assert not any(pipeline._flights)
    assert not pipeline._undone
    assert not pipeline._unheard
    assert not pipeline._idle
    lanes = pipeline._lanes
    if lanes is not None:
        assert not any(lanes._lanes.values())
        assert not lanes._standing
        assert not lanes._pending
        assert not lanes._unfinished
    assert db.store is None or pipeline._foreseen == [
        db.applied(partition) for partition in range(db.store.partitions)
    ]


def check_table(db: Database, state: TableState) -> None:
    """A table's size, order and indexes are those of its records, and the disk holds the same."""
    copy = state.copy
    slots = dict(copy.pairs())
    assert state.size == sum(state.count_of(slot) for slot in slots.values())
    for key in slots:
        assert copy.get(key) is not None
    if isinstance(copy, MemoryCopy):
        assert copy._order is None or list(copy._order) == sorted(copy.rows)
    else:
        assert isinstance(copy, DiscCopy)
        assert not copy._overlay
        assert not copy._durable
    for attribute, index in state.indexes.items():
        expected = sorted(
            (value, key)
            for key, slot in slots.items()
            for value in state.values_of(attribute, slot)
        )
        assert index.range(b"", None) == expected
        assert index.range(b"", None, reverse=True) == expected[::-1]
        assert {(value, key) for value, _ in expected for key in index.lookup(value)} == set(
            expected
        )
        if isinstance(index, MemoryIndex):
            assert all(index._values.values())
            assert index._order is None or list(index._order) == sorted(index._values)
        else:
            assert isinstance(index, DiscIndex)
            assert not index.copy._overlay
            assert not index.copy._durable
    for slot in slots.values():
        for record in state.records_of(slot):
            state.record_type.check(record)
    if state.on_disc:
        check_same(slots, {key: state.decode(payload) for key, payload in rows(db, state.space)})


def check_same(memory: Slots, disc: Slots) -> None:
    """Two tables hold the same, kind by kind."""
    assert sorted(memory) == sorted(disc)
    for key, slot in memory.items():
        assert same_term(plain(slot), plain(disc[key])), (slot, disc[key])


def plain(slot: Any) -> Any:
    """A slot as tuples, so that records are compared by value."""
    if isinstance(slot, tuple):
        return tuple(map(plain, slot))
    fields = getattr(slot, "__dataclass_fields__", None)
    return slot if fields is None else tuple(plain(getattr(slot, name)) for name in fields)


def rows(db: Database, space: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield what all partitions have of a space."""
    assert db.store is not None
    for partition in range(db.store.partitions):
        with db.store.look(partition) as txn:
            found = list(spaces.rows(txn, space))
        assert all(db.store.partition_of(key) == partition for key, _ in found)
        yield from found


def check_disc(db: Database, undisturbed: bool) -> None:
    """Each partition has the schema that is in memory, and no agreement is left open."""
    assert db.store is not None
    sizes: dict[int, int] = {}
    for partition in range(db.store.partitions):
        with db.store.look(partition) as txn:
            definitions, next_space = read_schema(txn, db.path)
            assert not (undisturbed and (prepared(txn) or decisions(txn)))
            for space, size in read_sizes(txn).items():
                sizes[space] = sizes.get(space, 0) + size
        assert definitions == {name: state.definition for name, state in db.states.items()}
        assert next_space <= db.next_space  # what was refused may have used some up
    assert {space: size for space, size in sizes.items() if size} == {
        state.space: state.size for state in db.states.values() if state.on_disc and state.size
    }
