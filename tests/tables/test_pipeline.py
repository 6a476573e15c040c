"""From memory to the disk: what is durable when, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clients_kit import DEADLINE_S, beside, joined
from tables_kit import STORAGES, Account, Counter, Visit

from palaver.storage.environment import Environment
from palaver.storage.tables import CommitFailed, Conflict, Database, pattern
from palaver.storage.tables.events import Undone

BIG = "x" * 3000


def full(tmp_path: Path, partitions: int = 1) -> Database:
    """A database whose partitions have room for a few hundred kilobytes."""
    return Database.open(
        tmp_path, partitions=partitions, map_size_bytes=1 << 19, max_map_bytes=1 << 19
    )


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("storage", STORAGES[1:])
@pytest.mark.parametrize("partitions", [1, 2])
def test_a_commit_that_fails_is_undone_in_memory(
    tmp_path: Path, storage: Any, partitions: int
) -> None:
    with full(tmp_path, partitions) as db:
        db.create_table(Visit, storage=storage, index=["who"])
        db.create_table(Counter, storage="ram_copies")
        kept: list[int] = []

        def fill(tx: Any, number: int) -> None:
            tx.write(Visit(number, BIG + str(number)))
            tx.update_counter(Counter, "n", 1)

        def fill_up() -> None:
            for number in range(1000):
                db.sync_transaction(fill, number)
                kept.append(number)

        with pytest.raises(CommitFailed, match="limit"):
            fill_up()
        assert kept
        assert sorted(db.dirty_all_keys(Visit)) == kept
        assert db.table_info(Visit, "size") == len(kept)
        assert db.dirty_get(Counter, "n") == Counter("n", len(kept))
        assert db.dirty_index_read(Visit, BIG + str(len(kept)), "who") == []
        for number in kept[: len(kept) // 2]:
            db.sync_transaction(lambda tx, number=number: tx.delete(Visit, number))
        kept = kept[len(kept) // 2 :]
        db.sync_transaction(fill, 5000)
    with Database.open(tmp_path, records=[Visit]) as db:
        assert sorted(db.dirty_all_keys(Visit)) == [*kept, 5000]
        assert db.table_info(Visit, "size") == len(kept) + 1


def test_whoever_rests_on_a_commit_that_fails_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full(tmp_path) as db:
        db.create_table(Visit)
        db.create_table(Counter)
        told: list[Any] = []
        db.subscribe("system", told.append)
        db.sync_transaction(lambda tx: tx.write(Visit(0, "small")))
        errors: list[BaseException] = []

        def rest() -> None:
            # It sees the thousand, which are in memory and never come to the disk.
            try:
                db.sync_transaction(
                    lambda tx: tx.write(Counter("seen", len(tx.match_object(pattern(Visit)))))
                )
            except CommitFailed as error:
                errors.append(error)

        with _disk_held(monkeypatch):
            db.transaction(lambda tx: tx.write_all(Visit(n, BIG) for n in range(1000)))
            resting = beside(rest)
            while db.dirty_get(Counter, "seen") is None:
                assert resting.is_alive()
            assert db.dirty_get(Counter, "seen") == Counter("seen", 1000)
        joined(resting)
        assert len(errors) == 1
        assert db.dirty_get(Counter, "seen") is None
        assert db.dirty_all_keys(Visit) == [0]
        (undone,) = told
        assert isinstance(undone, Undone)
        assert undone.commits in (1, 2)  # whether anybody waited for the other already


@contextmanager
def _disk_held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no commit come to the disk, however soon it is written, before the end of this."""
    gate = threading.Event()
    real = Environment.grow

    def grow(environment: Environment, *args: Any, **options: Any) -> bool:
        assert gate.wait(DEADLINE_S)
        return real(environment, *args, **options)

    monkeypatch.setattr(Environment, "grow", grow)
    try:
        yield
    finally:
        gate.set()


def test_many_threads_each_get_their_answer(tmp_path: Path, storage: Any) -> None:
    with Database.open(tmp_path) as db:
        db.create_table(Counter, storage=storage)

        def work() -> None:
            for _ in range(50):
                db.sync_transaction(lambda tx: tx.update_counter(Counter, "n", 1))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert db.dirty_get(Counter, "n") == Counter("n", 400)
    if storage != "ram_copies":
        with Database.open(tmp_path, records=[Counter]) as db:
            assert db.dirty_get(Counter, "n") == Counter("n", 400)


@pytest.mark.parametrize("partitions", [1, 4])
def test_under_a_loop(tmp_path: Path, storage: Any, partitions: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        db = Database.open(
            tmp_path,
            partitions=partitions,
            post=loop.call_soon_threadsafe,
            defer=loop.call_soon,
        )
        await db.aio.create_table(Counter, storage=storage)
        events: list[Any] = []
        db.subscribe(Counter, events.append)
        await asyncio.gather(
            *(
                db.aio.sync_transaction(lambda tx, n=n: tx.update_counter(Counter, str(n % 7), 1))
                for n in range(200)
            )
        )
        assert sum(record.count for record in db.dirty_match_object(pattern(Counter))) == 200
        assert len(events) == 200

        async def slow(tx: Any) -> int:
            before = tx.get(Counter, "0")
            await asyncio.sleep(0)
            tx.write(Counter("0", before.count + 1000))
            return before.count

        await asyncio.gather(*(db.aio.sync_transaction(slow) for _ in range(5)))
        assert db.dirty_get(Counter, "0").count == 29 + 5000
        with pytest.raises(Conflict):
            await asyncio.gather(*(db.aio.transaction(slow, retries=0) for _ in range(5)))
        done = await asyncio.to_thread(
            db.sync_transaction, lambda tx: tx.update_counter(Counter, "thread", 3)
        )
        assert done == 3
        await db.aclose()

    asyncio.run(main())
    if storage != "ram_copies":
        with Database.open(tmp_path, records=[Counter]) as db:
            assert db.dirty_get(Counter, "thread") == Counter("thread", 3)


def test_what_is_not_waited_for_becomes_durable_by_itself(tmp_path: Path) -> None:
    with Database.open(tmp_path / "one") as db:
        db.create_table(Account)
        told = threading.Event()
        db.subscribe(Account, lambda _: told.set())
        db.dirty_write(Account("a", "x", 1))
        assert told.wait(30)
        assert db.system_info("backlog") == 0
