"""Replicas of one partition in a simulated world: three stores, one journal, anybody leads.

Nothing here decides well who leads: an arbiter names leaders by chance, two at a time, twice in one
epoch, a node that was deposed. What writers are told has to be true all the same, and every replica
has to become what the journal says: see `Judge`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from palaver.actors.simulation import Fault, Faults, Host, World
from palaver.storage import Outcome, Rejected, StoreError
from palaver.storage.installing import SnapshotInfo
from palaver.storage.replicated import JournalMachine, Limits, ReplicatedStore
from palaver.storage.simulated import (
    DiskHabits,
    EngineHabits,
    SimulatedDisk,
    SimulatedStore,
)
from palaver.supervisors.simulations.ledger import Judge, Ledger, LedgerCodec, lines_of
from palaver.supervisors.simulations.nodes import WorldFaults
from palaver.supervisors.simulations.quorum import WorldEngine

__all__ = ["REACH", "replicas"]

T = TypeVar("T")

REACH: Final = (
    "an entry had no effect",
    "an owner lost its partition",
    "a replica took a snapshot",
    "a takeover was refused",
    "a line was written twice",
    "the journal was truncated",
    "the engine lost its leader",
)

_NAMES: Final = ("a", "b", "c")
_PATIENCE_S: Final = 3.0
_LIMITS: Final = Limits(lease_s=1.0, checkpoint_s=0.4, takeover_s=4.0, look_s=2.0, tail_entries=4)
#: How old what an owner reads may be: it was one then, as far as it can prove.
_STALE_S: Final = 4 * _LIMITS.lease_s
_FAULTS: Final = Faults(
    crash=0.02, power=0.01, partition=0.04, oneway=0.02, clog=0.02, pause=0.02, pulse_s=0.5
)
_HABITS: Final = EngineHabits(
    slow=0.1, trouble=0.05, election=0.01, dropped=0.3, twice=0.05, forgets=0.3, follow=0.02,
    stale=0.2,
)  # fmt: skip
_DISK: Final = DiskHabits(slow=0.1, stall=0.01, late=0.1, full=0.02, fail=0.03, trouble_s=1.0)


class Replica:
    """A host with a replica; it survives whatever happens to it."""

    def __init__(self, town: Replicas, name: str) -> None:
        self.town = town
        self.world = town.world
        self.host = self.world.host(name, self._boot)
        self.store: ReplicatedStore | None = None
        self.fresh = False
        """Whether its disk was emptied, and it has not caught up since."""

    async def _boot(self, host: Host) -> None:
        self.store = None
        loop = asyncio.get_running_loop()
        disk = host.disk.get("disk")
        if disk is None:
            faults = WorldFaults(self.world, lambda s, fn: host.clock.call_later(s, fn))
            disk = host.disk["disk"] = SimulatedDisk(faults, host.name, habits=self.town.disk)
        host.on_end.append(lambda power: disk.power_off() if power else disk.killed())
        connection = self.town.engine.connect(host)
        try:
            inner = SimulatedStore.open(
                disk,
                lambda number: JournalMachine(Ledger(number)),
                partitions=1,
                call_later=loop.call_later,
            )
            store = ReplicatedStore(
                inner,
                connection.journal,
                LedgerCodec(),
                node_name=host.name,
                incarnation=f"{host.incarnation}",
                limits=_LIMITS,
                fetch_snapshot=self._fetch,
                run_blocking=_run_here,
            )
            store.on_lost(self._lost)
            store.follow(0)
        except StoreError as error:
            self.world.trace.note("replica", host.name, f"cannot start: {error}")
            self.restart(host)
            return
        self.store = store

    def restart(self, host: Host) -> None:
        """Start again, as a service manager does."""
        self.world.network.later(0.0, host.crash)
        self.world.network.later(1.0, host.boot)

    def _lost(self, partition: int, why: object) -> None:
        self.world.trace.note("replica", self.host.name, f"lost {partition}: {why}")
        self.world.reach("an owner lost its partition")

    async def _fetch(self, partition: int) -> tuple[str, SnapshotInfo]:
        """Bring a snapshot from another replica that can be reached."""
        world, here = self.world, self.host.name
        for other in self.town.replicas:
            there = other.host.name
            cut = world.network.link(there, here).is_blocked
            if other is self or cut or other.store is None or not other.host.alive:
                continue
            name = f"snapshot-{here}"
            files = other.host.disk["disk"].files
            files.pop(name, None)
            info = other.store.snapshot(partition, name)
            await asyncio.sleep(0.05)
            self.host.disk["disk"].files[name] = files[name]
            world.reach("a replica took a snapshot")
            return name, info
        raise StoreError("no other replica can be reached")

    @property
    def leads(self) -> bool:
        """Whether it thinks that it leads."""
        return self.host.alive and self.store is not None and self.store.leads(0)

    @property
    def is_heard(self) -> bool:
        """Whether the journal hears it, and it hears the journal."""
        passes = self.town.engine.passes
        return passes(self.host.name, back=False) and passes(self.host.name, back=True)

    @property
    def is_up(self) -> bool:
        """Whether its store is open."""
        return self.host.alive and self.store is not None

    @property
    def position(self) -> int:
        """How far it has applied the journal; 0 if nobody knows."""
        if self.store is None or not self.host.alive:
            return 0
        try:
            state = self.store.state(0)
        except StoreError:
            return 0
        return 0 if state is None else state.position

    async def run(self, what: Callable[[ReplicatedStore, Callable[[Any], None]], None]) -> Any:
        """Do something on the host, and wait for what it tells; TimeoutError if it never does."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def tell(value: Any) -> None:
            if not answer.done():
                answer.set_result(value)

        def there() -> None:
            store = self.store
            try:
                if store is None:
                    raise StoreError("the replica is not open")
                what(store, tell)
            except StoreError as error:
                tell(error)

        if not self.host.alive:
            await asyncio.sleep(0.1)
            raise TimeoutError
        context: Context = self.host.place.context
        self.world.loop.call_soon(there, context=context)
        async with asyncio.timeout(_PATIENCE_S):
            return await answer


