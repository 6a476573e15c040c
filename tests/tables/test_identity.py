"""When two values are the same."""

from __future__ import annotations

from typing import Any

import pytest
from cbor2 import frozendict
from tables_kit import STORAGES, TYPES

from palaver.storage.tables import Database
from palaver.storage.tables.identity import same_term

SAME: list[tuple[Any, Any]] = [
    (1, 1),
    ("a", "a"),
    (None, None),
    ([1, (2, [])], (1, [2, ()])),
    ({"a": [1]}, frozendict({"a": (1,)})),
    ({1, "a"}, frozenset({1, "a"})),
]
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    (0, False),
    (None, False),
    ("a", b"a"),
    ([1], [1.0]),
    ((1, (2,)), (1, (True,))),
    ((1, 2), (1,)),
    ({"a": 1}, {"a": True}),
    ({"a": 1}, {"a": 1, "b": 1}),
    ({1: 1}, {True: 1}),
    ({1}, {True}),
    ((), {}),
    ((), ""),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same(one: Any, other: Any) -> None:
    assert same_term(one, other)
    assert same_term(other, one)
    assert same_term((one, [one]), [other, (other,)])


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_not_the_same(one: Any, other: Any) -> None:
    assert not same_term(one, other)
    assert not same_term(other, one)
    assert not same_term((one,), [other])


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", TYPES)
def test_an_object_with_a_list_is_found_to_be_deleted(
    tmp_path: Any, storage: Any, kind: Any
) -> None:
    with Database.open(tmp_path) as db:
        db.create_table(name="t", attributes=["k", "v"], storage=storage, type=kind)
        record = db.table_info("t", "record_class")
        db.sync_transaction(lambda tx: tx.write(record(1, [1, []]), "t"))
        db.dirty_delete_object(record(1, [1.0, []]), "t")
        assert db.table_info("t", "size") == 1
        db.dirty_delete_object(record(1, [1, []]), "t")
        assert db.table_info("t", "size") == 0
        assert db.dirty_all_keys("t") == []
