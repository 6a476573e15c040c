"""Reading a comprehension: it is run with expressions in the place of the records.

Where the code asks for the truth of an expression, it goes one way in this run and the other way in
a later one. Each run ends with a result or without; together they are a tree of decisions, which is
folded back into one condition and one result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from palaver.storage.tables.errors import BadArgument

from .coding import is_boolean
from .fields import Alias, Field, Row
from .tree import READER, Expression, Key, Literal, Operation, lift, walk

MAX_PATHS: Final = 1_000
"""So many ways may there be through the conditions of a comprehension."""

MAX_DECISIONS: Final = 200
"""So many conditions may lie on one way."""

Tables: TypeAlias = tuple[Alias, ...]
MakeAlias: TypeAlias = Callable[[Any], Alias]
Decision: TypeAlias = tuple[Expression, bool]


class _Node:
    """A place in the tree: a decision with two ways, or the end of one.

    Attributes:
        condition: what is decided; None at an end.
        ways: what follows where it is true, and where it is not.
        result: at an end, what was yielded; None for nothing.
    """

    __slots__ = ("condition", "result", "ways")

    def __init__(self) -> None:
        self.condition: Expression | None = None
        self.ways: dict[bool, _Node] = {}
        self.result: Expression | None = None


class _Reader:
    """One run of the comprehension.

    Attributes:
        decisions: what was decided so far, in order.
        open: the tables that are being iterated.
    """

    __slots__ = ("_aliases", "_entered", "_known", "_make_alias", "_way", "decisions", "open")

    def __init__(self, way: list[bool], aliases: list[Alias], make_alias: MakeAlias) -> None:
        self._way = way
        self._aliases = aliases
        self._make_alias = make_alias
        self._entered = 0
        self._known: dict[Key, bool] = {}
        self.decisions: list[Decision] = []
        self.open: list[Alias] = []

    def decide(self, condition: Expression) -> bool:
        """Return which way to go; the same condition always goes the same way within a run."""
        if not is_boolean(condition):
            condition = Operation("truth", condition)
        known = self._known.get(condition.key)
        if known is not None:
            return known
        at = len(self.decisions)
        if at >= MAX_DECISIONS:
            raise BadArgument(
                f"a comprehension decides more than {MAX_DECISIONS} times on one way: "
                "is there a loop in it that is not over rows(...)?"
            )
        taken = self._way[at] if at < len(self._way) else True
        self._known[condition.key] = taken
        self.decisions.append((condition, taken))
        return taken

    def enter(self, table: Any) -> Iterator[Any]:
        """Yield one row that stands for all."""
        at = self._entered
        self._entered += 1
        if at == len(self._aliases):
            self._aliases.append(self._make_alias(table))
        alias = self._aliases[at]
        if alias.table is not table and alias.table != table:
            raise BadArgument(
                f"a comprehension iterates {alias.label} on one way and {table!r} on another"
            )
        return self._iterate(alias)

    def _iterate(self, alias: Alias) -> Iterator[Any]:
        self.open.append(alias)
        try:
            yield Row(alias)
        finally:
            self.open.remove(alias)

    def run(self, comprehension: Callable[[], Any]) -> tuple[Tables, Expression] | None:
        """Run it; return the tables and the result, or None where there is no result."""
        token = READER.set(self)
        try:
            found = comprehension()
            if not isinstance(found, Iterator):
                raise BadArgument(
                    f"a comprehension is a generator expression in round brackets, not {found!r}"
                )
            answer = None
            for value in found:
                if answer is not None:
                    raise BadArgument(
                        "a comprehension gives more than one result for the same records"
                    )
                answer = tuple(self.open), lift(value)
            return answer
        finally:
            READER.reset(token)


def read_comprehension(
    comprehension: Callable[[], Any], make_alias: MakeAlias
) -> tuple[Tables, Expression, Expression]:
    """Return the tables, the condition and the result of a comprehension.

    Raises:
        BadArgument: it cannot be read; the text says why.
    """
    root = _Node()
    aliases: list[Alias] = []
    tables: Tables | None = None
    way: list[bool] | None = []
    paths = 0
    while way is not None:
        paths += 1
        if paths > MAX_PATHS:
            raise BadArgument(
                f"there are more than {MAX_PATHS:,} ways through the conditions of the "
                "comprehension: put some into .where(...)"
            )
        reader = _Reader(way, aliases, make_alias)
        answer = reader.run(comprehension)
        _record(root, reader.decisions, None if answer is None else answer[1])
        if answer is not None:
            if tables is not None and tables != answer[0]:
                raise BadArgument("a comprehension joins other tables on one way than on another")
            tables = answer[0]
        way = _next_way(reader.decisions)
    if tables is None:
        raise BadArgument("the comprehension never gives a result")
    condition, result = _condition(root), _result(root)
    assert result is not None, "there is one, as there are tables"
    _check_scope((condition, result), tables)
    return tables, condition, result


def _record(root: _Node, decisions: list[Decision], result: Expression | None) -> None:
    node = root
    for condition, taken in decisions:
        if node.condition is None:
            node.condition = condition
        elif node.condition.key != condition.key:
            raise BadArgument(
                f"the comprehension asks for {condition!r} where it asked for {node.condition!r} "
                "before: it must depend on nothing but the records"
            )
        node = node.ways.setdefault(taken, _Node())
    node.result = result


def _next_way(decisions: list[Decision]) -> list[bool] | None:
    """Return the next way, depth first: the last one that went to True goes to False."""
    way = [taken for _, taken in decisions]
    while way and not way[-1]:
        way.pop()
    return [*way[:-1], False] if way else None


def _condition(node: _Node) -> Expression:
    """Fold the tree below a node into the condition that it gives a result."""
    if node.condition is None:
        return Literal(node.result is not None)
    return _either(node.condition, _condition(node.ways[True]), _condition(node.ways[False]))


def _either(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """Return a condition that is `then` where `condition` is true, and `otherwise` elsewhere."""
    if then.key == otherwise.key and isinstance(then, Literal):
        # Nothing hangs on it but that it does not fail.
        return then if then.value is False else Operation("or", condition, True)
    if isinstance(otherwise, Literal):
        if otherwise.value is False:
            return _joined("and", condition, then)
        return _joined("or", Operation("not", condition), then)
    if isinstance(then, Literal):
        if then.value is True:
            return _joined("or", condition, otherwise)
        return _joined("and", Operation("not", condition), otherwise)
    shared = _factored(condition, then, otherwise)
    return Operation("if", condition, then, otherwise) if shared is None else shared


def _joined(name: str, left: Expression, right: Expression) -> Expression:
    if isinstance(right, Literal) and right.value is (name == "and"):
        return left
    parts = [left]
    if isinstance(right, Operation) and right.name == name:
        parts += right.parts
    else:
        parts.append(right)
    return Operation(name, *parts)


def _conjuncts(condition: Expression) -> tuple[Expression, ...]:
    if isinstance(condition, Operation) and condition.name == "and":
        return condition.parts
    return (condition,)


def _factored(condition: Expression, then: Expression, otherwise: Expression) -> Expression | None:
    """Take out what both ways end with: `(c or y) and x` of `x if c else (y and x)`."""
    one, other = list(_conjuncts(then)), list(_conjuncts(otherwise))
    shared: list[Expression] = []
    while one and other and one[-1].key == other[-1].key:
        shared.insert(0, one.pop())
        other.pop()
    if not shared:
        return None
    head = _either(condition, _all(one), _all(other))
    return _joined("and", head, _all(shared))


def _all(conditions: list[Expression]) -> Expression:
    if not conditions:
        return Literal(True)
    return conditions[0] if len(conditions) == 1 else Operation("and", *conditions)


def _result(node: _Node) -> Expression | None:
    """Fold the tree below a node into its result, for those for whom there is one."""
    if node.condition is None:
        return node.result
    then, otherwise = _result(node.ways[True]), _result(node.ways[False])
    if then is None or otherwise is None:
        return otherwise if then is None else then
    if then.key == otherwise.key:
        return then
    return Operation("if", node.condition, then, otherwise)


def _check_scope(expressions: tuple[Expression, ...], tables: Tables) -> None:
    for expression in expressions:
        for part in walk(expression):
            if isinstance(part, Field) and part.source not in tables:
                raise BadArgument(
                    f"{part!r} is used outside of its loop; any, all, sum and the like over rows "
                    "are not possible: write another `for` and a condition, or two queries"
                )
