"""What a transaction sees, moment by moment, while others commit, fail and change tables."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from clients_kit import (
    ON_DISK,
    SCANS,
    SETUPS,
    Cell,
    Disk,
    Purse,
    Setup,
    Signals,
    beside,
    full,
    half_a_commit,
    joined,
    meanwhile,
    observe_mutex,
    open_under_loop,
    quiet,
    run_loop,
    together,
    two_writers_fail,
)

from palaver.storage.tables import (
    ANY,
    END,
    Activity,
    BadArgument,
    CommitFailed,
    Conflict,
    Database,
    ReadOnly,
    TableError,
    match,
    pattern,
    pipeline,
)


# In memory, on the disk under an overlay, and in memory over several partitions.
@pytest.fixture(params=(SETUPS[0], SETUPS[3], SETUPS[5]), ids=str)
def setup(request: pytest.FixtureRequest) -> Setup:
    found: Setup = request.param
    return found


@pytest.fixture(params=ON_DISK, ids=str)
def on_disk(request: pytest.FixtureRequest) -> Setup:
    found: Setup = request.param
    return found


@pytest.fixture
def signals() -> Signals:
    return Signals()


@pytest.fixture
def db(setup: Setup, tmp_path: Path) -> Iterator[Database]:
    with setup.open(tmp_path) as database:
        database.create_table(Cell, storage=setup.storage)
        yield database


def number(database: Database | Activity, key: str) -> int:
    found = database.transaction(lambda tx: tx.read(Cell, key))
    return found[0].value if found else 0


# -- half a commit -------------------------------------------------------------------------------


@pytest.mark.parametrize("second", SCANS)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_nobody_sees_half_of_a_commit(
    setup: Setup,
    first: int,
    second: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader reads x before, between or after the changes, and goes on after the last one."""
    if first == 2 and second != "read":
        pytest.skip("the same as with first == 1")
    half_a_commit(setup, tmp_path, monkeypatch, first, second)


# -- conflicts: what was read, and who wrote there -----------------------------------------------


