"""Clients that work on one database at the same time, and what they saw of each other.

Threads are made to change over after a few instructions, so that what may interleave does. What a
test wants to happen at a certain moment it brings about with hooks; nothing here waits for time to
pass.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from palaver.actors.simulation import (
    Add,
    Append,
    History,
    Read,
    ReadAll,
    Remove,
    Transaction,
    Write,
)
from palaver.storage.environment import Environment
from palaver.storage.tables import ANY, END, Activity, CommitFailed, Database, match, pattern, terms
from palaver.storage.tables.copies import DiscCopy, MemoryCopy

DEADLINE_S = 120
"""After which a client that has not ended is taken for stuck; no test depends on it otherwise."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A key with a whole number, as `update_counter` wants it."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Line:
    """A list that only grows."""

    key: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Purse:
    """An account of a bank; `branch` is indexed."""

    number: int
    branch: str
    balance: int


@dataclass(frozen=True, slots=True)
class Setup:
    """Where the tables are kept."""

    storage: Any
    partitions: int
    disk: bool = True

    def __str__(self) -> str:
        place = f"disk{self.partitions}" if self.disk else "memory"
        return f"{place}-{self.storage}"

    def open(self, path: Path, **options: Any) -> Database:
        if not self.disk:
            return Database.in_memory()
        return Database.open(path / "db", partitions=self.partitions, **options)


SETUPS = (
    Setup("ram_copies", 1, disk=False),
    Setup("ram_copies", 1),
    Setup("disc_copies", 1),
    Setup("disc_only_copies", 1),
    Setup("ram_copies", 4),
    Setup("disc_copies", 4),
    Setup("disc_only_copies", 4),
)
ON_DISK = SETUPS[2:4] + SETUPS[5:]


# -- threads and coroutines ----------------------------------------------------------------------


@contextmanager
def restless() -> Iterator[None]:
    """Let threads change over as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(*clients: Callable[[], object]) -> None:
    """Run each client in a thread of its own, all from one moment on; raise what they raise."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(clients))

    def run(client: Callable[[], object]) -> None:
        try:
            start.wait(DEADLINE_S)
            client()
        except BaseException as failure:
            failures.append(failure)

    threads = [
        threading.Thread(target=run, args=(client,), daemon=True, name=f"client-{number}")
        for number, client in enumerate(clients)
    ]
    with restless():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    stuck = [thread.name for thread in threads if thread.is_alive()]
    assert not stuck, f"{stuck} did not end; {failures!r}"
    if failures:
        raise failures[0]


def beside(client: Callable[[], object]) -> threading.Thread:
    """Start a client in a thread; `join` it."""
    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    return thread


def joined(thread: threading.Thread) -> None:
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "a client did not end"


def gap(chance: random.Random) -> None:
    """Perhaps let somebody else go first."""
    if chance.random() < 0.3:
        os.sched_yield()


