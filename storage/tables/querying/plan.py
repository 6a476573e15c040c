"""A plan that can be read, and run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .access import EQUALITIES
from .conditions import Tables
from .fields import Field
from .planning import JoinPlan, Step, plan_join
from .running import results
from .source import Source

if TYPE_CHECKING:
    from palaver.storage.tables.queries import Description

LARGE_TABLE: Final = 10_000
"""A full scan of a table with so many records is worth a warning."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query would be run; `str` of it is for people.

    Attributes:
        lines: the tree, indented.
        warnings: what makes it slow, a sentence each.
        accesses: how each table is found, in the order in which they are read: its name in the
            query and `key`, `key range`, `index`, `index range`, `scan` or `nothing`.
        rows: how many rows there are before grouping and limit, about.
    """

    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    accesses: tuple[tuple[str, str], ...]
    rows: int

    def __str__(self) -> str:
        return "\n".join((*self.lines, *(f"warning: {text}" for text in self.warnings)))


def make_plan(asked: Description, source: Source) -> Plan:
    """Plan a query and describe the plan."""
    tables, join = plan_join(asked, source)
    lines: list[str] = []
    depth = 0
    for text in _outer(asked, join):
        lines.append("  " * depth + text)
        depth += 1
    for step in join.steps:
        lines.extend("  " * depth + text for text in _step(step, tables, join))
    labels = tuple((tables.aliases[step.number].label, step.access.kind) for step in join.steps)
    warnings = tuple(_warnings(tables, join))
    return Plan(tuple(lines), warnings, labels, round(join.steps[-1].rows))


def run_plan(asked: Description, source: Source) -> Iterator[Any]:
    """Plan a query and yield its results."""
    tables, join = plan_join(asked, source)
    return results(asked, tables, join, source)


def _outer(asked: Description, join: JoinPlan) -> Iterator[str]:
    """Yield what is done with the rows, the last first."""
    yield f"result {asked.result!r}"
    if asked.limit is not None:
        yield f"limit {asked.limit:,}"
    if asked.distinct:
        yield "distinct"
    shown = ", ".join(repr(by) + (" descending" if down else "") for by, down in asked.order)
    if join.ordered:
        yield f"in the order of the key, no sorting: {shown}"
    elif asked.order:
        yield f"sort by {shown}"
    if asked.grouped:
        by = ", ".join(map(repr, asked.group or ()))
        yield f"group by {by}" if by else "one group"
    if len(join.steps) > 1:
        yield f"join, about {max(1, round(join.steps[-1].rows)):,} rows"


_METHODS: Final = {
    "nested": "for each row so far",
    "hash": "kept in a dict",
    "loop": "kept in a list, all with each row so far",
}


def _step(step: Step, tables: Tables, join: JoinPlan) -> Iterator[str]:
    access = step.access
    text = f"{tables.aliases[step.number].label}: {access.text()}"
    notes = [f"about {round(access.rows):,} of {access.facts.size:,}"]
    first = step is join.steps[0]
    if not first:
        text = f"with {text}"
        notes.insert(0, _METHODS[step.method])
    if first and join.reverse:
        notes.insert(0, "backwards")
    yield f"{text} ({', '.join(notes)})"
    if step.link is not None:
        yield f"  by {step.link.shown!r}"
    for one in step.own:
        yield f"  filter {one.shown!r}"
    for one in step.joint:
        if step.link is None or one.shown is not step.link.shown:
            yield f"  filter {one.shown!r}"


def _warnings(tables: Tables, join: JoinPlan) -> Iterator[str]:
    for step in join.steps:
        facts = step.access.facts
        if step.access.kind != "scan" or facts.size < LARGE_TABLE:
            continue
        text = f"all {facts.size:,} records of {facts.name} are read"
        wanted = _wanted_index(step, tables)
        if wanted:
            text += f"; add_table_index({facts.name}, {wanted!r}) would help"
        yield text


def _wanted_index(step: Step, tables: Tables) -> str | None:
    """Return the field that an equality is about, by which records could be found."""
    for one in (*step.own, *step.joint):
        for name, field, _ in one.sides:
            if name not in EQUALITIES or not isinstance(field, Field):
                continue
            if tables.number(field) == step.number and field.name:
                return field.name
    return None