@dataclass(slots=True)
class Told:
    """A line that a writer was told the place of."""

    name: str
    place: int
    began_s: float
    ended_s: float


class Replicas:
    """The world of it: three replicas, writers, and who names leaders."""

    def __init__(self, world: World, *, faults: Faults = _FAULTS) -> None:
        self.world = world
        self.faults = faults
        self.disk = _DISK
        self.engine = WorldEngine(world, _NAMES, _HABITS)
        self.judge = Judge()
        log = self.engine.engine.log(0)
        self.log = log
        log.witnesses.append(self.judge)
        self.replicas = [Replica(self, name) for name in _NAMES]
        self.told: list[Told] = []
        self.evening = False
        self.over = False
        self.writing = 0
        self._epoch = 0
        self._sizes = (4, 12, 40)[world.tape.choose("size/lines", 3, 0.6)]

    # -- who leads -----------------------------------------------------------------------------

    async def arbitrate(self) -> None:
        """Name leaders, well or badly."""
        choose = self.world.tape.choose
        turn = 0
        while True:
            await asyncio.sleep(0.25)
            turn += 1
            if not turn % 8:
                self._audit()
            mischief = 0 if self.evening else choose("arbiter", 12, 0.15)
            up = [one for one in self.replicas if one.is_up]
            owner = self.judge.owners.get(self.judge.standing[0])
            leading = [one for one in up if one.host.name == owner and one.is_heard and one.leads]
            if up and (not leading or mischief):
                way = choose("arbiter/who", len(up), 0.7)
                self._name(up[way], mischief)

    def _name(self, replica: Replica, mischief: int) -> None:
        if mischief in (1, 2):  # the epoch that somebody else was given
            epoch = max(1, self._epoch)
        else:
            epoch = self._epoch = max(self._epoch, self.judge.standing[0]) + 1
        store, host = replica.store, replica.host
        assert store is not None
        if mischief == 3 and replica.leads:
            host.spawn(_step_down(store))
        else:
            host.spawn(self._lead(store, epoch))

    async def _lead(self, store: ReplicatedStore, epoch: int) -> None:
        told = list(self.told)
        try:
            await store.lead(0, epoch)
        except StoreError:
            self.world.reach("a takeover was refused")
            return
        lines = set(store.view(0, lines_of))
        lost = [one.name for one in told if one.name not in lines]
        if lost:
            self.world.fail("a new owner has all that was told before", f"{lost[:3]}")

    def _audit(self) -> None:
        """Tell who leads what the others have, as an auditor does."""
        for one in self.replicas:
            if one.leads and one.store is not None:
                majority = sorted(other.position for other in self.replicas)[1]
                one.host.spawn(_truncate(one.store, majority))
        if self.log.first > 1:
            self.world.reach("the journal was truncated")

    # -- who writes ----------------------------------------------------------------------------

    async def write(self, writer: int) -> None:
        """Write lines, one append after the other, each until its places are told."""
        choose = self.world.tape.choose
        stream = f"writer/{writer}"
        self.writing += 1
        for number in range(self._sizes):
            await asyncio.sleep(0.05 * (1 + choose(stream, 16, 0.9)))
            names = [f"{writer}.{number}.{n}" for n in range(1 + choose(stream, 3, 0.5))]
            await self._write(stream, names)
        self.writing -= 1

    async def _write(self, stream: str, names: list[str]) -> None:
        world = self.world
        began_s = world.now_s
        commands = [("line", name, "text") for name in names] + [("line", "refused", "")]
        while True:
            replica = self._somebody(stream)
            exact = bool(world.tape.choose(f"{stream}/expects", 2, 0.2))

            def append(
                store: ReplicatedStore, tell: Callable[[Any], None], exact: bool = exact
            ) -> None:
                store.append(0, commands, tell, expected=store.applied(0) if exact else None)

            try:
                answers = await replica.run(append)
            except TimeoutError:
                continue
            if isinstance(answers, StoreError):
                await asyncio.sleep(0.1)
                continue
            if not isinstance(answers[-1], Rejected) and isinstance(answers[0], Outcome):
                world.fail("what is refused is refused", f"{answers}")
            if all(isinstance(answer, Outcome) for answer in answers[:-1]):
                break
        for name, answer in zip(names, answers, strict=False):
            self.told.append(Told(name, answer.value, began_s, world.now_s))

    def _somebody(self, stream: str) -> Replica:
        leading = [one for one in self.replicas if one.leads]
        some = leading or self.replicas
        return some[self.world.tape.choose(f"{stream}/to", len(some), 0.5)]

    async def look(self) -> None:
        """Read at whoever thinks that it leads; what was told long ago has to be there."""
        world = self.world
        while not self.over:
            await asyncio.sleep(0.2 * (1 + world.tape.choose("reader", 8, 0.8)))
            for one in [one for one in self.replicas if one.is_up]:
                asyncio.get_running_loop().create_task(self._look_at(one))

    async def _look_at(self, replica: Replica) -> None:
        world = self.world
        seen_s: list[float] = []

        def read(store: ReplicatedStore, tell: Callable[[Any], None]) -> None:
            seen_s.append(world.now_s)
            store.read(0, lines_of, lambda result: tell(result))

        try:
            lines = await replica.run(read)
        except TimeoutError:
            return
        if isinstance(lines, list):
            old = [one for one in self.told if one.ended_s < seen_s[0] - _STALE_S]
            lost = [one.name for one in old if one.name not in lines]
            if lost:
                world.fail("an owner shows what was told long ago", f"{replica.host}: {lost[:3]}")

    # -- the end -------------------------------------------------------------------------------

    def wipe(self, host: Host, _way: int) -> None:
        """Take a replica's disk away, if the others have everything that the journal has not."""
        others = [one for one in self.replicas if one.host is not host]
        victim = next(one for one in self.replicas if one.host is host)
        if all(one.is_up and one.position >= self.log.first for one in others):
            host.crash()
            host.disk.clear()
            victim.fresh = True
            self.world.network.later(1.0, host.boot)

    async def live(self) -> None:
        """Live through a day of faults, and check what has come of it in the evening."""
        world = self.world
        world.coverage.declare(REACH)
        await world.start_all()
        wipe = Fault("wipe", 0.004, 1, self.wipe)
        tasks = [self.arbitrate(), self.look(), *(self.write(n) for n in range(2))]
        running = [asyncio.get_running_loop().create_task(one) for one in tasks]
        world.nemesis(replace(self.faults, own=(*self.faults.own, wipe)))
        await world.sleep((5.0, 15.0, 30.0)[world.tape.choose("size/seconds", 3, 0.6)])
        self.evening = True
        await self._calm()
        await world.eventually(lambda: not self.writing, "everything is written", within_s=180.0)
        await world.sleep(15.0)  # what was published long ago comes now
        self.over = True
        await self._agree()
        for task in running:
            task.cancel()
        self._check()

    async def _calm(self) -> None:
        world = self.world
        await world.calm()
        self.engine.engine.calm()
        for one in self.replicas:
            disk: SimulatedDisk | None = one.host.disk.get("disk")
            if disk is not None:
                disk.habits = DiskHabits(slow=0.0, stall=0.0, late=0.0, slow_read=0.0)

    async def _agree(self) -> None:
        def agreed() -> bool:
            return all(one.is_up and one.position == self.log.last for one in self.replicas)

        deadline_s = self.world.now_s + 60.0
        while not agreed():
            if self.world.now_s > deadline_s:
                states = [one.store and one.store.state(0) for one in self.replicas]
                self.world.fail("eventually: all replicas have everything", f"{states}")
            await self.world.sleep(0.1)

    def _check(self) -> None:
        world, judge = self.world, self.judge
        if judge.skipped:
            world.reach("an entry had no effect")
        if judge.applied > len(judge.lines):
            world.reach("a line was written twice")
        digests = set()
        for one in self.replicas:
            assert one.store is not None
            lines = one.store.view(0, lines_of)
            if lines != judge.lines:
                world.fail(
                    "a replica is what the journal says",
                    f"{one.host}: {_difference(lines, judge.lines)}",
                )
            digests.add(one.store.digest(0))
        if len(digests) != 1:
            world.fail("all replicas have one history", f"{digests}")
        for told in self.told:
            if judge.lines[told.place - 1 : told.place] != [told.name]:
                world.fail("what was told stays true", f"{told}")
        latest = 0
        for told in sorted(self.told, key=lambda one: one.ended_s):
            early = [one for one in self.told if one.ended_s < told.began_s]
            latest = max((one.place for one in early), default=0)
            if told.place <= latest and any(one.place > told.place for one in early):
                world.fail("what was asked for later comes later", f"{told}")


async def _run_here(fn: Callable[..., T], *args: Any) -> T:
    """Run what blocks in the real world: in this one nothing does."""
    await asyncio.sleep(0)
    return fn(*args)


async def _truncate(store: ReplicatedStore, position: int) -> None:
    store.truncate_allowed(0, position)


async def _step_down(store: ReplicatedStore) -> None:
    store.step_down(0)


def _difference(some: list[str], others: list[str]) -> str:
    for number, (one, other) in enumerate(zip(some, others, strict=False)):
        if one != other:
            return f"line {number + 1} is {one}, not {other}"
    return f"{len(some)} lines, not {len(others)}"


async def replicas(world: World) -> None:
    """Three replicas of a ledger, leaders who are named at random, and every fault."""
    await Replicas(world).live()
