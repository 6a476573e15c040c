"""Every record is compared with its checksum; a damaged one concerns nobody but its readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import Talk, bodies, say, talk, u64

from palaver.storage import (
    ApplyFailed,
    Outcome,
    ReadTxn,
    RecordCorrupt,
    Store,
    StoreCorrupt,
    WriteTxn,
)
from palaver.storage.check import check
from palaver.storage.environment import Environment
from palaver.storage.transaction import META_TABLE

KEYS = st.binary(min_size=1, max_size=40)
VALUES = st.binary(max_size=60)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Environment(tmp_path_factory.mktemp("e"), ("t", "u"), create=True)
    yield made
    made.close()


def strike(environment: Environment, table: str, key: bytes, stored: bytes) -> None:
    """Put bytes under a key behind the engine's back."""
    raw = environment.begin()
    raw.put(key, stored, db=environment.dbs[table][0])
    environment.commit(raw)


def stored_of(environment: Environment, table: str, key: bytes) -> bytes:
    with environment.raw_snapshot() as raw:
        found = raw.get(key, db=environment.dbs[table][0])
    assert found is not None
    return found


@settings(max_examples=60, deadline=None)
@given(
    rows=st.dictionaries(KEYS, VALUES, min_size=2, max_size=6),
    bit=st.integers(0, 10_000),
    reverse=st.booleans(),
)
def test_any_flipped_bit_is_noticed_and_the_others_are_served(
    environment: Environment, rows: dict[bytes, bytes], bit: int, reverse: bool
) -> None:
    raw = environment.begin()
    txn = WriteTxn(raw, environment.dbs)
    try:
        for key, value in rows.items():
            txn.put("t", key, value)
        db = environment.dbs["t"][0]
        victim = min(rows)
        stored = bytearray(raw.get(victim, db=db) or b"")
        bit %= len(stored) * 8
        stored[bit // 8] ^= 1 << bit % 8
        raw.put(victim, bytes(stored), db=db)
        with pytest.raises(RecordCorrupt) as refused:
            txn.get("t", victim)
        assert (refused.value.folder, refused.value.table, refused.value.key) == (
            environment.folder,
            "t",
            victim,
        )
        with pytest.raises(RecordCorrupt):
            list(txn.range("t", b"", reverse=reverse))
        told: list[tuple[str, bytes, bytes]] = []
        found = txn.range(
            "t", b"", reverse=reverse, damaged=lambda *what: told.append(what), limit=len(rows)
        )
        assert dict(found) == {key: value for key, value in rows.items() if key != victim}
        assert told == [("t", victim, bytes(stored))]
        assert all(txn.get("t", key) == rows[key] for key in rows if key != victim)
        # It can be written anew, and then is sound.
        txn.put("t", victim, b"anew")
        assert txn.get("t", victim) == b"anew"
    finally:
        environment.abort(raw)


@pytest.mark.parametrize(
    ("table", "key", "change"),
    [
        ("t", b"other", lambda stored: stored),
        ("u", b"key", lambda stored: stored),
        ("t", b"key", lambda stored: stored[:-1]),
        ("t", b"key", lambda stored: stored + b"\0"),
        ("t", b"key", lambda stored: b"\0" * len(stored)),
        ("t", b"key", lambda _: b""),
    ],
)
def test_a_value_in_another_ones_place_and_a_cut_one_are_noticed(
    tmp_path: Path, table: str, key: bytes, change: Callable[[bytes], bytes]
) -> None:
    environment = Environment(tmp_path, ("t", "u"), create=True)
    raw = environment.begin()
    WriteTxn(raw, environment.dbs).put("t", b"key", b"value")
    environment.commit(raw)
    strike(environment, table, key, change(stored_of(environment, "t", b"key")))
    with environment.snapshot() as txn:
        with pytest.raises(RecordCorrupt, match=f"table '{table}'"):
            txn.get(table, key)
        with pytest.raises(RecordCorrupt):
            txn.first(table, key)
    environment.close()


def damaged_store(path: Path) -> tuple[Store, Talk]:
    machine = Talk()
    store = Store.open(path, lambda _: machine)
    store.apply_now(0, [say(1, b"a", b"mine"), say(1, b"b"), say(2, b"b")])
    environment = store._environments[0]
    strike(environment, "client", b"a" + u64(1), b"rubbish")
    return store, machine


def test_only_the_command_that_meets_the_record_fails(tmp_path: Path) -> None:
    store, _ = damaged_store(tmp_path)
    results = store.apply_now(0, [say(3, b"b"), say(1, b"a"), say(2, b"a"), say(1, b"b")])
    assert [type(r) for r in results] == [Outcome, ApplyFailed, Outcome, Outcome]
    failed = results[1]
    assert isinstance(failed, ApplyFailed)
    assert isinstance(failed.cause, RecordCorrupt)
    assert failed.cause.key == b"a" + u64(1)
    assert [r.value for r in results if isinstance(r, Outcome)] == [3, 2, 1]
    assert store.applied(0) == 6
    store.close_now()


def test_only_the_read_that_meets_the_record_fails(tmp_path: Path) -> None:
    store, _ = damaged_store(tmp_path)
    answers: list[Any] = []

    def client(key: bytes) -> Callable[[ReadTxn], bytes | None]:
        return lambda txn: txn.get("client", key)

    for key in (b"b" + u64(1), b"a" + u64(1), b"b" + u64(2)):
        store.read(0, client(key), answers.append)
    store.drain()
    assert [answers[0], type(answers[1]), answers[2]] == [u64(1), RecordCorrupt, u64(2)]
    with pytest.raises(RecordCorrupt, match="other records are not concerned"):
        store.view(0, client(b"a" + u64(1)))
    assert bodies(store, b"a") == [b"mine"]
    with pytest.raises(RecordCorrupt):
        store.content_digest(0)
    store.close_now()


def test_a_check_names_every_damaged_record(tmp_path: Path) -> None:
    store, _ = damaged_store(tmp_path)
    strike(store._environments[0], "message", b"b" + u64(2), b"")
    store.close_now()
    problems = check(tmp_path, talk).problems
    assert (
        f"partition 0: in table 'client' the record with key {(b'a' + u64(1)).hex()}"
        in (problems[0])
    )
    assert (
        f"partition 0: in table 'message' the record with key {(b'b' + u64(2)).hex()}"
        in (problems[1])
    )
    assert len(problems) == 3  # and what the machine's own check falls over


def test_a_damaged_sequence_is_named_at_the_opening(tmp_path: Path) -> None:
    store, _ = damaged_store(tmp_path)
    environment = store._environments[0]
    stored = stored_of(environment, META_TABLE, b"applied")
    strike(environment, META_TABLE, b"applied", bytes((stored[0] ^ 1,)) + stored[1:])
    (result,) = store.apply_now(0, [say(9)])
    assert isinstance(result, StoreCorrupt)
    store.close_now()
    with pytest.raises(StoreCorrupt, match=r"sequence is missing or damaged.*restore"):
        Store.open(tmp_path, talk)
    assert "sequence is missing or damaged" in check(tmp_path, talk).problems[0]
    readonly = Store.open(tmp_path, talk, readonly=True)
    with pytest.raises(StoreCorrupt, match="missing or damaged"):
        readonly.applied(0)
    readonly.close_now()


def test_a_machine_that_cannot_start_over_a_damaged_record_is_named(tmp_path: Path) -> None:
    class Reading(Talk):
        def open(self, txn: ReadTxn, partition: int) -> None:
            super().open(txn, partition)
            list(txn.range("last", b""))

    store, _ = damaged_store(tmp_path)
    strike(store._environments[0], "last", b"b", b"rubbish")
    store.close_now()
    with pytest.raises(StoreCorrupt, match=r"cannot be opened \(the record with key 62"):
        Store.open(tmp_path, lambda _: Reading())


def test_a_long_key_is_shortened_in_the_message() -> None:
    error = RecordCorrupt(Path("p"), "t", b"k" * 500)
    assert "6b..." in str(error)
    assert len(str(error)) < 400
    assert error.key == b"k" * 500
