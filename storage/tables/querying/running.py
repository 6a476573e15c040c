"""From rows to results: projecting, sorting, grouping, counting off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from palaver.storage.tables.errors import BadArgument, BadType
from palaver.storage.tables.terms import encode

from .access import Context
from .comparing import Failed
from .conditions import Tables
from .fields import Field
from .grouping import Groups
from .joining import Join, check_held
from .planning import JoinPlan
from .source import Source
from .tree import Build, Expression

if TYPE_CHECKING:
    from palaver.storage.tables.queries import Description

Keyed = tuple[bytes, Any]
"""What a result is sorted by, and the result."""

_COMPLEMENT: Final = bytes(255 - byte for byte in range(256))
_KEPT_LIMIT: Final = 10_000
"""Up to this limit only so many results are kept while sorting."""


def results(asked: Description, tables: Tables, plan: JoinPlan, source: Source) -> Iterator[Any]:
    """Yield the results of a query one by one, reading no more than they need.

    Raises:
        BadArgument: a result or what is sorted by cannot be computed.
        SystemLimit: more had to be held than `MAX_HELD`.
    """
    if asked.limit == 0:
        return
    join = Join(tables, plan, source)
    found: Iterable[Any]
    if asked.grouped:
        found = _grouped(asked, tables, join)
    elif plan.ordered:
        found = _in_order(asked, tables, join)
    elif asked.order:
        project, sort = _project(asked, tables), _sort_key(asked, tables)
        found = _sorted(((sort(row), project(row)) for row in join.rows()), asked)
    else:
        project = _project(asked, tables)
        found = map(project, join.rows())
    if asked.distinct:
        found = _distinct(found, asked, tables)
    yield from found if asked.limit is None else islice(found, asked.limit)


def _project(asked: Description, tables: Tables) -> Callable[[Context], Any]:
    return told(tables.value(asked.result), asked.result)


def told(compute: Callable[[Any], Any], shown: Expression) -> Callable[[Any], Any]:
    """Return a function that computes the same and says what could not be computed."""
    if not shown.operands():
        return compute

    def computed(context: Any) -> Any:
        try:
            return compute(context)
        except Failed as error:
            raise BadArgument(f"{shown!r} cannot be computed: {error}") from error

    return computed


def _sort_key(asked: Description, tables: Tables, *, skip: int = 0) -> Callable[[Context], bytes]:
    """Return what a row is sorted by: what is wanted, then the keys of its records."""
    parts = [(_encoder(by, tables), down) for by, down in asked.order[skip:]]
    ends = [_place_of(tables, number) for number in range(len(tables.aliases))]

    def sort_key(context: Context) -> bytes:
        codes = [
            code(context).translate(_COMPLEMENT) if down else code(context) for code, down in parts
        ]
        codes.extend([end(context) for end in ends])
        return b"".join(codes)

    return sort_key


def _encoder(by: Expression, tables: Tables) -> Callable[[Any], bytes]:
    value = told(tables.value(by), by)

    def code(context: Any) -> bytes:
        try:
            return encode(value(context))
        except BadType as error:
            raise BadArgument(f"the results cannot be sorted by {by!r}: {error}") from error

    return code


def _place_of(tables: Tables, number: int) -> Callable[[Context], bytes]:
    """Return what gives a record's place in its table: its key, in a bag all its values."""
    facts = tables.facts[number]
    at, key = 2 * number + 1, facts.key_position
    if facts.type == "bag":
        return lambda context: b"".join(
            [encode(context[at][key]), *(_code_or_nothing(value) for value in context[at])]
        )
    return lambda context: encode(context[at][key])


def _code_or_nothing(value: Any) -> bytes:
    try:
        return encode(value)
    except BadType:
        return b""


def _sorted(found: Iterable[Keyed], asked: Description) -> Iterator[Any]:
    """Yield results in order; with a small limit no more than that are kept."""
    limit = asked.limit
    if limit is not None and limit <= _KEPT_LIMIT and not asked.distinct:
        kept = nsmallest(limit, found, key=_first)
    else:
        kept = []
        for one in found:
            kept.append(one)
            check_held(len(kept), "sort them")
        kept.sort(key=_first)
    for _, result in kept:
        yield result


def _first(pair: Keyed) -> bytes:
    return pair[0]


def _in_order(asked: Description, tables: Tables, join: Join) -> Iterator[Any]:
    """Yield results in the order in which the records of the first table come."""
    project = _project(asked, tables)
    if len(tables.aliases) == 1:
        yield from map(project, join.rows())
        return
    sort = _sort_key(asked, tables, skip=1)
    for rows in join.groups():
        found = [(sort(row), project(row)) for row in rows]
        check_held(len(found), "sort them")
        found.sort(key=_first)
        for _, result in found:
            yield result


def _grouped(asked: Description, tables: Tables, join: Join) -> Iterator[Any]:
    """Yield the results of groups, in the order of what they are grouped by or as wanted."""
    groups = Groups(asked, tables)
    for row in join.rows():
        groups.add(row)
    having = tables.test([groups.slotted(asked.having)])
    result = groups.slotted(asked.result)
    project = told(tables.value(result), result)
    parts = [(_encoder(groups.slotted(by), tables), down) for by, down in asked.order]

    def keyed() -> Iterator[Keyed]:
        for place, slots in groups.complete():
            if having is not None and not having(slots):
                continue
            codes = [
                code(slots).translate(_COMPLEMENT) if down else code(slots) for code, down in parts
            ]
            yield b"".join([*codes, place]), project(slots)

    if parts:
        return _sorted(keyed(), asked)
    return (result for _, result in keyed())


def _distinct(found: Iterable[Any], asked: Description, tables: Tables) -> Iterator[Any]:
    identify = _identity(asked.result, tables)
    seen: set[Any] = set()
    for result in found:
        code = identify(result)
        if code not in seen:
            seen.add(code)
            check_held(len(seen), "give equal results once")
            yield result


def _identity(expression: Expression, tables: Tables) -> Callable[[Any], Any]:
    """Return what gives a hashable value, equal for results that are the same."""
    if isinstance(expression, Field) and expression.name is None:
        values = tables.facts[tables.number(expression)].values
        return lambda record: _identified(tuple(values(record)))
    if isinstance(expression, Build) and expression.kind is tuple:
        parts = [_identity(one, tables) for one in expression.items]
        return lambda result: tuple(
            [part(value) for part, value in zip(parts, result, strict=True)]
        )
    return _identified


def _identified(value: Any) -> bytes:
    try:
        return encode(value)
    except BadType as error:
        raise BadArgument(f"distinct cannot compare {value!r}: {error}") from error
