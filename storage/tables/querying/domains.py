"""Where in the order of keys the records are that a condition can be true for.

A domain is a set of intervals of encoded terms (`terms.encode`). It may be larger than the truth
and never smaller: conditions are always tested on the records as well. As no encoding is the
beginning of another one, `encode(x)` to `encode(x) + END` is the interval of x alone, also where
something follows: the other elements of a tuple, or the record's key in an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, TypeAlias

from palaver.storage.tables.errors import BadType
from palaver.storage.tables.terms import decode, encode

from . import comparing

START: Final = b""
END: Final = b"\xff"
"""Behind every encoding."""

MAX_INTERVALS: Final = 1_024
"""A domain of more intervals is taken as the one that spans them."""

_OPEN_TUPLE: Final = encode(())[:-1]
_CLOSE_TUPLE: Final = encode(())[-1:]
_DICTS: Final = (encode({})[:1], bytes((encode({})[0] + 1,)))

Path: TypeAlias = tuple[Any, ...]
"""A position in a record, and then indexes into the tuple there, and so on."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Encoded terms from `lower` (inclusive) to `upper` (exclusive).

    Attributes:
        lower: the first.
        upper: behind the last.
        values: all terms that can be in it, where these are few; else None.
    """

    lower: bytes
    upper: bytes
    values: tuple[Any, ...] | None = None

    def text(self, name: str) -> str:
        """Say it for people, as a condition on `name`."""
        if self.values is not None:
            return f"{name} == {self.values[0]!r}"
        lower = _bound_text(self.lower, ">=", ">")
        upper = _bound_text(self.upper, "<", "<=")
        return " and ".join(f"{name} {bound}" for bound in (lower, upper) if bound)


def _bound_text(bound: bytes, at: str, behind: str) -> str:
    if bound in (START, END):
        return ""
    inside = bound.removesuffix(END)
    sign = at if inside is bound or inside == bound else behind
    for rest, more in ((b"", ""), (_CLOSE_TUPLE, ", ..."), (_CLOSE_TUPLE * 2, ", ...")):
        try:
            term = decode(inside + rest)
        except BadType:
            continue
        return f"{sign} {_open_text(term) if more else repr(term)}"
    return f"{sign} {bound.hex()}"


def _open_text(term: Any) -> str:
    return "(" + "".join(f"{item!r}, " for item in term) + "...)"


@dataclass(frozen=True, slots=True)
class Domain:
    """Disjoint intervals in order."""

    intervals: tuple[Interval, ...]

    @property
    def everything(self) -> bool:
        """Whether nothing is known."""
        return self == EVERYTHING

    @property
    def empty(self) -> bool:
        """Whether there is no such term."""
        return not self.intervals

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All terms that are in it, where these are few; else None."""
        found: list[Any] = []
        for interval in self.intervals:
            if interval.values is None:
                return None
            found.extend(interval.values)
        return tuple(found)

    def intersect(self, other: Domain) -> Domain:
        """Return what is in both."""
        if other is EVERYTHING or self is EVERYTHING:
            return self if other is EVERYTHING else other
        found = []
        left, right = 0, 0
        while left < len(self.intervals) and right < len(other.intervals):
            one, two = self.intervals[left], other.intervals[right]
            lower, upper = max(one.lower, two.lower), min(one.upper, two.upper)
            if lower < upper:
                found.append(Interval(lower, upper, _both(one, two, lower, upper)))
            if one.upper < two.upper:
                left += 1
            else:
                right += 1
        return Domain(tuple(found))

    def text(self, name: str) -> str:
        """Say it for people, as a condition on `name`."""
        if self.empty:
            return "nothing"
        texts = [interval.text(name) for interval in self.intervals[:4]]
        if len(self.intervals) > len(texts):
            texts.append(f"{len(self.intervals) - len(texts)} more")
        return " or ".join(text for text in texts if text) or f"any {name}"


EVERYTHING: Final = Domain((Interval(START, END),))
NOTHING: Final = Domain(())
TUPLES: Final = Domain((Interval(_OPEN_TUPLE, _OPEN_TUPLE + END),))
"""All tuples."""


def _both(one: Interval, two: Interval, lower: bytes, upper: bytes) -> tuple[Any, ...] | None:
    values = one.values if two.values is None else two.values
    if one.values is not None and two.values is not None and len(one.values) < len(two.values):
        values = one.values
    if values is None or len(values) == 1:
        return values
    return tuple([value for value in values if lower <= encode(value) < upper])


def from_intervals(intervals: Iterable[Interval]) -> Domain:
    """Make a domain of intervals in any order, that may overlap."""
    found: list[Interval] = []
    for interval in sorted(intervals, key=lambda one: (one.lower, one.upper)):
        if interval.lower >= interval.upper:
            continue
        if not found or found[-1].upper <= interval.lower:
            found.append(interval)
            continue
        last = found.pop()
        found.append(_merged(last, interval))
    if len(found) > MAX_INTERVALS:
        found = [Interval(found[0].lower, found[-1].upper)]
    return Domain(tuple(found))


def _merged(last: Interval, interval: Interval) -> Interval:
    values = None
    if last.values is not None and interval.values is not None:
        by_code = {encode(value): value for value in (*last.values, *interval.values)}
        values = tuple(by_code[code] for code in sorted(by_code))
    return Interval(last.lower, max(last.upper, interval.upper), values)


def point(value: Any) -> Domain:
    """Return the domain of the terms that are the same as this one (`=:=`)."""
    code = encode(value)
    return Domain((Interval(code, code + END, (value,)),))


