"""How the records of one table of a query are found: by key, by a range, by an index, or all.

What is known of a record before it is read comes from the conditions on its own fields (static),
and from those that compare them with records that were read before it (dynamic).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from palaver.storage.tables.errors import BadType
from palaver.storage.tables.terms import encode

from .analysis import domain_of
from .comparing import Failed
from .domains import Domain, Interval, Known, Path
from .source import Facts, Source
from .tree import Expression

EQUALITIES: Final = ("==", "same")
_RANGE_PART: Final = 0.3
_PREFIX_PART: Final = 0.05

Context = list[Any]
"""The records that are being combined: of table n the record at 2 n, its values at 2 n + 1."""


@dataclass(frozen=True, slots=True)
class Link:
    """A condition between a field of this table and records that were read before.

    Attributes:
        path: where the field is.
        name: the comparison, the field on its left.
        other: the other side.
        value: computes the other side.
        shown: the condition.
    """

    path: Path
    name: str
    other: Expression
    value: Callable[[Context], Any]
    shown: Expression

    def domain(self, context: Context) -> Domain | None:
        """Return where the field must be; None where that cannot be said."""
        try:
            return domain_of(self.name, self.value(context))
        except (BadType, Failed):
            return None


@dataclass(frozen=True, slots=True)
class Access:
    """One way to find the records of a table.

    Attributes:
        table: as it is named in the query.
        facts: of the table.
        kind: `nothing`, `key`, `key range`, `index`, `index range` or `scan`.
        position: of the key or the indexed field.
        known: the static part.
        links: the dynamic part, as far as it is used.
        rows: how many records it gives, about.
    """

    table: Any
    facts: Facts
    kind: str
    position: int
    known: Known
    links: tuple[Link, ...]
    rows: float

    def records(self, source: Source, context: Context, *, reverse: bool = False) -> Iterable[Any]:
        """Return at least the records that can fulfil the conditions."""
        if self.kind == "nothing":
            return ()
        if self.kind == "scan":
            if self.facts.ordered and reverse:
                return source.range(self.table, _ALL, reverse=True)
            return source.scan(self.table)
        domain = self._domain(context)
        if domain.empty:
            return ()
        if domain.everything:  # the value of a link could not be a key
            return source.scan(self.table)
        if self.kind in ("index", "index range"):
            return self._by_index(source, domain)
        if self.facts.ordered:
            return self._by_range(source, domain, reverse)
        return self._by_key(source, domain)

    def _domain(self, context: Context) -> Domain:
        path = (self.position,)
        if not self.links:
            return self.known.at(path)
        known = self.known
        for link in self.links:
            domain = link.domain(context)
            if domain is not None:
                known = known.both(Known({link.path: domain}, {}, domain.empty))
        return known.at(path)

    def _by_index(self, source: Source, domain: Domain) -> Iterable[Any]:
        attribute = self.facts.attributes[self.position]
        bounds = [(one.lower, one.upper) for one in domain.intervals]
        return source.index(self.table, attribute, bounds)

    def _by_key(self, source: Source, domain: Domain) -> Iterable[Any]:
        values = domain.values
        if values is None:
            return source.scan(self.table)
        if len(values) == 1:
            return source.lookup(self.table, encode(values[0]))
        return (one for value in values for one in source.lookup(self.table, encode(value)))

    def _by_range(self, source: Source, domain: Domain, reverse: bool) -> Iterable[Any]:
        intervals: Sequence[Interval] = domain.intervals
        if len(intervals) == 1 and not _is_point(intervals[0]):
            bounds = (intervals[0].lower, intervals[0].upper)
            return source.range(self.table, bounds, reverse=reverse)
        return self._each_range(source, intervals[::-1] if reverse else intervals, reverse)

    def _each_range(
        self, source: Source, intervals: Sequence[Interval], reverse: bool
    ) -> Iterable[Any]:
        for one in intervals:
            if _is_point(one):
                yield from source.lookup(self.table, one.lower)
            else:
                yield from source.range(self.table, (one.lower, one.upper), reverse=reverse)

    def text(self) -> str:
        """Say it for people."""
        if self.kind in ("nothing", "scan"):
            return self.kind
        name = self.facts.attributes[self.position]
        parts = []
        domain = self.known.at((self.position,))
        if not domain.everything:
            parts.append(domain.text(name))
        parts.extend(repr(link.shown) for link in self.links)
        return f"{self.kind}: {' and '.join(parts)}"


_ALL: Final = (b"", b"\xff")


def _is_point(interval: Interval) -> bool:
    return interval.values is not None and len(interval.values) == 1


def best_access(table: Any, facts: Facts, known: Known, links: Sequence[Link]) -> Access:
    """Return the way that gives the fewest records, where these links can be used."""
    if known.impossible:
        return Access(table, facts, "nothing", 0, known, (), 0.0)
    ways = [Access(table, facts, "scan", 0, known, (), float(facts.size))]
    ways.extend(_ways(table, facts, known, links, facts.key_position, key=True))
    for attribute in sorted(facts.indexes):
        position = facts.attributes.index(attribute)
        ways.extend(_ways(table, facts, known, links, position, key=False))
    return min(ways, key=lambda way: (way.rows, _PREFERRED.index(way.kind)))


_PREFERRED: Final = ("nothing", "key", "index", "key range", "index range", "scan")


def _ways(
    table: Any, facts: Facts, known: Known, links: Sequence[Link], position: int, *, key: bool
) -> list[Access]:
    """Return how the records can be found by this field, if they can."""
    domain = known.at((position,))
    used = tuple(link for link in links if link.path[0] == position)
    equal = tuple(link for link in used if link.path == (position,) and link.name in EQUALITIES)
    kind = "key" if key else "index"
    each = 1.0 if key else max(1.0, facts.size**0.5)
    values = domain.values
    if values is not None or equal:
        points = 1 if equal else len(domain.intervals)
        rows = min(each * points, float(facts.size))
        return [Access(table, facts, kind, position, known, equal[:1], rows)]
    if (domain.everything and not used) or (key and not facts.ordered):
        return []
    part = 1.0
    if not domain.everything:
        sides = [one for side in domain.intervals for one in (side.lower, side.upper)]
        closed = b"" not in sides and b"\xff" not in sides
        part *= _PREFIX_PART if closed else _RANGE_PART
    for link in used:
        part *= _PREFIX_PART if link.name in EQUALITIES else _RANGE_PART
    rows = max(1.0, facts.size * part)
    if not key:
        rows *= 1.5  # each of them is looked up singly
    return [Access(table, facts, f"{kind} range", position, known, used, rows)]
