"""A slow, plain reading of patterns, expressions and queries, to compare the compiled ones with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from palaver.storage.tables.expressions import BINDINGS, RECORD
from palaver.storage.tables.patterns import ANY
from palaver.storage.tables.querying.comparing import Failed, same
from palaver.storage.tables.querying.operations import OPERATIONS, boolean
from palaver.storage.tables.querying.tree import Build, Expression, Literal, Operation, Variable


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
