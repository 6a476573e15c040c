"""What concurrent clients see of the tables can be explained by one transaction after the other."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from clients_kit import (
    ON_DISK,
    SETUPS,
    Cell,
    Disk,
    Line,
    Setup,
    Steps,
    Undo,
    client_of_cells,
    do_lists,
    do_step,
    draw_lists,
    full,
    open_under_loop,
    run_loop,
    together,
)

from palaver.actors.simulation import (
    Add,
    Bag,
    Counter,
    History,
    Insert,
    Items,
    Map,
    Read,
    ReadAll,
    Remove,
    Transaction,
    check,
    check_transactions,
)
from palaver.storage.tables import Activity, CommitFailed, Database, pattern

KEYS = [f"k{number}" for number in range(5)]


def contents(database: Database) -> dict[str, int]:
    return {cell.key: cell.value for cell in database.dirty_match_object(pattern(Cell))}


def explained(history: History, database: Database) -> None:
    """The history has an order, and what the table holds in the end is its result."""
    history.run("end", ReadAll(), lambda: contents(database))
    check(history, Map(), timeout_s=60).require()


@pytest.mark.parametrize("table_type", ["set", "ordered_set"])
@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_random_transactions_of_many_threads(setup: Setup, table_type: Any, tmp_path: Path) -> None:
    with setup.open(tmp_path, records=[Cell]) as database:
        database.create_table(Cell, storage=setup.storage, type=table_type)
        history = History()
        together(
            *[
                client_of_cells(database, history, number, 1, count=80, keys=KEYS)
                for number in range(5)
            ]
        )
        explained(history, database)
        last = contents(database)
    if setup.disk and setup.storage != "ram_copies":
        with setup.open(tmp_path, records=[Cell]) as database:
            assert contents(database) == last


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_single_keys_apart(setup: Setup, tmp_path: Path) -> None:
    with setup.open(tmp_path) as database:
        database.create_table(Cell, storage=setup.storage)
        history = History()
        together(
            *[
                client_of_cells(
                    database, history, number, 2, count=150, keys=["a", "b"], everything=0, dirty=1
                )
                for number in range(4)
            ]
        )
        check(history, Map(), timeout_s=60).require()


@pytest.mark.parametrize("setup", [SETUPS[0], *ON_DISK], ids=str)
def test_lists_that_many_transactions_append_to(setup: Setup, tmp_path: Path) -> None:
    with setup.open(tmp_path) as database:
        database.create_table(Line, storage=setup.storage)
        history = History()
        numbers = itertools.count()

        def client(number: int) -> Any:
            chance = random.Random(number)

            def work() -> None:
                for _ in range(100):
                    wanted = draw_lists(chance, numbers, "xyz")
                    history.run(
                        number,
                        wanted,
                        lambda wanted=wanted: database.transaction(do_lists, wanted, chance),
                    )

            return work

        together(*[client(number) for number in range(5)])
        everything = Transaction(tuple(Read(key) for key in "xyz"))
        history.run("end", everything, lambda: database.transaction(do_lists, everything, chance()))
        check_transactions(history).require()


def chance() -> random.Random:
    return random.Random(0)


@pytest.mark.parametrize("kind", ["dirty", "transaction"])
@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_a_counter_loses_nothing(setup: Setup, kind: str, tmp_path: Path) -> None:
    with setup.open(tmp_path) as database:
        database.create_table(Cell, storage=setup.storage)
        history = History()

        def add() -> int:
            if kind == "dirty":
                return database.dirty_update_counter(Cell, "n", 1)
            return database.transaction(lambda tx: tx.update_counter(Cell, "n", 1))

        def client(number: int) -> Any:
            return lambda: [history.run(number, Add(1), add) for _ in range(100)]

        together(*[client(number) for number in range(4)])
        check(history, Counter()).require()
        assert contents(database) == {"n": 400}


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_a_bag_that_many_change(setup: Setup, tmp_path: Path) -> None:
    with setup.open(tmp_path) as database:
        database.create_table(Cell, type="bag", storage=setup.storage)
        history = History()

        def client(number: int) -> Any:
            chance = random.Random(number)

            def work() -> None:
                for _ in range(60):
                    item = chance.randrange(4)
                    dirty = chance.random() < 0.3
                    run: Any = database.async_dirty if dirty else database.transaction
                    ask = chance.choice([Insert(item, "b"), Remove(item, "b"), Items("b")])
                    history.run(number, ask, lambda run=run, ask=ask: run(do_bag, ask))

            return work

        together(*[client(number) for number in range(4)])
        check(history, Bag(distinct=True), timeout_s=60).require()


def do_bag(activity: Activity, ask: Any) -> Any:
    if isinstance(ask, Items):
        return [cell.value for cell in activity.read(Cell, ask.key)]
    cell = Cell(ask.key, ask.item)
    return activity.write(cell) if isinstance(ask, Insert) else activity.delete_object(cell)


# -- coroutines ----------------------------------------------------------------------------------


async def do_steps_slowly(activity: Activity, steps: Any, chance: random.Random) -> Any:
    """Do the steps, and let the others run between them."""
    answers = []
    for step in steps:
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            try:
                with activity.nested():  # type: ignore[attr-defined]
                    activity.write(Cell("spoilt", 1))
                    await asyncio.sleep(0)
                    raise Undo
            except Undo:
                pass
        if chance.random() < 0.2:
            with activity.nested():  # type: ignore[attr-defined]
                answers.append(do_step(activity, step, chance))
                await asyncio.sleep(0)
        else:
            answers.append(do_step(activity, step, chance))
    return tuple(answers)


async def coroutine_of_cells(
    database: Database, history: History, number: int, count: int, kind: str
) -> None:
    chance = random.Random(number)
    steps = Steps(number, chance, KEYS)
    run: Any = getattr(database.aio, kind)
    for _ in range(count):
        wanted = steps.draw()
        undone = chance.random() < 0.1

        async def slow(
            activity: Activity, wanted: Transaction = wanted, undone: bool = undone
        ) -> Any:
            answers = await do_steps_slowly(activity, wanted.steps, chance)
            if undone:
                raise Undo
            return answers

        def quick(activity: Activity, wanted: Transaction = wanted) -> Any:
            return tuple(do_step(activity, step, chance) for step in wanted.steps)

        function = slow if undone or chance.random() < 0.7 else quick
        with suppress(Undo):
            await history.run_async(
                number,
                wanted,
                lambda function=function: run(function),  # type: ignore[misc]
                never=(Undo,),
            )


@pytest.mark.parametrize("kind", ["transaction", "sync_transaction"])
@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_coroutines_that_await_in_the_middle(setup: Setup, kind: str, tmp_path: Path) -> None:
    async def story() -> None:
        database = open_under_loop(setup, tmp_path)
        history = History()
        await database.aio.create_table(Cell, storage=setup.storage)
        await asyncio.gather(
            *[coroutine_of_cells(database, history, number, 25, kind) for number in range(6)]
        )
        explained(history, database)
        await database.aclose()

    run_loop(story)


@pytest.mark.parametrize("setup", [SETUPS[0], *ON_DISK], ids=str)
def test_threads_beside_a_loop(setup: Setup, tmp_path: Path) -> None:
    async def story() -> None:
        database = open_under_loop(setup, tmp_path)
        history = History()
        await database.aio.create_table(Cell, storage=setup.storage)
        threads = [
            asyncio.to_thread(
                client_of_cells(
                    database, history, 10 + number, 3, count=40, keys=KEYS, kind=kind, dirty=0.1
                )
            )
            for number, kind in enumerate(["transaction", "sync_transaction", "transaction"])
        ]
        coroutines = [
            coroutine_of_cells(database, history, number, 20, "transaction") for number in range(3)
        ]
        await asyncio.gather(*threads, *coroutines)
        explained(history, database)
        await database.aclose()

    run_loop(story)


# -- a disk that fails in the middle -------------------------------------------------------------


@pytest.mark.parametrize("setup", ON_DISK, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_whoever_was_answered_rests_on_nothing_that_was_lost(
    setup: Setup, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with setup.open(tmp_path, records=[Cell]) as database:
        database.create_table(Cell, storage=setup.storage)
        disk.fail_some(random.Random(seed), 0.15, full)
        history = History()
        clients = [
            client_of_cells(
                database,
                history,
                number,
                seed,
                count=40,
                keys=KEYS,
                kind="sync_transaction",
                dirty=0,
                never=(Undo, CommitFailed),
            )
            for number in range(4)
        ]
        together(*clients)
        assert disk.failures
        disk.verdict = lambda _: None
        database.sync_log()
        explained(history, database)
        last = contents(database)
    with setup.open(tmp_path, records=[Cell]) as database:
        assert contents(database) == last
