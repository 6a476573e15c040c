"""Every plan of a query gives what nested loops over all records give."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from query_kit import (
    MemorySource,
    Thing,
    conditions,
    naive_query,
)

from palaver.storage.tables import queries
from palaver.storage.tables.errors import BadArgument, SystemLimit
from palaver.storage.tables.expressions import is_none, same
from palaver.storage.tables.queries import (
    RESULT,
    Query,
    count,
    descending,
    each,
    explain,
    iterate,
    max_of,
    min_of,
    query,
    rows,
    run,
    sum_of,
)
from palaver.storage.tables.querying import joining
from palaver.storage.tables.querying.tree import Operation


@dataclass(frozen=True, slots=True)
class Person:
    id: Any
    name: Any
    team: Any


@dataclass(frozen=True, slots=True)
class Order:
    id: Any
    person: Any
    total: Any


small = st.sampled_from([0, 1, 1.0, 2, "a", "b", None, True])
order_keys = st.one_of(small, st.tuples(small, st.integers(0, 3)))
people = st.lists(st.builds(Person, small, small, small), max_size=6)
orders = st.lists(st.builds(Order, order_keys, small, small), max_size=8)
types = st.sampled_from(["set", "ordered_set", "bag"])
indexes = st.sets(st.sampled_from(["name", "team"]))
order_indexes = st.sets(st.sampled_from(["person", "total"]))


@st.composite
def sources(draw: st.DrawFn) -> MemorySource:
    source = MemorySource()
    source.add(Person, draw(people), draw(types), draw(indexes))
    source.add(Order, draw(orders), draw(types), draw(order_indexes))
    return source


def joined(left: Any, right: Any) -> st.SearchStrategy[Any]:
    """Conditions that link two tables."""
    mine = st.sampled_from([left.id, left.name, left.team])
    other = st.sampled_from([right.id, right.person, right.total, right.id[0], right.id[1]])
    both = st.builds(Operation, st.sampled_from(["==", "==", "same", "<", ">=", "!="]), mine, other)
    return st.one_of(both, st.builds(lambda one: ~one, both))


@st.composite
def wanted(draw: st.DrawFn) -> Query[Any]:
    p, o = each(Person), each(Order)
    alone = conditions(st.sampled_from([p.id, p.name, p.team]))
    other = conditions(st.sampled_from([o.id, o.person, o.total]))
    shape = draw(st.sampled_from(["one", "two", "self"]))
    if shape == "one":
        made = query(o, o.total).where(*draw(st.lists(other, max_size=3)))
        fields = [o.id, o.person, o.total]
    elif shape == "two":
        made = query(p.name, o, p.id).where(
            *draw(st.lists(joined(p, o), max_size=2)),
            *draw(st.lists(alone, max_size=1)),
            *draw(st.lists(other, max_size=2)),
        )
        fields = [p.id, o.id, o.total]
    else:
        q = each(Person, "other")
        made = query(p.id, q.id, o.id).where(
            p.team == q.team, *draw(st.lists(joined(q, o), min_size=1, max_size=2))
        )
        fields = [p.id, q.id, o.id]
    by = st.lists(st.sampled_from([*fields, *map(descending, fields)]), max_size=2)
    made = made.order_by(*draw(by))
    return made.distinct() if draw(st.booleans()) else made


def counted(results: list[Any]) -> Counter[str]:
    return Counter(repr(shown(one)) for one in results)


def shown(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(shown(one) for one in result)
    return (type(result), result)


@settings(deadline=None)
@given(sources(), wanted(), st.integers(0, 4))
def test_a_query_gives_what_nested_loops_give(
    source: MemorySource, asked: Query[Any], limit: int
) -> None:
    expected = naive_query(asked, source)
    found = run(asked, source)
    if asked.description.order:
        assert list(map(shown, found)) == list(map(shown, expected))
    else:
        assert counted(found) == counted(expected)
    some = run(asked.limit(limit), source)
    if asked.description.order:
        assert list(map(shown, some)) == list(map(shown, expected[:limit]))
    else:
        assert len(some) == min(limit, len(expected))
        assert counted(some) <= counted(expected)
    plan = explain(asked, source)
    assert str(plan)
    assert len(plan.accesses) == len(asked.description.tables)


numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.1, 0.2, 0.7, 1e16, -1e16, 1e308]))
sales = st.lists(st.builds(Order, st.integers(0, 30), small, numbers), max_size=12)


@settings(deadline=None)
@given(sales, st.sampled_from(["result", "sum", "none"]), st.booleans())
@example([Order(n, "a", 0.1) for n in range(10)], "none", False)
@example([Order(0, "a", 1e308), Order(1, "a", 1e308), Order(2, "a", -1e308)], "none", False)
def test_groups_are_what_they_are_in_plain_python(
    records: list[Order], order: str, large: bool
) -> None:
    source = MemorySource()
    source.add(Order, records, "ordered_set")
    o = each(Order)
    asked = query(o.person, count(), sum_of(o.total), min_of(o.id), max_of(o.total) - 1)
    asked = asked.group_by(o.person)
    if large:
        asked = asked.having(count() > 1, max_of(o.total) > 0)
    if order != "none":
        asked = asked.order_by(descending(RESULT[1] if order == "result" else sum_of(o.total)))
    try:
        expected = naive_query(asked, source)
    except OverflowError:
        with pytest.raises(BadArgument, match="too large for a float"):
            run(asked, source)
    else:
        assert list(map(shown, run(asked, source))) == list(map(shown, expected))


def test_without_group_by_aggregates_are_over_everything() -> None:
    source = MemorySource()
    source.add(Order, [])
    o = each(Order)
    everything = query(count(), sum_of(o.total), min_of(o.total), max_of(o.total))
    assert run(everything, source) == [(0, 0, None, None)]
    source.add(Order, [Order(n, n % 2, n) for n in range(10)])
    assert run(everything, source) == [(10, 45, 0, 9)]
    assert run(query(count()).where(o.id > 100), source) == [0]
    assert run(query(o.person).group_by(o.person), source) == [0, 1]


# -- plans -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> MemorySource:
    source = MemorySource()
    people = [Person(n, f"p{n}", n % 6) for n in range(60)]
    source.add(Person, people, "set", ["team"])
    orders = [Order((n % 60, n), n % 60, n % 7) for n in range(600)]
    source.add(Order, orders, "ordered_set", ["person"])
    source.add(Thing, [Thing(n, n, n) for n in range(20_000)])
    return source


def kinds(asked: Query[Any], source: MemorySource) -> list[tuple[str, str]]:
    found = run(asked, source)
    expected = naive_query(asked, source)
    assert counted(found) == counted(expected)
    assert found
    return list(explain(asked, source).accesses)


def test_the_shortest_way_is_taken(shop: MemorySource) -> None:
    p, o = each(Person), each(Order)
    assert kinds(query(p).where(p.id == 5), shop) == [("Person", "key")]
    assert kinds(query(p).where((p.id == 5) | same(p.id, 7)), shop) == [("Person", "key")]
    assert kinds(query(p).where(p.team == 5), shop) == [("Person", "index")]
    assert kinds(query(p).where(p.team > 4), shop) == [("Person", "index range")]
    assert kinds(query(p).where(p.id > 50), shop) == [("Person", "scan")]
    assert kinds(query(o).where(o.id > (50, 0)), shop) == [("Order", "key range")]
    assert kinds(query(o).where(o.id[0] == 7), shop) == [("Order", "key range")]
    assert kinds(query(o).where(o.id[0] == 7, o.id[1] > 300), shop) == [("Order", "key range")]
    assert kinds(query(o).where(o.id == (7, 7)), shop) == [("Order", "key")]
    assert kinds(query(o).where(o.person == 7), shop) == [("Order", "index")]
    assert kinds(query(o).where(o.total == 5), shop) == [("Order", "scan")]


def test_nothing_is_read_for_what_cannot_be(shop: MemorySource) -> None:
    p = each(Person)
    before = shop.given
    never = query(p).where(p.id == 5, p.id == 6)
    assert run(never, shop) == []
    assert explain(never, shop).accesses == (("Person", "nothing"),)
    assert shop.given == before


def test_a_prefix_of_the_key_reads_only_its_range(shop: MemorySource) -> None:
    o = each(Order)
    before = shop.given
    assert len(run(query(o).where(o.id[0] == 7, o.id[1] > 307), shop)) == 4
    assert shop.given - before == 5  # (7, 307) is in the range, and is refused


def test_joins_look_up_by_key_by_index_and_by_prefix(shop: MemorySource) -> None:
    p, o = each(Person), each(Order)
    by_index = query(p.name, o.total).where(p.id == 3, o.person == p.id)
    assert kinds(by_index, shop) == [("Person", "key"), ("Order", "index")]
    by_prefix = query(p.name, o.total).where(p.id == 3, o.id[0] == p.id)
    assert kinds(by_prefix, shop) == [("Person", "key"), ("Order", "key range")]
    by_key = query(p.name).where(o.id == (3, 3), p.id == o.person)
    assert kinds(by_key, shop) == [("Order", "key"), ("Person", "key")]
    range_after = query(o).where(p.id == 58, o.id > (p.id, 300))
    assert kinds(range_after, shop)[1] == ("Order", "key range")


def test_without_an_index_a_join_is_by_a_dict(shop: MemorySource) -> None:
    p, t = each(Person), each(Thing)
    asked = query(p.id, t.id).where(p.team == t.name, t.id < 15)
    before = shop.given
    found = run(asked, shop)
    assert Counter(found) == Counter((n, n % 6) for n in range(60))
    assert shop.given - before == 20_000 + 60
    text = str(explain(asked, shop))
    assert "kept in a dict" in text
    assert "by (Person.team == Thing.name)" in text


@given(st.lists(small, min_size=8, max_size=8), st.lists(small, min_size=8, max_size=8))
@settings(deadline=None, max_examples=50)
def test_a_join_by_a_dict_finds_what_is_equal(left: list[Any], right: list[Any]) -> None:
    source = MemorySource()
    source.add(Person, [Person(n, left[n % 8], n) for n in range(16)])
    source.add(Order, [Order(n, right[n % 8], (right[n % 8], n)) for n in range(16)])
    p, o = each(Person), each(Order)
    for condition in (p.name == o.person, same(p.name, o.person), p.name == o.total[0]):
        asked = query(p.id, o.id).where(condition)
        assert "kept in a dict" in str(explain(asked, source))
        assert counted(run(asked, source)) == counted(naive_query(asked, source))


def test_what_is_known_before_narrows_what_is_looked_up(shop: MemorySource) -> None:
    p, o = each(Person), each(Order)
    asked = query(p.name, o.id).where(p.id == 3, o.id[0] == p.id, o.id[1] > 303)
    before = shop.given
    assert len(run(asked, shop)) == 4
    assert shop.given - before == 6  # a person, four orders, and (3, 303), which is refused


def test_tables_that_nothing_links_are_multiplied() -> None:
    source = MemorySource()
    source.add(Person, [Person(n, n, n) for n in range(30)])
    source.add(Order, [Order(n, n, n) for n in range(20)])
    p, o = each(Person), each(Order)
    asked = query(p.id, o.id).where(p.id < o.id)
    assert counted(run(asked, source)) == counted(naive_query(asked, source))
    assert "kept in a list" in str(explain(asked, source))


def test_a_limit_stops_reading(shop: MemorySource) -> None:
    t, o = each(Thing), each(Order)
    before = shop.given
    assert len(run(query(t).limit(3), shop)) == 3
    assert shop.given - before <= 4
    before = shop.given
    asked = query(o.id).where(o.total == 5).order_by(descending(o.id)).limit(2)
    found = run(asked, shop)
    assert found == naive_query(asked, shop)
    assert shop.given - before < 40
    assert run(query(t).limit(0), shop) == []


def test_iterate_reads_as_it_goes(shop: MemorySource) -> None:
    t = each(Thing)
    before = shop.given
    results = iterate(query(t.id), shop)
    assert next(results) == 0
    assert shop.given - before == 1


def test_the_order_of_the_key_needs_no_sorting(shop: MemorySource) -> None:
    p, o = each(Person), each(Order)
    asked = query(o.id, p.name).where(o.person == p.id).order_by(descending(o.id)).limit(5)
    plan = explain(asked, shop)
    assert "no sorting" in str(plan)
    assert "backwards" in str(plan)
    assert run(asked, shop) == naive_query(asked, shop)
    by_index = query(o.id).where(o.person == 5).order_by(descending(o.id))
    assert kinds(by_index, shop) == [("Order", "index")]
    assert run(by_index, shop) == naive_query(by_index, shop)
    sorted_anew = query(o.id).where(o.person == 5).order_by(o.total, o.id)
    assert "sort by Order.total, Order.id" in str(explain(sorted_anew, shop))
    assert run(sorted_anew, shop) == naive_query(sorted_anew, shop)


def test_a_plan_can_be_read(shop: MemorySource) -> None:
    p, o, t = each(Person), each(Order), each(Thing)
    asked = (
        query(p.name, o.total)
        .where(p.team == 3, o.person == p.id, o.total > 4)
        .order_by(o.total)
        .limit(10)
    )
    assert str(explain(asked, shop)).splitlines() == [
        "result (Person.name, Order.total)",
        "  limit 10",
        "    sort by Order.total",
        "      join, about 76 rows",
        "        Person: index: team == 3 (about 8 of 60)",
        "          filter (Person.team == 3)",
        f"        with Order: index: {o.person == p.id!r} (for each row so far, about 24 of 600)",
        "          filter (Order.total > 4)",
        "          filter (Order.person == Person.id)",
    ]
    slow = explain(query(t).where(t.name == 5), shop)
    assert slow.warnings == (
        "all 20,000 records of Thing are read; add_table_index(Thing, 'name') would help",
    )
    assert str(slow).endswith(f"warning: {slow.warnings[0]}")
    assert not explain(query(p).where(p.name == "p5"), shop).warnings


# -- what is refused -------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused(shop: MemorySource) -> None:
    p, o = each(Person), each(Order)
    with pytest.raises(BadArgument, match="needs a result"):
        query()
    with pytest.raises(BadArgument, match="at least one table"):
        run(query(1), shop)
    with pytest.raises(BadArgument, match="has no field 'nme'"):
        query(p.nme)  # type: ignore[attr-defined]
    with pytest.raises(BadArgument, match="put aggregates into having"):
        query(p.id).where(count() > 1)
    with pytest.raises(BadArgument, match="neither grouped by"):
        run(query(p.id, count()), shop)
    with pytest.raises(BadArgument, match="an aggregate of an aggregate"):
        run(query(sum_of(count())).group_by(p.id), shop)
    with pytest.raises(BadArgument, match="a limit is"):
        query(p.id).limit(-1)
    with pytest.raises(BadArgument, match="has no truth of its own"):
        query(p.id).where(p.id > 1 and p.id < 3)
    with pytest.raises(BadArgument, match="no meaning in a query"):
        query(p.id, queries.RESULT)
    with pytest.raises(BadArgument, match=r"rows\(...\) is for"):
        list(rows(Person))
    with pytest.raises(AttributeError, match="changes no records"):
        p.name = "x"  # type: ignore[misc]
    with pytest.raises(BadArgument, match="12 tables at most"):
        query(tuple(each(Person).id for _ in range(13)))
    assert run(query(o.id).where(is_none(o.id)), shop) == []


def test_a_result_that_fails_is_told(shop: MemorySource) -> None:
    p = each(Person)
    with pytest.raises(BadArgument, match=r"\(Person.name \+ 1\) cannot be computed"):
        run(query(p.name + 1), shop)
    with pytest.raises(BadArgument, match="cannot be grouped"):
        run(query(sum_of(p.name)), shop)
    with pytest.raises(BadArgument, match="cannot be computed"):
        run(query(p).order_by(p.name * 2), shop)


def test_no_more_is_held_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "MAX_HELD", 10)
    source = MemorySource()
    source.add(Person, [Person(n, n, n) for n in range(20)])
    source.add(Order, [Order(n, n, n) for n in range(20)])
    p, o = each(Person), each(Order)
    for asked in (
        query(p).order_by(p.name),
        query(p.name).distinct(),
        query(count()).group_by(p.name),
        query(p).where(p.name == o.total),
        query(p).order_by(p.name).distinct().limit(5),
    ):
        with pytest.raises(SystemLimit, match="may hold 10 rows"):
            run(asked, source)
    assert len(run(query(p).order_by(p.name).limit(5), source)) == 5


def test_tables_are_named_in_any_way() -> None:
    source = MemorySource()
    source.add(Person, [Person(1, "a", 2)])
    named = each("Person")

    class ByName(MemorySource):
        def facts(self, table: Any) -> Any:
            return source.facts(Person)

        def lookup(self, table: Any, key: bytes) -> Any:
            return source.lookup(Person, key)

    assert run(query(named.name).where(named.id == 1), ByName()) == ["a"]
    with pytest.raises(BadArgument, match="Person has no field 'nme'"):
        run(query(named.nme), ByName())
    with pytest.raises(BadArgument, match="take them by name"):
        list(named)
    assert repr(query(named.name).where(named.id > 1).order_by(descending(named.id)).limit(3)) == (
        "query(Person.name).where((Person.id > 1)).order_by(descending(Person.id)).limit(3)"
    )


def test_queries_are_immutable(shop: MemorySource) -> None:
    p = each(Person)
    base = query(p.id)
    base.where(p.id == 1).limit(1).distinct().order_by(p.id)
    assert len(run(base, shop)) == 60
    text = repr(query(p.id, count()).group_by(p.id).having(count() > 1).distinct())
    assert text == (
        "query((Person.id, count())).group_by(Person.id).having((count() > 1)).distinct()"
    )
