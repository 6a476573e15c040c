"""Faults that are put into the tables on purpose: what the other tests do has to find each."""

from __future__ import annotations

import itertools
import random
import threading
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from clients_kit import (
    ON_DISK,
    SCANS,
    SETUPS,
    Cell,
    Disk,
    Line,
    Purse,
    Setup,
    Undo,
    audit,
    beside,
    client_of_cells,
    do_lists,
    draw_lists,
    fill_bank,
    full,
    half_a_commit,
    joined,
    quiet,
    together,
    transfer,
    two_writers_fail,
)

from palaver.actors.simulation import Add, Counter, History, Map, ReadAll, check, check_transactions
from palaver.storage.errors import StoreCorrupt
from palaver.storage.tables import (
    Activity,
    CommitFailed,
    Database,
    commit,
    committing,
    dirty_activity,
    isolation,
    lanes,
    match,
    pattern,
    pipeline,
    terms,
    transactions,
)
from palaver.storage.tables.isolation import Reads, Restart, Running

Scenario = Callable[[Setup, Path, Any], None]
"""Does what the other tests do, on a database in a folder; raises when something is wrong."""


# -- what is done --------------------------------------------------------------------------------


def cells(setup: Setup, path: Path, _: Any) -> None:
    """Random transactions, explained by one after the other."""
    with setup.open(path) as database:
        database.create_table(Cell, storage=setup.storage)
        history = History()
        keys = ["a", "b", "c"]
        together(
            *[client_of_cells(database, history, at, 1, count=60, keys=keys) for at in range(4)]
        )
        history.run(
            "end",
            ReadAll(),
            lambda: {cell.key: cell.value for cell in database.dirty_match_object(pattern(Cell))},
        )
        check(history, Map(), timeout_s=60).require()


def lists(setup: Setup, path: Path, _: Any) -> None:
    """Transactions that append to lists, without a cycle."""
    with setup.open(path) as database:
        database.create_table(Line, storage=setup.storage)
        history = History()
        numbers = itertools.count()

        def client(number: int) -> Callable[[], None]:
            chance = random.Random(number)

            def work() -> None:
                for _ in range(80):
                    wanted = draw_lists(chance, numbers, "xy")
                    history.run(
                        number,
                        wanted,
                        lambda w=wanted: database.transaction(do_lists, w, chance),  # type: ignore[misc]
                    )

            return work

        together(*[client(number) for number in range(4)])
        check_transactions(history).require()


def bank(setup: Setup, path: Path, _: Any) -> None:
    """Transfers and audits, by every way of reading."""
    with setup.open(path) as database:
        database.create_table(Purse, storage=setup.storage, index=["branch"])
        fill_bank(database)

        def carry(seed: int) -> Callable[[], None]:
            chance = random.Random(seed)
            return lambda: [database.transaction(transfer, chance) for _ in range(60)]  # type: ignore[return-value]

        def look(seed: int) -> Callable[[], None]:
            chance = random.Random(seed)
            return lambda: [database.transaction(audit, chance) for _ in range(60)]  # type: ignore[return-value]

        together(carry(1), carry(2), look(3), look(4))
        for seed in range(20):
            database.transaction(audit, random.Random(seed))


def half(setup: Setup, path: Path, monkeypatch: Any) -> None:
    """A reader in the middle of a commit."""
    for second in SCANS:
        half_a_commit(setup, path / second, monkeypatch, 0, second)


def phantom(setup: Setup, path: Path, _: Any) -> None:
    """A scan, and another who inserts: by every way of scanning."""
    scans: list[Callable[[Activity], int]] = [
        lambda tx: len(tx.all_keys(Purse)),
        lambda tx: len(tx.match_object(pattern(Purse))),
        lambda tx: len(tx.select(Purse, match(Purse))),
        lambda tx: len(tx.index_read(Purse, "north", "branch")),
        lambda tx: tx.foldl(lambda _, found: found + 1, 0, Purse),
        lambda tx: 0 if tx.get(Purse, 1000) is None else 1,
    ]
    with setup.open(path) as database:
        database.create_table(Purse, storage=setup.storage, index=["branch"])
        database.create_table(Cell, storage=setup.storage)
        fill_bank(database)
        for scan in scans:
            times = 0

            def count(tx: Activity, scan: Any = scan) -> int:
                nonlocal times
                times += 1
                found: int = scan(tx)
                if times == 1:
                    other = beside(lambda: database.dirty_write(Purse(1000, "north", 1)))
                    joined(other)
                tx.write(Cell("found", found))
                return found

            assert database.transaction(count) == database.transaction(scan)
            database.dirty_delete(Purse, 1000)


