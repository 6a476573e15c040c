"""Queries over tables that read like Python: in the place of Mnesia's QLC.

Two ways of writing, one meaning::

    a = each(Account)
    query(a.owner, a.balance).where(a.balance > 100).order_by(a.owner).limit(10)

    query(lambda: (
        (p.name, o.total)
        for p in rows(Person)
        for o in rows(Order)
        if p.id == o.person and (o.total > 10 or not p.blocked)
    ))

Both make a `Query`, which is only a description; `Activity.query` runs it, and `explain` tells how
it would be run. Conditions and results are expressions (see `expressions`): comparisons are
Erlang's and defined between all terms, a condition that fails leaves the row out, and a result that
fails refuses the query.

**The comprehension** is run to be read, with expressions in the place of the records, once for each
way that it can take through its conditions (at most `MAX_PATHS`). So `and`, `or`, `not`, `in`,
chained comparisons and `a if c else b` mean what they mean in Python, and a field alone as a
condition is its truth in Python. It gives at most one result for each combination of records;
tables are iterated by `for ... in rows(...)` only. `is` cannot be seen: write `== None`. `any`,
`all`, `sum` and the like over `rows` are refused.

**Order.** Without `order_by` the rows come in no particular order, groups in the order of what they
are grouped by. `order_by` is the order of keys (`terms`); rows that are equal in it come in the
order of their records' keys, so that the same data always gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from .errors import BadArgument
from .patterns import attributes_of
from .querying.coding import check_size
from .querying.fields import Aggregate, Alias, Field, Row, replaced
from .querying.joining import MAX_HELD
from .querying.plan import Plan, make_plan, run_plan
from .querying.reading import MAX_PATHS, read_comprehension
from .querying.source import ActivitySource, Facts, Source
from .querying.tree import READER, Build, Expression, Literal, Operation, Whole, lift, walk

if TYPE_CHECKING:
    from .table import Table

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")

MAX_TABLES: Final = 12
"""So many tables may a query join."""

RESULT: Final[Any] = Whole("RESULT")
"""In `order_by`, `group_by` and `having`: the result, as in `order_by(RESULT[1])`."""


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What a query asks.

    Attributes:
        tables: what is joined, in the order of first mention.
        condition: which combinations of records count.
        result: what is made of each, or of each group.
        group: by what they are grouped; None when there are no groups.
        having: which groups count.
        order: by what the results are sorted, and whether from the greatest on.
        limit: how many results at most.
        distinct: whether equal results are given once.
    """

    tables: tuple[Alias, ...]
    condition: Expression
    result: Expression
    group: tuple[Expression, ...] | None = None
    having: Expression = Literal(True)  # noqa: RUF009 - it cannot be changed
    order: tuple[tuple[Expression, bool], ...] = ()
    limit: int | None = None
    distinct: bool = False

    @property
    def grouped(self) -> bool:
        """Whether results are made of groups of rows."""
        wanted = (self.result, self.having, *(one for one, _ in self.order))
        return self.group is not None or any(
            isinstance(part, Aggregate) for one in wanted for part in walk(one)
        )


