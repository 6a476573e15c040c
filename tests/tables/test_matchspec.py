"""Match specifications answer as a plain reading of ets:select/2's rules does."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from query_kit import (
    COMPARES,
    Thing,
    atoms,
    conditions,
    expressions,
    keys,
    naive_clause,
    terms,
    things,
    values,
)

from palaver.storage.tables import expressions as ex
from palaver.storage.tables.errors import BadArgument, BadType
from palaver.storage.tables.expressions import BINDINGS, RECORD
from palaver.storage.tables.matchspec import MatchSpec, compile_match_spec, match
from palaver.storage.tables.patterns import ANY, V, pattern
from palaver.storage.tables.querying.comparing import Failed, same
from palaver.storage.tables.querying.tree import Operation, lift
from palaver.storage.tables.terms import encode

VARIABLES = st.sampled_from([V(1), V(2), V(3)])
holes = [
    Thing(V(1), V(2), V(3)),
    Thing((V(1), V(2)), ANY, V(3)),
    Thing((1, V(1)), V(2), V(3)),
    Thing(V(1), {"k": V(2)}, V(3)),
    Thing(V(1), V(2), (V(3), V(1))),
]
heads = st.sampled_from(holes)
results = st.one_of(
    st.just(RECORD), st.just(BINDINGS), VARIABLES, st.tuples(VARIABLES, VARIABLES), terms
)
clauses = st.tuples(
    heads,
    st.lists(conditions(VARIABLES), max_size=2),
    st.lists(results, min_size=1, max_size=2),
)


def lifted(clause: Any) -> Any:
    head, guards, made = clause
    return head, [lift(one) for one in guards], [lift(one) for one in made]


@settings(deadline=None)
@given(st.lists(clauses, min_size=1, max_size=3), things)
@example([(holes[0], [V(1) > 1], [V(1)])], Thing(1.5, 0, 0))
@example([(holes[1], [V(1) == 1, V(2) > 0], [V(1)])], Thing((1.0, 0.5), 0, 0))
@example([(holes[0], [Operation("item", V(1), 0) == 1], [RECORD])], Thing({0: 1}, 0, 0))
def test_a_specification_answers_as_a_plain_reading_of_it(spec: Any, thing: Thing) -> None:
    compiled = compile_match_spec(Thing, spec)
    expected: tuple[bool, Any] = (False, None)
    for clause in spec:
        expected = naive_clause(lifted(clause), thing)
        if expected[0]:
            break
    found = compiled.run(thing, values(thing))
    assert found[0] == expected[0]
    assert found[1] is expected[1] or same(found[1], expected[1])
    if found[0]:
        for position, term in enumerate(values(thing)):
            domain, code = compiled.domain(position), encode(term)
            assert any(one.lower <= code < one.upper for one in domain.intervals)
            if domain.values is not None:
                assert any(same(term, one) for one in domain.values)
            if position in compiled.bound:
                assert same(compiled.bound[position], term)


@settings(deadline=None)
@given(expressions(VARIABLES), things)
def test_results_compute_as_guards_do_and_failures_are_refused(result: Any, thing: Thing) -> None:
    compiled = compile_match_spec(Thing, match(Thing, id=V(1), name=V(2), size=V(3)).select(result))
    clause = (holes[0], [], [lift(result)])
    try:
        expected = naive_clause(clause, thing)
    except Failed:
        with pytest.raises(BadArgument, match="cannot be computed"):
            compiled.run(thing, values(thing))
        return
    assert same(compiled.run(thing, values(thing))[1], expected[1])


NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**70, -(2**70), 10**310, 2**53 + 1]),
    st.floats(allow_nan=False),
    st.sampled_from([0.5, 1.0, -1.0, 2.0**70]),
    st.fractions(max_denominator=4),
    st.decimals(allow_nan=False, allow_infinity=False, places=1, min_value=-3, max_value=3),
    st.sampled_from([Decimal("0.1"), Fraction(1, 10), Decimal("Infinity")]),
)


def exactly(number: Any) -> Any:
    return number if number in (float("inf"), float("-inf")) else Fraction(number)


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
@example(2**53 + 1, float(2**53))
@example(Fraction(1, 10), Decimal("0.1"))
@example(0.1, Decimal("0.1"))
def test_numbers_compare_by_value_and_are_found_where_they_can_be(left: Any, right: Any) -> None:
    one, two = exactly(left), exactly(right)
    truths = {
        "==": one == two, "!=": one != two, "<": one < two, "<=": one <= two,
        ">": one > two, ">=": one >= two,
    }  # fmt: skip
    for name, expected in truths.items():
        for nest in (lambda term: term, lambda term: (term, 1)):
            spec = match(Thing, id=V(1)).where(Operation(name, V(1), nest(right))).select()
            compiled = compile_match_spec(Thing, spec)
            thing = Thing(nest(left), 0, 0)
            assert compiled.run(thing, values(thing)) == (
                (True, thing) if expected else (False, None)
            )
            if expected:
                code = encode(nest(left))
                assert any(low <= code < high for low, high in compiled.key_ranges)
                if compiled.key_equals is not None:
                    assert any(same(one, nest(left)) for one in compiled.key_equals)


@settings(deadline=None)
@given(st.sampled_from(COMPARES), atoms, atoms, st.booleans())
@example("<", "a", "a", True)
@example(">", "a", "a", True)
@example("==", 1, 1.0, False)
def test_records_are_looked_for_where_they_can_be(
    name: str, left: Any, right: Any, negated: bool
) -> None:
    for nest in (lambda term: term, lambda term: (term, 0), lambda term: (0, term)):
        condition = Operation(name, V(1), nest(right))
        spec = match(Thing, id=V(1)).where(~condition if negated else condition)
        compiled = compile_match_spec(Thing, spec)
        thing, code = Thing(nest(left), 0, 0), encode(nest(left))
        found = any(low <= code < high for low, high in compiled.key_ranges)
        assert found or not compiled.run(thing, values(thing))[0]


@settings(deadline=None)
@given(st.sampled_from(["==", "<", ">="]), atoms, atoms)
def test_every_two_terms_compare(name: str, left: Any, right: Any) -> None:
    spec = match(Thing, id=V(1)).where(Operation(name, V(1), right)).select(1)
    other = match(Thing, id=V(1)).where(Operation(name, V(1), right)).where(True).select(1)
    thing = Thing(left, 0, 0)
    found = [compile_match_spec(Thing, one).run(thing, values(thing)) for one in (spec, other)]
    assert found[0] == found[1]


def run(spec: Any, thing: Thing) -> Any:
    return compile_match_spec(Thing, spec).run(thing, values(thing))


def accepts(condition: Any, key: Any = 0, name: Any = 0, size: Any = 0) -> bool:
    spec = [(Thing(V(1), V(2), V(3)), [condition], [RECORD])]
    return bool(run(spec, Thing(key, name, size))[0])


def test_a_failing_guard_is_false_and_fails_what_is_around_it() -> None:
    assert not accepts(V(1) + 1 > 0, "a")
    assert not accepts((V(1) + 1 > 0) | True, "a")
    assert accepts(ex.or_(True, V(1) + 1 > 0), "a")
    assert not accepts(~(V(1) + 1 > 0), "a")
    assert not accepts(V(1), 1)
    assert accepts(V(1), True)
    assert not accepts(V(1) & True, 1)
    assert not accepts(V(1) // 0 == 1, 5)


def test_erlangs_division_and_pythons() -> None:
    assert accepts((ex.div(V(1), 2) == -3) & (ex.rem(V(1), 2) == -1), -7)
    assert accepts((V(1) // 2 == -4) & (V(1) % 2 == 1), -7)
    assert accepts((ex.band(V(1), 6) == 4) & (ex.bor(V(1), 2) == 7) & (ex.bxor(V(1), 1) == 4), 5)
    assert not accepts(ex.div(V(1), 2) == 1, 2.0)
    assert accepts((2 * V(1) - 1 == 9) & (-V(1) == -5) & (abs(-V(1)) == +V(1)) & (1 / V(1) < 1), 5)


def test_every_operator_has_both_sides() -> None:
    assert accepts((10 - V(1) == 5) & (1 + V(1) == 6) & (7 // V(1) == 1) & (7 % V(1) == 2), 5)
    assert accepts((True & (V(1) == 5)) & (False | (V(1) != 4)) & (V(1) >= 5) & (V(1) < 6), 5)


def test_elements_sizes_and_strings() -> None:
    assert accepts((V(1)[1] == 2) & (V(1)[-1] == 2) & (ex.element(1, V(1)) == 1), (1, 2))
    assert accepts((V(1)["a"] == 1) & (ex.size(V(1)) == 2), {"a": 1, 2: 3})
    assert accepts(V(1).startswith("ab") & V(1).endswith("c") & ex.contains(V(1), "b"), "abc")
    assert accepts(ex.contains(V(1), 2) & ~ex.contains(V(1), 2.0), (1, 2))
    assert accepts(ex.contains(V(1), 2), {2: 1})
    assert not accepts(ex.element(0, V(1)) == 1, (1, 2))
    assert accepts(V(1) + "c" == "abc", "ab")
    assert accepts(ex.item((1, 2), V(1)) == 2, 1)
    assert accepts(ex.choose(V(1) > 1, V(2), V(3)) == "b", 1, "a", "b")


class Colour(Enum):
    RED = "red"


def test_of_an_enum_the_value_counts() -> None:
    assert accepts((V(1) == "red") & ex.is_str(V(1)) & ex.same(V(1), Colour.RED), Colour.RED)
    assert accepts(V(1) == Colour.RED, "red")


def test_kinds() -> None:
    kinds = [None, True, 1, 1.5, "a", b"a", (1,), [1], {"a": 1}]
    tests = {
        ex.is_none: [0], ex.is_bool: [1], ex.is_int: [2], ex.is_float: [3],
        ex.is_number: [2, 3], ex.is_str: [4], ex.is_bytes: [5], ex.is_tuple: [6, 7],
        ex.is_list: [7], ex.is_dict: [8],
    }  # fmt: skip
    for test, expected in tests.items():
        assert [at for at, one in enumerate(kinds) if accepts(test(V(1)), one)] == expected


def test_results_are_built_and_are_new_each_time() -> None:
    spec = match(Thing, id=V(1), name=V(2)).select([V(1), {"name": V(2)}], RECORD, [1, 2])
    thing = Thing(1, "a", 0)
    _, (built, record, plain) = run(spec, thing)
    assert (built, record, plain) == ([1, {"name": "a"}], thing, [1, 2])
    compiled = compile_match_spec(Thing, spec)
    compiled.run(thing, values(thing))[1][2].append(3)
    assert compiled.run(thing, values(thing))[1][2] == [1, 2]
    assert run(match(Thing, size=V(9), id=V(2)).select(BINDINGS), Thing(1, 2, 3)) == (True, [1, 3])
    assert run(match(Thing).select(ex.literal((1, ANY))), thing) == (True, (1, ANY))


def test_the_record_as_a_whole_can_be_taken_apart() -> None:
    spec = [(V(1), [(ex.element(1, V(1)) == 5) & (RECORD[1] == "a")], [V(1)])]
    assert run(spec, Thing(5, "a", 0)) == (True, Thing(5, "a", 0))
    assert run(spec, Thing(5, "b", 0)) == (False, None)
    assert set(compile_match_spec(Thing, spec).key_equals or ()) == {5}


def test_the_first_clause_that_fits_answers() -> None:
    first = match(Thing, id=1).select("one")
    spec = first.otherwise(match(Thing, name="a").select("a"))
    found = [run(spec, one)[1] for one in (Thing(1, "a", 0), Thing(2, "a", 0), Thing(2, "b", 0))]
    assert found == ["one", "a", None]
    assert compile_match_spec(Thing, first.otherwise(match(Thing, id=3))).key_equals == (1, 3)


def test_where_and_select_leave_the_original_as_it_was() -> None:
    base = match(Thing, id=V(1))
    base.where(V(1) > 1)
    assert len(base.clauses[0][1]) == 0
    assert compile_match_spec(Thing, base).whole_records
    assert not compile_match_spec(Thing, base.select(V(1))).whole_records


def test_ranges_come_from_guards_and_prefixes() -> None:
    spec = match(Thing, id=("q1", V(1))).where(V(1) > 5, V(1) <= 9)
    compiled = compile_match_spec(Thing, spec)
    (interval,) = compiled.domain(0).intervals
    inside = [n for n in range(12) if interval.lower <= encode(("q1", n)) < interval.upper]
    assert inside == [5, 6, 7, 8, 9]  # 5.0 comes behind 5 and is not greater
    assert compile_match_spec(Thing, match(Thing, id=V(1)).where(V(1) > "a")).domain(0).text(
        "id"
    ) == ("id > 'a'")
    both = match(Thing, id=V(1)).where((V(1) == "a") | (V(1) == "b"))
    assert compile_match_spec(Thing, both).key_equals == ("a", "b")
    never = match(Thing, id=V(1)).where(V(1) == "a", V(1) == "b")
    assert compile_match_spec(Thing, never).key_equals == ()
    prefix = match(Thing, id=V(1)).where(V(1).startswith("ab"))
    (interval,) = compile_match_spec(Thing, prefix).domain(0).intervals
    words = ["aa", "ab", "abz", "ac"]
    assert [one for one in words if interval.lower <= encode(one) < interval.upper] == words[1:3]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ([], "1 to 1,000 clauses"),
        (5, "a list of clauses"),
        ([(ANY, [])], "head, guards, results"),
        ([(ANY, True, [RECORD])], "the guards of a clause are a list"),
        ([(ANY, [], [])], "needs a result"),
        ([(ANY, [], [V(1)])], "not bound by the head"),
    ],
)
def test_what_is_no_specification_is_refused(spec: Any, text: str) -> None:
    with pytest.raises(BadArgument, match=text):
        compile_match_spec(Thing, spec)


def test_what_looks_like_python_and_is_none_is_refused() -> None:
    with pytest.raises(BadArgument, match="has no truth of its own"):
        match(Thing, id=V(1)).where(1 < V(1) < 3)
    with pytest.raises(BadArgument, match="cannot be iterated"):
        list(V(1))
    with pytest.raises(BadArgument, match=r"size\(...\)"):
        len(V(1))
    with pytest.raises(BadArgument, match="format the results"):
        f"{V(1)}"
    with pytest.raises(BadArgument, match="no slices"):
        V(1)[1:]
    with pytest.raises(AttributeError, match="cannot be changed"):
        V(1).number = 2
    with pytest.raises(BadType):
        compile_match_spec(Thing, [(5, [], [RECORD])])


def test_expressions_are_limited() -> None:
    deep: Any = V(1)
    for _ in range(60):
        deep = deep + 1
    with pytest.raises(BadArgument, match="60 operations deep"):
        deep + 1
    chain: Any = V(1) == 0
    for number in range(1, 500):
        chain = chain | (V(1) == number)
    assert accepts(chain, 499)
    with pytest.raises(BadArgument, match="more than 10,000 parts"):
        accepts(ex.or_(*[V(1) == 1] * 9_000))
    assert not accepts(V(1) * V(1) > 0, 2**40_000)


def test_a_specification_shows_how_it_is_written() -> None:
    spec = match(Thing, id=V(1)).where((V(1) > 1) & ~ex.is_int(V(1)), V(1)[0] == -V(1))
    text = repr(spec)
    assert "((V(1) > 1) and not is_int(V(1)))" in text
    assert "(V(1)[0] == -V(1))" in text
    assert isinstance(spec, MatchSpec)
    assert repr(lift((V(1), [V(2)], {"a": V(3)}))) == "(V(1), [V(2)], {'a': V(3)})"
    assert repr(ex.choose(V(1), 1, 2)) == "(1 if V(1) else 2)"


@settings(deadline=None)
@given(keys)
def test_a_pattern_of_the_key_alone_is_a_point(key: Any) -> None:
    compiled = compile_match_spec(Thing, match(Thing, id=key))
    assert compiled.key_equals == (key,)
    assert compiled.bound[0] is key
    assert run([(pattern(Thing, id=key), [], [RECORD])], Thing(key, 1, 2))[0]
