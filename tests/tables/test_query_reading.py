"""A comprehension means what it means in Python, and the same as the builder's query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_kit import MemorySource

from palaver.storage.tables.errors import BadArgument
from palaver.storage.tables.queries import (
    RESULT,
    Query,
    count,
    descending,
    each,
    explain,
    query,
    rows,
    run,
)


@dataclass(frozen=True, slots=True)
class Person:
    id: int
    name: str
    blocked: bool


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    person: int
    total: int


class Point(NamedTuple):
    x: int
    y: int


ids = st.integers(0, 3)
people = st.lists(st.builds(Person, ids, st.sampled_from("ab"), st.booleans()), max_size=5)
orders = st.lists(st.builds(Order, ids, ids, st.integers(-2, 2)), max_size=6)

# Each is run twice: over symbols by `query`, and over the records by Python itself.
COMPREHENSIONS: list[Callable[[Any, Any, Any], Callable[[], Iterator[Any]]]] = [
    lambda rows, person, order: (
        lambda: (
            (p.name, o.total)
            for p in rows(person)
            for o in rows(order)
            if p.id == o.person and (o.total > 1 or not p.blocked)
        )
    ),
    lambda rows, person, order: (
        lambda: (p.name for p in rows(person) if 0 < p.id <= 2 if p.name != "b" or p.blocked)
    ),
    lambda rows, person, order: (
        lambda: (
            (o.id, "much" if o.total > 1 else "little" if o.total > 0 else -o.total)
            for o in rows(order)
            if o.person in (1, 3)
        )
    ),
    lambda rows, person, order: (
        lambda: (o.total or "nothing" for o in rows(order) if (o.total if o.id else o.person))
    ),
    lambda rows, person, order: (
        lambda: (
            (p.id, q.id) for p in rows(person) if p.blocked for q in rows(person) if q.id > p.id
        )
    ),
    lambda rows, person, order: (
        lambda: (
            (p.id, o.id)
            for p in rows(person)
            for o in rows(order)
            if (p.id == o.person if p.blocked else p.id != o.person) and not (o.total > 0 and p.id)
        )
    ),
    lambda rows, person, order: (
        lambda: (max(o.total, o.person) * 2 + 1 for o in rows(order) if not (o.total and o.id == 0))
    ),
    lambda rows, person, order: (
        lambda: (
            o.id
            for o in rows(order)
            if (o.total > 0 or o.person == 1)
            and (o.total < 2 or o.person == 2)
            and (o.id != 3 or not o.total)
        )
    ),
    lambda rows, person, order: (
        lambda: (total % 3 for o in rows(order) for total in (o.total + 3,) if not total % 2)
    ),
]


def sources(people: list[Person], orders: list[Order], kind: str) -> MemorySource:
    source = MemorySource()
    source.add(Person, people, kind)
    source.add(Order, orders, kind, ["person"])
    return source


@pytest.mark.parametrize("made", COMPREHENSIONS)
@settings(deadline=None)
@given(people, orders, st.sampled_from(["set", "ordered_set"]))
def test_a_comprehension_gives_what_python_gives(
    made: Any, people: list[Person], orders: list[Order], kind: str
) -> None:
    source = sources(people, orders, kind)
    found = run(query(made(rows, Person, Order)), source)
    assert Counter(found) == Counter(made(source.scan, Person, Order)())


def both(comprehension: Query[Any], built: Query[Any]) -> str:
    """Compare two queries by how they are written; return that."""
    assert repr(comprehension) == repr(built)
    return repr(built)


def test_a_comprehension_and_the_builder_make_one_query() -> None:
    p, o = each(Person), each(Order)
    text = both(
        query(
            lambda: (
                (p.name, o.total)
                for p in rows(Person)
                for o in rows(Order)
                if p.id == o.person and (o.total > 10 or p.id > 5)
            )
        ),
        query(p.name, o.total).where((p.id == o.person) & ((o.total > 10) | (p.id > 5))),
    )
    assert text == (
        "query((Person.name, Order.total)).where(((Person.id == Order.person) and "
        "((Order.total > 10) or (Person.id > 5))))"
    )
    both(
        query(lambda: (p for p in rows(Person) if not p.id > 5)),
        query(p).where(~(p.id > 5)),
    )
    both(
        query(lambda: (o.id for o in rows(Order) if (o.id > 1 or o.total > 2) and o.person > 3)),
        query(o.id).where((o.id > 1) | (o.total > 2), o.person > 3),
    )
    both(
        query(lambda: (o.id for o in rows(Order) if 1 < o.id < 5)),
        query(o.id).where(o.id > 1, o.id < 5),
    )


def test_conditions_of_a_comprehension_find_keys_and_indexes() -> None:
    people = [Person(n, "a", False) for n in range(50)]
    source = sources(people, [Order(n, n, n) for n in range(50)], "ordered_set")
    asked = query(
        lambda: (
            o.total for p in rows(Person) if p.id == 7 for o in rows(Order) if o.person == p.id
        )
    )
    assert explain(asked, source).accesses == (("Person", "key"), ("Order", "index"))
    assert run(asked, source) == [7]
    some = query(lambda: (o.id for o in rows(Order) if 10 <= o.id < 20 and o.total != 15))
    assert explain(some, source).accesses == (("Order", "key range"),)
    assert run(some.order_by(descending(RESULT)).limit(2), source) == [19, 18]


def test_a_comprehension_can_be_refined() -> None:
    source = sources([], [Order(n, n % 3, n) for n in range(10)], "set")
    asked = query(lambda: ((o.person, count()) for o in rows(Order) if o.total > 0))
    found = run(asked.group_by(RESULT[0]).order_by(descending(RESULT[1]), RESULT[0]), source)
    assert found == [(0, 3), (1, 3), (2, 3)]


def test_records_can_be_unpacked() -> None:
    source = MemorySource()
    source.add(Point, [Point(1, 2), Point(3, 4)])
    assert run(query(lambda: (x + y for x, y in rows(Point))), source) == [3, 7]
    assert run(query(lambda: (p[1] for p in rows(Point) if p[0] > 1)), source) == [4]


def test_membership_asks_the_record() -> None:
    source = MemorySource()
    source.add(Person, [Person(1, "abc", True), Person(2, "xyz", True)])
    assert run(query(lambda: (p.id for p in rows(Person) if "b" in p.name)), source) == [1]


def generator() -> Iterator[Any]:
    for p in rows(Person):
        if p.blocked:
            yield p.name
            continue
        yield "free"


def test_a_generator_function_will_do() -> None:
    source = MemorySource()
    source.add(Person, [Person(1, "a", True), Person(2, "b", False)])
    assert sorted(run(query(generator), source)) == ["a", "free"]


def twice() -> Iterator[Any]:
    for p in rows(Person):
        yield p.id
        yield p.name


def other_tables() -> Iterator[Any]:
    for p in rows(Person):
        if p.blocked:
            for o in rows(Order):
                yield o.id
        else:
            yield p.id


def changing() -> Callable[[], Iterator[Any]]:
    runs: list[int] = []

    def made() -> Iterator[Any]:
        runs.append(1)
        return (p.id for p in rows(Person) if (p.blocked if len(runs) == 1 else p.name) or p.id)

    return made


def endless() -> Iterator[Any]:
    for p in rows(Person):
        number = 0
        while p.id != number:
            number += 1
        yield p.id


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: [p.id for p in rows(Person)], "in round brackets"),
        (twice, "more than one result"),
        (other_tables, "joins other tables"),
        (lambda: (p.id for p in rows(Person) if False), "never gives a result"),
        (changing(), "must depend on nothing but the records"),
        (endless, "more than 200 times"),
        (
            lambda: (
                p.id for p in rows(Person) if any(o.person == p.id for o in rows(Order))
            ),
            "outside of its loop|other tables",
        ),
        (
            lambda: (
                p.id
                for p in rows(Person)
                if len([n for n in range(12) if p.id == n]) > 3
            ),
            "more than 1,000 ways",
        ),
        (lambda: (f"{p.name}" for p in rows(Person)), "format the results"),
        (lambda: (p.nothing for p in rows(Person)), "has no field 'nothing'"),
        (lambda: (len(p.name) for p in rows(Person)), r"size\(...\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(made: Any, text: str) -> None:
    with pytest.raises(BadArgument, match=text):
        query(made)


def test_an_error_of_the_comprehension_is_its_own() -> None:
    with pytest.raises(ZeroDivisionError):
        query(lambda: (p.id for p in rows(Person) if 1 / 0))
    with pytest.raises(BadArgument, match=r"rows\(...\) is for"):
        list(rows(Person))
