"""Opening: the schema, what a crash has left undecided, and the tables that live in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from palaver.storage.errors import CommandError, StoreCorrupt

from . import machine, spaces
from .copies import Copy, DiscCopy, MemoryCopy
from .core import Core
from .errors import RecordDamaged, SchemaMismatch
from .events import DamageFound
from .indexes import DiscIndex, Index, MemoryIndex
from .record_classes import field_names
from .records import RecordType
from .schema import Definition, read_schema
from .table import DAMAGED, TableState

Progress = Callable[[str, int], None]
PROGRESS_RECORDS = 10_000


def load(database: Core, progress: Progress | None) -> int:
    """Make the states of all tables; return the next free space.

    Raises:
        StoreVersion: a newer schema.
        SchemaMismatch: a class does not fit its table.
        CommandError: what a crash has left could not be brought to its end.
    """
    store = database.store
    if store is None:
        return spaces.FIRST_TABLE_SPACE
    if not store.readonly:
        _bring_to_end(database)
        database.pipeline.foresee()
    with store.look(0) as txn:
        definitions, next_space = read_schema(txn, store.path)
    sizes = _sizes(database)
    for definition in sorted(definitions.values(), key=lambda one: (-one.load_order, one.name)):
        state = state_of(database, definition)
        database.states[definition.name] = state
        state.size = sizes.get(definition.space, 0)
        fill(database, state, progress)
    return next_space


def _sizes(database: Core) -> dict[int, int]:
    assert database.store is not None
    total: dict[int, int] = {}
    for partition in range(database.store.partitions):
        with database.store.look(partition) as txn:
            for space, size in machine.read_sizes(txn).items():
                total[space] = total.get(space, 0) + size
    return total


def record_type_of(database: Core, definition: Definition) -> RecordType[Any]:
    """Return the codec of a table's records: of its class, or of one made up."""
    cls = database.classes.get(definition.record)
    if cls is None:
        return RecordType.generic(
            definition.record,
            definition.attributes,
            key=definition.attributes[definition.key_position],
        )
    key = definition.attributes[definition.key_position]
    found: RecordType[Any] | None = None
    if key in field_names(cls):
        found = RecordType.of(cls, key=key)
    if found is None or found.signature != definition.signature:
        fields = "other fields" if found is None else found.signature
        raise SchemaMismatch(
            f"the class {cls.__name__} has {fields}, the stored table {definition.name} has "
            f"{definition.signature}; open it with the old class, or without one, and migrate with "
            "transform_table"
        )
    return found


def state_of(database: Core, definition: Definition) -> TableState:
    """Return the state of a table, with empty copies."""
    state = TableState(definition, record_type_of(database, definition))
    state.copy = new_copy(database, state)
    for attribute, space in definition.index.items():
        state.indexes[attribute] = new_index(database, state, space)
    return state


def new_copy(database: Core, state: TableState) -> Copy:
    """Return an empty copy of the kind that the definition names."""
    if state.definition.storage == "disc_only_copies":
        assert database.rows is not None
        return DiscCopy(database.rows, state.space, state.decode)
    return MemoryCopy(database.mutex, state.decode)


def new_index(database: Core, state: TableState, space: int) -> Index:
    """Return an empty index of the kind that the definition names."""
    if state.definition.storage == "disc_only_copies":
        assert database.rows is not None
        return DiscIndex(DiscCopy(database.rows, space, bytes), space)
    return MemoryIndex(database.mutex)


def fill(database: Core, state: TableState, progress: Progress | None = None) -> None:
    """Load what belongs in memory of a table that is on the disk."""
    if state.definition.storage != "disc_copies":
        return
    copy = state.copy
    assert isinstance(copy, MemoryCopy)
    store = database.store
    assert store is not None

    rows = copy.rows

    def damaged(key: bytes) -> None:
        note_damage(database, state.space, key)
        rows[key] = DAMAGED

    for partition in range(store.partitions):
        with store.look(partition) as txn:
            last = b""
            count = 0
            for key, payload in spaces.rows(txn, state.space, damaged=damaged):
                # A damaged file of LMDB may serve pages at the wrong place: what comes is looked at
                # here, where everything is read anyhow.
                if key < last:
                    raise _out_of_order(database, state)
                last = key
                rows[key] = payload
                count += state.count_of(payload) if state.is_bag else 1
                if progress is not None and not len(rows) % PROGRESS_RECORDS:
                    progress(state.name, len(rows))
            counted = machine.read_sizes(txn).get(state.space, 0)
        if count != counted and not state.damaged:
            raise _out_of_order(database, state)
    if progress is not None:
        progress(state.name, len(rows))
    for attribute in state.indexes:
        fill_index(state, attribute)


def _out_of_order(database: Core, state: TableState) -> StoreCorrupt:
    return StoreCorrupt(
        Path(database.path or ""),
        f"the rows of the table {state.name} are not all there, or not in order",
    )


def fill_index(state: TableState, attribute: str) -> None:
    """Build an index in memory from the records."""
    index = state.indexes[attribute]
    assert isinstance(index, MemoryIndex)
    assert isinstance(state.copy, MemoryCopy)
    for key in list(state.copy.rows):
        if key in state.damaged:
            continue
        for value in state.values_of(attribute, state.copy.get(key)):
            index.change(value, key, True, 0)


def note_damage(database: Core, space: int, key: bytes) -> RecordDamaged:
    """Keep in mind that a row of a space is damaged, and tell it once; return it as an error."""
    text = f"the record under the key {key[:40]!r} is not what was written"
    for state in list(database.states.values()):
        if space == state.space:
            if key not in state.damaged:
                state.damaged[key] = text
                database.subscriptions.report(DamageFound(state.name, text))
            return RecordDamaged(state.name, text)
        if space in state.definition.index.values():  # no record is missing
            text = f"the entry {key[:40]!r} of an index is not what was written; drop the index"
            if (space, key) not in state.damaged_entries:
                state.damaged_entries.add((space, key))
                database.subscriptions.report(DamageFound(state.name, text))
            return RecordDamaged(state.name, text)
    return RecordDamaged(f"in space {space}", text)


# -- what a crash has left
# --------------------------------------------------------------------------


def _bring_to_end(database: Core) -> None:
    """Finish what was decided, cancel what was not; see `lanes`."""
    store = database.store
    assert store is not None
    for partition in range(store.partitions):
        with store.look(partition) as txn:
            left = machine.prepared(txn)
        for number, (coordinator, _) in sorted(left.items()):
            with store.look(coordinator) as txn:
                decided = partition in machine.decisions(txn).get(number, ())
            _apply(database, partition, ("finish" if decided else "cancel", number))
    for partition in range(store.partitions):
        with store.look(partition) as txn:
            done = machine.decisions(txn)
        for number in done:
            _apply(database, partition, ("forget", number))


def _apply(database: Core, partition: int, command: tuple[Any, ...]) -> None:
    assert database.store is not None
    (result,) = database.store.apply_now(partition, [command])
    if isinstance(result, Exception):
        if isinstance(result, CommandError):
            raise result
        raise CommandError(f"{command[0]} of commit {command[1]} failed: {result}") from result
