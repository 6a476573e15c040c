"""The tables over a simulated disk: the same rows as over a real one, and whole after every end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from palaver.actors.simulation.world import Seeded, Tape, World
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


class Taped:
    """A disk's way to a world's tape and time."""

    def __init__(self, world: World) -> None:
        self.world = world

    def choose(self, name: str, options: int, rate: float) -> int:
        return self.world.tape.choose(name, options, rate)

    def call_later(self, delay_s: float, fn: Any) -> object:
        return self.world.loop.call_later(delay_s, fn)

    def now_s(self) -> float:
        return self.world.loop.time()


class OneFailure(Taped):
    """Lets one commit of one partition fail, counted from when it is armed."""

    def __init__(self, world: World, name: str, at: int, failure: int) -> None:
        super().__init__(world)
        self.name = name
        self.at = at
        self.failure = failure
        self.armed = False
        self.number = 0

    def choose(self, name: str, options: int, rate: float) -> int:
        if self.armed and name == self.name:
            self.number += 1
            return self.failure if self.number == self.at else 0
        return int(name.startswith("disk-lost/"))


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
            held.append([db.content_digest(n) for n in range(partitions)])
            if partitions == 1:  # between several, agreements overtake one another
                held[-1].append(db.digest(0))
            await db.aclose()
        assert held[0] == held[1]
        again = over(disk, partitions)
        assert len(again.dirty_match_object(pattern(Move, number=ANY))) == 19
        await again.aclose()

    run(story())


@pytest.mark.parametrize("partitions", [1, 4])
def test_after_every_end_commits_are_there_whole(partitions: int) -> None:
    habits = DiskHabits(late=0.3, full=0.01, fail=0.03, trouble_s=0.005, stall_s=0.01)
    met: set[str] = set()

    async def story(world: World) -> None:
        random = world.tape.random("story")
        disk = SimulatedDisk(Taped(world), habits=DiskHabits())
        db = over(disk, partitions)
        await make(db, "disc_copies")
        acked: set[int] = set()

        async def client(move: Move) -> None:
            try:
                await db.aio.sync_transaction(give, move)
            except CommitFailed:
                met.add("failed")
            else:
                acked.add(move.number)

        async def clients(first: int) -> None:
            for move in moves(random, first, 20):
                working.append(asyncio.ensure_future(client(move)))
                await asyncio.sleep(random.choice((0.0, 0.0005)))

        for life in range(4):
            working: list[asyncio.Future[None]] = []
            disk.habits = habits
            working.append(asyncio.ensure_future(clients(20 * life)))
            await asyncio.sleep(random.uniform(0.0, 0.03))
            disk.power_off() if random.random() < 0.5 else disk.killed()
            for task in working:
                if task.cancel():
                    met.add("cut")
            await asyncio.gather(*working, return_exceptions=True)
            disk.habits = DiskHabits()
            disk.make_room()
            db = over(disk, partitions)
            there = agrees(db)
            assert acked <= there, "a commit that was answered is gone"
            if there - acked:
                met.add("more than was answered")
            acked |= there
            await db.aio.idle()

    for seed in range(30):
        with World(Tape(Seeded(seed))) as world:
            try:
                world.run(story(world))
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
            met |= {name.split("/")[0] for name, _ in world.tape.deviations}
    kinds = {"disk-lost", "disk-fail", "disk-full", "disk-late", "disk-slow"}
    assert kinds | {"failed", "cut", "more than was answered"} <= met


@pytest.mark.parametrize("failure", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [2, 4])
def test_whichever_commit_the_disk_fails_the_rows_agree(seed: int, failure: int) -> None:
    """Also where it is the one by which a partition was to finish what had been agreed."""

    async def story(world: World, disk: SimulatedDisk, faults: OneFailure) -> None:
        db = over(disk, 4)
        await make(db, "disc_copies")
        await db.aio.idle()
        faults.armed = True
        given = moves(Random(seed), 0, 12)
        heard = await asyncio.gather(
            *[db.aio.sync_transaction(give, move) for move in given], return_exceptions=True
        )
        await world.sleep(1.0)
        if faults.at % 2:
            disk.power_off()
        else:
            await db.aclose()
        db = over(disk, 4)
        acked = {move.number for move, error in zip(given, heard, strict=True) if error is None}
        assert acked <= agrees(db)

    failed = 0
    for partition in range(4):
        for number in range(1, 30):
            with World() as world:
                faults = OneFailure(world, f"disk-fail/store/{partition}", number, failure)
                disk = SimulatedDisk(faults, habits=DiskHabits(fail=0.1))
                try:
                    world.run(story(world, disk, faults))
                except BaseException as error:
                    error.add_note(f"commit {number} of partition {partition}")
                    raise
            failed += faults.number >= number
            if faults.number < number:
                break
    assert failed > 40
