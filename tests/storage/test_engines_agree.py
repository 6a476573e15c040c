"""Random programs run on both engines of the log: same answers, same digests, same reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from engines import Clockwork
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.storage import (
    ApplyFailed,
    Command,
    Outcome,
    ReadTxn,
    Rejected,
    Store,
    WriteTxn,
    WrongSequence,
)
from palaver.storage.simulated import SimulatedDisk, SimulatedStore

LETTERS = [b"a", b"ab", b"abc", b"b", b"ba", b"c", b"\x00", b"\xff", b"\xff\xff"]
KEYS = st.sampled_from(LETTERS) | st.binary(min_size=1, max_size=2)
ODD_KEYS = st.sampled_from([b"", b"k" * 511, b"k" * 512])
BOUNDS = st.sampled_from([b"", *LETTERS])
VALUES = st.binary(max_size=3)
TABLES = st.sampled_from("tu")
LIMITS = st.none() | st.integers(0, 3)

WRITES = st.one_of(
    st.tuples(st.just("put"), TABLES, KEYS, VALUES),
    st.tuples(st.just("put"), TABLES, KEYS, VALUES),
    st.tuples(st.just("put"), TABLES, ODD_KEYS, VALUES),
    st.tuples(
        st.just("put_many"), TABLES, st.lists(st.tuples(KEYS | ODD_KEYS, VALUES), max_size=4)
    ),
    st.tuples(st.just("delete"), TABLES, KEYS | ODD_KEYS),
    st.tuples(st.just("delete_range"), TABLES, BOUNDS, st.none() | BOUNDS),
)
READS = st.one_of(
    st.tuples(st.just("get"), TABLES, KEYS | ODD_KEYS),
    st.tuples(st.just("range"), TABLES, BOUNDS, st.none() | BOUNDS, LIMITS, st.booleans()),
    st.tuples(st.just("prefix"), TABLES, BOUNDS, LIMITS, st.booleans()),
    st.tuples(st.just("first"), TABLES, BOUNDS),
    st.tuples(st.just("last"), TABLES, BOUNDS),
    st.tuples(st.just("count"), TABLES),
    st.tuples(st.just("content_digest"), st.just(("u", "t"))),
)
WALKS = st.tuples(
    st.just("walk"), TABLES, BOUNDS, st.none() | BOUNDS, st.booleans(), st.lists(WRITES, max_size=4)
)
COMMANDS = st.tuples(
    st.sampled_from(["do", "do", "do", "do", "fail", "reject", "late"]),
    st.lists(WRITES | WRITES | READS | WALKS, max_size=5),
)
APPENDS = st.tuples(
    st.just("append"),
    st.lists(COMMANDS, max_size=4),
    st.none() | st.none() | st.integers(0, 5),
)
STEPS = st.lists(
    st.one_of(
        APPENDS,
        APPENDS,
        APPENDS,
        st.tuples(st.just("drain")),
        st.tuples(st.just("look")),
        st.tuples(st.just("reopen")),
    ),
    max_size=10,
)


def look(txn: ReadTxn, what: Sequence[Any]) -> Any:
    if what[0] == "range":
        _, table, start, stop, limit, reverse = what
        return list(txn.range(table, start, stop, limit=limit, reverse=reverse))
    if what[0] == "prefix":
        _, table, prefix, limit, reverse = what
        return list(txn.prefix(table, prefix, limit=limit, reverse=reverse))
    return getattr(txn, what[0])(*what[1:])


class Scribe:
    """Does what it is told to in its tables, and answers with what it read."""

    tables = ("t", "u")
    version = 1

    def open(self, txn: ReadTxn, partition: int) -> None:
        pass

    def apply(self, txn: WriteTxn, seq: int, command: Command) -> Outcome:
        kind, steps = command
        if kind == "reject":
            raise Rejected("no", str([look(txn, step) for step in steps if step[0] == "range"]))
        found = [self.step(txn, step) for step in steps]
        if kind == "fail":
            raise ZeroDivisionError
        if kind == "late":
            raise Rejected("late", str(txn.writes))
        return Outcome((seq, found, txn.digest), (txn.writes,))

    def step(self, txn: WriteTxn, step: Sequence[Any]) -> Any:
        if step[0] != "walk":
            return look(txn, step)
        _, table, start, stop, reverse, writes = step
        left = list(writes)
        found = []
        for pair in txn.range(table, start, stop, reverse=reverse, limit=50):
            found.append(pair)
            if left:
                found.append(self.step(txn, left.pop()))
        return found

    def check(self, txn: ReadTxn, partition: int) -> Iterator[str]:
        yield from ()


def plain(result: Any) -> Any:
    """Return what of an answer has to be the same."""
    if isinstance(result, Rejected):
        return "rejected", str(result)
    if isinstance(result, ApplyFailed):
        return "failed", result.command, type(result.cause)
    if isinstance(result, WrongSequence):
        return "wrong", result.expected, result.actual
    assert isinstance(result, Outcome), result
    return result


def everything(txn: ReadTxn) -> Any:
    return [
        [list(txn.range(table, b"", reverse=reverse)), txn.count(table), txn.get(table, b"ab")]
        for table in "tu"
        for reverse in (False, True)
    ]


class Beside:
    """One program on both engines."""

    def __init__(self, place: str, max_batch: int) -> None:
        self.place = place
        self.max_batch = max_batch
        self.disk = SimulatedDisk(Clockwork())
        self.stores: tuple[Store, Store]
        self.heard: tuple[list[Any], list[Any]]
        self.looks: list[list[ReadTxn]] = []
        self.open()

    def open(self) -> None:
        self.exits = ExitStack()
        self.looks = []
        self.stores = (
            Store.open(self.place, lambda _: Scribe(), flush_ms=None, max_batch=self.max_batch),
            SimulatedStore.open(self.disk, lambda _: Scribe(), max_batch=self.max_batch),
        )
        self.heard = ([], [])

    def append(self, commands: list[Any], expected: int | None) -> None:
        for store, heard in zip(self.stores, self.heard, strict=True):
            store.append(
                0,
                commands,
                lambda results, heard=heard: heard.append([plain(r) for r in results]),
                expected=expected,
                lead=False,
            )

    def drain(self) -> None:
        for store in self.stores:
            store.drain()
        assert self.heard[0] == self.heard[1]
        real, simulated = self.stores
        assert real.digest(0) == simulated.digest(0)
        assert real.content_digest(0) == simulated.content_digest(0)
        assert real.view(0, everything) == simulated.view(0, everything)
        content = self.disk.folder("store").plates[0].content
        assert content.size_bytes == sum(
            len(key) + len(stored)
            for rows in content.tables.values()
            for key, stored in rows.values.items()
        )
        for ours, theirs in self.looks:
            assert everything(ours) == everything(theirs)
        counts = [
            (stats.commits, stats.commands, stats.rejected, stats.failed)
            for stats in (store.stats() for store in self.stores)
        ]
        assert counts[0] == counts[1]

    def look(self) -> None:
        self.looks.append([self.exits.enter_context(store.look(0)) for store in self.stores])

    def reopen(self) -> None:
        self.drain()
        self.exits.close()
        for store in self.stores:
            store.close_now()
        self.open()


def run_beside(steps: list[Any], max_batch: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        beside = Beside(place, max_batch)
        try:
            for what, *rest in steps:
                getattr(beside, what)(*rest)
            beside.reopen()
            beside.drain()
        finally:
            beside.exits.close()
            for store in beside.stores:
                store.close_now()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, max_batch=st.integers(1, 9))
def test_a_random_program_has_the_same_answers_on_both_engines(
    steps: list[Any], max_batch: int
) -> None:
    run_beside(steps, max_batch)


@pytest.mark.long
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, max_batch=st.integers(1, 9))
def test_any_random_program_has_the_same_answers_on_both_engines(
    steps: list[Any], max_batch: int
) -> None:
    run_beside(steps, max_batch)