def counters(setup: Setup, path: Path, _: Any) -> None:
    """Dirty counters lose nothing."""
    with setup.open(path) as database:
        database.create_table(Cell, storage=setup.storage)
        history = History()

        def client(number: int) -> Callable[[], None]:
            def work() -> None:
                for _ in range(150):
                    history.run(number, Add(1), lambda: database.dirty_update_counter(Cell, "n", 1))

            return work

        together(*[client(number) for number in range(4)])
        check(history, Counter()).require()


def broken_disk(setup: Setup, path: Path, monkeypatch: Any, seed: int = 1) -> None:
    """Commits fail; whoever was answered is there, and rests on nobody who is not."""
    disk = Disk(monkeypatch)
    keys = ["a", "b", "c", "d"]
    with setup.open(path, records=[Cell]) as database:
        database.create_table(Cell, storage=setup.storage)
        quiet(database)
        disk.fail_some(random.Random(seed), 0.3, full)
        history = History()
        clients = [
            client_of_cells(
                database,
                history,
                at,
                1,
                count=40,
                keys=keys,
                kind="sync_transaction",
                dirty=0,
                never=(Undo, CommitFailed),
            )
            for at in range(4)
        ]
        together(*clients)
        disk.verdict = lambda _: None
        database.sync_log()
        history.run(
            "end",
            ReadAll(),
            lambda: {cell.key: cell.value for cell in database.dirty_match_object(pattern(Cell))},
        )
        check(history, Map(), timeout_s=60).require()
        last = sorted(database.dirty_match_object(pattern(Cell)), key=str)
    with setup.open(path, records=[Cell]) as database:
        assert sorted(database.dirty_match_object(pattern(Cell)), key=str) == last


def undone(setup: Setup, path: Path, monkeypatch: Any) -> None:
    """One who has read what is undone before they commit."""
    disk = Disk(monkeypatch)
    with setup.open(path) as database:
        database.create_table(Cell, storage=setup.storage)
        database.sync_transaction(lambda tx: tx.write(Cell("x", 1)))
        quiet(database)
        fail = disk.hold()
        database.transaction(lambda tx: tx.write(Cell("x", 2)))

        def undo() -> None:
            fail()
            with suppress(CommitFailed):
                database.sync_log()
            disk.verdict = lambda _: None

        def work(tx: Activity, key: str) -> int:
            found = tx.read(Cell, "x")[0].value
            if found == 2:
                joined(beside(undo))
            tx.write(Cell(key, found))
            return found

        assert database.sync_transaction(work, "y") == 1
        assert database.dirty_read(Cell, "y") == [Cell("y", 1)]


def answers(setup: Setup, path: Path, monkeypatch: Any) -> None:
    """What was answered as durable is on the disk."""
    with setup.open(path) as database:
        database.create_table(Cell, storage=setup.storage)
        state = database.state(Cell)
        assert database.rows is not None
        for value in range(20):
            database.sync_transaction(lambda tx, value=value: tx.write(Cell("x", value)))
            stored = database.rows.get(state.space, terms.encode("x"))
            assert stored is not None
            assert state.decode(stored) == Cell("x", value)


def events(setup: Setup, path: Path, monkeypatch: Any) -> None:
    """What is told happened, in the order in which it did."""
    disk = Disk(monkeypatch)
    with setup.open(path) as database:
        database.create_table(Cell, storage=setup.storage)
        told: list[int] = []
        database.subscribe(Cell, lambda event: told.append(event.record.value))
        fail = disk.hold()
        database.transaction(lambda tx: tx.write(Cell("x", 1000)))
        fail()
        with suppress(CommitFailed):
            database.sync_log()
        disk.verdict = lambda _: None
        for _ in range(20):
            database.transaction(lambda tx: tx.update_counter(Cell, "x", 1))
        database.sync_log()
        assert told == list(range(1, 21))


# -- what is broken ------------------------------------------------------------------------------


def no_marks(monkeypatch: Any) -> None:
    """Nobody is marked who has read what is written."""
    monkeypatch.setattr(committing, "doom", lambda others, written: None)


def marks_before_only(monkeypatch: Any) -> None:
    """Marks are set before the memory changes, and not after it."""
    real = committing.Committer._write
    marked = threading.local()

    def write(self: Any, made: Any, state: Any, writes: Any, payloads: Any) -> None:
        places = [(state.space, key) for key in writes]
        isolation.doom(self._running.others(getattr(marked, "reads", None)), places)
        self._running.changing -= 1
        try:
            real(self, made, state, writes, payloads)
        finally:
            self._running.changing += 1

    def remember(self: Any, *args: Any) -> Any:
        marked.reads = args[3]
        return real_commit(self, *args)

    real_commit = committing.Committer.commit
    monkeypatch.setattr(committing.Committer, "commit", remember)
    monkeypatch.setattr(committing.Committer, "_write", write)
    monkeypatch.setattr(committing, "doom", lambda others, written: None)