def points(values: Iterable[Any]) -> Domain:
    """Return the domain of these terms."""
    return from_intervals(point(value).intervals[0] for value in values)


def equal_to(value: Any) -> Domain:
    """Return the domain of the terms that are equal to this one (`==`)."""
    lower, upper = encode(comparing.lowest(value)), encode(comparing.highest(value)) + END
    return Domain((Interval(lower, upper, _ties(comparing.plain(value))),))


def _ties(value: Any) -> tuple[Any, ...] | None:
    if type(value) in comparing.NUMBERS:
        return tuple(tie for tie in comparing.ties(value) if _can_be_key(tie))
    if type(value) is tuple or type(value) is list:
        parts = [_ties(item) for item in value]
        count = 1
        for part in parts:
            count *= MAX_INTERVALS if part is None else len(part)
        if count >= MAX_INTERVALS:
            return None
        return tuple(product(*(part for part in parts if part is not None)))
    if isinstance(value, Mapping):
        return None
    return (value,)


def _can_be_key(value: Any) -> bool:
    try:
        encode(value)
    except BadType:
        return False
    return True


def below(value: Any, inclusive: bool) -> Domain:
    """Return the domain of the terms that are less than this one, or equal to it."""
    upper = encode(comparing.highest(value))
    return Domain((Interval(START, upper + END if inclusive else upper),))


def above(value: Any, inclusive: bool) -> Domain:
    """Return the domain of the terms that are greater than this one, or equal to it."""
    lower = comparing.lowest(value)
    code = encode(lower)
    # Where the term has no others equal to it, it is outside by itself.
    if not inclusive and code == encode(comparing.highest(value)):
        code += END
    return Domain((Interval(code, END),))


def beginning_with(prefix: str | bytes) -> Domain:
    """Return the domain of the strings, or byte strings, that begin so."""
    lower = encode(prefix)
    after = _after_str(prefix) if isinstance(prefix, str) else _after_bytes(prefix)
    kind_end = bytes((lower[0] + 1,))
    return Domain((Interval(lower, kind_end if after is None else encode(after)),))


_SURROGATES: Final = (0xD800, 0xE000)


def _after_str(prefix: str) -> str | None:
    while prefix:
        code = ord(prefix[-1]) + 1
        if code <= 0x10FFFF:
            return prefix[:-1] + chr(_SURROGATES[1] if code == _SURROGATES[0] else code)
        prefix = prefix[:-1]
    return None


def _after_bytes(prefix: bytes) -> bytes | None:
    prefix = prefix.rstrip(b"\xff")
    return prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the fields of a record for which a condition can be true.

    Attributes:
        domains: by path; what is not there can be everything.
        sizes: paths of what is a tuple for certain, with its number of elements.
        impossible: whether it can be true for none.
    """

    domains: Mapping[Path, Domain]
    sizes: Mapping[Path, int]
    impossible: bool = False

    def both(self, other: Known) -> Known:
        """Return what is known where both conditions hold."""
        if other is NOTHING_KNOWN or self is NOTHING_KNOWN:
            return self if other is NOTHING_KNOWN else other
        domains = dict(self.domains)
        for path, domain in other.domains.items():
            mine = domains.get(path)
            domains[path] = domain if mine is None else mine.intersect(domain)
        impossible = self.impossible or other.impossible
        impossible = impossible or any(domain.empty for domain in domains.values())
        return Known(domains, {**self.sizes, **other.sizes}, impossible)

    def at(self, path: Path) -> Domain:
        """Return the domain of a field, with what is known of its elements."""
        if self.impossible:
            return NOTHING
        domain = self.domains.get(path, EVERYTHING)
        if any(len(known) > len(path) and known[: len(path)] == path for known in self.domains):
            domain = domain.intersect(self._composed(path))
        return domain

    def _composed(self, path: Path) -> Domain:
        """Return the domain of a tuple whose first elements are known."""
        size = self.sizes.get(path)
        heads: list[tuple[bytes, tuple[Any, ...]]] = [(_OPEN_TUPLE, ())]
        index = 0
        while index != size:
            child = self.at((*path, index))
            values = child.values
            if child.everything or len(heads) * len(child.intervals) > MAX_INTERVALS:
                return _tuples([Interval(head, head + END) for head, _ in heads], size)
            if values is None or len(heads) * len(values) > MAX_INTERVALS:
                intervals = [
                    Interval(head + one.lower, head + one.upper)
                    for head, _ in heads
                    for one in child.intervals
                ]
                return _tuples(intervals, size)
            heads = [(head + encode(one), (*so, one)) for head, so in heads for one in values]
            index += 1
        return points(values for _, values in heads)


def any_of(alternatives: Iterable[Known]) -> Known:
    """Return what is known where one of several conditions holds."""
    possible = [known for known in alternatives if not known.impossible]
    if len(possible) <= 1:
        return possible[0] if possible else IMPOSSIBLE
    paths = {path for known in possible for path in known.domains}
    paths |= {path[:1] for path in paths}
    domains = {}
    for path in sorted(paths, key=repr):
        found = [known.at(path) for known in possible]
        if not any(domain.everything for domain in found):
            domains[path] = from_intervals(one for domain in found for one in domain.intervals)
    return Known(domains, {})


NOTHING_KNOWN: Final = Known({}, {})
IMPOSSIBLE: Final = Known({}, {}, impossible=True)


def _tuples(intervals: Sequence[Interval], size: int | None) -> Domain:
    # What has elements by index, and is not known to be a tuple, can be a dict.
    return from_intervals(intervals if size is not None else [*intervals, Interval(*_DICTS)])
