"""A bank: whatever is carried about, nobody ever sees more or less money than there is."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clients_kit import (
    ON_DISK,
    PURSES,
    SETUPS,
    TOTAL,
    Cell,
    Disk,
    Purse,
    Setup,
    audit,
    fill_bank,
    full,
    open_under_loop,
    run_loop,
    together,
    transfer,
)

from palaver.storage.tables import Activity, CommitFailed, Database, NoExists, machine, terms
from palaver.storage.tables.events import DetailedWrite


def tellers(
    database: Database, *, transfers: int, audits: int, bag: bool = False
) -> list[Callable[[], None]]:
    """Return clients that carry money about, and clients that add up."""

    def carry(seed: int) -> Callable[[], None]:
        chance = random.Random(seed)

        def nested(tx: Activity) -> None:
            tx.transaction(lambda inner: transfer(inner, chance, bag=bag))
            transfer(tx, chance, bag=bag)

        def work() -> None:
            for at in range(transfers):
                run: Any = database.sync_transaction if at % 10 == 0 else database.transaction
                if at % 3:
                    run(lambda tx: transfer(tx, chance, bag=bag))
                else:
                    run(nested)

        return work

    def look(seed: int) -> Callable[[], None]:
        chance = random.Random(seed)

        def twice(tx: Activity) -> None:
            audit(tx, chance)
            audit(tx, chance)

        def work() -> None:
            for _ in range(audits):
                database.transaction(twice)

        return work

    return [carry(1), carry(2), carry(3), look(4), look(5)]


@pytest.mark.parametrize("table_type", ["set", "ordered_set", "bag"])
@pytest.mark.parametrize("setup", [SETUPS[0], SETUPS[3], SETUPS[5]], ids=str)
def test_every_audit_finds_all_the_money(setup: Setup, table_type: Any, tmp_path: Path) -> None:
    with setup.open(tmp_path) as database:
        database.create_table(Purse, type=table_type, storage=setup.storage, index=["branch"])
        fill_bank(database)
        together(*tellers(database, transfers=60, audits=60, bag=table_type == "bag"))
        database.transaction(audit, random.Random(0))


@pytest.mark.parametrize("setup", ON_DISK, ids=str)
def test_money_is_neither_lost_nor_made_when_commits_fail(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with setup.open(tmp_path, records=[Purse]) as database:
        database.create_table(Purse, storage=setup.storage, index=["branch"])
        fill_bank(database)
        database.sync_log()
        disk.fail_some(random.Random(5), 0.2, full)

        def patient(client: Callable[[], None]) -> Callable[[], None]:
            def work() -> None:
                for _ in range(15):
                    try:
                        client()
                    except CommitFailed:
                        continue

            return work

        clients = tellers(database, transfers=10, audits=6)
        together(*[patient(client) for client in clients])
        assert disk.failures
        disk.verdict = lambda _: None
        for seed in range(20):
            database.transaction(audit, random.Random(seed))
    with setup.open(tmp_path, records=[Purse]) as database:
        for seed in range(20):
            database.transaction(audit, random.Random(seed))


@pytest.mark.parametrize("setup", [SETUPS[0], SETUPS[5]], ids=str)
def test_coroutines_carry_and_audit(setup: Setup, tmp_path: Path) -> None:
    async def story() -> None:
        database = open_under_loop(setup, tmp_path)
        await database.aio.create_table(Purse, storage=setup.storage, index=["branch"])
        await database.aio.transaction(fill)
        chance = random.Random(1)

        async def carry(tx: Activity) -> None:
            one, other = chance.sample(range(PURSES), 2)
            (giver,) = tx.read(Purse, one)
            await asyncio.sleep(0)
            (taker,) = tx.read(Purse, other)
            tx.write(Purse(one, taker.branch, giver.balance - 7))
            await asyncio.sleep(0)
            tx.write(Purse(other, giver.branch, taker.balance + 7))

        async def look(tx: Activity) -> None:
            audit(tx, chance)
            await asyncio.sleep(0)
            audit(tx, chance)

        async def many(function: Any, kind: str) -> None:
            for _ in range(20):
                await getattr(database.aio, kind)(function)

        await asyncio.gather(
            *[many(carry, "transaction") for _ in range(4)],
            many(carry, "sync_transaction"),
            *[many(look, "transaction") for _ in range(3)],
        )
        await database.aio.sync_transaction(look)
        await database.aclose()

    def fill(tx: Activity) -> None:
        for number in range(PURSES):
            tx.write(Purse(number, "north", TOTAL // PURSES))

    run_loop(story)


# -- changes of the schema beside it ---------------------------------------------------------------


@pytest.mark.parametrize("setup", [SETUPS[0], SETUPS[2], SETUPS[5]], ids=str)
def test_the_schema_changes_while_the_bank_is_open(setup: Setup, tmp_path: Path) -> None:
    with setup.open(tmp_path, records=[Purse]) as database:
        database.create_table(Purse, storage=setup.storage, index=["branch"])
        fill_bank(database)

        def change() -> None:
            for at in range(4):
                database.add_table_index(Purse, "balance")
                database.create_table(Cell, storage=setup.storage)
                database.dirty_write(Cell("x", at))
                if setup.disk:
                    database.change_table_copy_type(Purse, "disc_only_copies")
                database.transform_table(Purse, lambda purse: purse, record=Purse)
                database.del_table_index(Purse, "balance")
                if setup.disk:
                    database.change_table_copy_type(Purse, setup.storage)
                database.clear_table(Cell)
                database.delete_table(Cell)

        def visit() -> None:
            for _ in range(100):
                try:
                    database.dirty_update_counter(Cell, "x", 1)
                    database.transaction(lambda tx: tx.update_counter(Cell, "y", 1))
                except NoExists:
                    continue

        together(change, visit, *tellers(database, transfers=40, audits=40))
        for seed in range(20):
            database.transaction(audit, random.Random(seed))
    if setup.disk:
        with setup.open(tmp_path, records=[Purse]) as database:
            for seed in range(20):
                database.transaction(audit, random.Random(seed))


# -- what is told, and when ------------------------------------------------------------------------


def durable(database: Database, key: str) -> int:
    """Return what somebody would find who opened the database after a power cut: a counter."""
    state = database.state(Cell)
    encoded = terms.encode(key)
    store, rows = database.store, database.rows
    assert store is not None
    assert rows is not None

    def row() -> list[bytes]:
        found = rows.get(state.space, encoded)
        return [] if found is None else [found]

    stored = row()
    partition = store.partition_of(encoded)
    with store.look(partition) as txn:
        left = machine.prepared(txn)
    for number, (coordinator, ops) in left.items():
        with store.look(coordinator) as txn:
            if partition in machine.decisions(txn).get(number, ()):
                stored += [payload for row_key, payload in ops[1] if row_key[4:] == encoded]
    stored += row()  # it may have been finished meanwhile
    return max((state.decode(each).value for each in stored), default=0)


@pytest.mark.parametrize("setup", ON_DISK, ids=str)
def test_an_answer_means_durable(setup: Setup, tmp_path: Path) -> None:
    with setup.open(tmp_path) as database:
        database.create_table(Cell, storage=setup.storage)

        def add(tx: Activity, keys: list[str]) -> list[int]:
            return [tx.update_counter(Cell, key, 1) for key in keys]

        def client(seed: int) -> Callable[[], None]:
            chance = random.Random(seed)

            def work() -> None:
                for at in range(25):
                    keys = chance.sample("abcdef", 1 + at % 2)
                    if at % 5:
                        counts = database.sync_transaction(add, keys)
                    else:
                        counts = database.sync_dirty(add, keys)
                    for key, count in zip(keys, counts, strict=True):
                        assert durable(database, key) >= count
                    seen = database.sync_transaction(lambda tx: tx.read(Cell, "a"))
                    assert not seen or durable(database, "a") >= seen[0].value

            return work

        together(*[client(seed) for seed in range(4)])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("setup", ON_DISK, ids=str)
def test_events_come_in_the_order_of_the_commits(
    setup: Setup, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    told: list[DetailedWrite] = []
    wrong: list[str] = []
    with setup.open(tmp_path) as database:
        database.create_table(Cell, storage=setup.storage)
        database.sync_transaction(lambda tx: tx.write(Cell("x", 0)))

        def hear(event: DetailedWrite) -> None:
            told.append(event)
            if durable(database, event.record.key) < event.record.value:
                wrong.append(f"{event} before it was durable")

        database.subscribe(Cell, hear, "detailed")
        if fails:
            disk.fail_some(random.Random(3), 0.2, full)

        def client(number: int) -> Callable[[], None]:
            chance = random.Random(number)

            def add(tx: Activity) -> None:
                tx.update_counter(Cell, "x", 1)
                tx.update_counter(Cell, chance.choice("abcdef"), 1)

            def work() -> None:
                for at in range(30):
                    try:
                        if at % 5:
                            database.transaction(add)
                        else:
                            database.sync_transaction(add)
                    except CommitFailed:
                        continue

            return work

        together(*[client(number) for number in range(4)])
        disk.verdict = lambda _: None
        database.sync_dirty(lambda activity: activity.update_counter(Cell, "x", 1))
        numbers = [event.activity.number for event in told]
        assert numbers == sorted(numbers)
        for key in "xabcdef":
            events = [event for event in told if event.record.key == key]
            before = (Cell("x", 0),) if key == "x" else ()
            for event in events:
                assert event.old_records == before
                before = (event.record,)
            assert database.dirty_read(Cell, key) == list(before)
        assert not wrong
        if not fails:
            assert len(told) == 4 * 30 * 2 + 1


@pytest.mark.parametrize("setup", ON_DISK, ids=str)
def test_events_come_without_anybody_asking(setup: Setup, tmp_path: Path) -> None:
    async def story() -> None:
        database = open_under_loop(setup, tmp_path)
        await database.aio.create_table(Cell, storage=setup.storage)
        heard = asyncio.Event()
        database.subscribe(Cell, lambda _: heard.set())
        await database.aio.transaction(lambda tx: tx.write(Cell("x", 1)))
        await heard.wait()
        await database.aclose()

    run_loop(story)
    heard = threading.Event()
    with setup.open(tmp_path, records=[Cell]) as database:
        database.subscribe(Cell, lambda _: heard.set())
        database.transaction(lambda tx: tx.write(Cell("x", 2)))
        assert heard.wait(60)
