"""A slow, plain reading of patterns, expressions and queries, to compare the compiled ones with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, is_dataclass
from fractions import Fraction
from itertools import product
from operator import itemgetter
from typing import Any

from hypothesis import strategies as st

from palaver.storage.tables.expressions import BINDINGS, RECORD
from palaver.storage.tables.patterns import ANY, attributes_of
from palaver.storage.tables.queries import Description, Facts, Query
from palaver.storage.tables.querying.comparing import Failed, same
from palaver.storage.tables.querying.fields import Aggregate, Alias, Field
from palaver.storage.tables.querying.operations import OPERATIONS, boolean
from palaver.storage.tables.querying.tree import Build, Expression, Literal, Operation, Variable
from palaver.storage.tables.terms import encode


@dataclass(frozen=True, slots=True)
class Thing:
    id: Any
    name: Any
    size: Any


FIELDS = ("id", "name", "size")

atoms = st.sampled_from(
    [None, True, False, 0, 1, 2, -1, 1.0, 0.5, 2.0, Fraction(1, 3), "", "a", "ab", "b", b"", b"a"]
)
terms = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["k", "l", 1]), inner, max_size=2),
    ),
    max_leaves=4,
)
pairs = st.tuples(atoms, atoms)
keys = st.one_of(atoms, pairs, terms)
things = st.builds(Thing, keys, terms, terms)


def values(thing: Thing) -> tuple[Any, ...]:
    return (thing.id, thing.name, thing.size)


def naive_match(pattern: Any, term: Any, bound: dict[int, Any], key: bool = False) -> bool:
    """Match one term; `key` says that a plain dict is a key and matches only itself."""
    if pattern is ANY:
        return True
    if isinstance(pattern, Variable):
        if pattern.number in bound:
            return same(bound[pattern.number], term)
        bound[pattern.number] = term
        return True
    if key and not opened(pattern):
        return same(pattern, term)
    if isinstance(pattern, (tuple, list)):
        if not isinstance(term, (tuple, list)) or len(term) != len(pattern):
            return False
        return all(naive_match(one, two, bound) for one, two in zip(pattern, term, strict=True))
    if isinstance(pattern, Mapping):
        if not isinstance(term, Mapping):
            return False
        for name, value in pattern.items():
            found = [one for other, one in term.items() if same(other, name)]
            if not found or not naive_match(value, found[0], bound):
                return False
        return True
    return same(pattern, term)


def opened(pattern: Any) -> bool:
    if pattern is ANY or isinstance(pattern, Expression):
        return True
    if isinstance(pattern, Mapping):
        return any(opened(one) for one in pattern.values())
    return isinstance(pattern, (tuple, list)) and any(opened(one) for one in pattern)


def evaluate(expression: Expression, leaf: Callable[[Expression], Any]) -> Any:
    """Compute an expression by walking it; raises Failed."""
    if isinstance(expression, Literal):
        return expression.value
    if isinstance(expression, Build):
        items = [evaluate(one, leaf) for one in expression.items]
        if expression.kind is dict:
            try:
                return dict(zip(items[::2], items[1::2], strict=True))
            except TypeError as error:
                raise Failed from error
        return expression.kind(items)
    if isinstance(expression, Operation):
        name, parts = expression.name, expression.parts
        if name in ("and", "or"):
            for part in parts[:-1]:
                if boolean(evaluate(part, leaf)) is (name == "or"):
                    return name == "or"
            return evaluate(parts[-1], leaf)
        if name == "if":
            return evaluate(parts[1 if boolean(evaluate(parts[0], leaf)) else 2], leaf)
        return OPERATIONS[name](*(evaluate(part, leaf) for part in parts))
    return leaf(expression)


def holds(condition: Expression, leaf: Callable[[Expression], Any]) -> bool:
    try:
        return evaluate(condition, leaf) is True
    except Failed:
        return False


def naive_clause(clause: Any, thing: Thing) -> tuple[bool, Any]:
    """Run one clause of a match specification."""
    head, guards, results = clause
    bound: dict[int, Any] = {}
    if isinstance(head, Variable):
        bound[head.number] = thing
    elif head is not ANY:
        for position, (one, term) in enumerate(zip(values(head), values(thing), strict=True)):
            if not naive_match(one, term, bound, key=position == 0):
                return False, None

    def leaf(expression: Expression) -> Any:
        if expression is RECORD:
            return thing
        if expression is BINDINGS:
            return [bound[number] for number in sorted(bound)]
        assert isinstance(expression, Variable)
        return bound[expression.number]

    if not all(holds(guard, leaf) for guard in guards):
        return False, None
    return True, evaluate(results[-1], leaf)


COMPARES = ["==", "!=", "<", "<=", ">", ">=", "same", "differs"]
BINARY = ["+", "-", "*", "/", "//", "%", "div", "rem", "item", "element", "contains"]
UNARY = ["not", "abs", "neg", "size", "is_int", "is_none", "is_str", "is_tuple", "is_number"]


def expressions(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of all kinds."""
    leaf = st.one_of(leaves, terms.map(Literal))

    def bigger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.builds(Operation, st.sampled_from([*BINARY, *COMPARES]), inner, inner),
            st.builds(Operation, st.sampled_from(UNARY), inner),
        )

    return st.recursive(leaf, bigger, max_leaves=4)