def fill(tx: Activity) -> None:
    for at in range(0, 100, 10):
        tx.write(Purse(at, "ab"[at // 10 % 2], at))


def walk(tx: Activity, *, backwards: bool = False) -> list[int]:
    found = []
    key = tx.last(Purse) if backwards else tx.first(Purse)
    while key is not END:
        found.append(key)
        key = tx.prev(Purse, key) if backwards else tx.next(Purse, key)
    return found


def pages(tx: Activity) -> list[Any]:
    found: list[Any] = []
    part: Any = tx.select(Purse, match(Purse), 3)
    while part:
        found.extend(part.items)
        part = tx.select_more(part.continuation)
    return found


def in_a_nested_one(tx: Activity) -> Any:
    with suppress(KeyError):
        tx.transaction(look_and_fail)
    return tx.read(Purse, 20)


def look_and_fail(tx: Activity) -> None:
    tx.read(Purse, 30)
    raise KeyError


READS: dict[str, tuple[Callable[[Activity], Any], Callable[[Activity], Any]]] = {
    "read": (lambda tx: tx.read(Purse, 20), lambda tx: tx.write(Purse(20, "a", -1))),
    "wread": (lambda tx: tx.wread(Purse, 20), lambda tx: tx.write(Purse(20, "a", -1))),
    "get of nothing": (lambda tx: tx.get(Purse, 25), lambda tx: tx.write(Purse(25, "a", -1))),
    "read of what is deleted": (lambda tx: tx.read(Purse, 20), lambda tx: tx.delete(Purse, 20)),
    "all_keys": (lambda tx: sorted(tx.all_keys(Purse)), lambda tx: tx.write(Purse(25, "a", -1))),
    "all_keys, deleted": (lambda tx: sorted(tx.all_keys(Purse)), lambda tx: tx.delete(Purse, 20)),
    "match_object": (
        lambda tx: sorted(tx.match_object(pattern(Purse, branch="a")), key=str),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "match_object, other": (
        lambda tx: sorted(tx.match_object(pattern(Purse, balance=-1)), key=str),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "select": (
        lambda tx: sorted(tx.select(Purse, match(Purse)), key=str),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "select in parts": (
        lambda tx: sorted(pages(tx), key=str),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "index_read": (
        lambda tx: sorted(tx.index_read(Purse, "a", "branch"), key=str),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "index_read of nothing": (
        lambda tx: tx.index_read(Purse, "z", "branch"),
        lambda tx: tx.write(Purse(20, "z", -1)),
    ),
    "index_read, moved away": (
        lambda tx: sorted(tx.index_read(Purse, "a", "branch"), key=str),
        lambda tx: tx.write(Purse(20, "z", 20)),
    ),
    "index_match_object": (
        lambda tx: sorted(tx.index_match_object(Purse(ANY, "a", ANY), "branch"), key=str),  # type: ignore[arg-type]
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "foldl": (
        lambda tx: tx.foldl(lambda purse, so_far: so_far + purse.balance, 0, Purse),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "foldr": (
        lambda tx: tx.foldr(lambda purse, so_far: so_far + purse.balance, 0, Purse),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "first": (lambda tx: tx.first(Purse), lambda tx: tx.delete(Purse, tx.first(Purse))),
    "last": (lambda tx: tx.last(Purse), lambda tx: tx.delete(Purse, tx.last(Purse))),
    "first to last": (
        lambda tx: sorted(walk(tx)),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "last to first": (
        lambda tx: sorted(walk(tx, backwards=True)),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "in a nested one that was undone": (in_a_nested_one, lambda tx: tx.write(Purse(30, "a", -1))),
    "lock of a table": (
        lambda tx: (tx.lock(("table", Purse), "read"), tx.get(Purse, 20)),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
    "lock of a key": (
        lambda tx: (tx.lock((Purse, 25), "write"), tx.get(Purse, 20)),
        lambda tx: tx.write(Purse(25, "a", -1)),
    ),
}


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
@pytest.mark.parametrize("reads", READS)
def test_who_has_read_what_another_writes_begins_again(
    db: Database, setup: Setup, reads: str, table_type: Any
) -> None:
    db.create_table(Purse, storage=setup.storage, type=table_type, index=["branch"])
    db.transaction(fill)
    read, write = READS[reads]
    before = db.transaction(read)
    attempts, found = count_attempts(db, read, write)
    assert attempts == 2
    assert found == db.transaction(read)
    if not reads.startswith(("lock", "in a nested")):
        assert found != before


def count_attempts(
    database: Database, read: Callable[[Activity], Any], write: Callable[[Activity], Any]
) -> tuple[int, Any]:
    """Run a transaction that reads, has somebody else write the first time, and writes."""
    attempts = 0

    def work(tx: Activity) -> Any:
        nonlocal attempts
        attempts += 1
        found = read(tx)
        if attempts == 1:
            joined(beside(lambda: database.transaction(write)))
        tx.write(Cell("result", attempts))
        return found

    found = database.transaction(work)
    assert number(database, "result") == attempts
    return attempts, found


APART: dict[str, tuple[Callable[[Activity], Any], Callable[[Activity], Any]]] = {
    "another key": (lambda tx: tx.read(Purse, 20), lambda tx: tx.write(Purse(30, "a", -1))),
    "another value of an index": (
        lambda tx: tx.index_read(Purse, "a", "branch"),
        lambda tx: tx.write(Purse(35, "z", -1)),
    ),
    "another table": (lambda tx: tx.all_keys(Purse), lambda tx: tx.write(Cell("other", 1))),
    "what it writes without reading": (
        lambda tx: tx.write(Purse(20, "a", 5)),
        lambda tx: tx.write(Purse(20, "a", 6)),
    ),
    "behind the first key": (lambda tx: tx.first(Purse), lambda tx: tx.write(Purse(35, "a", 1))),
    "before the last key": (lambda tx: tx.last(Purse), lambda tx: tx.write(Purse(35, "a", 1))),
    "behind the next key": (lambda tx: tx.next(Purse, 20), lambda tx: tx.write(Purse(35, "a", 1))),
    "before the previous key": (
        lambda tx: tx.prev(Purse, 50),
        lambda tx: tx.write(Purse(35, "a", 1)),
    ),
    "nothing at all": (lambda tx: tx.all_keys(Purse), lambda tx: tx.read(Purse, 20)),
}


@pytest.mark.parametrize("apart", APART)
def test_who_has_read_something_else_goes_on(db: Database, setup: Setup, apart: str) -> None:
    db.create_table(Purse, storage=setup.storage, type="ordered_set", index=["branch"])
    db.transaction(fill)
    assert count_attempts(db, *APART[apart])[0] == 1


def test_write_skew_is_impossible(db: Database) -> None:
    """Each looks whether the other one is on duty, and leaves: one of them has to stay."""
    db.transaction(lambda tx: tx.write_all([Cell("a", 1), Cell("b", 1)]))
    both = threading.Barrier(2)

    def leave(mine: str, other: str) -> Callable[[], None]:
        first = True

        def work(tx: Activity) -> None:
            nonlocal first
            on_duty = tx.read(Cell, other)[0].value
            if first:
                first = False
                both.wait(60)
            if on_duty:
                tx.write(Cell(mine, 0))

        return lambda: db.transaction(work)

    together(leave("a", "b"), leave("b", "a"))
    assert number(db, "a") + number(db, "b") == 1


# -- trying again --------------------------------------------------------------------------------


def test_retries_are_used_up(db: Database) -> None:
    attempts = 0

    def work(tx: Activity) -> None:
        nonlocal attempts
        attempts += 1
        tx.update_counter(Cell, "x", 1)
        joined(beside(lambda: db.dirty_update_counter(Cell, "x", 1)))

    with pytest.raises(Conflict) as failure:
        db.transaction(work, retries=3)
    assert failure.value.attempts == attempts == 4
    assert number(db, "x") == 4  # those of the others
    attempts = 0
    with pytest.raises(Conflict):
        db.sync_transaction(work, retries=0)
    assert attempts == 1


def test_in_the_end_it_runs_alone(db: Database) -> None:
    """However fast the others are, a long transaction is begun a bounded number of times."""
    over = threading.Event()
    attempts = 0

    def hammer() -> None:
        while not over.is_set():
            db.dirty_update_counter(Cell, "x", 1)

    def long(tx: Activity) -> int:
        nonlocal attempts
        attempts += 1
        before = number(tx, "x")
        if attempts <= 10:
            joined(beside(lambda: db.dirty_update_counter(Cell, "x", 1)))
        for key in range(200):
            tx.read(Cell, f"none {key}")
        tx.write(Cell("seen", before))
        return tx.update_counter(Cell, "x", 1) - before

    def patient() -> None:
        try:
            assert db.transaction(long) == 1
        finally:
            over.set()

    together(patient, hammer, hammer)
    assert attempts == 11


def test_who_stands_in_their_own_way_is_told(db: Database) -> None:
    attempts = 0

    def work(tx: Activity) -> None:
        nonlocal attempts
        attempts += 1
        assert attempts < 100
        tx.update_counter(Cell, "x", 1)
        db.dirty_update_counter(Cell, "x", 1)  # not tx.update_counter

    with pytest.raises(TableError):
        db.transaction(work)


def test_coroutines_get_on_among_each_other(setup: Setup, tmp_path: Path) -> None:
    async def story() -> None:
        database = open_under_loop(setup, tmp_path)
        await database.aio.create_table(Cell, storage=setup.storage)

        async def slow(tx: Activity) -> None:
            found = tx.read(Cell, "n")
            await asyncio.sleep(0)
            tx.write(Cell("n", found[0].value + 1 if found else 1))
            await asyncio.sleep(0)

        await asyncio.gather(*[database.aio.transaction(slow) for _ in range(30)])
        assert number(database, "n") == 30
        with pytest.raises(Conflict):
            await asyncio.gather(*[database.aio.transaction(slow, retries=0) for _ in range(2)])
        await database.aclose()

    run_loop(story)


def test_a_nested_coroutine_function_is_not_taken_for_a_function(
    setup: Setup, tmp_path: Path
) -> None:
    async def story() -> None:
        database = open_under_loop(setup, tmp_path)
        await database.aio.create_table(Cell, storage=setup.storage)

        async def inner(tx: Activity) -> None:
            tx.write(Cell("x", 1))

        async def outer(tx: Activity) -> None:
            with pytest.raises(BadArgument, match="nested"):
                tx.transaction(inner)

        await database.aio.transaction(outer)
        await database.aclose()

    run_loop(story)


# -- commits that fail ---------------------------------------------------------------------------


class Doomed:
    """A database with x = 1 durable and x = 2 in memory, on its way to a disk that holds it up."""

    def __init__(self, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.disk = Disk(monkeypatch)
        self.database = setup.open(tmp_path)
        self.database.create_table(Cell, storage=setup.storage)
        self.database.sync_transaction(lambda tx: tx.write(Cell("x", 1)))
        quiet(self.database)
        self._fail = self.disk.hold()
        self.database.transaction(lambda tx: tx.write(Cell("x", 2)))

    def undo(self) -> None:
        """Have the commit fail now, and the disk be well again."""
        self._fail()
        with suppress(CommitFailed):
            self.database.sync_log()
        self.disk.verdict = lambda _: None
        assert number(self.database, "x") == 1


@pytest.fixture
def doomed(on_disk: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doomed]:
    found = Doomed(on_disk, tmp_path, monkeypatch)
    yield found
    found.database.close()


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("key", ["x", "y", "z"])
def test_what_was_undone_is_forgotten_by_who_had_read_it(
    doomed: Doomed, writes: bool, key: str
) -> None:
    seen: list[int] = []

    def work(tx: Activity) -> int:
        seen.append(tx.read(Cell, "x")[0].value)
        if len(seen) == 1:
            joined(beside(doomed.undo))
        if writes:
            tx.write(Cell(key, 10 + seen[-1]))
        return seen[-1]

    assert doomed.database.sync_transaction(work) == 1
    assert seen == [2, 1]
    if writes:
        assert number(doomed.database, key) == 11


@pytest.mark.parametrize("writes", [True, False])
def test_who_has_read_what_is_undone_later_fails_too(doomed: Doomed, writes: bool) -> None:
    answers: dict[str, Any] = {}

    def ask(key: str) -> None:
        def work(tx: Activity) -> int:
            found = tx.read(Cell, "x")[0].value
            signals.set(f"{key} has read {found}")
            if writes:
                tx.write(Cell(key, found))
            return found

        try:
            answers[key] = doomed.database.sync_transaction(work)
        except CommitFailed:
            answers[key] = "failed"

    signals = Signals()
    keys = "abcdef"  # in every partition
    threads = [beside(lambda key=key: ask(key)) for key in keys]  # type: ignore[misc]
    for key in keys:
        signals.wait(f"{key} has read 2")
    doomed.undo()
    for thread in threads:
        joined(thread)
    assert set(answers.values()) <= {"failed", 1}
    assert set(doomed.database.dirty_all_keys(Cell)) <= {
        "x",
        *(key for key in keys if writes and answers[key] == 1),
    }
    assert doomed.database.sync_transaction(lambda tx: tx.update_counter(Cell, "z", 1)) == 1


def test_what_is_undone_does_not_hide_what_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_writers_fail(ON_DISK[2], tmp_path, monkeypatch)


def test_sync_dirty_tells_that_its_write_was_undone(doomed: Doomed) -> None:
    def work(activity: Activity) -> None:
        activity.write(Cell("x", 3))
        doomed.undo()

    with pytest.raises(CommitFailed):
        doomed.database.sync_dirty(work)
    doomed.database.sync_dirty(lambda activity: activity.write(Cell("x", 4)))
    assert number(doomed.database, "x") == 4


def test_sync_dirty_under_a_loop_tells_that_its_write_was_undone(
    on_disk: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)

    async def story() -> None:
        database = open_under_loop(on_disk, tmp_path)
        await database.aio.create_table(Cell, storage=on_disk.storage)

        async def work(activity: Activity) -> None:
            disk.verdict = lambda _: full()
            activity.write(Cell("x", 3))
            with suppress(CommitFailed):
                await database.aio.sync_log()
            disk.verdict = lambda _: None

        with pytest.raises(CommitFailed):
            await database.aio.sync_dirty(work)
        await database.aclose()

    run_loop(story)


# -- changes of the schema -----------------------------------------------------------------------


def test_a_dirty_delete_meets_a_change_of_the_schema(
    setup: Setup, tmp_path: Path, signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe_mutex(monkeypatch, signals)
    changes: list[threading.Thread] = []
    real = Activity._writable

    def writable(self: Activity, table: Any) -> Any:
        state = real(self, table)
        if not changes:
            changes.append(
                meanwhile(signals, "change", lambda: database.add_table_index(Cell, "value"))
            )
        return state

    with setup.open(tmp_path) as database:
        database.create_table(Cell, storage=setup.storage)
        database.dirty_write(Cell("x", 1))
        monkeypatch.setattr(Activity, "_writable", writable)
        database.dirty_delete(Cell, "x")
        joined(changes[0])
        assert database.dirty_all_keys(Cell) == []


def test_who_has_written_a_table_that_is_read_only_now_is_refused(db: Database) -> None:
    attempts = 0

    def work(tx: Activity) -> None:
        nonlocal attempts
        attempts += 1
        tx.write(Cell("x", 1))
        if attempts == 1:
            joined(beside(lambda: db.change_table_access_mode(Cell, "read_only")))

    with pytest.raises(ReadOnly):
        db.transaction(work)
    assert db.dirty_all_keys(Cell) == []


def test_many_ensure_a_table_at_once(setup: Setup, tmp_path: Path) -> None:
    with setup.open(tmp_path) as database:

        def ensure() -> None:
            database.ensure_table(Purse, storage=setup.storage, index=["branch"])
            database.dirty_write(Purse(threading.get_ident(), "a", 1))

        together(*[ensure] * 6)
        assert database.table_info(Purse, "size") == 6


# -- waiting, and telling ------------------------------------------------------------------------


def test_nobody_waits_for_the_disk_while_others_wait_for_them(
    on_disk: Setup, tmp_path: Path
) -> None:
    """At the limit of the backlog a thread waits for the loop, and the loop for nobody."""

    async def story() -> None:
        database = open_under_loop(on_disk, tmp_path, max_backlog=2)
        await database.aio.create_table(Cell, storage=on_disk.storage)

        def dirty() -> None:
            for _ in range(30):
                database.dirty_update_counter(Cell, "x", 1)

        def alone() -> None:
            attempts = 0

            def work(tx: Activity) -> None:
                nonlocal attempts
                attempts += 1
                if attempts <= 10:
                    tx.read(Cell, "y")
                    joined(beside(lambda: database.dirty_update_counter(Cell, "y", 1)))
                    tx.read(Cell, "y")
                tx.update_counter(Cell, "x", 1)

            for _ in range(5):
                attempts = 0
                database.transaction(work)

        await asyncio.gather(
            asyncio.to_thread(dirty), asyncio.to_thread(dirty), asyncio.to_thread(alone)
        )
        await database.aio.sync_log()
        assert number(database, "x") == 65
        await database.aclose()

    run_loop(story)


def test_closing_loses_nothing(on_disk: Setup, tmp_path: Path) -> None:
    for round_ in range(3):
        with on_disk.open(tmp_path, records=[Cell]) as database:
            database.ensure_table(Cell, storage=on_disk.storage)
            for at in range(20):
                database.transaction(
                    lambda tx, at=at: [
                        tx.update_counter(Cell, f"k{(at + n) % 9}", 1) for n in range(4)
                    ]
                )
        with on_disk.open(tmp_path, records=[Cell]) as database:
            total = sum(cell.value for cell in database.dirty_match_object(pattern(Cell)))
            assert total == 80 * (round_ + 1)


# -- who has seen something can wait for it ------------------------------------------------------


def test_what_can_be_seen_is_on_its_way(
    on_disk: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader waits for a change to end, and then for what it has seen; else it might be lost."""
    seen: list[bool] = []
    real = pipeline.Pipeline.submit

    with on_disk.open(tmp_path / "db") as database:

        def submit(self: Any, made: Any, reads: Any) -> None:
            seen.append(bool(database.running.changing))
            real(self, made, reads)

        monkeypatch.setattr(pipeline.Pipeline, "submit", submit)
        database.create_table(Cell, storage=on_disk.storage)
        database.dirty_write(Cell("x", 1))
        database.transaction(lambda tx: tx.write(Cell("y", 1)))
        database.change_table_load_order(Cell, 3)
        database.backup(tmp_path / "backup")
        database.restore(tmp_path / "backup")
        database.clear_table(Cell)
    assert len(seen) == 6
    assert all(seen)
