"""The digests of history and of content, and what a machine writes beside its history."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import BOOM_LATE, FORGET, REJECT, Failing, Talk, bodies, say, talk, u64

from palaver.storage import (
    ApplyFailed,
    Finishing,
    Named,
    Outcome,
    ReadTxn,
    Store,
    StoreFailed,
    StoreMismatch,
    WriteTxn,
)
from palaver.storage.check import check, restore
from palaver.storage.environment import Environment
from palaver.storage.snapshot import Manifest
from palaver.storage.transaction import DIGEST_MODULUS, fold

PUT, PUT_MANY, DELETE, DELETE_RANGE = range(4)
KEYS = st.sampled_from([b"a", b"b", b"ab", b"c", b"\xff"])
WRITES = st.one_of(
    st.tuples(st.just(PUT), st.sampled_from("tu"), KEYS, st.binary(max_size=3)),
    st.tuples(
        st.just(PUT_MANY),
        st.sampled_from("tu"),
        st.lists(st.tuples(KEYS, st.binary(max_size=3)), max_size=4),
    ),
    st.tuples(st.just(DELETE), st.sampled_from("tu"), KEYS),
    st.tuples(st.just(DELETE_RANGE), st.sampled_from("tu"), KEYS, st.none() | KEYS),
)


def write(txn: WriteTxn, what: Sequence[Any]) -> None:
    {PUT: txn.put, PUT_MANY: txn.put_many, DELETE: txn.delete, DELETE_RANGE: txn.delete_range}[
        what[0]
    ](*what[1:])


class Scribe:
    """Applies a list of writes; ("fail", writes) makes them and raises; ("refuse",) rejects."""

    tables = ("t", "u")
    version = 1
    kind = "scribe"

    def open(self, txn: ReadTxn, partition: int) -> None:
        pass

    def apply(self, txn: WriteTxn, seq: int, command: Any) -> Outcome:
        for one in command[1]:
            write(txn, one)
        if command[0] == "fail":
            raise ZeroDivisionError
        return Outcome(txn.digest)

    def check(self, txn: ReadTxn, partition: int) -> list[str]:
        return []


COMMANDS = st.lists(
    st.tuples(st.sampled_from(["do", "do", "do", "fail"]), st.lists(WRITES, max_size=4)),
    max_size=8,
)


def run_all(commands: Sequence[Any], max_batch: int) -> tuple[list[Any], tuple[int, int], Any, Any]:
    with tempfile.TemporaryDirectory() as place:
        store = Store.open(place, lambda _: Scribe(), max_batch=max_batch)
        answers: list[Any] = []
        for command in commands:
            store.append(0, [command], answers.extend)
        store.drain()
        found = store.digest(0), store.content_digest(0)
        rows = store.view(0, lambda txn: {t: list(txn.range(t, b"")) for t in "tu"})
        store.close_now()
        again = Store.open(place, lambda _: Scribe(), readonly=True)
        assert (again.digest(0), again.content_digest(0)) == found
        again.close_now()
        (report,) = check(place, lambda _: Scribe()).partitions
        assert (report.applied, report.digest) == found[0]
        assert (report.applied, report.content_digest) == found[1]
        return answers, *found, rows


@settings(max_examples=20, deadline=None)
@given(commands=COMMANDS, max_batch=st.integers(1, 9))
def test_the_history_digest_knows_no_batches_and_no_failed_commands(
    commands: list[Any], max_batch: int
) -> None:
    answers, digest, content, rows = run_all(commands, 100)
    assert [isinstance(a, ApplyFailed) for a in answers] == [c[0] == "fail" for c in commands]
    assert digest[0] == content[0] == sum(c[0] == "do" for c in commands)
    assert run_all(commands, max_batch)[1:] == (digest, content, rows)
    done = [command for command in commands if command[0] == "do"]
    assert run_all(done, 1)[1:] == (digest, content, rows)
    # Each command in turn left the digest that the last one ended with.
    assert digest[1] == next((a.value for a in reversed(answers) if isinstance(a, Outcome)), 0)


@settings(max_examples=60, deadline=None)
@given(first=st.lists(WRITES, max_size=6), second=st.lists(WRITES, max_size=6))
def test_other_writes_and_another_order_give_another_digest(
    first: list[Any], second: list[Any]
) -> None:
    """And equal content has an equal digest, different content a different one."""
    with tempfile.TemporaryDirectory() as place:
        environment = Environment(Path(place), ("t", "u"), create=True)
        found = []
        for writes in (first, second):
            raw = environment.begin()
            txn = WriteTxn(raw, environment.dbs)
            flat: list[Any] = []
            for one in writes:
                write(txn, one)
                if one[0] == PUT_MANY:
                    flat += [(PUT, one[1], key, value) for key, value in one[2]]
                elif one[0] == DELETE_RANGE:
                    flat.append((*one, "counted"))
                else:
                    flat.append(one)
            rows = [list(txn.range(table, b"")) for table in "tu"]
            found.append((flat, txn.digest, rows, txn.content_digest(("t", "u"))))
            assert txn.content_digest(("u", "t")) == found[-1][3]
            environment.abort(raw)
        environment.close()
    assert (found[0][0] == found[1][0]) == (found[0][1] == found[1][1])
    assert (found[0][2] == found[1][2]) == (found[0][3] == found[1][3])


@given(st.integers(0, DIGEST_MODULUS - 1), st.lists(st.binary(min_size=4, max_size=4)))
def test_folding_is_multiply_and_add(digest: int, checks: list[bytes]) -> None:
    expected = digest
    for check_ in checks:
        expected = (expected * (1 << 32) + int.from_bytes(check_, "big")) % DIGEST_MODULUS
    assert fold(digest, checks) == expected
    if checks:
        assert fold(fold(digest, checks[:1]), checks[1:]) == expected


def test_a_put_and_a_deletion_of_the_same_key_differ(tmp_path: Path) -> None:
    environment = Environment(tmp_path, ("t", "u"), create=True)
    digests = set()
    for what in (
        (PUT, "t", b"a", b""),
        (PUT, "u", b"a", b""),
        (DELETE, "t", b"a"),
        (DELETE, "u", b"a"),
        (DELETE_RANGE, "t", b"a", b"b"),
        (DELETE_RANGE, "t", b"a", None),
    ):
        raw = environment.begin()
        txn = WriteTxn(raw, environment.dbs)
        write(txn, what)
        digests.add(txn.digest)
        environment.abort(raw)
    assert len(digests) == 6
    environment.close()


def test_rejected_commands_leave_the_digest_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path, talk)
    store.apply_now(0, [say(1)])
    before = store.digest(0)
    store.apply_now(0, [(REJECT,), (BOOM_LATE,), (REJECT,)])
    assert store.digest(0) == before
    store.apply_now(0, [(BOOM_LATE,), say(2), (REJECT,)])
    after = store.digest(0)
    assert after[0] == 2
    assert after[1] != before[1]
    store.close_now()


class Counting(Talk):
    """Keeps the number of messages in a row that it writes once a batch."""

    tables = (*Talk.tables, "sizes")

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.finished = 0
        self.fail_finish: Exception | None = None

    def open(self, txn: ReadTxn, partition: int) -> None:
        super().open(txn, partition)
        self.size = int.from_bytes(txn.get("sizes", b"message") or b"", "big")

    def say(self, txn: WriteTxn, conv: bytes, cid: bytes, body: bytes) -> Outcome:
        self.size += 1
        return super().say(txn, conv, cid, body)

    def finish(self, txn: WriteTxn) -> None:
        self.finished += 1
        if self.fail_finish is not None:
            raise self.fail_finish
        txn.put("sizes", b"message", u64(self.size))


def size_in(store: Store) -> int:
    value = store.view(0, lambda txn: txn.get("sizes", b"message"))
    return int.from_bytes(value or b"", "big")


def test_a_machine_sums_up_once_a_batch_beside_the_history(tmp_path: Path) -> None:
    assert isinstance(Counting(), Finishing)
    assert not isinstance(Talk(), Finishing)
    machine = Counting()
    store = Store.open(tmp_path / "a", lambda _: machine)
    commands = [say(n) for n in range(5)]
    store.apply_now(0, commands)
    assert (machine.finished, size_in(store)) == (1, 5)
    store.apply_now(0, [(REJECT,)])
    assert machine.finished == 1
    plain = Store.open(tmp_path / "b", talk, max_batch=2)
    for command in commands:
        plain.append(0, [command], lambda _: None)
    plain.drain()
    assert plain.digest(0) == store.digest(0)
    plain.close_now()
    store.close_now()


def test_what_is_summed_up_is_right_where_commands_fail(tmp_path: Path) -> None:
    machine = Counting()
    store = Store.open(tmp_path, lambda _: machine)
    results = store.apply_now(0, [say(1), (BOOM_LATE,), say(2), (FORGET,), (BOOM_LATE,), say(3)])
    assert [type(r) for r in results].count(ApplyFailed) == 2
    assert machine.size == size_in(store) == len(bodies(store)) == 3
    store.close_now()


def test_what_is_summed_up_is_undone_with_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path, lambda _: Counting()).close_now()
    monkeypatch.setattr("palaver.storage.store.Environment", Failing)
    machine = Counting()
    store = Store.open(tmp_path, lambda _: machine)
    environment = store._environments[0]
    assert isinstance(environment, Failing)
    store.apply_now(0, [say(1)])
    before = store.digest(0)
    environment.fail_commits = [OSError("gone")]  # type: ignore[list-item]
    assert isinstance(store.apply_now(0, [say(2)])[0], StoreFailed)
    assert (size_in(store), store.digest(0)) == (1, before)
    assert isinstance(store.apply_now(0, [say(3)])[0], Outcome)
    assert size_in(store) == machine.size == 2
    store.close_now()


def test_a_failing_finish_fails_its_commands_and_no_others(tmp_path: Path) -> None:
    machine = Counting()
    store = Store.open(tmp_path, lambda _: machine)
    machine.fail_finish = ZeroDivisionError("sum")
    for commands in ([say(1), say(2)], [say(1), (BOOM_LATE,)]):
        results = store.apply_now(0, commands)
        assert [type(r) for r in results] == [ApplyFailed, ApplyFailed]
        assert isinstance(results[0], ApplyFailed)
        assert results[0].cause is machine.fail_finish
        assert results[0].command == say(1)
    assert store.digest(0) == (0, 0)
    machine.fail_finish = None
    store.apply_now(0, [say(1)])
    assert machine.size == size_in(store) == 1
    store.close_now()


def test_a_folder_belongs_to_one_program(tmp_path: Path) -> None:
    assert isinstance(Scribe(), Named)
    store = Store.open(tmp_path / "s", lambda _: Scribe())
    store.backup(tmp_path / "b")
    store.close_now()
    assert Manifest.read(tmp_path / "b").content == "scribe"
    words = "the content is that of 'scribe', not of 'chat'"
    with pytest.raises(StoreMismatch, match=words):
        Store.open(tmp_path / "s", talk)
    with pytest.raises(StoreMismatch, match=words):
        check(tmp_path / "s", talk)
    with pytest.raises(StoreMismatch, match="another program"):
        restore(tmp_path / "b", tmp_path / "r", talk)
    assert not (tmp_path / "r").exists()
    assert restore(tmp_path / "b", tmp_path / "r", lambda _: Scribe()).ok
    Store.open(tmp_path / "r", lambda _: Scribe()).close_now()
