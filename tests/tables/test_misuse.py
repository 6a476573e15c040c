"""What is done at the wrong time, in the wrong place or with the wrong thing, and what is left."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest
from tables_kit import Account

from palaver.storage.tables import (
    Aborted,
    Activity,
    BadArgument,
    BadType,
    CombineError,
    Database,
    NoExists,
    NoTransaction,
    TableError,
    each,
    query,
)
from palaver.storage.tables.events import Overload, SubscriberFailed
from palaver.storage.tables.within import CURRENT


def ten() -> Database:
    """Ten accounts in memory."""
    db = Database.in_memory()
    db.create_table(Account)
    for number in range(10):
        db.dirty_write(Account(str(number), "ann", number))
    return db


@pytest.mark.parametrize("kind", ["transaction", "async_dirty"])
def test_no_answers_of_a_query_come_after_the_end(kind: Any) -> None:
    account = each(Account)
    wanted = query(account.number, account.balance)
    with ten() as db:

        def half(tx: Activity) -> Iterator[Any]:
            found = tx.iterate(wanted)
            next(found)
            return found

        for begun in (db.activity(kind, half), db.activity(kind, lambda tx: tx.iterate(wanted))):
            db.dirty_write(Account("5", "bob", 50))
            with pytest.raises(NoTransaction):
                next(begun)


class Pause:
    """Gives the coroutine's driver the turn, without a loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def test_a_coroutine_that_is_given_up_leaves_nothing_behind() -> None:
    with ten() as db:

        async def read(tx: Activity) -> None:
            tx.read(Account, "1")
            await Pause()

        async def begin() -> Any:
            begun = db.aio.transaction(read)
            contextvars.copy_context().run(begun.send, None)
            return begun

        begun = asyncio.run(begin())
        assert len(db.running) == 1
        begun.close()  # in another context than it was begun in
        assert len(db.running) == 0
        db.dirty_delete(Account, "1")


def test_a_task_that_was_begun_within_does_not_keep_what_has_ended() -> None:
    with ten() as db:
        copied: list[contextvars.Context] = []

        def remember(tx: Activity) -> None:
            copied.append(contextvars.copy_context())

        for _ in range(3):
            context = copied[-1] if copied else contextvars.copy_context()
            context.run(db.transaction, remember)
        last = copied[-1].run(CURRENT.get)
        assert last is not None
        assert last.outer is None