class Query(Generic[T]):
    """A description of what to find, with results of type T; immutable, for any number of runs.

    Attributes:
        description: what it asks.
    """

    __slots__ = ("description",)

    def __init__(self, description: Description) -> None:
        self.description = description

    def where(self, *conditions: object) -> Query[T]:
        """Return it with more conditions; all of them must be True."""
        old = self.description.condition
        parts = [] if isinstance(old, Literal) and old.value is True else [old]
        parts += [self._meant(one) for one in conditions]
        return self._with(condition=_all_of(parts))

    def order_by(self, *by: object) -> Query[T]:
        """Return it sorted by these, the first first; `descending(x)` from the greatest on."""
        order = []
        for one in by:
            down = isinstance(one, _Descending)
            order.append((self._meant(one.value if isinstance(one, _Descending) else one), down))
        return self._with(order=tuple(order))

    def group_by(self, *by: object) -> Query[T]:
        """Return it with one result for all rows in which these are the same.

        Results are then made of these and of aggregates: `count`, `sum_of`, `min_of`, `max_of`.
        """
        return self._with(group=tuple(self._meant(one) for one in by))

    def having(self, *conditions: object) -> Query[T]:
        """Return it with conditions on whole groups, all of which must be True."""
        parts = [self.description.having, *(self._meant(one) for one in conditions)]
        return self._with(having=_all_of(parts))

    def distinct(self) -> Query[T]:
        """Return it with results that are the same given once."""
        return self._with(distinct=True)

    def limit(self, count: int) -> Query[T]:
        """Return it with so many results at most; no more is read than they need.

        Raises:
            BadArgument: it is no number, or negative.
        """
        if type(count) is not int or count < 0:
            raise BadArgument(f"a limit is a number of results from 0 on, not {count!r}")
        return self._with(limit=count)

    def _meant(self, value: object) -> Expression:
        result = self.description.result
        return replaced(lift(value), lambda one: result if one is RESULT else None)

    def _with(self, **changes: Any) -> Query[T]:
        return Query(_checked(replace(self.description, **changes)))

    def __repr__(self) -> str:
        asked = self.description
        text = f"query({asked.result!r})"
        if not isinstance(asked.condition, Literal):
            text += f".where({asked.condition!r})"
        if asked.group is not None:
            text += f".group_by({', '.join(map(repr, asked.group))})"
        if not isinstance(asked.having, Literal):
            text += f".having({asked.having!r})"
        if asked.distinct:
            text += ".distinct()"
        if asked.order:
            shown = [f"descending({by!r})" if down else repr(by) for by, down in asked.order]
            text += f".order_by({', '.join(shown)})"
        return text if asked.limit is None else f"{text}.limit({asked.limit})"


def _all_of(conditions: Sequence[Expression]) -> Expression:
    parts: list[Expression] = []
    for one in conditions:
        if isinstance(one, Operation) and one.name == "and":
            parts.extend(one.parts)
        elif not (isinstance(one, Literal) and one.value is True):
            parts.append(one)
    if not parts:
        return Literal(True)
    return parts[0] if len(parts) == 1 else Operation("and", *parts)


def _checked(asked: Description) -> Description:
    """Return the description with its tables; BadArgument unless it makes sense."""
    group = asked.group or ()
    rows = [asked.condition, *group]
    ends = [asked.result, asked.having, *(one for one, _ in asked.order)]
    check_size((*rows, *ends))
    tables = dict.fromkeys(asked.tables)
    for one in (*rows, *ends):
        for part in walk(one):
            if isinstance(part, Field):
                tables.setdefault(part.source)
            elif not isinstance(part, (Operation, Build, Literal, Aggregate)):
                raise BadArgument(f"{part!r} has no meaning in a query")
    if len(tables) > MAX_TABLES:
        raise BadArgument(f"a query is about {MAX_TABLES} tables at most, not {len(tables)}")
    if any(isinstance(part, Aggregate) for one in rows for part in walk(one)):
        raise BadArgument("where and group_by are about single rows: put aggregates into having")
    return replace(asked, tables=tuple(tables))


# -- tables ----------------------------------------------------------------------------------------


@overload
def each(table: type[T] | Table[T], name: str | None = None) -> T: ...
@overload
def each(table: Any, name: str | None = None) -> Any: ...
def each(table: Any, name: str | None = None) -> Any:
    """Return what stands for each record of a table: its attributes are the fields.

    Args:
        table: the record class, the table's handle, or its name.
        name: for people, where a table is joined with itself; by default the table's.

    Raises:
        BadType: a class that is no record class.
    """
    return Row(alias_of(table, name))


def alias_of(table: Any, name: str | None = None) -> Alias:
    """Return a new alias of a table."""
    label = name or getattr(table, "__name__", None) or getattr(table, "name", None) or str(table)
    attributes = attributes_of(table) if isinstance(table, type) else None
    return Alias(table, label, attributes)


