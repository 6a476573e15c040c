"""The types of patterns and queries: lines with `# wrong` must be errors, every other must not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from palaver.storage.tables import (
    ANY,
    RECORD,
    Activity,
    Query,
    Table,
    V,
    count,
    descending,
    each,
    match,
    max_of,
    pattern,
    query,
    rows,
    sum_of,
)
from palaver.storage.tables.matchspec import Match, MatchSpec


@dataclass(frozen=True, slots=True)
class Account:
    number: str
    owner: str
    balance: int


@dataclass(frozen=True, slots=True)
class Owner:
    name: str
    blocked: bool


def patterns(tx: Activity) -> None:
    assert_type(pattern(Account, owner="x"), Account)
    Account(ANY, "x", V(1))
    assert_type(tx.match_object(pattern(Account, owner="x")), list[Account])
    assert_type(match(Account, balance=V(1)).where(V(1) > 10), Match[Account])
    assert_type(match(Account).select(RECORD), MatchSpec[Any])


def builder(tx: Activity) -> None:
    a, o = each(Account), each(Owner)
    assert_type(a, Account)
    asked = query(a.owner, a.balance).where(a.balance > 100).order_by(descending(a.owner)).limit(3)
    assert_type(asked, Query[tuple[str, int]])
    assert_type(tx.query(asked), list[tuple[str, int]])
    assert_type(query(a), Query[Account])
    assert_type(query(a.owner, count(), sum_of(a.balance)), Query[tuple[str, int, int]])
    assert_type(max_of(a.owner), str)
    query(a.owner, o.blocked).where(a.owner == o.name, ~(a.balance > 5))
    query(a.ownr)  # wrong
    query(a.owner).where(a.balance > "x")  # wrong
    query(a.owner).limit("3")  # wrong
    query()


def handles(tx: Activity, accounts: Table[Account]) -> None:
    assert_type(each(accounts), Account)
    assert_type(tx.query(query(each(accounts).balance)), list[int])
    assert_type(query(lambda: (a.owner for a in rows(accounts))), Query[str])
    assert_type(query(each("account").owner), Query[Any])


def comprehension(tx: Activity) -> None:
    asked = query(
        lambda: (
            (a.owner, o.blocked)
            for a in rows(Account)
            for o in rows(Owner)
            if a.owner == o.name and a.balance > 10
        )
    )
    assert_type(asked, Query[tuple[str, bool]])
    for owner, blocked in tx.query(asked):
        owner.upper()
        blocked.bit_length()
        blocked.upper()  # wrong
    query(lambda: (a.ownr for a in rows(Account)))  # wrong
