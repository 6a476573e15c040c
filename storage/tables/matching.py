"""Finding records by patterns and match specifications, in an activity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from . import terms
from .copies import SCAN_ROWS, Key, Pair, Slot
from .errors import BadArgument, BadType
from .matchspec import CompiledSpec, MatchSpec, compile_match_spec
from .patterns import Matcher, compile_pattern
from .querying.domains import Known
from .table import Table, TableState

R = TypeVar("R")
T = TypeVar("T")


class End:
    """The type of `END`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "END"

    def __bool__(self) -> bool:
        return False


END = End()
"""What `first`, `next`, ... and a finished `select` return: Mnesia's `'$end_of_table'`."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a `select` with a limit goes on; for `select_more` in the same activity."""

    table: str
    version: int
    spec: CompiledSpec
    limit: int
    intervals: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Selection(Generic[T]):
    """A part of what a `select` finds.

    Attributes:
        items: at least one; in a bag a few more than the limit, as a key is never divided.
        continuation: for `select_more`.
    """

    items: list[T]
    continuation: Continuation


class Matching:
    """The operations that find records by what they look like."""

    __slots__ = ()

    @abstractmethod
    def state(self, table: Any) -> TableState:
        """Return the table's state."""

    @abstractmethod
    def slot(self, state: TableState, key: Key) -> Slot | None:
        """Return what is under an encoded key."""

    @abstractmethod
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

    @abstractmethod
    def pairs(self, state: TableState) -> Iterator[Pair]:
        """Yield all slots of a table."""

    @abstractmethod
    def index_keys(self, state: TableState, attribute: str, value: bytes) -> list[Key]:
        """Return the keys of the slots that may hold a record with this value."""

    @abstractmethod
    def index_range(
        self, state: TableState, attribute: str, low: bytes, high: bytes | None
    ) -> list[Key]:
        """Return the keys of the slots that may hold a record with low <= value < high."""

    # -- operations ------------------------------------------------------------------------------

    def match_object(self, pattern: R, table: Any = None) -> list[R]:
        """Return the records that match a pattern: mnesia:match_object/1,3.

        Looks at one key, or at an index, or at a range of an ordered_set where the pattern says
        enough; else at every record.

        Args:
            pattern: a record with `ANY` and variables in its fields; see `patterns`.
            table: where; by default the table of the pattern's class.
        """
        state = self._state_of(pattern, table)
        matcher = self._matcher(state, pattern)
        test = matcher.test
        values = state.record_type.values
        return [
            record
            for _, slot in self._candidates(state, matcher.known)
            for record in state.records_of(slot)
            if test(values(record)) is not None
        ]

    def index_match_object(self, pattern: R, attribute: str, table: Any = None) -> list[R]:
        """Return the records that match, by an index: mnesia:index_match_object/2,4.

        Raises:
            NoExists: there is no such index.
            BadType: the pattern leaves the attribute open, or there is no such attribute.
        """
        state = self._state_of(pattern, table)
        state.need_index(attribute)
        matcher = self._matcher(state, pattern)
        if state.definition.attributes.index(attribute) not in matcher.bound:
            raise BadType(f"the pattern leaves {attribute} open: an index cannot help")
        return self.match_object(pattern, state.name)

    @overload
    def select(self, table: Any, match_spec: MatchSpec[T], limit: None = None) -> list[T]: ...
    @overload
    def select(self, table: Any, match_spec: MatchSpec[T], limit: int) -> Selection[T] | End: ...
    @overload
    def select(self, table: Any, match_spec: Any, limit: None = None) -> list[Any]: ...
    @overload
    def select(self, table: Any, match_spec: Any, limit: int) -> Selection[Any] | End: ...
    def select(self, table: Any, match_spec: Any, limit: int | None = None) -> Any:
        """Return what a match specification makes of the records: mnesia:select/2,4.

        Args:
            table: where.
            match_spec: what `match` makes, or Mnesia's list of (head, guards, results).
            limit: return a `Selection` of about so many, or END; the rest by `select_more`.
        """
        state = self.state(table)
        spec = compile_match_spec(
            state.record_type.cls, match_spec, key_position=state.definition.key_position
        )
        if limit is None:
            return self._run(state, spec, self._candidates(state, spec.known))
        if type(limit) is not int or limit < 1:
            raise BadArgument(f"a limit is a number of records from 1 on, not {limit!r}")
        return self.select_more(
            Continuation(state.name, state.definition.version, spec, limit, spec.key_ranges)
        )

    def select_more(self, continuation: Continuation) -> Selection[Any] | End:
        """Return the next part of a `select` with a limit, END when there is none.

        Raises:
            BadArgument: the table has changed its definition since, or it is no continuation.
        """
        if not isinstance(continuation, Continuation):
            raise BadArgument(f"{continuation!r} is no continuation of a select")
        state = self.state(continuation.table)
        if state.definition.version != continuation.version:
            raise BadArgument(f"{state.name} has been redefined since the select began")
        state.missing()
        spec, limit = continuation.spec, continuation.limit
        items: list[Any] = []
        left = list(continuation.intervals)
        while left and len(items) < limit:
            low, high = left[0]
            batch = self.scan(state, low, high, limit=min(SCAN_ROWS, max(limit, 16)))
            if not batch:
                left.pop(0)
                continue
            for key, slot in batch:
                items.extend(self._run(state, spec, [(key, slot)]))
                left[0] = (key + b"\x00", high)
                if len(items) >= limit:
                    break
        if not items:
            return END
        rest = Continuation(state.name, continuation.version, spec, limit, tuple(left))
        return Selection(items, rest)

    # -- inside ----------------------------------------------------------------------------------

    def _state_of(self, pattern: Any, table: Any) -> TableState:
        return self.state(type(pattern) if table is None else table)

    @staticmethod
    def _matcher(state: TableState, pattern: Any) -> Matcher:
        return compile_pattern(
            state.record_type.cls, pattern, key_position=state.definition.key_position
        )

    @staticmethod
    def _run(state: TableState, spec: CompiledSpec, pairs: Any) -> list[Any]:
        run = spec.run
        values = state.record_type.values
        return [
            result
            for _, slot in pairs
            for record in state.records_of(slot)
            for matched, result in (run(record, values(record)),)
            if matched
        ]

    def _candidates(self, state: TableState, known: Known) -> Iterator[Pair]:
        """Yield at least the slots in which a record can match, by the shortest way known."""
        definition = state.definition
        key = known.at((definition.key_position,))
        if key.empty:
            return iter(())
        keyed = key.values
        if keyed is not None:
            return self._present(state, [terms.encode(value) for value in keyed])
        for attribute in state.indexes:
            domain = known.at((definition.attributes.index(attribute),))
            if domain.everything:
                continue
            if domain.values is not None:
                state.missing()  # what is damaged is in no index
                found = [
                    key
                    for value in domain.values
                    for key in self.index_keys(state, attribute, terms.encode(value))
                ]
                return self._present(
                    state, sorted(found) if definition.type == "ordered_set" else found
                )
        if definition.type == "ordered_set" and not key.everything:
            return self._ranges(state, [(each.lower, each.upper) for each in key.intervals])
        state.missing()
        return self.pairs(state)

    def _present(self, state: TableState, keys: list[Key]) -> Iterator[Pair]:
        for key in dict.fromkeys(keys):
            slot = self.slot(state, key)
            if slot is not None:
                yield key, slot
            else:
                state.missing()

    def _ranges(self, state: TableState, ranges: list[tuple[bytes, bytes]]) -> Iterator[Pair]:
        state.missing()
        for low, high in ranges:
            at = low
            while batch := self.scan(state, at, high, limit=SCAN_ROWS):
                yield from batch
                at = batch[-1][0] + b"\x00"


__all__ = ["END", "Continuation", "End", "Matching", "Selection", "Table"]