def run_loop(story: Callable[[], Any]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await story()

    asyncio.run(limited())


def quiet(database: Database) -> None:
    """Wait until nothing is on its way to the disk, not even what nobody waits for."""
    if database.log is not None:
        idle = threading.Event()
        database.pipeline.when_idle(idle.set)
        database.log.finish(idle)


def open_under_loop(setup: Setup, path: Path, **options: Any) -> Database:
    loop = asyncio.get_running_loop()
    return setup.open(path, post=loop.call_soon_threadsafe, defer=loop.call_soon, **options)


# -- random transactions on cells, and what the model calls them ---------------------------------


class Undo(Exception):
    """Ends a transaction, or one within it, that is not to happen."""


class Steps:
    """What one client asks, drawn from its chance; values that are written are never repeated."""

    def __init__(self, client: int, chance: random.Random, keys: Sequence[str]) -> None:
        self._client = client
        self._chance = chance
        self._keys = keys
        self._written = 0

    def draw(self, *, everything: float = 0.15) -> Transaction:
        """Return a transaction of one to four steps."""
        chance = self._chance
        if chance.random() < everything:
            return Transaction((ReadAll(),) * chance.randrange(1, 3))
        keys = chance.sample(list(self._keys), chance.randrange(1, 4))
        return Transaction(tuple(self.one(key) for key in keys))

    def one(self, key: str) -> Any:
        kind = self._chance.random()
        if kind < 0.4:
            return Read(key)
        if kind < 0.6:
            self._written += 1
            return Write(1000 * (1000 * self._client + self._written), key)
        if kind < 0.9:
            return Add(1, key)
        return Remove(key=key)


def scan_cells(activity: Activity, chance: random.Random) -> dict[str, int]:
    """Read the whole table in one of the ways there are."""
    way = chance.randrange(6)
    if way == 0:
        cells = activity.match_object(pattern(Cell))
    elif way == 1:
        cells = activity.foldl(lambda cell, found: [*found, cell], [], Cell)
    elif way == 2:
        cells = activity.select(Cell, match(Cell))
    elif way == 3:
        cells = [cell for key in activity.all_keys(Cell) for cell in activity.read(Cell, key)]
    elif way == 4:
        cells = []
        key = activity.first(Cell)
        while key is not END:
            cells.extend(activity.read(Cell, key))
            key = activity.next(Cell, key)
    else:
        cells = []
        part = activity.select(Cell, match(Cell), 2)
        while part:
            cells.extend(part.items)
            part = activity.select_more(part.continuation)
    return {cell.key: cell.value for cell in cells}


def do_step(activity: Activity, step: Any, chance: random.Random) -> Any:
    """Do one step of a transaction on the table of cells; return its answer."""
    match_step = type(step)
    if match_step is Read:
        found = activity.read(Cell, step.key)
        return found[0].value if found else None
    if match_step is ReadAll:
        return scan_cells(activity, chance)
    if match_step is Write:
        return activity.write(Cell(step.key, step.value))
    if match_step is Add:
        return activity.update_counter(Cell, step.key, step.amount)
    return activity.delete(Cell, step.key)


def do_steps(activity: Activity, steps: Sequence[Any], chance: random.Random) -> tuple[Any, ...]:
    """Do the steps; some of them within nested transactions, beside nested ones that are undone."""
    answers: list[Any] = []
    for step in steps:
        gap(chance)
        if chance.random() < 0.1:
            with suppress(Undo):
                activity.transaction(spoil, step, chance)
        if chance.random() < 0.2:
            answers.append(activity.transaction(do_step, step, chance))
        else:
            answers.append(do_step(activity, step, chance))
    return tuple(answers)


def spoil(activity: Activity, step: Any, chance: random.Random) -> None:
    """Write something, and undo it."""
    if not isinstance(step, ReadAll):
        activity.write(Cell(step.key, 7))
        activity.delete(Cell, step.key)
        activity.write(Cell(step.key, 13))
    activity.write(Cell("spoilt", 1))
    raise Undo


def client_of_cells(
    database: Database,
    history: History,
    number: int,
    seed: int,
    *,
    count: int,
    keys: Sequence[str],
    kind: str = "transaction",
    everything: float = 0.15,
    dirty: float = 0.15,
    never: tuple[type[BaseException], ...] = (Undo,),
) -> Callable[[], None]:
    """Return a client that does `count` random things and records them."""
    chance = random.Random(f"{seed} {number}")
    steps = Steps(number, chance, keys)
    run: Any = getattr(database, kind)

    def work() -> None:
        for _ in range(count):
            if chance.random() < dirty:
                step = steps.one(chance.choice(list(keys)))
                history.run(number, step, lambda step=step: do_dirty(database, step))
                continue
            wanted = steps.draw(everything=everything)
            undone = chance.random() < 0.1

            def function(
                activity: Activity, wanted: Transaction = wanted, undone: bool = undone
            ) -> Any:
                answers = do_steps(activity, wanted.steps, chance)
                if undone:
                    raise Undo
                return answers

            with suppress(*never):
                history.run(number, wanted, lambda: run(function), never=never)

    return work


def do_dirty(database: Database, step: Any) -> Any:
    """Do one step without a transaction; each is one operation, so it has its moment, too."""
    if isinstance(step, Read):
        found = database.dirty_read(Cell, step.key)
        return found[0].value if found else None
    if isinstance(step, Write):
        return database.dirty_write(Cell(step.key, step.value))
    if isinstance(step, Add):
        return database.dirty_update_counter(Cell, step.key, step.amount)
    return database.dirty_delete(Cell, step.key)


# -- lists that grow -----------------------------------------------------------------------------


def draw_lists(chance: random.Random, numbers: Iterator[int], keys: Sequence[str]) -> Transaction:
    return Transaction(
        tuple(
            Append(next(numbers), key) if chance.random() < 0.5 else Read(key)
            for key in chance.choices(list(keys), k=chance.randrange(1, 4))
        )
    )


def do_lists(activity: Activity, wanted: Transaction, chance: random.Random) -> tuple[Any, ...]:
    answers: list[Any] = []
    for step in wanted.steps:
        gap(chance)
        line = activity.get(Line, step.key)
        values = line.values if line is not None else ()
        if isinstance(step, Append):
            activity.write(Line(step.key, (*values, step.value)))
            answers.append(None)
        else:
            answers.append(values)
    return tuple(answers)


# -- a bank --------------------------------------------------------------------------------------


class Inconsistent(AssertionError):
    """A function saw a state that was never there."""


PURSES, BRANCHES = 12, ("north", "south")
TOTAL = 100 * PURSES


def fill_bank(database: Database) -> None:
    def fill(activity: Activity) -> None:
        for number in range(PURSES):
            activity.write(Purse(number, BRANCHES[number % 2], 100))

    database.transaction(fill)


def transfer(activity: Activity, chance: random.Random, *, bag: bool = False) -> None:
    """Carry something from one purse to another; sometimes a purse moves to the other branch."""
    one, other = chance.sample(range(PURSES), 2)
    amount = chance.randrange(1, 50)
    (giver,) = activity.read(Purse, one)
    gap(chance)
    (taker,) = activity.read(Purse, other)
    branch = chance.choice(BRANCHES)
    if bag:
        activity.delete_object(giver)
        activity.delete_object(taker)
    activity.write(Purse(one, branch, giver.balance - amount))
    activity.write(Purse(other, taker.branch, taker.balance + amount))


def audit(activity: Activity, chance: random.Random) -> int:
    """Add up all purses, in one of the ways there are; raises Inconsistent at once."""
    way = chance.randrange(7)
    if way == 0:
        total = sum(purse.balance for purse in activity.match_object(pattern(Purse)))
    elif way == 1:
        total = activity.foldl(lambda purse, so_far: so_far + purse.balance, 0, Purse)
    elif way == 2:
        total = activity.foldr(lambda purse, so_far: so_far + purse.balance, 0, Purse)
    elif way == 3:
        total = sum(
            purse.balance
            for branch in BRANCHES
            for purse in activity.index_read(Purse, branch, "branch")
        )
    elif way == 4:
        total = sum(
            purse.balance
            for branch in BRANCHES
            for purse in activity.index_match_object(Purse(ANY, branch, ANY), "branch")  # type: ignore[arg-type]
        )
    elif way == 5:
        numbers = list(range(PURSES))
        chance.shuffle(numbers)
        total = 0
        for number in numbers:
            gap(chance)
            total += sum(purse.balance for purse in activity.read(Purse, number))
    else:
        total = sum(purse.balance for purse in activity.select(Purse, match(Purse)))
    if total != TOTAL:
        raise Inconsistent(f"way {way} found {total} instead of {TOTAL}")
    return way


# -- a disk that fails ---------------------------------------------------------------------------


class Disk:
    """Makes commits of LMDB fail, with no effect, as a full or a failing disk does.

    Attributes:
        verdict: asked before every commit, with its partition; what it returns is raised in its
            place, None lets it be.
        commits: how many have succeeded.
        failures: how many have not.
    """

    def __init__(self, monkeypatch: Any) -> None:
        self.verdict: Callable[[int], Exception | None] = lambda _: None
        self.commits = 0
        self.failures = 0
        real = Environment.commit
        disk = self

        def commit(environment: Environment, raw: Any) -> None:
            error = disk.verdict(int(environment.folder.name))
            if error is None:
                real(environment, raw)
                disk.commits += 1
                return
            disk.failures += 1
            environment.abort(raw)
            raise error

        monkeypatch.setattr(Environment, "commit", commit)

    def hold(self) -> Callable[[], None]:
        """Keep commits waiting; return what has them, and all that come, fail."""
        gate = threading.Event()

        def verdict(_: int) -> Exception | None:
            gate.wait(DEADLINE_S)
            return full()

        self.verdict = verdict
        return gate.set

    def fail_some(self, chance: random.Random, share: float, make: Callable[[], Exception]) -> None:
        """From now on, have a share of the commits fail."""
        lock = threading.Lock()

        def verdict(_: int) -> Exception | None:
            with lock:
                return make() if chance.random() < share else None

        self.verdict = verdict


def full() -> Exception:
    """Return what LMDB raises on a full disk."""
    error = lmdb.Error("mdb_txn_commit: No space left on device")
    error.code = errno.ENOSPC
    return error


UNDONE = (Undo, CommitFailed)


# -- moments -------------------------------------------------------------------------------------


class Signals:
    """Names that are raised once, by any thread, and waited for: the first of several will do."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._raised: set[str] = set()

    def set(self, name: str) -> None:
        with self._condition:
            self._raised.add(name)
            self._condition.notify_all()

    def wait(self, *names: str) -> None:
        with self._condition:
            arrived = self._condition.wait_for(lambda: self._raised & set(names), DEADLINE_S)
            assert arrived, f"none of {names} came"

    def __contains__(self, name: str) -> bool:
        return name in self._raised


class ObservedLock:
    """A reentrant lock that tells, once, that somebody has to wait for it: "<thread> waits"."""

    def __init__(self, signals: Signals) -> None:
        self._lock = threading.RLock()
        self._signals = signals

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        self._signals.set(f"{threading.current_thread().name} waits")
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _Threading:
    """The module `threading`, with a lock of ours."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def RLock(self) -> ObservedLock:  # noqa: N802
        return ObservedLock(self._signals)

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


def observe_mutex(monkeypatch: Any, signals: Signals) -> None:
    """Have databases that are made from now on tell who waits for their mutex."""
    monkeypatch.setattr("palaver.storage.tables.database.threading", _Threading(signals))


def meanwhile(signals: Signals, name: str, work: Callable[[], object]) -> threading.Thread:
    """Run `work` in a thread until it ends, or has to wait for the database's mutex."""

    def run() -> None:
        try:
            work()
        finally:
            signals.set(f"{name} ended")

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    signals.wait(f"{name} ended", f"{name} waits")
    return thread


# -- half a commit -------------------------------------------------------------------------------


class Pause:
    """Calls hooks within one commit: before its n-th change of a table, and after the last."""

    def __init__(self, monkeypatch: Any, hooks: dict[int, Callable[[], None]]) -> None:
        self.armed = False
        self._changes = 0
        pause = self
        for copy in (MemoryCopy, DiscCopy):
            real = copy.swap

            def swap(self: Any, *args: Any, real: Any = real) -> Any:
                if not pause.armed:
                    return real(self, *args)
                hooks.get(pause._changes, _nothing)()
                pause._changes += 1
                before = real(self, *args)
                if pause._changes == max(hooks):
                    hooks[max(hooks)]()
                    pause.armed = False
                return before

            monkeypatch.setattr(copy, "swap", swap)


def _nothing() -> None:
    pass


SCANS: dict[str, Callable[[Activity], dict[str, int]]] = {
    "read": lambda tx: {key: tx.read(Cell, key)[0].value for key in "xy"},
    "match": lambda tx: {cell.key: cell.value for cell in tx.match_object(pattern(Cell))},
    "fold": lambda tx: tx.foldl(lambda cell, found: found | {cell.key: cell.value}, {}, Cell),
    "keys": lambda tx: {key: tx.read(Cell, key)[0].value for key in tx.all_keys(Cell)},
    "select": lambda tx: {cell.key: cell.value for cell in tx.select(Cell, match(Cell))},
}


def half_a_commit(setup: Setup, path: Path, monkeypatch: Any, first: int, second: str) -> None:
    """Have a reader read x before the first change of a commit, between them, or after the last.

    Args:
        setup: where.
        path: where, too.
        monkeypatch: pytest's.
        first: before which change it reads x.
        second: how it reads on, after the last change.
    """
    signals = Signals()
    observe_mutex(monkeypatch, signals)
    seen: list[dict[str, int]] = []
    readers: list[threading.Thread] = []

    def read(tx: Activity) -> dict[str, int]:
        found = {"x": tx.read(Cell, "x")[0].value}
        signals.set("x was read")
        signals.wait("go on")
        for key, value in SCANS[second](tx).items():
            if found.setdefault(key, value) != value:
                raise Inconsistent(f"{key} was {found[key]} and is {value}")
        if found["x"] != found["y"]:
            raise Inconsistent(str(found))
        return found

    def reader() -> None:
        try:
            seen.append(database.transaction(read))
        except BaseException as failure:
            seen.append({"failed": failure})  # type: ignore[dict-item]
        finally:
            signals.set("reader ended")

    def come() -> None:
        readers.append(threading.Thread(target=reader, name="reader", daemon=True))
        readers[0].start()
        signals.wait("x was read", "reader waits")

    def go_on() -> None:
        if first == 2:
            come()
        signals.set("go on")
        signals.wait("reader ended", "reader waits")

    with setup.open(path) as database:
        database.create_table(Cell, storage=setup.storage)
        database.transaction(lambda tx: tx.write_all([Cell("x", 0), Cell("y", 0)]))
        pause = Pause(monkeypatch, {first: come, 2: go_on} if first < 2 else {2: go_on})
        pause.armed = True
        database.transaction(lambda tx: tx.write_all([Cell("x", 1), Cell("y", 1)]))
        joined(readers[0])
        assert seen in ([{"x": 0, "y": 0}], [{"x": 1, "y": 1}])


def two_writers_fail(setup: Setup, path: Path, monkeypatch: Any) -> None:
    """Have a later writer of a key undone before the earlier one, whose record somebody reads."""
    disk, gate = Disk(monkeypatch), threading.Event()
    with setup.open(path) as database:
        database.create_table(Cell, storage=setup.storage)
        assert database.store is not None
        partition_of = database.store.partition_of
        place = {partition_of(terms.encode(key)): key for key in "abcdefghij"}
        first, second, third = (place[partition] for partition in sorted(place)[:3])
        quiet(database)

        def verdict(partition: int) -> Exception | None:
            if partition == partition_of(terms.encode(first)):
                gate.wait(DEADLINE_S)
                return full()
            if partition == partition_of(terms.encode(second)):
                other_gate.wait(DEADLINE_S)
                return full()
            return None

        disk.verdict = verdict
        other_gate = threading.Event()
        database.transaction(lambda tx: tx.write(Cell(first, 1)))
        database.transaction(lambda tx: tx.write(Cell(second, 1)))
        alone = database.pipeline.last
        assert alone is not None
        database.transaction(lambda tx: tx.write_all([Cell(first, 2), Cell(second, 2)]))
        other_gate.set()
        alone.ticket.wait()
        with suppress(CommitFailed):
            database.wait(alone)
        seen: list[Any] = []

        def work(tx: Activity) -> None:
            seen.append(tx.read(Cell, first))
            tx.write(Cell(third, 3))
            signals.set("read")

        def reader() -> None:
            try:
                database.sync_transaction(work)
                seen.append("durable")
            except CommitFailed:
                seen.append("failed")

        signals = Signals()
        thread = beside(reader)
        signals.wait("read")
        gate.set()
        joined(thread)
        assert seen in ([[Cell(first, 1)], "failed"], [[Cell(first, 1)], [], "durable"])
        disk.verdict = lambda _: None
        quiet(database)
