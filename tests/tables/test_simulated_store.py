"""The tables over a simulated disk: the same rows as over a real one, and whole after every end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from palaver.storage.simulated import Calm, DiskHabits, SimulatedDisk, SimulatedStore
from palaver.storage.tables import ANY, CommitFailed, Database, pattern
from palaver.storage.tables.machine import TableMachine

PEOPLE = 6
WEALTH = 100
BACKLOG = 100


@dataclass(frozen=True, slots=True)
class Purse:
    owner: str
    balance: int


@dataclass(frozen=True, slots=True)
class Move:
    number: int
    giver: str
    taker: str
    amount: int


RECORDS = [Purse, Move]


class Chance:
    """A disk's way to a random number generator and to the running loop."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.chosen: set[str] = set()

    def choose(self, name: str, options: int, rate: float) -> int:
        choice = self.random.randrange(1, options) if self.random.random() < rate else 0
        if choice:
            self.chosen.add(name.split("/")[0])
        return choice

    def call_later(self, delay_s: float, fn: Any) -> object:
        return asyncio.get_running_loop().call_later(delay_s, fn)

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()


def over(disk: SimulatedDisk, partitions: int) -> Database:
    loop = asyncio.get_running_loop()
    store = SimulatedStore.open(disk, TableMachine, partitions=partitions, max_backlog=4 * BACKLOG)
    return Database.over(
        store,
        records=RECORDS,
        post=loop.call_soon_threadsafe,
        max_backlog=BACKLOG,
        clock=loop.time,
    )


async def make(db: Database, storage: Any) -> None:
    await db.aio.create_table(Purse, storage=storage)
    await db.aio.create_table(Move, storage=storage, type="ordered_set")
    for number in range(PEOPLE):
        await db.aio.sync_transaction(lambda tx, n=number: tx.write(Purse(str(n), WEALTH)))


def give(tx: Any, move: Move) -> None:
    giver, taker = tx.get(Purse, move.giver), tx.get(Purse, move.taker)
    tx.write(Purse(giver.owner, giver.balance - move.amount))
    tx.write(Purse(taker.owner, taker.balance + move.amount))
    tx.write(move)


def moves(random: Random, first: int, count: int) -> list[Move]:
    return [
        Move(first + n, *map(str, random.sample(range(PEOPLE), 2)), random.randint(1, 9))
        for n in range(count)
    ]


def agrees(db: Database) -> set[int]:
    """Every purse is what the moves say; return the moves that are there."""
    balances = {str(number): WEALTH for number in range(PEOPLE)}
    there = db.dirty_match_object(pattern(Move))
    for move in there:
        balances[move.giver] -= move.amount
        balances[move.taker] += move.amount
    assert {p.owner: p.balance for p in db.dirty_match_object(pattern(Purse))} == balances
    return {move.number for move in there}


def run(story: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await story

    asyncio.run(limited())


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("storage", ["disc_copies", "disc_only_copies"])
def test_the_same_program_leaves_the_same_rows(
    tmp_path: Path, storage: Any, partitions: int
) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        disk = SimulatedDisk(
            Calm(loop.call_later, loop.time), habits=DiskHabits(commit_s=0, read_s=0)
        )
        real = Database.open(
            tmp_path,
            partitions=partitions,
            records=RECORDS,
            post=loop.call_soon_threadsafe,
            defer=loop.call_soon,
        )
        held = []
        for db in (real, over(disk, partitions)):
            await make(db, storage)
            for move in moves(Random(3), 0, 20):
                await db.aio.sync_transaction(give, move)
            await db.aio.sync_transaction(lambda tx: tx.delete(Move, 5))
            await db.aio.schema(db.add_table_index, Purse, "balance")
            await db.aio.idle()
            held.append(
                [(db.digest(n), db.content_digest(n), db.applied(n)) for n in range(partitions)]
            )
            await db.aclose()
        assert held[0] == held[1]
        again = over(disk, partitions)
        assert len(again.dirty_match_object(pattern(Move, number=ANY))) == 19
        await again.aclose()

    run(story())


@pytest.mark.parametrize("partitions", [1, 4])
def test_after_every_end_commits_are_there_whole(partitions: int) -> None:
    habits = DiskHabits(
        commit_s=0.0, read_s=0.0, stall=0.0, late=0.3, full=0.01, fail=0.02, trouble_s=0.0
    )
    met: set[str] = set()

    async def story(seed: int) -> None:
        chance = Chance(seed)
        disk = SimulatedDisk(chance, habits=DiskHabits(commit_s=0.0))
        db = over(disk, partitions)
        await make(db, "disc_copies")
        disk.habits = habits
        acked: set[int] = set()

        async def client(move: Move) -> None:
            try:
                await db.aio.sync_transaction(give, move)
            except CommitFailed:
                met.add("failed")
            else:
                acked.add(move.number)

        for life in range(4):
            clients = [
                asyncio.ensure_future(client(move)) for move in moves(chance.random, life * 20, 20)
            ]
            for _ in range(chance.random.randrange(60)):
                await asyncio.sleep(0)
            disk.power_off() if chance.random.random() < 0.5 else disk.killed()
            waiting = {task for task in clients if not task.done()}
            for task in waiting:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            disk.habits = DiskHabits(commit_s=0.0)
            db = over(disk, partitions)
            there = agrees(db)
            assert acked <= there, "a commit that was answered is gone"
            if there - acked:
                met.add("more than was answered")
            if waiting:
                met.add("cut")
            acked |= there
            await db.aio.sync_log()
            disk.habits = habits
        met.update(chance.chosen)

    for seed in range(25):
        try:
            run(story(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert {"failed", "cut", "more than was answered", "disk-lost", "disk-fail"} <= met
