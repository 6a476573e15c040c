"""Tasks that are cancelled at any moment, and threads beside them, leave everything consistent."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tables_invariants import check_leftovers, check_table
from tables_kit import STORAGES, Account

from palaver.storage.tables import Activity, Database, TableError
from palaver.storage.tables.checking import check_database
from palaver.storage.tables.errors import NotRunning

TASKS, TURNS = 60, 12


async def scene(seed: int, path: Path, partitions: int, storage: Any) -> None:
    """Run tasks of all kinds, cancel some in the middle, and close while others still wait."""
    chosen = random.Random(seed)
    loop = asyncio.get_running_loop()
    db = Database.open(
        path, partitions=partitions, post=loop.call_soon_threadsafe, defer=loop.call_soon
    )
    await db.aio.create_table(Account, storage=storage, index=["owner"])

    def transfer(tx: Activity, number: str) -> None:
        before = tx.get(Account, number)
        tx.write(Account(number, chosen.choice("ab"), before.balance + 1 if before else 0))

    async def slowly(tx: Activity, number: str) -> None:
        transfer(tx, number)
        await asyncio.sleep(0)
        with tx.nested():  # type: ignore[attr-defined]
            transfer(tx, number + "x")
            await asyncio.sleep(0)

    async def change() -> None:
        with suppress(TableError):
            await db.aio.schema(
                chosen.choice((db.add_table_index, db.del_table_index)), Account, "balance"
            )

    def thread() -> None:
        with suppress(NotRunning):
            for number in range(5):
                db.sync_transaction(transfer, str(number))

    def task() -> Any:
        number = str(chosen.randrange(8))
        return chosen.choice(
            (
                lambda: db.aio.sync_transaction(transfer, number),
                lambda: db.aio.sync_transaction(slowly, number),
                lambda: db.aio.transaction(slowly, number),
                lambda: db.aio.sync_dirty(transfer, number),
                db.aio.sync_log,
                change,
            )
        )()

    thread_beside = threading.Thread(target=thread)
    thread_beside.start()
    tasks = [asyncio.ensure_future(task()) for _ in range(TASKS)]
    for _ in range(TURNS):
        await asyncio.sleep(0)
        chosen.choice(tasks).cancel()
    if chosen.randrange(2):
        await asyncio.wait(tasks)
    await db.aclose()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(thread_beside.join)
    ended = (asyncio.CancelledError, NotRunning, type(None))
    assert [each for each in found if not isinstance(each, ended)] == []
    check_leftovers_of_closed(db)


def check_leftovers_of_closed(db: Database) -> None:
    """What the checks of an open database ask of the disk is asked after the next opening."""
    assert not len(db.running)
    assert db.pipeline.first is None
    assert not db.waits_elsewhere


@pytest.mark.parametrize("storage", STORAGES[1:])
@pytest.mark.parametrize("partitions", [1, 4])
def test_cancelled_tasks_leave_everything_consistent(
    tmp_path: Path, partitions: int, storage: Any
) -> None:
    scenes(range(2), tmp_path, partitions, storage)


@pytest.mark.long
@pytest.mark.parametrize("storage", STORAGES[1:])
@pytest.mark.parametrize("partitions", [1, 4])
def test_cancelled_tasks_leave_everything_consistent_for_long(
    tmp_path: Path, partitions: int, storage: Any
) -> None:
    scenes(range(100, 200), tmp_path, partitions, storage)


def scenes(seeds: range, place: Path, partitions: int, storage: Any) -> None:
    for seed in seeds:
        path = place / str(seed)
        asyncio.run(scene(seed, path, partitions, storage))
        assert check_database(path).problems == ()
        with Database.open(path, records=[Account]) as db:
            check_leftovers(db)
            check_table(db, db.state(Account))
