"""Patterns match what a plain reading of them matches, and know where the matches are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from query_kit import FIELDS, Thing, keys, naive_match, terms, things, values

from palaver.storage.tables.errors import BadArgument, BadType
from palaver.storage.tables.expressions import literal
from palaver.storage.tables.patterns import (
    ANY,
    V,
    attributes_of,
    compile_pattern,
    pattern,
    values_of,
)
from palaver.storage.tables.querying.comparing import same
from palaver.storage.tables.terms import encode


@dataclass(frozen=True, slots=True)
class Checked:
    number: str
    owner: str
    balance: int = 0

    def __post_init__(self) -> None:
        assert isinstance(self.number, str), "a pattern is not checked as a record is"


@attrs.frozen
class Attrs:
    number: str = attrs.field(validator=attrs.validators.instance_of(str))
    owner: str = ""


class Named(NamedTuple):
    number: str
    owner: str


def opened(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    holes = st.one_of(st.just(ANY), st.integers(1, 3).map(V))
    return st.recursive(
        st.one_of(inner, holes, holes),
        lambda parts: st.one_of(
            st.lists(parts, max_size=3).map(tuple),
            st.dictionaries(st.sampled_from(["k", "l", 1]), parts, max_size=2),
        ),
        max_leaves=4,
    )


patterns = st.builds(Thing, opened(keys), opened(terms), opened(terms))


@settings(deadline=None)
@given(patterns, things)
@example(Thing({"k": 1}, ANY, ANY), Thing({"k": 1, "l": 2}, 1, 1))
@example(Thing(V(1), V(1), ANY), Thing(1, 1.0, 1))
@example(Thing(V(2), V(1), ANY), Thing(1, 2, 1))
def test_a_pattern_matches_as_a_plain_reading_of_it(written: Thing, thing: Thing) -> None:
    matcher = compile_pattern(Thing, written)
    bound: dict[int, Any] = {}
    expected = all(
        naive_match(one, term, bound, key=position == 0)
        for position, (one, term) in enumerate(zip(values(written), values(thing), strict=True))
    )
    found = matcher.test(values(thing))
    assert (found is not None) == expected
    if found is not None:
        assert found == tuple(bound[number] for number in matcher.variables)
        for position, value in matcher.bound.items():
            assert same(value, values(thing)[position])
        for position, term in enumerate(values(thing)):
            code = encode(term)
            intervals = matcher.known.at((position,)).intervals
            assert any(one.lower <= code < one.upper for one in intervals)


@settings(deadline=None)
@given(things)
def test_a_record_is_a_pattern_that_matches_itself(thing: Thing) -> None:
    matcher = compile_pattern(Thing, thing)
    assert matcher.test(values(thing)) == ()
    assert matcher.bound[0] is thing.id


def test_what_is_not_given_is_any_and_nothing_is_checked() -> None:
    made = pattern(Checked, owner="x")
    assert isinstance(made, Checked)
    assert (made.number, made.owner, made.balance) == (ANY, "x", ANY)
    assert pattern(Attrs, owner="x").number is ANY
    assert pattern(Named, owner=V(1)).number is ANY
    assert compile_pattern(Named, pattern(Named, owner="x")).test(("1", "x")) == ()


def test_a_pattern_without_a_class_is_a_tuple() -> None:
    matcher = compile_pattern(FIELDS, (V(1), ANY, 3))
    assert matcher.test(("a", "b", 3)) == ("a",)
    assert matcher.test(("a", "b", 3.0)) is None
    assert matcher.bound == {2: 3}


def test_any_and_a_variable_alone_match_every_record() -> None:
    record = Named("1", "x")
    assert compile_pattern(Named, ANY).test(record) == ()
    assert compile_pattern(Named, V(7)).test(record, record) == (record,)


@pytest.mark.parametrize("term", [1, 1.0, True])
def test_numbers_and_booleans_are_three_things(term: Any) -> None:
    matcher = compile_pattern(FIELDS, (term, ANY, ANY))
    matched = [one for one in (1, 1.0, True) if matcher.test((one, 0, 0)) is not None]
    assert [type(one) for one in matched] == [type(term)]


def test_a_tuple_that_begins_so_is_a_range_of_keys() -> None:
    matcher = compile_pattern(FIELDS, (("q1", ANY), ANY, ANY))
    (interval,) = matcher.known.at((0,)).intervals
    assert interval.lower <= encode(("q1", 0)) < interval.upper
    assert not interval.lower <= encode(("q0", 9)) < interval.upper
    assert not interval.lower <= encode(("q2", 0)) < interval.upper
    assert interval.text("id") == "id >= ('q1', ...) and id <= ('q1', ...)"


def test_the_key_may_be_another_field() -> None:
    written = ({"k": 1}, {"k": 1}, ANY)
    assert compile_pattern(FIELDS, written, key_position=1).bound == {1: {"k": 1}}
    larger = {"k": 1, "l": 2}
    assert compile_pattern(FIELDS, written, key_position=1).test((larger, {"k": 1}, 0)) == ()
    assert compile_pattern(FIELDS, written, key_position=1).test(({"k": 1}, larger, 0)) is None


def test_values_that_can_be_no_key_match_themselves() -> None:
    thing = complex(1, 2)
    assert compile_pattern(FIELDS, (1, thing, ANY)).test((1, complex(1, 2), 0)) == ()
    assert compile_pattern(FIELDS, (1, thing, ANY)).test((1, complex(2, 2), 0)) is None


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(BadArgument, match="no field 'ownr'"):
        pattern(Checked, ownr="x")
    with pytest.raises(BadType, match="no record class"):
        pattern(int, owner="x")
    with pytest.raises(BadType, match="is no Checked"):
        compile_pattern(Checked, Named("1", "x"))
    with pytest.raises(BadType, match="no tuple of the 3 values"):
        compile_pattern(FIELDS, (1, 2))
    with pytest.raises(BadArgument, match="goes into a guard"):
        compile_pattern(FIELDS, (V(1) + 1, ANY, ANY))
    with pytest.raises(BadArgument, match="goes into a guard"):
        compile_pattern(FIELDS, (literal(1), ANY, ANY))
    with pytest.raises(BadArgument, match="dict's key"):
        compile_pattern(FIELDS, ({V(1): 2}, ANY, ANY))
    with pytest.raises(BadArgument, match="V takes a number"):
        V("1")  # type: ignore[arg-type]
    deep: Any = ANY
    for _ in range(40):
        deep = (deep,)
    with pytest.raises(BadType, match="at most 32 containers"):
        compile_pattern(FIELDS, (deep, ANY, ANY))


def test_fields_of_all_kinds_of_records() -> None:
    assert attributes_of(Checked) == ("number", "owner", "balance")
    assert attributes_of(Attrs) == attributes_of(Named) == ("number", "owner")
    assert attributes_of(["a", "b"]) == ("a", "b")
    assert values_of(Attrs, Attrs("1", "x")) == ("1", "x")
