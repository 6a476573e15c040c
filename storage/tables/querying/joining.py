"""The rows of a join: the steps of a plan, run one within the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from palaver.storage.tables.errors import BadType, SystemLimit
from palaver.storage.tables.terms import encode

from .access import Context
from .comparing import Failed, loosen
from .conditions import HashLink, Tables
from .planning import JoinPlan, Step
from .source import Source

MAX_HELD: Final = 1_000_000
"""So many records or rows may a query hold at once: to join, sort, group or compare them."""

Test = Callable[[Context], bool]


def check_held(held: int, what: str) -> None:
    """Raise SystemLimit if a query holds too much.

    Args:
        held: how many records or rows.
        what: for which purpose.
    """
    if held > MAX_HELD:
        raise SystemLimit(
            f"a query may hold {MAX_HELD:,} rows at once, and needs more to {what}: add "
            "conditions or a limit, or an index by which less has to be held (see explain)"
        )


class Join:
    """A join that is ready to run once."""

    __slots__ = ("_context", "_levels", "_plan", "_source")

    def __init__(self, tables: Tables, plan: JoinPlan, source: Source) -> None:
        self._source = source
        self._plan = plan
        self._context: Context = [None] * (2 * len(tables.aliases))
        self._levels = [self._level(tables, step) for step in plan.steps]

    def rows(self) -> Iterator[Context]:
        """Yield a context for every row; it is the same object each time."""
        return self._walk(0)

    def groups(self) -> Iterator[Iterator[Context]]:
        """Yield, for each record of the first table in the order of the plan, its rows."""
        context = self._context
        for _ in self._levels[0]():
            if len(self._levels) == 1:
                yield iter((context,))
            else:
                yield self._walk(1)

    def _walk(self, level: int) -> Iterator[Context]:
        if level == len(self._levels) - 1:
            return self._levels[level]()
        return self._walk_on(level)

    def _walk_on(self, level: int) -> Iterator[Context]:
        for _ in self._levels[level]():
            yield from self._walk(level + 1)

    def _level(self, tables: Tables, step: Step) -> Callable[[], Iterator[Context]]:
        """Return what puts one record of a table after the other into the context."""
        own = tables.test([one.shown for one in step.own])
        joint = tables.test([one.shown for one in step.joint])
        values = tables.facts[step.number].values
        if step.method == "nested":
            test = tables.test([one.shown for one in (*step.own, *step.joint)])
            return lambda: self._put(step.number, self._found(step), values, test)
        kept = _Kept(self, step, values, own)
        return lambda: self._put_pairs(step.number, kept.candidates(), joint)

    def _found(self, step: Step) -> Iterable[Any]:
        reverse = self._plan.reverse and step is self._plan.steps[0]
        if self._plan.ordered and step is self._plan.steps[0] and step.access.kind == "scan":
            return self._source.range(step.access.table, (b"", b"\xff"), reverse=reverse)
        return step.access.records(self._source, self._context, reverse=reverse)

    def _put(
        self,
        number: int,
        records: Iterable[Any],
        values: Callable[[Any], Any],
        test: Test | None,
    ) -> Iterator[Context]:
        context = self._context
        at = 2 * number
        for record in records:
            context[at] = record
            context[at + 1] = values(record)
            if test is None or test(context):
                yield context

    def _put_pairs(
        self, number: int, pairs: Iterable[tuple[Any, Any]], test: Test | None
    ) -> Iterator[Context]:
        context = self._context
        at = 2 * number
        for pair in pairs:
            context[at], context[at + 1] = pair
            if test is None or test(context):
                yield context

    def keep(
        self, step: Step, values: Callable[[Any], Any], own: Test | None
    ) -> Iterator[tuple[Any, Any]]:
        """Yield the records of a table that fulfil the conditions on it alone, with values."""
        at = 2 * step.number
        for context in self._put(step.number, self._found(step), values, own):
            yield context[at], context[at + 1]

    @property
    def context(self) -> Context:
        """The row that is being made."""
        return self._context


_OTHERS: Final = b""
"""The place of what can be no key, and so has no encoding."""


class _Kept:
    """The records of a table, read once: in a list, or in a dict by the value of a link."""

    __slots__ = ("_found", "_join", "_own", "_step", "_values")

    def __init__(
        self, join: Join, step: Step, values: Callable[[Any], Any], own: Test | None
    ) -> None:
        self._join = join
        self._step = step
        self._values = values
        self._own = own
        self._found: dict[bytes, list[tuple[Any, Any]]] | None = None

    def candidates(self) -> Iterable[tuple[Any, Any]]:
        """Return at least the records that go with the rows so far."""
        if self._found is None:
            self._found = self._read()
        link = self._step.link
        if link is None:
            return self._found.get(_OTHERS, ())
        code = _code(link, link.outer, self._join.context)
        if code is None:
            return ()
        if code is _OTHERS:
            return [pair for pairs in self._found.values() for pair in pairs]
        found, others = self._found.get(code, ()), self._found.get(_OTHERS)
        return found if others is None else [*found, *others]

    def _read(self) -> dict[bytes, list[tuple[Any, Any]]]:
        found: dict[bytes, list[tuple[Any, Any]]] = {}
        link = self._step.link
        held = 0
        for pair in self._join.keep(self._step, self._values, self._own):
            code = _OTHERS
            if link is not None:
                made = _code(link, link.inner, self._join.context)
                if made is None:
                    continue
                code = made
            found.setdefault(code, []).append(pair)
            held += 1
            check_held(held, "join")
        return found


def _code(link: HashLink, side: Callable[[Context], Any], context: Context) -> bytes | None:
    """Return what equal values have in common; None where there is no value."""
    try:
        value = side(context)
    except Failed:
        return None
    try:
        return encode(value if link.name == "same" else loosen(value))
    except BadType:
        return _OTHERS