@overload
def rows(table: type[T] | Table[T]) -> Iterable[T]: ...
@overload
def rows(table: Any) -> Iterable[Any]: ...
def rows(table: Any) -> Iterable[Any]:
    """Return what a comprehension iterates over: the records of a table.

    It can be iterated only in the generator expression of a `query(lambda: ...)`.
    """
    return _Rows(table)


class _Rows:
    """The records of a table, within a comprehension that is being read."""

    __slots__ = ("_table",)

    def __init__(self, table: Any) -> None:
        self._table = table

    def __iter__(self) -> Iterator[Any]:
        reader = READER.get(None)
        if reader is None:
            raise BadArgument("rows(...) is for the comprehension of query(lambda: (...))")
        return reader.enter(self._table)


# -- queries ---------------------------------------------------------------------------------------


@overload
def query(comprehension: Callable[[], Iterator[T]], /) -> Query[T]: ...
@overload
def query(result: T1, /) -> Query[T1]: ...
@overload
def query(first: T1, second: T2, /) -> Query[tuple[T1, T2]]: ...
@overload
def query(first: T1, second: T2, third: T3, /) -> Query[tuple[T1, T2, T3]]: ...
@overload
def query(first: T1, second: T2, third: T3, fourth: T4, /) -> Query[tuple[T1, T2, T3, T4]]: ...
@overload
def query(*results: Any) -> Query[Any]: ...
def query(*results: Any) -> Query[Any]:
    """Begin a query with its results, or read a comprehension.

    Args:
        *results: expressions over `each(...)`; one makes the results these values, several tuples.
            Or one function without arguments that returns a generator expression over `rows(...)`.

    Raises:
        BadArgument: no result, no table, or a comprehension that cannot be read; the text says why.
    """
    if not results:
        raise BadArgument("a query needs a result: query(a.owner) with a = each(Account)")
    if len(results) == 1 and callable(results[0]):
        tables, condition, result = read_comprehension(results[0], alias_of)
        return Query(_checked(Description(tables, condition, result)))
    result = lift(results[0] if len(results) == 1 else tuple(results))
    return Query(_checked(Description((), Literal(True), result)))


class _Descending:
    """Marks what `order_by` takes from the greatest on."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def descending(value: object) -> Any:
    """In `order_by`: from the greatest on."""
    return _Descending(value)


def count(of: object = None) -> int:
    """The number of rows (of a group); `count(a)` says of which table, where nothing else does."""
    made: int = Aggregate("count", None if of is None else lift(of))  # type: ignore[assignment]
    return made


def sum_of(value: T) -> T:
    """The sum of a number over all rows, 0 for none; that of floats is rounded once, at the end."""
    made: T = _aggregate("sum", value)
    return made


def min_of(value: T) -> T:
    """The least value, in the order of keys; None for no rows."""
    made: T = _aggregate("min", value)
    return made


def max_of(value: T) -> T:
    """The greatest value, in the order of keys; None for no rows."""
    made: T = _aggregate("max", value)
    return made


def _aggregate(name: str, value: object) -> Any:
    return Aggregate(name, lift(value))


# -- running ---------------------------------------------------------------------------------------


def iterate(wanted: Query[T], source: Source) -> Iterator[T]:
    """Yield the results of a query one by one, reading no more than they need.

    What is written to the tables meanwhile may be seen or not.

    Raises:
        BadArgument: a field is not there, or a result cannot be computed.
        NoExists: a table is not there.
        SystemLimit: more rows had to be held than `MAX_HELD`, to join, sort or group them.
    """
    return run_plan(wanted.description, source)


def run(wanted: Query[T], source: Source) -> list[T]:
    """Return the results of a query; raises as `iterate`."""
    return list(run_plan(wanted.description, source))


def explain(wanted: Query[Any], source: Source) -> Plan:
    """Return how a query would be run now: print it."""
    return make_plan(wanted.description, source)


__all__ = [
    "MAX_HELD",
    "MAX_PATHS",
    "RESULT",
    "ActivitySource",
    "Facts",
    "Plan",
    "Query",
    "Source",
    "count",
    "descending",
    "each",
    "explain",
    "iterate",
    "max_of",
    "min_of",
    "query",
    "rows",
    "run",
    "sum_of",
]
