"""The tables in a simulated world: durable transactions over power cuts and failing disks.

The real table layer (transactions, commits, copies, recovery) runs on a simulated store. Workers on
a host append to lists and read them, and move money about, in transactions that they wait for until
they are durable. What they were told is a history; at the end it must have an order that agrees
with time (`check_transactions`), no answered transaction may be lost over any crash, and no money.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from palaver.actors.simulation import (
    Append,
    Faults,
    History,
    Host,
    NotSerializable,
    Read,
    Transaction,
    World,
    check_transactions,
)
from palaver.storage import StoreError
from palaver.storage.simulated import DiskHabits, SimulatedDisk, SimulatedStore
from palaver.storage.tables import Activity, CommitFailed, Conflict, Database, TableError
from palaver.storage.tables.machine import TableMachine
from palaver.supervisors.simulations.nodes import WorldFaults

__all__ = ["REACH", "tables"]

REACH: Final = (
    "a transaction was durable",
    "a transaction failed",
    "a transaction ended with its host",
    "a database was opened again",
    "a table was read from the disk",
)

_KEYS: Final = ("a", "b", "c", "d")
_MONEY: Final = 100
_STORAGE: Final = ("disc_copies", "disc_only_copies")
_FAULTS: Final = Faults(crash=0.03, power=0.03, pause=0.01)


@dataclass(frozen=True, slots=True)
class Line:
    """A list that only grows."""

    key: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Purse:
    """An account; all together hold `_MONEY` each."""

    owner: str
    amount: int


class _Place:
    """A host with a database, and those who work with it."""

    def __init__(self, world: World) -> None:
        choose = world.tape.choose
        self.world = world
        self.partitions = (1, 2, 4)[choose("size/partitions", 3, 0.6)]
        self.workers = (2, 3, 5)[choose("size/workers", 3, 0.6)]
        self.storage = _STORAGE[choose("size/storage", 2, 0.5)]
        self.history = History()
        self.over = False
        self.values = 0
        self.database: Database | None = None
        self.host = world.host("db", self._boot)

    async def _boot(self, host: Host) -> None:
        world = self.world
        self.database = None
        disk = host.disk.get("disk")
        if disk is None:
            habits = DiskHabits(full=0.01, fail=0.01, stall=0.01, slow=0.3)
            faults = WorldFaults(world, lambda delay_s, fn: host.clock.call_later(delay_s, fn))
            disk = host.disk["disk"] = SimulatedDisk(faults, host.name, habits=habits)
        host.on_end.append(lambda power: disk.power_off() if power else disk.killed())
        try:
            await self._open(host, disk)
        except (StoreError, TableError) as error:  # a disk that is full or fails: try again
            world.trace.note("tables", host.name, f"not opened: {type(error).__name__}")
            world.network.later(0.0, host.crash)
            world.network.later(1.0, host.boot)
            return
        if host.incarnation > 1:
            world.reach("a database was opened again")
        if self.storage == "disc_only_copies":
            world.reach("a table was read from the disk")
        for number in range(self.workers):
            host.spawn(self._work(host, number))

    async def _open(self, host: Host, disk: SimulatedDisk) -> None:
        loop = asyncio.get_running_loop()
        store = SimulatedStore.open(
            disk, TableMachine, partitions=self.partitions, max_backlog=80_000,
            call_later=loop.call_later,
        )  # fmt: skip
        database = Database.over(
            store, records=[Line, Purse], post=loop.call_soon_threadsafe, clock=loop.time
        )
        for record in (Line, Purse):
            await database.aio.ensure_table(record, storage=self.storage)
        await database.aio.sync_transaction(_found_the_bank)
        self.database = database

    # -- work ----------------------------------------------------------------------------------

    async def _work(self, host: Host, number: int) -> None:
        choose, database = self.world.tape.choose, self.database
        assert database is not None
        stream = f"work/{number}"
        while not self.over:
            await asyncio.sleep(0.05 * (1 + choose(stream, 8, 0.8)))
            way = choose(stream, 4, 0.9)
            try:
                if way == 0:
                    await self._move(database, stream)
                else:
                    await self._use_lists(database, host, number, stream)
            except (CommitFailed, Conflict, StoreError):
                self.world.reach("a transaction failed")

    async def _use_lists(self, database: Database, host: Host, number: int, stream: str) -> None:
        steps = self._steps(stream)
        call = self.history.invoke((number, host.incarnation), Transaction(steps))
        yields = self.world.tape.choose(stream, 2, 0.3)

        async def slowly(activity: Activity) -> tuple[Any, ...]:
            answers = []
            for step in steps:
                answers.append(_do(activity, step))
                await asyncio.sleep(0.001)
            return tuple(answers)

        function: Callable[[Activity], Any] = (
            slowly if yields else lambda activity: tuple(_do(activity, one) for one in steps)
        )
        call.respond(await database.aio.sync_transaction(function))
        self.world.reach("a transaction was durable")

    def _steps(self, stream: str) -> tuple[Any, ...]:
        choose = self.world.tape.choose
        first, count = choose(stream, len(_KEYS), 0.8), 1 + choose(stream, 3, 0.7)
        steps: list[Append | Read] = []
        for number in range(count):
            key = _KEYS[(first + number) % len(_KEYS)]
            if choose(stream, 2, 0.6):
                self.values += 1
                steps.append(Append(self.values, key))
            else:
                steps.append(Read(key))
        return tuple(steps)

    async def _move(self, database: Database, stream: str) -> None:
        choose = self.world.tape.choose
        source, target = _KEYS[choose(stream, 4, 0.8)], _KEYS[choose(stream, 4, 0.8)]
        amount = 1 + choose(stream, 50, 0.9)
        await database.aio.sync_transaction(_move, source, target, amount)

    # -- the end -------------------------------------------------------------------------------

    async def at_the_end(self) -> None:
        """Read everything once more, and check."""
        assert self.database is not None
        steps = tuple(Read(key) for key in _KEYS)
        call = self.history.invoke("the end", Transaction(steps))
        answer = await self.database.aio.sync_transaction(
            lambda activity: tuple(_do(activity, one) for one in steps)
        )
        call.respond(answer)
        if any(one.pending for one in self.history.operations()):
            self.world.reach("a transaction ended with its host")
        self.check_money()
        try:
            check_transactions(self.history).require()
        except NotSerializable as error:
            self.world.fail("transactions happened one after the other, and for good", str(error))

    def check_money(self) -> None:
        """No money may be lost or made, at any moment."""
        database = self.database
        if database is None or not self.host.alive:
            return
        try:
            amounts = database.transaction(_amounts)
        except StoreError:  # its disk has failed, and nothing can be read
            return
        if amounts and sum(amounts) != _MONEY * len(_KEYS):
            self.world.fail("no money is lost or made", f"{amounts}")


async def tables(world: World) -> None:
    """Durable transactions while the host crashes, loses power, and its disk fills and fails."""
    world.coverage.declare(REACH)
    place = _Place(world)
    await place.host.start()
    world.invariant(place.check_money, "no money is lost or made", every_s=0.5)
    world.nemesis(_FAULTS)
    await world.sleep((5.0, 10.0, 20.0)[world.tape.choose("size/seconds", 3, 0.6)])
    place.over = True
    await world.calm()
    await _until_it_is_open(world, place)
    await place.at_the_end()


async def _until_it_is_open(world: World, place: _Place) -> None:
    await world.eventually(
        lambda: place.host.alive and place.database is not None, "the database is open"
    )
    # A database whose disk has failed takes nothing more: it is opened anew, as an operator would.
    await place.host.restart()
    await world.eventually(lambda: place.database is not None, "the database is open again")


def _do(activity: Activity, step: Append | Read) -> tuple[int, ...] | None:
    found: Sequence[Line] = activity.read(Line, step.key)
    values = found[0].values if found else ()
    if isinstance(step, Read):
        return values
    assert isinstance(step.value, int)
    activity.write(Line(str(step.key), (*values, step.value)))
    return None


def _found_the_bank(activity: Activity) -> None:
    if not activity.all_keys(Purse):
        for key in _KEYS:
            activity.write(Purse(key, _MONEY))


def _move(activity: Activity, source: str, target: str, amount: int) -> None:
    (purse,) = activity.read(Purse, source)
    if purse.amount < amount or source == target:
        return
    activity.write(Purse(source, purse.amount - amount))
    (other,) = activity.read(Purse, target)
    activity.write(Purse(target, other.amount + amount))


def _amounts(activity: Activity) -> list[int]:
    return [purse.amount for key in activity.all_keys(Purse) for purse in activity.read(Purse, key)]