def marks_are_not_looked_at(monkeypatch: Any) -> None:
    """A reader goes on although it is marked, and is only refused in the end."""
    monkeypatch.setattr(Running, "go_on", lambda self, reads: None)


def changes_are_not_waited_for(monkeypatch: Any) -> None:
    """A reader goes on while a change is under way."""

    def go_on(self: Running, reads: Reads) -> None:
        if reads.doomed:
            raise Restart

    monkeypatch.setattr(Running, "go_on", go_on)


def marked_ones_commit(monkeypatch: Any) -> None:
    """Whoever is marked commits all the same."""
    real = committing.Committer.commit

    def forgiving(self: Any, kind: Any, changes: Any, payloads: Any, reads: Any, tell: Any) -> Any:
        if reads is not None:
            reads.doomed = False
        return real(self, kind, changes, payloads, reads, tell)

    monkeypatch.setattr(committing.Committer, "commit", forgiving)


class _Deaf(list[Any]):
    """A list that nothing stays in."""

    def append(self, item: Any) -> None:
        super().append(item)
        self.clear()

    def __setitem__(self, *_: Any) -> None:
        pass


def scans_are_not_noted(monkeypatch: Any) -> None:
    """What was read by ranges is not noted."""
    real = Reads.__init__

    def init(self: Reads) -> None:
        real(self)
        self.ranges = _Deaf()

    monkeypatch.setattr(Reads, "__init__", init)


def index_reads_are_not_noted(monkeypatch: Any) -> None:
    """What was read by an index is not noted."""

    def index_keys(self: Any, state: Any, attribute: str, value: bytes) -> list[bytes]:
        return list(state.indexes[attribute].lookup(value))

    monkeypatch.setattr(transactions.Transaction, "index_keys", index_keys)


def missing_keys_are_not_noted(monkeypatch: Any) -> None:
    """Only what was found is noted."""
    real = transactions.Transaction.slot

    def slot(self: Any, state: Any, key: bytes) -> Any:
        found = real(self, state, key)
        if found is None:
            self.reads.places.discard((state.space, key))
        return found

    monkeypatch.setattr(transactions.Transaction, "slot", slot)


def nested_ones_are_not_undone(monkeypatch: Any) -> None:
    """What a nested transaction has written stays when it fails."""
    real = transactions.Transaction._leave
    monkeypatch.setattr(
        transactions.Transaction, "_leave", lambda self, before, keep: real(self, before, True)
    )


def steps_are_several(monkeypatch: Any) -> None:
    """A dirty operation that reads and writes lets others in between."""

    @contextmanager
    def step(self: Any) -> Any:
        yield

    monkeypatch.setattr(dirty_activity.Dirty, "_step", step)


def nothing_is_taken_back(monkeypatch: Any) -> None:
    """What failed stays in memory."""
    monkeypatch.setattr(commit.Commit, "take_back", lambda self: None)


def later_ones_are_not_undone(monkeypatch: Any) -> None:
    """Only the commit that has failed is undone, and those after it are sent again."""
    monkeypatch.setattr(pipeline.Pipeline, "_resting_on", lambda self, failed: [failed])


def readers_of_the_undone_go_on(monkeypatch: Any) -> None:
    """Who has read what is undone is not marked."""

    @contextmanager
    def change(self: Running) -> Any:
        yield

    monkeypatch.setattr(Running, "change", change)


def answers_come_early(monkeypatch: Any) -> None:
    """An answer does not wait for the disk."""
    monkeypatch.setattr(Database, "wait", lambda self, made: None)


def the_undone_hides_what_may_be(monkeypatch: Any) -> None:
    """Who has written before the one that is undone is forgotten with it."""
    real = lanes.Lanes.drop
    monkeypatch.setattr(lanes.Lanes, "drop", lambda self, gone, left: real(self, gone, ()))


def the_next_is_sent_before_others_are_undone(monkeypatch: Any) -> None:
    """What is on its way behind a failure is undone only when its own failure is heard."""
    real = pipeline.Pipeline._broken

    def broken(self: Any, partition: int, expected: int, cause: Exception) -> Any:
        flights, self._flights = self._flights, [deque() for _ in self._flights]
        try:
            return real(self, partition, expected, cause)
        finally:
            self._flights = flights

    monkeypatch.setattr(pipeline.Pipeline, "_broken", broken)


