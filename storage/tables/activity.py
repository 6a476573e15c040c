"""Activities: what a function that works on tables is given.

A `Transaction` sees what it has written itself over what is committed, and nothing else changes
under it. A `Dirty` activity has every operation take effect at once. Both have the operations of
mnesia(3).
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from . import queries, terms
from .copies import Key, Pair, Slot
from .errors import Aborted, BadArgument, CombineError, NoTransaction, ReadOnly
from .identity import identical
from .matching import END, Matching
from .queries import Query
from .querying.plan import Plan
from .querying.source import ActivitySource
from .table import Table, TableState

if TYPE_CHECKING:
    from .activities import Activities

R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")

Lock = Literal["read", "write"]


class Activity(Matching):
    """The operations on tables; see `Transaction` and `Dirty`.

    A table is named by its `Table`, by the record class of the same name, or by its name. All raise
    NoExists when there is no such table, BadType when a record or key does not fit it, ReadOnly
    when it may not be written, RecordDamaged when what was asked for cannot be read, and
    NoTransaction after the activity's end.
    """

    __slots__ = ("_database", "_over", "_thread", "kind")

    def __init__(self, database: Activities, kind: str) -> None:
        self._database = database
        self._over = False
        self._thread = threading.get_ident()
        #: `transaction`, `sync_transaction`, `async_dirty` or `sync_dirty`
        self.kind = kind

    @property
    def is_transaction(self) -> bool:
        """Whether this is a transaction: mnesia:is_transaction/0."""
        return False

    # -- what the kinds do differently -----------------------------------------------------------

    @abstractmethod
    def put(
        self,
        state: TableState,
        key: Key,
        slot: Slot | None,
        payload: bytes | None,
        operation: str,
        what: Any,
    ) -> None:
        """Write a slot, or delete it (None)."""

    def transaction(self, function: Callable[..., T], *args: Any) -> T:
        """Run a transaction within: see `Transaction.transaction`."""
        return self._database.transaction(function, *args)

    # -- reading ---------------------------------------------------------------------------------

    @overload
    def read(self, table: type[R] | Table[R], key: Any, lock: Lock = "read") -> list[R]: ...
    @overload
    def read(self, table: str, key: Any, lock: Lock = "read") -> list[Any]: ...
    def read(self, table: Any, key: Any, lock: Lock = "read") -> list[Any]:
        """Return the records with this key: none, one, or in a bag several in their order."""
        state = self.state(table)
        slot = self.slot(state, terms.encode(key))
        if slot is None:
            state.missing()
            return []
        return list(slot) if state.is_bag else [slot]

    @overload
    def get(self, table: type[R] | Table[R], key: Any) -> R | None: ...
    @overload
    def get(self, table: str, key: Any) -> Any: ...
    def get(self, table: Any, key: Any) -> Any:
        """Return the record with this key (in a bag the first), None when there is none."""
        state = self.state(table)
        slot = self.slot(state, terms.encode(key))
        if slot is None:
            state.missing()
            return None
        return slot[0] if state.is_bag else slot

    @overload
    def wread(self, table: type[R] | Table[R], key: Any) -> list[R]: ...
    @overload
    def wread(self, table: str, key: Any) -> list[Any]: ...
    def wread(self, table: Any, key: Any) -> list[Any]:
        """Read what will be written: mnesia:wread/1; ReadOnly where it cannot be."""
        self._writable(table)
        return self.read(table, key, "write")

    def all_keys(self, table: Any) -> list[Any]:
        """Return the keys of a table; in an ordered_set in order, each once."""
        state = self.state(table)
        key_of = state.key_of
        return [key_of(self._any_record(state, slot)) for _, slot in self._whole(state)]

    def first(self, table: Any) -> Any:
        """Return the first key, END in an empty table."""
        return self._end_of(self.state(table), b"", None, reverse=False)

    def last(self, table: Any) -> Any:
        """Return the last key, END in an empty table; only an ordered_set promises an order."""
        return self._end_of(self.state(table), b"", None, reverse=True)

    def next(self, table: Any, key: Any) -> Any:
        """Return the key after `key`, END after the last.

        Raises:
            BadArgument: the table is no ordered_set and has no such key (ets:next/2).
        """
        state = self.state(table)
        encoded = self._known(state, key)
        return self._end_of(state, encoded + b"\x00", None, reverse=False)

    def prev(self, table: Any, key: Any) -> Any:
        """Return the key before `key`, END before the first; see `next`."""
        state = self.state(table)
        return self._end_of(state, b"", self._known(state, key), reverse=True)

    def foldl(self, function: Callable[[Any, A], A], accumulator: A, table: Any) -> A:
        """Call `function(record, accumulator)` for each record; return the last accumulator."""
        state = self.state(table)
        for _, slot in self._whole(state):
            for record in state.records_of(slot):
                accumulator = function(record, accumulator)
        return accumulator

    def foldr(self, function: Callable[[Any, A], A], accumulator: A, table: Any) -> A:
        """Like `foldl`, from the end of an ordered_set."""
        state = self.state(table)
        for _, slot in reversed(list(self._whole(state))):
            for record in reversed(state.records_of(slot)):
                accumulator = function(record, accumulator)
        return accumulator

    @overload
    def index_read(self, table: type[R] | Table[R], value: Any, attribute: str) -> list[R]: ...
    @overload
    def index_read(self, table: str, value: Any, attribute: str) -> list[Any]: ...
    def index_read(self, table: Any, value: Any, attribute: str) -> list[Any]:
        """Return the records whose `attribute` has this value, by the index of it.

        Raises:
            NoExists: there is no such index.
            BadType: there is no such attribute.
        """
        state = self.state(table)
        state.need_index(attribute)
        state.missing()  # what is damaged is in no index
        encoded = terms.encode(value)
        at = state.definition.attributes.index(attribute)
        values = state.record_type.values
        return [
            record
            for key in self.index_keys(state, attribute, encoded)
            for record in state.records_of(self.slot(state, key))
            if terms.encode(values(record)[at]) == encoded
        ]

    def table_info(self, table: Any, item: str) -> Any:
        """Return a fact about a table: see `Database.table_info`."""
        self._check()
        return self._database.table_info(table, item)

    # -- queries ---------------------------------------------------------------------------------

    def query(self, wanted: Query[T]) -> list[T]:
        """Return the answers of a query, this activity's own writes included: see `queries`."""
        return queries.run(wanted, ActivitySource(self))

    def iterate(self, wanted: Query[T]) -> Iterator[T]:
        """Yield the answers of a query one by one, reading no more than is asked for.

        Raises NoTransaction when it is asked for more after the activity's end.
        """
        self._check()
        return self._while_it_lasts(queries.iterate(wanted, ActivitySource(self)))

    def _while_it_lasts(self, found: Iterator[T]) -> Iterator[T]:
        while True:
            self._check()
            try:
                answer = next(found)
            except StopIteration:
                return
            yield answer

    def explain(self, wanted: Query[Any]) -> Plan:
        """Return how a query would be answered; as text it is a tree to be read."""
        return queries.explain(wanted, ActivitySource(self))

    # -- writing ---------------------------------------------------------------------------------

    def write(self, record: Any, table: Any = None) -> None:
        """Write a record: over the one with its key, or in a bag beside those.

        Readers share what was written: a record's values are not to be changed. A table on the disk
        takes what CBOR can carry; one in memory only takes anything, as it is.
        """
        state = self._writable(type(record) if table is None else table)
        record_type = state.record_type
        record_type.check(record)
        key = terms.encode(record_type.key_of(record))
        payload = None
        if state.on_disc:
            payload, record = record_type.keep(record)
        if state.is_bag:
            slot = self.slot(state, key) or ()
            if any(identical(record_type, record, other) for other in slot):
                self.put(state, key, slot, None, "write", record)
                return
            self.put(state, key, (*slot, record), None, "write", record)
        else:
            self.put(state, key, record, payload, "write", record)

    def write_all(self, records: Iterable[Any], table: Any = None) -> None:
        """Write several records."""
        for record in records:
            self.write(record, table)

    def delete(self, table: Any, key: Any) -> None:
        """Delete all records with this key; harmless when there are none."""
        state = self._writable(table)
        self.put(state, terms.encode(key), None, None, "delete", key)

    def delete_object(self, record: Any, table: Any = None) -> None:
        """Delete this record, if it is there just so."""
        state = self._writable(type(record) if table is None else table)
        record_type = state.record_type
        record_type.check(record)
        key = terms.encode(record_type.key_of(record))
        slot = self.slot(state, key)
        left = [
            other for other in state.records_of(slot) if not identical(record_type, record, other)
        ]
        if len(left) < state.count_of(slot):
            rest = tuple(left) if left and state.is_bag else None
            self.put(state, key, rest, None, "delete_object", record)
        elif state.watchers:  # they hear of it, as of a delete of what is not there
            self.put(state, key, slot, None, "delete_object", record)

    def update_counter(self, table: Any, key: Any, increment: int) -> int:
        """Add to the counter of a key, from 0 if it has none; return it, never below 0.

        Mnesia's dirty_update_counter/3, here in every activity. For tables of two attributes, key
        and counter.

        Raises:
            CombineError: the table has other attributes, or is a bag.
            BadArgument: the record's second attribute is no whole number.
        """
        state = self._writable(table)
        if state.is_bag or len(state.definition.attributes) != 2:
            raise CombineError(f"{state.name} is no table of counters: (key, counter), no bag")
        encoded = terms.encode(key)
        record = self.slot(state, encoded)
        at = state.definition.key_position
        count = 0 if record is None else state.record_type.values(record)[1 - at]
        if type(count) is not int or type(increment) is not int:
            raise BadArgument(f"{count!r} + {increment!r} is no counter")
        count = max(0, count + increment)
        values = (count, key) if at else (key, count)
        self.write(state.record_type.make(values), state.name)
        return count

    # -- control ---------------------------------------------------------------------------------

    def lock(self, item: tuple[Any, Any], kind: Lock) -> None:
        """Lock ("table", table) or (table, key): mnesia:lock/2.

        Isolation is optimistic, so a lock is a promise that nobody else's commit is mixed in: who
        holds one begins again if somebody writes what is locked. A dirty activity has no locks.
        """
        self._check()

    def abort(self, reason: object = None) -> NoReturn:
        """Give the activity up: raises Aborted with the reason."""
        raise Aborted(reason)

    # -- inside ----------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._over:
            raise NoTransaction("the activity has ended; use what its function was given within it")

    def state(self, table: Any) -> TableState:
        """Return the table's state."""
        if self._over:
            self._check()
        return self._database.state(table)

    def _writable(self, table: Any) -> TableState:
        state = self.state(table)
        if not state.writable:
            raise ReadOnly(state.name)
        return state

    @staticmethod
    def _any_record(state: TableState, slot: Slot) -> Any:
        return slot[0] if state.is_bag else slot

    def _whole(self, state: TableState) -> Iterator[Pair]:
        state.missing()
        return self.pairs(state)

    def _known(self, state: TableState, key: Any) -> Key:
        encoded = terms.encode(key)
        if state.definition.type != "ordered_set" and self.slot(state, encoded) is None:
            raise BadArgument(f"{state.name} has no key {key!r}")
        return encoded

    def _end_of(self, state: TableState, low: Key, high: Key | None, *, reverse: bool) -> Any:
        state.missing()
        found = self.scan(state, low, high, limit=1, reverse=reverse)
        if not found:
            return END
        return state.key_of(self._any_record(state, found[0][1]))