def test_a_subscriber_is_not_part_of_the_transaction_that_makes_it_run() -> None:
    with ten() as db:
        log = db.create_table(name="log", attributes=["number", "balance"])
        record: Any = db.table_info("log", "record_class")

        def note(event: Any) -> None:
            db.transaction(lambda tx: tx.write(record(event.record.number, 0), log))

        def work(tx: Activity) -> None:
            db.dirty_write(Account("x", "ann", 1))
            tx.abort("for a reason")

        db.subscribe(Account, note)
        with pytest.raises(Aborted):
            db.transaction(work)
        assert db.dirty_read(log, "x") == [record("x", 0)]


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, GeneratorExit, ValueError])
def test_whatever_a_subscriber_raises_is_told(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(event: Any) -> None:
        raise error

    told: list[Any] = []
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
        db.subscribe(Account, fail)
        db.subscribe("system", told.append)
        heard = threading.Semaphore(0)
        db.subscribe(Account, lambda event: heard.release())
        for number in range(3):  # the thread that makes it durable lives on
            db.dirty_write(Account(str(number), "ann", 1))
            assert heard.acquire(timeout=60)
    failures = [event for event in told if isinstance(event, SubscriberFailed)]
    assert [type(event.error) for event in failures] == [error] * 3


async def opened(path: Path, **options: Any) -> Database:
    loop = asyncio.get_running_loop()
    db = Database.open(path, post=loop.call_soon_threadsafe, defer=loop.call_soon, **options)
    await db.aio.create_table(Account)
    return db


def test_a_close_that_was_cancelled_can_be_done_again(tmp_path: Path) -> None:
    async def main() -> None:
        db = await opened(tmp_path / "db")
        db.dirty_write(Account("1", "ann", 1))
        closing = asyncio.ensure_future(db.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await db.aclose()
        await db.aclose()

    asyncio.run(main())
    with Database.open(tmp_path / "db", records=[Account]) as db:
        assert db.dirty_get(Account, "1") == Account("1", "ann", 1)


def test_overload_is_told_each_time_it_begins(tmp_path: Path) -> None:
    told: list[Any] = []

    def write(number: int) -> Callable[[Activity], None]:
        return lambda tx: tx.write(Account(str(number), "ann", 1))

    async def main() -> None:
        db = await opened(tmp_path / "db", max_backlog=3)
        db.subscribe("system", told.append)
        for _ in range(2):
            told.clear()
            await asyncio.gather(*(db.aio.sync_transaction(write(n)) for n in range(20)))
            await db.aio.sync_log()
            assert told
            assert all(isinstance(event, Overload) for event in told)
        await db.aclose()

    asyncio.run(main())


def test_who_waited_under_a_loop_that_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)

        async def main() -> None:
            waits = asyncio.ensure_future(
                db.aio.sync_transaction(lambda tx: tx.write(Account("1", "ann", 1)))
            )
            await asyncio.sleep(0)
            waits.cancel()

        asyncio.run(main())
        db.sync_transaction(lambda tx: tx.write(Account("2", "ann", 1)))
        assert db.pipeline.backlog == 0


def test_a_change_of_the_schema_waits_though_another_thread_has_it_awaited(tmp_path: Path) -> None:
    with Database.open(tmp_path / "db") as db:
        db.waits_elsewhere.add(-1)  # a thread that is in the middle of `aio.schema`
        db.create_table(Account)
        assert db.pipeline.backlog == 0
        assert db.applied() == 1


def test_a_table_without_a_class_may_have_the_name_of_a_class_there_was() -> None:
    with ten() as db:
        db.delete_table(Account)
        table = db.create_table(name="Account", attributes=["a", "b"])
        record: Any = db.table_info(table, "record_class")
        db.dirty_write(record(1, 2), table)
        assert db.dirty_read(table, 1) == [record(1, 2)]


def test_two_classes_of_one_name_are_not_in_one_database() -> None:
    other = make_dataclass("Account", [("a", int), ("b", int)], frozen=True)
    with ten() as db:
        with pytest.raises(CombineError, match="another name"):
            db.create_table(other, name="others")
        assert db.tables() == ["Account"]


def test_a_handle_is_never_older_than_the_table() -> None:
    """Whoever looks a table up while it is exchanged does not keep the old one for all."""
    with ten() as db:
        looked = threading.Event()
        goes_on = threading.Event()

        class Slow(dict[str, Any]):
            def get(self, key: str, default: Any = None) -> Any:
                found = super().get(key, default)
                if threading.current_thread() is reader:
                    looked.set()
                    goes_on.wait(1)  # ends by itself: an exchange waits for the reader
                return found

        db.forget_handles()
        reader = threading.Thread(target=db.state, args=(Account,))
        db.states = Slow(db.states)
        reader.start()
        looked.wait(60)
        clearer = threading.Thread(target=db.clear_table, args=("Account",))
        clearer.start()
        clearer.join(0.05)
        goes_on.set()
        reader.join(60)
        clearer.join(60)
        assert db.state(Account).alive


MISUSES: dict[str, tuple[type[TableError], Callable[[Database], object]]] = {
    "a table that cannot be hashed": (NoExists, lambda db: db.dirty_read(["x"], 1)),  # type: ignore[call-overload]
    "a detail that there is not": (BadArgument, lambda db: db.subscribe(Account, print, "all")),  # type: ignore[arg-type]
    "no callback": (BadArgument, lambda db: db.subscribe(Account, None)),  # type: ignore[arg-type]
    "half a lock": (BadArgument, lambda db: db.transaction(lambda tx: tx.lock("x", "read"))),
    "no lock": (BadArgument, lambda db: db.transaction(lambda tx: tx.lock((Account, 1), "x"))),
    "the end's continuation": (
        BadArgument,
        lambda db: db.transaction(lambda tx: tx.select_more(None)),
    ),
    "no new record": (
        BadType,
        lambda db: db.transform_table(Account, lambda old: None, record=Account),
    ),
    "the partition after the last": (NoExists, lambda db: db.digest(1)),
    "a partition before the first": (NoExists, lambda db: db.applied(-1)),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_a_misuse_is_told_by_a_typed_error(tmp_path: Path, misuse: str) -> None:
    error, use = MISUSES[misuse]
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
        db.dirty_write(Account("1", "ann", 1))
        with pytest.raises(error):
            use(db)
        assert db.dirty_get(Account, "1") == Account("1", "ann", 1)


@pytest.mark.parametrize("record", [5, int, type("Account", (), {})])
def test_what_is_no_record_class_does_not_open_a_database(tmp_path: Path, record: Any) -> None:
    with Database.open(tmp_path / "db") as db:
        db.create_table(Account)
    with pytest.raises(BadType, match="no record class"):
        Database.open(tmp_path / "db", records=[record])
    Database.open(tmp_path / "db", records=[Account]).close()


def test_an_empty_path_is_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadArgument, match="names no folder"):
        Database.open("")
    assert not list(tmp_path.iterdir())


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("partitions", [1, 4])
def test_a_closed_database_leaves_no_thread_no_file_and_no_object(
    tmp_path: Path, partitions: int
) -> None:
    copies = iter("ab")

    def use() -> weakref.ref[Database]:
        with Database.open(tmp_path / "db", partitions=partitions) as db:
            db.ensure_table(Account, index=["owner"], storage="disc_only_copies")
            db.subscribe(Account, lambda event: None)
            db.async_dirty(lambda tx: tx.write_all([Account(str(n), "ann", n) for n in range(50)]))
            db.transaction(lambda tx: tx.index_read(Account, "ann", "owner"))
            with db.activate_checkpoint(tables=[Account]):
                db.backup(tmp_path / next(copies))
            return weakref.ref(db)

    use()
    gc.collect()
    threads, files = threading.active_count(), open_files()
    gone = use()
    gc.collect()
    assert gone() is None
    assert threading.active_count() == threads
    assert open_files() == files
