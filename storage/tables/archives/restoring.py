"""Bringing records of a backup into a database that runs: mnesia:restore/2."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from palaver.storage.tables import terms
from palaver.storage.tables.commit import Commit
from palaver.storage.tables.copies import Key, Slot
from palaver.storage.tables.errors import (
    BadArgument,
    BadType,
    NoExists,
    ReadOnly,
    SchemaMismatch,
    SystemLimit,
)
from palaver.storage.tables.identity import identical
from palaver.storage.tables.loading import record_type_of
from palaver.storage.tables.records import RecordType
from palaver.storage.tables.schema import Definition, check_definition
from palaver.storage.tables.table import TableState

from .format import Contents, Progress, rows
from .items import TableCodec

if TYPE_CHECKING:
    from palaver.storage.tables.definitions import Definitions

RestoreOp: TypeAlias = Literal["skip_tables", "clear_tables", "keep_tables", "recreate_tables"]

OPERATIONS: Final[tuple[RestoreOp, ...]] = (
    "skip_tables",
    "clear_tables",
    "keep_tables",
    "recreate_tables",
)

MAX_RESTORE_BYTES = 256 << 20
"""Keys and records that one `restore` brings in at most: it is one commit."""

ATTEMPTS = 3


@dataclass(slots=True)
class Step:
    """What happens to one table.

    Attributes:
        operation: which of `OPERATIONS`.
        definition: the table's, in the backup.
        state: the table as it is, None when there is none.
        record_type: of the records that come in.
        is_bag: whether the table is one afterwards.
        slots: what comes in.
    """

    operation: RestoreOp
    definition: Definition
    state: TableState | None
    record_type: RecordType[Any]
    is_bag: bool
    slots: dict[Key, Slot] = field(default_factory=dict)

    def take(self, record: Any) -> None:
        """Add a record: in a bag to the others of its key, elsewhere in the place of it."""
        key = terms.encode(self.record_type.key_of(record))
        if self.is_bag:
            self.slots[key] = with_record(self.record_type, self.slots.get(key, ()), record)
        else:
            self.slots[key] = record


def with_record(
    record_type: RecordType[Any], slot: tuple[Any, ...], record: Any
) -> tuple[Any, ...]:
    """Return a bag's slot with a record that may be in it already."""
    if any(identical(record_type, each, record) for each in slot):
        return slot
    return (*slot, record)


def operations(
    contents: Contents, wanted: dict[RestoreOp, Iterable[str]], default: RestoreOp
) -> dict[str, RestoreOp]:
    """Return what happens to each table of a backup.

    Raises:
        BadArgument: a table is named twice, or is the schema, or there is no such operation.
        NoExists: the backup has no such table.
    """
    if default not in OPERATIONS:
        raise BadArgument(f"default_op is one of {OPERATIONS}, not {default!r}")
    found: dict[str, RestoreOp] = {}
    for operation, names in wanted.items():
        for name in names:
            if name == "schema":
                raise BadArgument("the schema itself cannot be restored; see install_fallback")
            if name not in contents.definitions:
                raise NoExists(name, f"the backup {contents.path} has no table {name!r}")
            if found.setdefault(name, operation) != operation:
                raise BadArgument(f"{name} is named for {found[name]} and for {operation}")
    return {name: found.get(name, default) for name in contents.definitions}


def plan(
    database: Definitions, contents: Contents, chosen: dict[str, RestoreOp]
) -> dict[str, Step]:
    """Return what is to be done with each table that is not skipped; under the mutex.

    Raises:
        NoExists: a table that is to be cleared or kept is not there.
        ReadOnly: it cannot be written.
        SchemaMismatch: it has other attributes than in the backup.
    """
    steps = {}
    for name, operation in chosen.items():
        definition = contents.definitions[name]
        if operation == "skip_tables":
            continue
        if operation == "recreate_tables":
            check_definition(definition, database.store is not None)
            state = database.states.get(name)
            record_type = record_type_of(database, definition)
            is_bag = definition.type == "bag"
        else:
            state = database.state(name)
            if not state.writable:
                raise ReadOnly(name)
            if state.definition.attributes != definition.attributes:
                raise SchemaMismatch(
                    f"{name} has the attributes {list(state.definition.attributes)}, in the backup "
                    f"{list(definition.attributes)}; change the backup with traverse_backup, or "
                    "restore with recreate_tables"
                )
            record_type, is_bag = state.record_type, state.is_bag
        steps[name] = Step(operation, definition, state, record_type, is_bag)
    return steps


def read(contents: Contents, steps: dict[str, Step], progress: Progress | None) -> None:
    """Read the records of the backup into the steps.

    Raises:
        SystemLimit: they are too many for one commit.
        SchemaMismatch: a record does not fit its table's class.
    """
    codecs = {name: TableCodec(step.definition) for name, step in steps.items()}
    size = 0
    done = 0
    for name, batch in rows(contents):
        step = steps.get(name)
        if step is None:
            continue
        for key, payload in batch:
            size += len(key) + len(payload)
            if size > MAX_RESTORE_BYTES:
                raise SystemLimit(
                    f"one restore brings in {MAX_RESTORE_BYTES} bytes at most; use "
                    "install_fallback, or `palaver tables restore` into another folder"
                )
            for encoded in codecs[name].split(payload):
                done += 1
                try:
                    step.take(step.record_type.decode(encoded))
                except BadType as error:
                    raise SchemaMismatch(f"a record of {name} in the backup: {error}") from error
        if progress is not None:
            progress(done, contents.total)


def still_valid(database: Definitions, steps: dict[str, Step]) -> bool:
    """Whether no table has changed its schema since the plan was made; under the mutex."""
    return all(database.states.get(name) is step.state for name, step in steps.items())


def bring_in(database: Definitions, steps: dict[str, Step]) -> Commit:
    """Make all changes, as one commit; under the mutex."""
    commit = database.begin_change()
    with database.running.change():
        try:
            for step in steps.values():
                _change(database, commit, step)
        except BaseException:
            commit.take_back()
            raise
        database.submit_change(commit, "restore", list(steps))
    return commit


def _change(database: Definitions, commit: Commit, step: Step) -> None:
    state = step.state
    slots = step.slots
    if step.operation == "recreate_tables":
        version = 1 if state is None else state.definition.version + 1
        definition = database.fresh_definition(step.definition, version=version)
    else:
        assert state is not None
        definition = database.fresh_definition(state.redefine())
        if step.operation == "keep_tables":
            state.missing()
            slots = _joined(step, state)
    database.exchange(commit, definition, state, slots, TableState(definition, step.record_type))


def _joined(step: Step, state: TableState) -> dict[Key, Slot]:
    """Return what a table has, with what comes in."""
    found: dict[Key, Slot] = dict(state.copy.pairs())
    for key, slot in step.slots.items():
        if step.is_bag and key in found:
            for record in slot:
                found[key] = with_record(step.record_type, found[key], record)
        else:
            found[key] = slot
    return found
