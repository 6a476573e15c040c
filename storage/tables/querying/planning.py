"""From a query to a plan: in which order the tables are read, how each, and what is tested where.

The plan is the cheapest of those that a greedy search finds from each table as the first; costs are
counted in records that are looked at. Every plan of a query gives the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from palaver.storage.tables.errors import BadArgument

from .access import Access, Link, best_access
from .conditions import (
    Condition,
    HashLink,
    Tables,
    conditions_of,
    hash_link_of,
    known_of,
    links_of,
)
from .domains import Known
from .fields import Field, check_grouped
from .source import Source
from .tree import Operation

if TYPE_CHECKING:
    from palaver.storage.tables.queries import Description

_LOOKUP: Final = 3.0
"""What finding the way to some records costs, in records looked at."""
_KEEPING: Final = 1.5
"""What it costs to keep a record for a join."""
_KEPT: Final = 0.3
"""What it costs to look at one that is kept."""


@dataclass(frozen=True, slots=True)
class Step:
    """How one table is joined to those before it.

    Attributes:
        number: of the table.
        method: `nested`: its records are found anew for every row so far; `hash`: they are put
            into a dict once; `loop`: they are kept in a list.
        access: how its records are found.
        link: of a hash join.
        own: conditions on its records alone.
        joint: conditions on its records and those before.
        rows: how many rows there are after it, about.
        cost: of all up to here.
    """

    number: int
    method: str
    access: Access
    link: HashLink | None
    own: tuple[Condition, ...]
    joint: tuple[Condition, ...]
    rows: float
    cost: float


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """The steps of a query, and whether they give its rows in the order that is wanted.

    Attributes:
        steps: the first table's first.
        ordered: whether the rows come in the order of the first table's key.
        reverse: whether that order is from the greatest on.
    """

    steps: tuple[Step, ...]
    ordered: bool = False
    reverse: bool = False


class _Planner:
    """Finds the order of the tables."""

    __slots__ = ("_conditions", "_known", "_tables")

    def __init__(self, tables: Tables, conditions: Sequence[Condition]) -> None:
        self._tables = tables
        self._conditions = conditions
        self._known: list[Known] = [
            known_of(number, conditions, tables) for number in range(len(tables.aliases))
        ]

    def from_first(self, first: int, *, by_key: bool = False) -> tuple[Step, ...]:
        """Return the steps of a plan that reads this table first, and if wanted in key order."""
        steps = [self._step(first, frozenset(), None, by_key=by_key)]
        bound = frozenset((first,))
        while len(bound) < len(self._tables.aliases):
            left = [number for number in range(len(self._tables.aliases)) if number not in bound]
            ways = [self._step(number, bound, steps[-1]) for number in left]
            best = min(ways, key=lambda step: (step.cost + step.rows, step.number))
            steps.append(best)
            bound |= {best.number}
        return tuple(steps)

    def _step(
        self, number: int, bound: frozenset[int], before: Step | None, *, by_key: bool = False
    ) -> Step:
        new = [
            one
            for one in self._conditions
            if one.about <= bound | {number}
            and (number in one.about or (before is None and not one.about))
        ]
        own = tuple(one for one in new if one.about <= {number})
        joint = tuple(one for one in new if not one.about <= {number})
        links = links_of(number, bound, self._conditions, self._tables)
        nested = self._nested(number, own, joint, before, self._access(number, links, by_key))
        if before is None:
            return nested
        once = self._access(number, ())
        hashed = hash_link_of(number, bound, self._conditions, self._tables)
        kept = self._kept(number, own, joint, before, once, hashed)
        return nested if nested.cost <= kept.cost else kept

    def _access(self, number: int, links: Sequence[Link], by_key: bool = False) -> Access:
        facts = self._tables.facts[number]
        if by_key:
            facts = replace(facts, indexes=frozenset())
        table = self._tables.aliases[number].table
        return best_access(table, facts, self._known[number], links)

    def _nested(
        self,
        number: int,
        own: tuple[Condition, ...],
        joint: tuple[Condition, ...],
        before: Step | None,
        access: Access,
    ) -> Step:
        outer = 1.0 if before is None else before.rows
        spent = 0.0 if before is None else before.cost
        used = {id(link.shown) for link in access.links}
        rows = outer * _kept_rows(access, own, [one for one in joint if id(one.shown) not in used])
        cost = spent + outer * (_LOOKUP + access.rows)
        return Step(number, "nested", access, None, own, joint, rows, cost)

    def _kept(
        self,
        number: int,
        own: tuple[Condition, ...],
        joint: tuple[Condition, ...],
        before: Step,
        access: Access,
        link: HashLink | None,
    ) -> Step:
        inner = _kept_rows(access, own, ())
        cost = before.cost + _LOOKUP + access.rows + inner * _KEEPING
        if link is None:
            met = inner
            rest: list[Condition] = list(joint)
        else:
            met = max(inner**0.5, 1.0)
            rest = [one for one in joint if one.shown is not link.shown]
        rows = before.rows * met * _passing(rest)
        cost += before.rows * (1.0 + met * _KEPT)
        method = "loop" if link is None else "hash"
        return Step(number, method, access, link, own, joint, rows, cost)


def _kept_rows(access: Access, own: Sequence[Condition], joint: Sequence[Condition]) -> float:
    """Return how many records are left, of those that the access gives, after the conditions."""
    position = access.position
    rest = []
    for one in own:
        fields = [field for _, field, _ in one.sides if isinstance(field, Field)]
        at = [access.facts.attributes.index(field.name) for field in fields if field.name]
        if access.kind == "scan" or position not in at:
            rest.append(one)
    return access.rows * _passing((*rest, *joint))


def _passing(conditions: Sequence[Condition]) -> float:
    """Return which part of all rows fulfils conditions, about."""
    part = 1.0
    for one in conditions:
        name = one.shown.name if isinstance(one.shown, Operation) else ""
        part *= {"==": 0.1, "same": 0.1, "!=": 0.9, "differs": 0.9}.get(name, 0.4)
    return part


def plan_join(asked: Description, source: Source) -> tuple[Tables, JoinPlan]:
    """Return the tables of a query, and how they are to be read.

    Raises:
        NoExists: a table is not there.
        BadArgument: a field is not there.
    """
    if not asked.tables:
        raise BadArgument("a query is about at least one table: each(Account), or rows(Account)")
    tables = Tables(asked.tables, [source.facts(alias.table) for alias in asked.tables])
    ends = (asked.result, asked.having, *(by for by, _ in asked.order))
    for expression in (asked.condition, *(asked.group or ()), *ends):
        tables.check(expression)
    if asked.grouped:
        grouped = {by.key for by in asked.group or ()}
        for expression in ends:
            check_grouped(expression, grouped)
    planner = _Planner(tables, conditions_of(asked.condition, tables))
    plans = [planner.from_first(first) for first in range(len(tables.aliases))]
    best = min(plans, key=lambda steps: (steps[-1].cost, steps[0].number))
    ordered = _ordered_first(asked, tables)
    if ordered is not None:
        steps = planner.from_first(ordered, by_key=True)
        cost = steps[-1].cost
        if asked.limit is not None and not asked.distinct:
            cost *= min(1.0, (asked.limit + 1) / max(steps[-1].rows, 1.0))
        if cost <= best[-1].cost + _sorting(best[-1].rows):
            return tables, JoinPlan(steps, ordered=True, reverse=asked.order[0][1])
    return tables, JoinPlan(best)


def _sorting(rows: float) -> float:
    return 2.0 * rows


def _ordered_first(asked: Description, tables: Tables) -> int | None:
    """Return the table by whose key the results are sorted first, where it is in that order."""
    if not asked.order or asked.grouped:
        return None
    first = asked.order[0][0]
    if not isinstance(first, Field) or first.name is None:
        return None
    number = tables.number(first)
    facts = tables.facts[number]
    if not facts.ordered or facts.attributes.index(first.name) != facts.key_position:
        return None
    return number