def conditions(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Conditions such as people write, and some that make no sense."""
    field = st.one_of(
        leaves,
        st.builds(Operation, st.just("item"), leaves, st.integers(0, 1)),
        st.builds(Operation, st.just("element"), st.integers(1, 2), leaves),
    )
    simple = st.one_of(
        st.builds(Operation, st.sampled_from(COMPARES), field, st.one_of(atoms, pairs, terms)),
        st.builds(Operation, st.sampled_from(COMPARES), st.one_of(atoms, terms), field),
        st.builds(Operation, st.just("starts_with"), field, st.sampled_from(["a", "", b"a", 1])),
        st.builds(Operation, st.sampled_from(COMPARES), field, field),
        st.builds(Operation, st.just("is_none"), field),
        expressions(leaves),
        leaves,
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            st.builds(Operation, st.sampled_from(["and", "or"]), inner, inner),
            st.builds(Operation, st.just("not"), inner),
        ),
        max_leaves=5,
    )


# -- queries ---------------------------------------------------------------------------------------


class MemorySource:
    """Tables as plain lists; it counts how many records it has given."""

    def __init__(self) -> None:
        self.tables: dict[str, tuple[Facts, list[Any]]] = {}
        self.given = 0
        self.lookups = 0

    def add(
        self, table: Any, records: Iterable[Any], kind: str = "set", index: Iterable[str] = ()
    ) -> None:
        attributes = attributes_of(table)
        kept: dict[bytes, list[Any]] = {}
        for record in records:
            key = encode(getattr(record, attributes[0]))
            if kind == "bag":
                others = kept.setdefault(key, [])
                if record not in others:
                    others.append(record)
            else:
                kept[key] = [record]
        found = [record for slot in kept.values() for record in slot]

        def values_of(record: Any) -> tuple[Any, ...]:
            return tuple(getattr(record, name) for name in attributes)

        facts = Facts(table.__name__, kind, attributes, 0, frozenset(index), len(found), values_of)
        self.tables[table.__name__] = (facts, found)

    def facts(self, table: Any) -> Facts:
        return self.tables[table.__name__][0]

    def records(self, table: Any) -> list[Any]:
        return self.tables[table.__name__][1]

    def _give(self, records: Iterable[Any]) -> Iterator[Any]:
        for record in records:
            self.given += 1
            yield record

    def scan(self, table: Any) -> Iterator[Any]:
        return self._give(self.records(table))

    def lookup(self, table: Any, key: bytes) -> Iterator[Any]:
        self.lookups += 1
        facts, records = self.tables[table.__name__]
        return self._give(one for one in records if encode(facts.values(one)[0]) == key)

    def range(self, table: Any, bounds: tuple[bytes, bytes], *, reverse: bool) -> Iterator[Any]:
        facts, records = self.tables[table.__name__]
        assert facts.ordered
        coded = sorted(((encode(facts.values(one)[0]), one) for one in records), key=itemgetter(0))
        found = [one for code, one in coded if bounds[0] <= code < bounds[1]]
        return self._give(reversed(found) if reverse else found)

    def index(
        self, table: Any, attribute: str, bounds: Sequence[tuple[bytes, bytes]]
    ) -> Iterator[Any]:
        facts, records = self.tables[table.__name__]
        assert attribute in facts.indexes
        at = facts.attributes.index(attribute)

        def within(one: Any) -> bool:
            code = encode(facts.values(one)[at])
            return any(low <= code < high for low, high in bounds)

        return self._give(one for one in records if within(one))


def naive_rows(asked: Description, source: MemorySource) -> list[dict[Alias, Any]]:
    """Every combination of records for which the condition is true."""
    combinations = product(*(source.records(alias.table) for alias in asked.tables))
    found = [dict(zip(asked.tables, combination, strict=True)) for combination in combinations]
    return [row for row in found if holds(asked.condition, field_of(row))]


def field_of(row: dict[Alias, Any]) -> Callable[[Expression], Any]:
    def leaf(expression: Expression) -> Any:
        assert isinstance(expression, Field)
        record = row[expression.source]
        return record if expression.name is None else getattr(record, expression.name)

    return leaf


def naive_query(query: Query[Any], source: MemorySource) -> list[Any]:
    """Run a query without a plan; raises Failed where a result cannot be computed."""
    asked = query.description
    found = naive_rows(asked, source)
    units: list[tuple[Callable[[Expression], Any], Any]]
    if asked.grouped:
        groups: dict[bytes, list[Any]] = {} if asked.group else {b"": []}
        for row in found:
            code = b"".join(encode(evaluate(by, field_of(row))) for by in asked.group or ())
            groups.setdefault(code, []).append(row)
        units = [(group_of(groups[code], asked.group or ()), code) for code in sorted(groups)]
    else:
        units = [(field_of(row), places(row, source)) for row in found]

    def compute(expression: Expression, leaf: Callable[[Expression], Any]) -> Any:
        return evaluate_in_group(expression, leaf) if asked.grouped else evaluate(expression, leaf)

    kept = [one for one in units if not asked.grouped or compute(asked.having, one[0]) is True]
    keyed = []
    for leaf, place in kept:
        codes = [encode(compute(by, leaf)) for by, _ in asked.order]
        ordered = [bytes(255 - byte for byte in code) if down else code
                   for code, (_, down) in zip(codes, asked.order, strict=True)]  # fmt: skip
        keyed.append(((ordered, place), compute(asked.result, leaf)))
    if asked.order:
        keyed.sort(key=itemgetter(0))
    results = [result for _, result in keyed]
    if asked.distinct:
        first: dict[str, Any] = {}
        for result in results:
            first.setdefault(repr(encode_any(result)), result)
        results = list(first.values())
    return results if asked.limit is None else results[: asked.limit]


def encode_any(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(encode_any(one) for one in value)
    return encode(astuple(value) if is_dataclass(value) else value)


def places(row: dict[Alias, Any], source: MemorySource) -> list[bytes]:
    found = []
    for alias, record in row.items():
        facts = source.facts(alias.table)
        found.append(encode(facts.values(record)[0]))
        if facts.type == "bag":
            found.append(encode(tuple(facts.values(record))))
    return found


def group_of(
    group: list[dict[Alias, Any]], by: tuple[Expression, ...]
) -> Callable[[Expression], Any]:
    keys = {one.key for one in by}

    def leaf(expression: Expression) -> Any:
        if expression.key in keys:
            return evaluate(expression, field_of(group[0]))
        if not isinstance(expression, Aggregate):
            return NotImplemented
        if expression.part is None or expression.name == "count":
            return len(group)
        found = [evaluate(expression.part, field_of(row)) for row in group]
        if expression.name != "sum":
            pick = min if expression.name == "min" else max
            return pick(found, key=encode) if found else None
        if any(type(one) not in (int, float, Fraction) for one in found):
            raise Failed
        total = sum(map(Fraction, found), Fraction(0))
        kinds = [kind for kind in (float, Fraction) if any(type(one) is kind for one in found)]
        return (kinds or [int])[0](total)

    return leaf


def evaluate_in_group(expression: Expression, leaf: Callable[[Expression], Any]) -> Any:
    value = leaf(expression)
    if value is not NotImplemented:
        return value
    if isinstance(expression, Build):
        return expression.kind(evaluate_in_group(one, leaf) for one in expression.items)
    if isinstance(expression, Operation):
        parts = [Literal(evaluate_in_group(one, leaf)) for one in expression.parts]
        return evaluate(Operation(expression.name, *parts), leaf)
    return evaluate(expression, leaf)
