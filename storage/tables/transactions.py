"""A transaction: isolated, nested, whole or not at all."""

from __future__ import annotations

import threading
from asyncio import Task, current_task
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from . import terms
from .activity import Activity, Lock
from .commit import Changes
from .committing import Payloads
from .copies import SCAN_ROWS, Key, Pair, Slot, layered
from .effective import Operation
from .errors import BadArgument
from .indexes import bounds_of, value_of
from .isolation import Reads, Restart
from .table import TableState
from .within import CURRENT, enclosing

if TYPE_CHECKING:
    from .activities import Activities

T = TypeVar("T")


def outcome(value: T) -> T:
    """Return what a function has returned.

    Raises:
        BadArgument: a coroutine, of which nothing has been done yet.
    """
    if isinstance(value, CoroutineType):
        value.close()
        raise BadArgument(
            "a coroutine function is run by the database's aio; nested, `with tx.nested():` does it"
        )
    return value


class Transaction(Activity):
    """A transaction: isolated, and whole or not at all.

    Given to the function by `Database.transaction`; the function may be called more than once, so
    it has no effects but on tables (mnesia(3), transaction/3).
    """

    __slots__ = (
        "_layers",
        "_operations",
        "_payloads",
        "_running",
        "_task",
        "_token",
        "outer",
        "reads",
    )

    def __init__(
        self, database: Activities, kind: str, reads: Reads, task: Task[Any] | None = None
    ) -> None:
        super().__init__(database, kind)
        self._task = task
        #: the transaction of another database, or of another task, that this is run within
        self.outer = enclosing(CURRENT.get())
        self._token = CURRENT.set(self)
        self._running = database.running
        self.reads = reads
        self._layers: list[Changes] = [{}]
        self._payloads: Payloads = {}
        self._operations: list[list[Operation]] = [[]]

    @property
    def is_transaction(self) -> bool:
        """Whether this is a transaction: mnesia:is_transaction/0."""
        return True

    @property
    def has_ended(self) -> bool:
        """Whether its function has returned."""
        return self._over

    def is_around(self, database: object) -> bool:
        """Whether the caller is within it, and it is this database's."""
        if self._database is not database or self._over:
            return False
        # One that is no coroutine holds its thread: nobody else can ask there meanwhile.
        here = self._thread == threading.get_ident()
        return here and (self._task is None or self._task is current_task())

    def _own(self, state: TableState, key: Key) -> tuple[bool, Slot | None]:
        """Return whether the transaction has written the key, and what."""
        for layer in reversed(self._layers):
            writes = layer.get(state)
            if writes is not None and key in writes:
                return True, writes[key]
        return False, None

    def slot(self, state: TableState, key: Key) -> Slot | None:
        """Return what is under an encoded key, its own writes first."""
        reads = self.reads
        if len(self._layers) == 1:
            writes = self._layers[0].get(state)
            if writes is not None and key in writes:
                return writes[key]
        else:
            own, slot = self._own(state, key)
            if own:
                return slot
        reads.places.add((state.space, key))  # before reading: see `isolation`
        slot = state.copy.get(key)
        if self._running.changing or reads.doomed or not state.alive:
            self._go_on(state)
        return slot

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
        ranges = self.reads.ranges
        at = len(ranges)
        ranges.append((state.space, low, high))
        layers = [layer[state] for layer in reversed(self._layers) if state in layer]
        found = layered(layers, state.copy, low, high, limit=limit, reverse=reverse)
        self._go_on(state)
        if limit is not None and len(found) >= limit:
            # What was really looked at is known only now; until now, too much was safe.
            last = found[-1][0]
            ranges[at] = (
                (state.space, last, high) if reverse else (state.space, low, last + b"\x00")
            )
        return found

    def pairs(self, state: TableState) -> Iterator[Pair]:
        """Yield all slots of a table; those of an ordered_set in order."""
        self.reads.ranges.append((state.space, b"", None))
        if state.definition.type == "ordered_set":
            yield from self._in_order(state)
            return
        own: dict[Key, Slot | None] = {}
        for layer in self._layers:
            own.update(layer.get(state, {}))
        for key, slot in state.copy.pairs():
            self._go_on(state)
            if key not in own:
                yield key, slot
        self._go_on(state)
        for key, slot in own.items():
            if slot is not None:
                yield key, slot

    def _in_order(self, state: TableState) -> Iterator[Pair]:
        low = b""
        while found := self.scan(state, low, None, limit=SCAN_ROWS):
            yield from found
            low = found[-1][0] + b"\x00"

    def index_keys(self, state: TableState, attribute: str, value: bytes) -> list[Key]:
        """Return the keys of the slots that may hold a record with this value."""
        value = value_of(value)
        self.reads.places.add((state.definition.index[attribute], value))
        keys = dict.fromkeys(state.indexes[attribute].lookup(value))
        self._go_on(state)
        for layer in self._layers:
            keys.update(dict.fromkeys(layer.get(state, {})))
        return list(keys)

    def index_range(
        self, state: TableState, attribute: str, low: bytes, high: bytes | None
    ) -> list[Key]:
        """Return the keys of the slots that may hold a record with low <= value < high."""
        low, high = bounds_of(low, high)
        self.reads.ranges.append((state.definition.index[attribute], low, high))
        keys = dict.fromkeys(key for _, key in state.indexes[attribute].range(low, high))
        self._go_on(state)
        for layer in self._layers:
            keys.update(dict.fromkeys(layer.get(state, {})))
        return list(keys)

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
        layer = self._layers[-1]
        writes = layer.get(state)
        if writes is None:
            writes = layer[state] = {}
        writes[key] = slot
        if payload is not None:
            payloads = self._payloads.get(state)
            if payloads is None:
                payloads = self._payloads[state] = {}
            payloads[key] = payload
        if state.watchers:
            self._operations[-1].append((operation, state, key, what))

    def lock(self, item: tuple[Any, Any], kind: Lock) -> None:
        """Lock ("table", table) or (table, key): see `Activity.lock`."""
        if not isinstance(item, tuple) or len(item) != 2 or kind not in ("read", "write"):
            raise BadArgument(f"{kind!r} and {item!r} are no lock and no (table, key)")
        kind_of_item, key = item
        if kind == "write":
            self._writable(key if kind_of_item == "table" else kind_of_item)
        if kind_of_item == "table":
            self.reads.ranges.append((self.state(key).space, b"", None))
        else:
            self.reads.places.add((self.state(kind_of_item).space, terms.encode(key)))

    def transaction(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function(self, *args)` nested: an exception out of it undoes what it has written.

        What it writes becomes part of this transaction when it returns, and durable with it.
        """
        self._check()
        with self.nested():
            return outcome(function(self, *args))

    def nested(self) -> Nested:
        """Return a context manager that is a nested transaction; see `transaction`."""
        return Nested(self)

    def _enter(self) -> tuple[Payloads, int]:
        self._layers.append({})
        self._operations.append([])
        return {state: dict(kept) for state, kept in self._payloads.items()}, len(self._layers)

    def _leave(self, before: Payloads, keep: bool) -> None:
        layer = self._layers.pop()
        operations = self._operations.pop()
        if keep:
            for state, writes in layer.items():
                self._layers[-1].setdefault(state, {}).update(writes)
            self._operations[-1].extend(operations)
        else:
            self._payloads = before

    def _go_on(self, state: TableState) -> None:
        self._running.go_on(self.reads)
        if not state.alive:
            raise Restart

    def stand(self) -> None:
        """Say that nothing that it has read has changed; Restart if something has."""
        self._running.go_on(self.reads)

    def result(self) -> tuple[Changes, Payloads, list[Operation]]:
        """End it; return what it has written."""
        self._over = True
        (changes,) = self._layers
        (operations,) = self._operations
        return changes, self._payloads, operations

    def close(self) -> None:
        """End it; every later use raises NoTransaction."""
        self._over = True
        with suppress(ValueError):  # a coroutine that is given up is closed in another context
            CURRENT.reset(self._token)


class Nested:
    """A nested transaction as a context manager; also around `await` in an `async def`."""

    __slots__ = ("_before", "_transaction")

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def __enter__(self) -> Transaction:
        self._before, _ = self._transaction._enter()  # noqa: SLF001 - the other half of this class
        return self._transaction

    def __exit__(self, kind: object, *_: object) -> None:
        self._transaction._leave(self._before, kind is None)  # noqa: SLF001
