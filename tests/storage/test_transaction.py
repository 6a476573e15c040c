from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from palaver.storage import ReadTxn, WriteTxn, successor
from palaver.storage.environment import Environment

# Few different bytes and lengths make neighbours, prefixes of one another, and edges likely.
KEYS = st.one_of(
    st.lists(st.sampled_from(b"\x00\x01a\xfe\xff"), min_size=1, max_size=4).map(bytes),
    st.binary(min_size=1, max_size=511),
)
BOUNDS = st.one_of(st.just(b""), KEYS)
VALUES = st.one_of(st.binary(max_size=20), st.just(b"v" * 3000), st.just(b"w" * 9000))


@contextmanager
def writing() -> Iterator[WriteTxn]:
    with tempfile.TemporaryDirectory() as place:
        environment = Environment(Path(place), ("t", "u"), create=True)
        raw = environment.begin()
        try:
            yield WriteTxn(raw, environment.dbs)
        finally:
            environment.abort(raw)
            environment.close()


class TablesMachine(RuleBasedStateMachine):
    """A table does what a sorted dict does."""

    @initialize()
    def start(self) -> None:
        self.world = writing()
        self.txn = self.world.__enter__()
        self.model: dict[bytes, bytes] = {}

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.__exit__(None, None, None)

    def expected(self, start: bytes, stop: bytes | None) -> list[tuple[bytes, bytes]]:
        return [
            (key, self.model[key])
            for key in sorted(self.model)
            if key >= start and (stop is None or key < stop)
        ]

    @rule(key=KEYS, value=VALUES)
    def put(self, key: bytes, value: bytes) -> None:
        self.txn.put("t", key, value)
        self.model[key] = value

    @rule(start=st.integers(0, 400), step=st.sampled_from([1, -1]), value=VALUES)
    def put_many(self, start: int, step: int, value: bytes) -> None:
        for number in range(start, start + 60 * step, step):
            key = b"n" + max(number, 0).to_bytes(3, "big")
            self.txn.put("t", key, value)
            self.model[key] = value

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        assert self.txn.delete("t", key) == (self.model.pop(key, None) is not None)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.txn.get("t", key) == self.model.get(key)
        assert self.txn.get("u", key) is None

    @rule(
        start=BOUNDS,
        stop=st.none() | BOUNDS,
        limit=st.none() | st.integers(0, 5),
        reverse=st.booleans(),
    )
    def range(self, start: bytes, stop: bytes | None, limit: int | None, reverse: bool) -> None:
        expected = self.expected(start, stop)
        if reverse:
            expected.reverse()
        found = list(self.txn.range("t", start, stop, limit=limit, reverse=reverse))
        assert found == expected[:limit]

    @rule(prefix=BOUNDS)
    def prefix(self, prefix: bytes) -> None:
        expected = [pair for pair in self.expected(b"", None) if pair[0].startswith(prefix)]
        assert list(self.txn.prefix("t", prefix)) == expected
        assert self.txn.first("t", prefix) == (expected[0] if expected else None)
        assert self.txn.last("t", prefix) == (expected[-1] if expected else None)

    @rule(start=BOUNDS, stop=st.none() | BOUNDS)
    def delete_range(self, start: bytes, stop: bytes | None) -> None:
        doomed = [key for key, _ in self.expected(start, stop)]
        assert self.txn.delete_range("t", start, stop) == len(doomed)
        for key in doomed:
            del self.model[key]

    @rule(start=BOUNDS, reverse=st.booleans(), every=st.integers(1, 3), value=VALUES)
    def write_while_ranging(self, start: bytes, reverse: bool, every: int, value: bytes) -> None:
        """The pair under the cursor goes, one ahead comes: the iteration follows the table."""
        position: bytes | None = None
        for number, (key, found) in enumerate(self.txn.range("t", start, reverse=reverse)):
            assert found == self.model[key]
            ahead = [
                other
                for other in self.model
                if other >= start
                and (position is None or (other < position if reverse else other > position))
            ]
            assert key == (max(ahead) if reverse else min(ahead))
            position = key
            if number % every == 0:
                self.txn.delete("t", key)
                del self.model[key]
            if number == 2:
                fresh = b"\x00" if reverse else key[:500] + b"m"
                if fresh >= start:
                    self.txn.put("t", fresh, value)
                    self.model[fresh] = value
        behind = [k for k in self.model if k >= start]
        assert position is not None or not behind

    @invariant()
    def count(self) -> None:
        if hasattr(self, "txn"):
            assert self.txn.count("t") == len(self.model)


def test_a_table_does_what_a_sorted_dict_does() -> None:
    run_state_machine_as_test(
        TablesMachine,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None),
    )


@given(st.binary(max_size=5))
def test_successor_bounds_exactly_the_keys_with_the_prefix(prefix: bytes) -> None:
    stop = successor(prefix)
    if stop is None:
        assert prefix == b"\xff" * len(prefix)
    else:
        assert prefix + b"\xff" * 20 < stop
        assert not stop.startswith(prefix)
        lower = stop[:-1] + bytes((stop[-1] - 1,))
        assert lower + b"\xff" * 20 >= prefix


def test_writes_are_counted() -> None:
    with writing() as txn:
        assert txn.writes == 0
        txn.put("t", b"a", b"")
        txn.delete("t", b"absent")
        txn.delete_range("t", b"x")
        assert txn.writes == 3


def test_a_key_has_limits() -> None:
    with writing() as txn:
        txn.put("t", b"k" * 511, b"")
        for key in (b"", b"k" * 512):
            with pytest.raises(lmdb.BadValsizeError):
                txn.put("t", key, b"")


def test_an_unknown_table_is_a_key_error() -> None:
    with writing() as txn, pytest.raises(KeyError):
        txn.get("nonsense", b"a")


def test_a_snapshot_does_not_see_what_comes_later(tmp_path: Path) -> None:
    environment = Environment(tmp_path, ("t",), create=True)
    with environment.snapshot() as before:
        assert isinstance(before, ReadTxn)
        raw = environment.begin()
        WriteTxn(raw, environment.dbs).put("t", b"a", b"1")
        environment.commit(raw)
        assert before.get("t", b"a") is None
        with environment.snapshot() as after:
            assert after.get("t", b"a") == b"1"
    environment.close()