def lanes_forget_what_was_read(monkeypatch: Any) -> None:
    """A commit in one partition does not wait for what it has read in another."""
    monkeypatch.setattr(lanes.Lanes, "_foundations", lambda self, made, reads: set())


def events_come_early(monkeypatch: Any) -> None:
    """Events are told when the commit is made."""
    real = pipeline.Pipeline.submit

    def submit(self: Any, made: Any, reads: Any) -> None:
        for receivers, event in made.events:
            self._events(receivers, event)
        made.events.clear()
        real(self, made, reads)

    monkeypatch.setattr(pipeline.Pipeline, "submit", submit)


def events_come_backwards(monkeypatch: Any) -> None:
    """The latest event is told first."""
    from palaver.storage.tables.subscriptions import Subscriptions

    def queue(self: Any, receivers: Any, event: Any) -> None:
        self._queue.appendleft((receivers, event))

    monkeypatch.setattr(Subscriptions, "queue", queue)
    monkeypatch.setattr(Subscriptions, "deliver", _only_when_many(Subscriptions.deliver))


def _only_when_many(real: Any) -> Any:
    def deliver(self: Any) -> None:
        if len(self._queue) >= 20:
            real(self)

    return deliver


MEMORY, DISC, DISC_ONLY, LANES = SETUPS[0], ON_DISK[0], ON_DISK[1], ON_DISK[2]

MUTANTS: list[tuple[Callable[[Any], None], Scenario, Setup]] = [
    (no_marks, lists, MEMORY),
    (no_marks, bank, DISC_ONLY),
    (marks_before_only, bank, MEMORY),
    (marks_are_not_looked_at, bank, MEMORY),
    (changes_are_not_waited_for, half, MEMORY),
    (changes_are_not_waited_for, half, DISC_ONLY),
    (marked_ones_commit, lists, DISC),
    (scans_are_not_noted, phantom, MEMORY),
    (scans_are_not_noted, phantom, DISC_ONLY),
    (index_reads_are_not_noted, phantom, DISC),
    (missing_keys_are_not_noted, phantom, MEMORY),
    (nested_ones_are_not_undone, cells, MEMORY),
    (steps_are_several, counters, DISC),
    (nothing_is_taken_back, broken_disk, DISC),
    (nothing_is_taken_back, broken_disk, LANES),
    (later_ones_are_not_undone, broken_disk, DISC),
    (readers_of_the_undone_go_on, undone, DISC),
    (readers_of_the_undone_go_on, undone, LANES),
    (answers_come_early, answers, DISC),
    (lanes_forget_what_was_read, broken_disk, LANES),
    (the_undone_hides_what_may_be, two_writers_fail, LANES),
    (events_come_early, events, DISC),
    (events_come_backwards, events, DISC),
]

RARE: list[tuple[Callable[[Any], None], Scenario, Setup]] = [
    (the_next_is_sent_before_others_are_undone, broken_disk, LANES),
]
"""What is found after some minutes only."""

ROUNDS = 200
"""How often a scenario is tried until it finds the fault; most find it at once."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("mutant", "scenario", "setup"),
    MUTANTS,
    ids=[f"{mutant.__name__}-{scenario.__name__}-{setup}" for mutant, scenario, setup in MUTANTS],
)
def test_a_fault_is_found(
    mutant: Callable[[Any], None],
    scenario: Scenario,
    setup: Setup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert noticed(mutant, scenario, setup, tmp_path, monkeypatch, ROUNDS)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("mutant", "scenario", "setup"), RARE)
@pytest.mark.timeout(1800)
def test_a_rare_fault_is_found(
    mutant: Callable[[Any], None],
    scenario: Scenario,
    setup: Setup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert noticed(mutant, scenario, setup, tmp_path, monkeypatch, 50 * ROUNDS)


def noticed(
    mutant: Callable[[Any], None],
    scenario: Scenario,
    setup: Setup,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
) -> bool:
    with monkeypatch.context() as broken:
        mutant(broken)
        for round_ in range(rounds):
            try:
                scenario(setup, path / str(round_), broken)
            except (AssertionError, StoreCorrupt):
                return True
    return False


@pytest.mark.parametrize(
    "scenario",
    dict.fromkeys(scenario for _, scenario, _ in MUTANTS),
    ids=lambda scenario: scenario.__name__,
)
def test_without_a_fault_nothing_is_found(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at, setup in enumerate((LANES,) if scenario is two_writers_fail else (DISC, LANES)):
        with monkeypatch.context() as whole:
            scenario(setup, tmp_path / str(at), whole)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("setup", ON_DISK, ids=str)
def test_whatever_fails_nothing_is_lost(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(300):
        with monkeypatch.context() as whole:
            broken_disk(setup, tmp_path / str(seed), whole, seed)
