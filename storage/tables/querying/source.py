"""What queries read from, and how an activity is that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .domains import END

BATCH_ROWS: Final = 256
"""So many rows are taken from a table at once, at most."""

_FIRST_BATCH: Final = 16

Bounds = tuple[bytes, bytes]
"""Encoded terms from the first (inclusive) to the second (exclusive)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan depends on.

    Attributes:
        name: the table's name.
        type: `set`, `ordered_set` or `bag`.
        attributes: the names of the fields.
        key_position: which of them is the key.
        indexes: those that are indexed.
        size: how many records there are, about.
        values: gives a record's values in the order of the fields.
    """

    name: str
    type: str
    attributes: tuple[str, ...]
    key_position: int
    indexes: frozenset[str]
    size: int
    values: Callable[[Any], Sequence[Any]]

    @property
    def ordered(self) -> bool:
        """Whether ranges of keys can be read."""
        return self.type == "ordered_set"


class Source(Protocol):
    """Where a query reads: an activity, with its own writes, noting what it reads."""

    def facts(self, table: Any) -> Facts:
        """Return the facts of a table; raises NoExists."""

    def lookup(self, table: Any, key: bytes) -> Iterable[Any]:
        """Return the records under an encoded key."""

    def range(self, table: Any, bounds: Bounds, *, reverse: bool) -> Iterable[Any]:
        """Yield the records within bounds in the order of the keys; only of an ordered_set."""

    def index(self, table: Any, attribute: str, bounds: Sequence[Bounds]) -> Iterable[Any]:
        """Yield, each once, at least the records whose value is within one of the bounds."""

    def scan(self, table: Any) -> Iterable[Any]:
        """Yield all records, in any order."""


class Readable(Protocol):
    """The part of an activity that `ActivitySource` needs."""

    def state(self, table: Any) -> Any:
        """Return the table's state."""

    def slot(self, state: Any, key: bytes) -> Any:
        """Return what is under an encoded key."""

    def scan(
        self,
        state: Any,
        low: bytes = b"",
        high: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[bytes, Any]]:
        """Return the slots with low <= key < high, in the order of the keys."""

    def pairs(self, state: Any) -> Iterator[tuple[bytes, Any]]:
        """Yield all slots of a table."""

    def index_keys(self, state: Any, attribute: str, value: bytes) -> list[bytes]:
        """Return the keys of the slots that may hold a record with this value."""

    def index_range(
        self, state: Any, attribute: str, low: bytes, high: bytes | None
    ) -> list[bytes]:
        """Return the keys of the slots that may hold a record with low <= value < high."""


class ActivitySource:
    """An activity as a source."""

    __slots__ = ("_activity",)

    def __init__(self, activity: Readable) -> None:
        self._activity = activity

    def facts(self, table: Any) -> Facts:
        """See `Source.facts`."""
        state = self._activity.state(table)
        definition = state.definition
        return Facts(
            definition.name,
            definition.type,
            tuple(definition.attributes),
            definition.key_position,
            frozenset(state.indexes),
            state.size,
            state.record_type.values,
        )

    def lookup(self, table: Any, key: bytes) -> Iterable[Any]:
        """See `Source.lookup`."""
        state = self._activity.state(table)
        slot = self._activity.slot(state, key)
        if slot is None:
            state.missing()
            return ()
        found: list[Any] = state.records_of(slot)
        return found

    def range(self, table: Any, bounds: Bounds, *, reverse: bool) -> Iterator[Any]:
        """See `Source.range`; reads in batches, small ones first, as limits often end it early."""
        state = self._activity.state(table)
        state.missing()
        low, high = bounds
        limit = _FIRST_BATCH
        while batch := self._activity.scan(state, low, high, limit=limit, reverse=reverse):
            for _, slot in batch:
                yield from state.records_of(slot)
            if len(batch) < limit:
                return
            if reverse:
                high = batch[-1][0]
            else:
                low = batch[-1][0] + b"\x00"
            limit = min(limit * 2, BATCH_ROWS)

    def index(self, table: Any, attribute: str, bounds: Sequence[Bounds]) -> Iterator[Any]:
        """See `Source.index`; a record that is damaged may be missing from an index."""
        state = self._activity.state(table)
        state.missing()
        keys: dict[bytes, None] = {}
        for low, high in bounds:
            if high == low + END:
                keys.update(dict.fromkeys(self._activity.index_keys(state, attribute, low)))
            else:
                found = self._activity.index_range(state, attribute, low, high)
                keys.update(dict.fromkeys(found))
        for key in keys:
            yield from state.records_of(self._activity.slot(state, key))

    def scan(self, table: Any) -> Iterator[Any]:
        """See `Source.scan`."""
        state = self._activity.state(table)
        state.missing()
        for _, slot in self._activity.pairs(state):
            yield from state.records_of(slot)
