"""Queries within activities: on real tables, with the activity's own writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_kit import MemorySource, naive_query

from palaver.storage.tables import Database
from palaver.storage.tables.errors import NoExists, RecordDamaged
from palaver.storage.tables.expressions import same
from palaver.storage.tables.queries import (
    Query,
    count,
    descending,
    each,
    query,
    rows,
)
from palaver.storage.tables.terms import encode


@dataclass(frozen=True, slots=True)
class Person:
    id: int
    team: str


@dataclass(frozen=True, slots=True)
class Message:
    place: tuple[str, int]
    author: int
    text: str


people = st.lists(st.builds(Person, st.integers(0, 5), st.sampled_from("ab")), max_size=6)
messages = st.lists(
    st.builds(
        Message,
        st.tuples(st.sampled_from("xy"), st.integers(0, 4)),
        st.integers(0, 5),
        st.sampled_from(["", "hi"]),
    ),
    max_size=10,
)


def fill(activity: Any, people: list[Person], messages: list[Message]) -> None:
    activity.write_all(people)
    activity.write_all(messages)


def queries() -> list[Query[Any]]:
    p, m = each(Person), each(Message)
    return [
        query(p.team, m.text, m.place).where(p.id == m.author, m.place[0] == "x"),
        query(m).where(m.place == ("x", 1)),
        query(m.place).where(m.place > ("x", 2)),
        query(m.place).where(m.author == 1),
        query(m.place).where((m.author > 1) & (m.author < 4)),
        query(p.id).where(p.team == "a"),
        query(m.place, m.text).order_by(descending(m.place)).limit(3),
        query(p.team, count(p)).group_by(p.team),
        query(
            lambda: (
                (q.id, m.place)
                for m in rows(Message)
                for q in rows(Person)
                if q.id == m.author and (m.text == "hi" or q.team == "b")
            )
        ),
    ]


def naive(asked: Query[Any], people: list[Person], messages: list[Message]) -> Any:
    source = MemorySource()
    source.add(Person, people)
    source.add(Message, messages, "ordered_set")
    return naive_query(asked, source)


@pytest.fixture(scope="module", params=["ram_copies", "disc_copies", "disc_only_copies"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("query") / "db"
    with Database.open(folder, records=[Person, Message]) as db:
        db.create_table(Person, storage=request.param, index=["team"])
        db.create_table(Message, type="ordered_set", storage=request.param, index=["author"])
        yield db


@given(people, messages, people, messages, st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_a_query_sees_the_table_and_the_activitys_own_writes(
    database: Database,
    before: list[Person],
    sent: list[Message],
    after: list[Person],
    added: list[Message],
    number: int,
) -> None:
    database.clear_table(Person)
    database.clear_table(Message)
    database.async_dirty(fill, before, sent)
    asked = queries()[number]

    def inside(tx: Any) -> Any:
        fill(tx, after, added)
        if added:
            tx.delete(Message, added[0].place)
        found = tx.query(asked)
        return found, *(tx.foldl(_append, [], table) for table in (Person, Message))

    found, people, messages = database.transaction(inside)
    assert Counter(found) == Counter(naive(asked, people, messages))
    again = database.async_dirty(lambda activity: activity.query(asked))
    assert Counter(again) == Counter(found)


def _append(record: Any, records: list[Any]) -> list[Any]:
    return [*records, record]


def test_plans_use_the_keys_and_indexes_of_tables(database: Database) -> None:
    database.clear_table(Message)
    database.async_dirty(fill, [], [Message(("x", n), n % 7, "") for n in range(300)])

    def inside(tx: Any) -> list[Any]:
        plans = [tx.explain(asked) for asked in queries()]
        taken = tx.iterate(query(each(Message).place))
        return [[plan.accesses for plan in plans], next(taken)]

    plans, first = database.transaction(inside)
    assert first == ("x", 0)
    assert plans[1] == (("Message", "key"),)
    assert plans[2] == (("Message", "key range"),)
    assert plans[3] == (("Message", "index"),)
    assert plans[4] == (("Message", "index range"),)


def test_a_table_that_is_not_there_is_told() -> None:
    with Database.in_memory() as db, pytest.raises(NoExists):
        db.async_dirty(lambda activity: activity.query(query(each(Person).id)))


def test_an_answer_that_a_damaged_record_may_belong_to_is_refused() -> None:
    with Database.in_memory() as db:
        db.create_table(Message, type="ordered_set", storage="ram_copies", index=["author"])
        db.async_dirty(fill, [], [Message(("x", 1), 1, "")])
        db.state(Message).damaged[encode(("x", 2))] = "its checksum is wrong"
        m = each(Message)
        whole = query(m.author).where(same(m.place, ("x", 1)))
        assert db.async_dirty(lambda activity: activity.query(whole)) == [1]
        for asked in (
            query(m),
            query(m).where(m.author == 1),
            query(m).where(m.place[0] == "x"),
            query(m).where(m.place == ("x", 2)),
        ):
            with pytest.raises(RecordDamaged, match="checksum"):
                db.async_dirty(lambda activity, asked=asked: activity.query(asked))


def test_what_a_query_has_read_isolates_the_transaction(tmp_path: Path) -> None:
    with Database.in_memory() as db:
        db.create_table(Message, type="ordered_set", storage="ram_copies", index=["author"])
        m = each(Message)
        attempts: list[int] = []

        def counting(tx: Any, asked: Query[int], place: tuple[str, int]) -> int:
            attempts.append(1)
            (found,) = tx.query(asked)
            if len(attempts) == 1:
                db.async_dirty(lambda other: other.write(Message(place, 1, "")))
            tx.write(Message(("sum", len(attempts)), -1, str(found)))
            return found

        by_range = query(count()).where(m.place[0] == "x")
        assert db.transaction(counting, by_range, ("x", 1)) == 1
        assert len(attempts) == 2
        attempts.clear()
        by_index = query(count()).where(m.author == 1)
        assert db.transaction(counting, by_index, ("y", 1)) == 2
        assert len(attempts) == 2
        attempts.clear()
        assert db.transaction(counting, by_range, ("y", 2)) == 1
        assert len(attempts) == 1
