"""Changing the schema while the database runs: tables, indexes, transformations.

Each change is one commit (mnesia's schema transaction): durable when the function returns, whole
or not at all, and every running transaction begins again after it. A change that rewrites a table
holds up all commits while it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeVar, overload

import cbor2

from . import terms
from .changing import SchemaChanges
from .commit import Commit
from .converting import Transform, convert_slots, rebound_swaps
from .copies import DiscCopy, MemoryCopy, Slot
from .errors import AlreadyExists, BadType, CombineError, NoExists, ReadOnly, SchemaMismatch
from .isolation import doom_all
from .records import RecordType
from .schema import (
    MAX_TABLES,
    AccessMode,
    Definition,
    StorageType,
    TableType,
    check_definition,
    check_index,
)
from .table import Table, TableState

R = TypeVar("R")

IGNORE: Literal["ignore"] = "ignore"
"""As the function of `transform_table`: change the definition only."""


class Definitions(SchemaChanges):
    """The part of the database that changes the schema."""

    # -- tables ----------------------------------------------------------------------------------

    @overload
    def create_table(
        self,
        record: type[R],
        *,
        name: str | None = None,
        key: str | None = None,
        type: TableType = "set",
        storage: StorageType | None = None,
        index: Iterable[str] = (),
        load_order: int = 0,
        access_mode: AccessMode = "read_write",
        properties: Mapping[str, Any] | None = None,
    ) -> Table[R]: ...
    @overload
    def create_table(
        self,
        record: None = None,
        *,
        name: str,
        attributes: Iterable[str],
        key: str | None = None,
        type: TableType = "set",
        storage: StorageType | None = None,
        index: Iterable[str] = (),
        load_order: int = 0,
        access_mode: AccessMode = "read_write",
        properties: Mapping[str, Any] | None = None,
    ) -> Table[Any]: ...
    def create_table(
        self,
        record: type | None = None,
        *,
        name: str | None = None,
        attributes: Iterable[str] | None = None,
        key: str | None = None,
        type: TableType = "set",  # noqa: A002 - Mnesia's word
        storage: StorageType | None = None,
        index: Iterable[str] = (),
        load_order: int = 0,
        access_mode: AccessMode = "read_write",
        properties: Mapping[str, Any] | None = None,
    ) -> Table[Any]:
        """Create a table: mnesia:create_table/2.

        Args:
            record: the class of its records: a frozen dataclass, an attrs class or a NamedTuple.
            name: the table's name; by default the class's.
            attributes: instead of a class: the names of the fields.
            key: which field is the key; by default the first.
            type: `set` (one record a key), `ordered_set` (in the order of the keys), or `bag`.
            storage: `disc_copies` (in memory and on the disk; the default), `disc_only_copies`, or
                `ram_copies` (the default in memory).
            index: fields to be indexed.
            load_order: tables with a higher one are loaded first when the database is opened.
            access_mode: `read_only` refuses writing.
            properties: anything that CBOR can carry; see `table_info`, `user_properties`.

        Raises:
            AlreadyExists: there is a table of that name.
            BadType, CombineError: the definition makes no sense.
        """
        record_type = self._record_type(record, name, attributes, key)
        with self.mutex:
            chosen = name or record_type.name
            if chosen in self.states:
                raise AlreadyExists(f"table {chosen}")
            if len(self.states) >= MAX_TABLES:
                raise CombineError(f"a database has {MAX_TABLES} tables at most")
            definition = Definition(
                name=chosen,
                space=0,
                record=record_type.name,
                attributes=record_type.attributes,
                key_position=record_type.key_position,
                signature=record_type.signature,
                type=type,
                storage=storage or ("ram_copies" if self.store is None else "disc_copies"),
                index=dict.fromkeys(index, 0),
                load_order=load_order,
                access_mode=access_mode,
                properties=_kept(properties or {}),
            )
            check_definition(definition, self.store is not None)
            self._check_record_name(definition)
            if record is not None:
                self.classes[record_type.name] = record
            definition = self.fresh_definition(definition)
            new = TableState(definition, record_type)
            commit = self._install("create_table", definition, None, {}, new)
        self._finish(commit)
        return Table(chosen)

    def _check_record_name(self, definition: Definition) -> None:
        """Refuse what could not be opened: classes are found by the names of the records."""
        for state in self.states.values():
            there = state.definition
            if there.record == definition.record and there.signature != definition.signature:
                raise CombineError(
                    f"the records of {there.name} are named {there.record} too, and have other "
                    "fields; give the class another name"
                )

    def ensure_table(
        self, record: type[R], *, index: Iterable[str] = (), **options: Any
    ) -> Table[R]:
        """Create the table unless it is there; add the indexes that it has not.

        Args:
            record: the class of its records.
            index: fields to be indexed.
            options: as for `create_table`.

        Raises:
            SchemaMismatch: the table is there and has another type, storage or record.
        """
        name = options.get("name") or record.__name__
        wanted = tuple(index)
        with self.mutex:
            state = self.states.get(name)
            if state is not None and state.record_type.cls is not record:
                self._bind(state, record, options.get("key"))
        if state is None:
            try:
                return self.create_table(record, index=wanted, **options)
            except AlreadyExists:  # another thread was faster
                return self.ensure_table(record, index=wanted, **options)
        for option in ("type", "storage"):
            there = getattr(state.definition, option)
            if option in options and options[option] != there:
                raise SchemaMismatch(
                    f"the table {name} is there with {option} {there}, not {options[option]}"
                )
        for attribute in wanted:
            if attribute not in state.indexes:
                with suppress(AlreadyExists):  # another thread was faster
                    self.add_table_index(name, attribute)
        return Table(name)

    def _bind(self, state: TableState, record: type, key: str | None) -> None:
        """Give a stored table the class of its records."""
        record_type: RecordType[Any] = RecordType.of(record, key=key)
        if record_type.signature != state.definition.signature:
            raise SchemaMismatch(
                f"the class {record.__name__} has {record_type.signature}, the table {state.name} "
                f"has {state.definition.signature}; migrate with transform_table"
            )
        self.classes[record_type.name] = record
        new = TableState(state.definition, record_type)

        def convert(slot: Slot) -> Slot:
            return next(iter(convert_slots(state, new, [slot], None).values()))

        new.indexes, new.size = state.indexes, state.size
        new.damaged, new.watchers = state.damaged, state.watchers
        new.damaged_entries = state.damaged_entries
        copy = new.copy = state.copy
        assert isinstance(copy, DiscCopy | MemoryCopy)
        pending = self.pipeline.unsettled()  # what they take back is in the new one
        swaps = [rebound_swaps(commit.swaps, copy, convert) for commit in pending]
        copy.rebind(new.decode, convert)
        for commit, rebound in zip(pending, swaps, strict=True):
            commit.swaps = rebound
            sizes = commit.sizes
            sizes[:] = [(new if each is state else each, change) for each, change in sizes]
        new.retainers = state.retainers
        for retainer in new.retainers:
            retainer.move(new)
        state.alive = False
        doom_all(self.running)
        self._reinstate(state.name, new)

    def delete_table(self, table: Any) -> None:
        """Delete a table with all its records and indexes: mnesia:delete_table/1."""
        with self.mutex:
            commit = self._install("delete_table", None, self._writable(table), {})
        self._finish(commit)

    def clear_table(self, table: Any) -> None:
        """Delete all records of a table: mnesia:clear_table/1."""
        with self.mutex:
            state = self._writable(table)
            definition = self.fresh_definition(state.redefine())
            fresh = _same_records(state, definition)
            commit = self._install("clear_table", definition, state, {}, fresh)
        self._finish(commit)

    def transform_table(
        self,
        table: Any,
        function: Transform | Literal["ignore"],
        *,
        record: type | None = None,
        attributes: Iterable[str] | None = None,
    ) -> None:
        """Give every record another form, and the table its definition: mnesia:transform_table/3,4.

        Args:
            table: which.
            function: from an old record to a new one, or to a tuple of its values; `IGNORE` changes
                the definition only, where the number of attributes stays the same.
            record: the class of the new records.
            attributes: instead of a class: the names of the new fields.

        Raises:
            BadType: a new record does not fit, or two have the same key; nothing has changed.
            ReadOnly: the table's access mode.
        """
        with self.mutex:
            state = self._writable(table)
            state.missing()
            key = None
            record_type = self._record_type(record, state.definition.record, attributes, key)
            definition = self.fresh_definition(
                state.redefine(
                    record=record_type.name,
                    attributes=record_type.attributes,
                    key_position=record_type.key_position,
                    signature=record_type.signature,
                )
            )
            check_definition(definition, self.store is not None)
            if record is not None:
                self.classes[record_type.name] = record
            else:
                self.classes.pop(record_type.name, None)
            fresh = TableState(definition, record_type)
            slots = [slot for _, slot in state.copy.pairs()]
            moved = convert_slots(state, fresh, slots, None if function == IGNORE else function)
            commit = self._install("transform_table", definition, state, moved, fresh)
        self._finish(commit)

    # -- indexes ---------------------------------------------------------------------------------

    def add_table_index(self, table: Any, attribute: str) -> None:
        """Index an attribute: mnesia:add_table_index/2.

        Raises:
            AlreadyExists: there is an index of it.
            BadType: there is no such attribute, or it is the key.
        """
        with self.mutex:
            state = self.state(table)
            check_index(state.definition, attribute)
            if attribute in state.definition.index:
                raise AlreadyExists(f"index of {attribute} of {state.name}")
            index = {**state.definition.index, attribute: 0}
            commit = self._rebuild("add_table_index", state, index=index)
        self._finish(commit)

    def del_table_index(self, table: Any, attribute: str) -> None:
        """Drop the index of an attribute: mnesia:del_table_index/2; NoExists without one."""
        with self.mutex:
            state = self.state(table)
            state.need_index(attribute)
            index = dict(state.definition.index)
            del index[attribute]
            commit = self._rebuild("del_table_index", state, index=index)
        self._finish(commit)

    # -- properties ------------------------------------------------------------------------------

    def change_table_copy_type(self, table: Any, storage: StorageType) -> None:
        """Keep a table elsewhere: mnesia:change_table_copy_type/3.

        Raises:
            AlreadyExists: it is kept so already.
            ReadOnly: the table's access mode.
        """
        with self.mutex:
            state = self._writable(table)
            if state.definition.storage == storage:
                raise AlreadyExists(f"{storage} of {state.name}")
            commit = self._rebuild("change_table_copy_type", state, storage=storage)
        self._finish(commit)

    def change_table_access_mode(self, table: Any, access_mode: AccessMode) -> None:
        """Allow writing or forbid it: mnesia:change_table_access_mode/2.

        Raises:
            AlreadyExists: it has this mode already.
        """
        if self.state(table).definition.access_mode == access_mode:
            raise AlreadyExists(f"{access_mode} of {self.state(table).name}")
        self._redefine("change_table_access_mode", table, access_mode=access_mode)

    def change_table_load_order(self, table: Any, load_order: int) -> None:
        """Load a table earlier or later: mnesia:change_table_load_order/2."""
        self._redefine("change_table_load_order", table, load_order=load_order)

    def write_table_property(self, table: Any, name: str, value: Any) -> None:
        """Keep a property with a table: mnesia:write_table_property/2."""
        kept = _kept({name: value})
        with self.mutex:
            properties = {**self.state(table).definition.properties, **kept}
        self._redefine("write_table_property", table, properties=properties)

    def read_table_property(self, table: Any, name: str) -> Any:
        """Return a property of a table: mnesia:read_table_property/2; NoExists without it."""
        properties = self.state(table).definition.properties
        if name not in properties:
            raise NoExists(name, f"{self.state(table).name} has no property {name!r}")
        return properties[name]

    def delete_table_property(self, table: Any, name: str) -> None:
        """Forget a property of a table: mnesia:delete_table_property/2."""
        with self.mutex:
            properties = dict(self.state(table).definition.properties)
            properties.pop(name, None)
        self._redefine("delete_table_property", table, properties=properties)

    def _redefine(self, operation: str, table: Any, **changes: Any) -> None:
        """Change what a definition says and no record knows of."""
        with self.mutex:
            state = self.state(table)
            before = state.definition
            definition = state.redefine(**changes)
            check_definition(definition, self.store is not None)
            commit = self.begin_change()
            with self.running.change():
                state.define(definition)
                commit.undo.append((state.define, (before,)))
                self._schema_row(commit, definition.name, definition)
                self.submit_change(commit, operation, [definition.name])
        self._finish(commit)

    # -- inside ----------------------------------------------------------------------------------

    @staticmethod
    def _record_type(
        record: type | None,
        name: str | None,
        attributes: Iterable[str] | None,
        key: str | None,
    ) -> RecordType[Any]:
        if record is not None:
            if attributes is not None:
                raise CombineError("give a record class or attributes, not both")
            return RecordType.of(record, key=key)
        if name is None or attributes is None:
            raise BadType("a table without a record class needs a name and attributes")
        return RecordType.generic(name, tuple(attributes), key=key)

    def _rebuild(self, operation: str, state: TableState, **changes: Any) -> Commit:
        """Make a table anew with another definition and the records that it has."""
        state.missing()
        definition = self.fresh_definition(state.redefine(**changes))
        check_definition(definition, self.store is not None)
        slots = dict(state.copy.pairs())
        return self._install(operation, definition, state, slots, _same_records(state, definition))

    def _writable(self, table: Any) -> TableState:
        state = self.state(table)
        if not state.writable:
            raise ReadOnly(state.name)
        return state


def _kept(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties as they are when they come back from the disk; BadType if they cannot."""
    for value in properties.values():
        terms.encode(value)
    kept: dict[str, Any] = cbor2.loads(cbor2.dumps(dict(properties)))
    return kept


def _same_records(state: TableState, definition: Definition) -> TableState:
    """Return a new state of a table whose records stay of the class that they are of."""
    return TableState(definition, state.record_type)
