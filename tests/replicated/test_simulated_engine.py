"""The simulated engine: the common contract where nothing is wrong, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from journal_contract import Cluster, JournalContract, RegistersContract

from palaver.actors.simulation import Host, World, run
from palaver.actors.simulation.driving import check
from palaver.storage.replicated.ports import (
    Entry,
    Journal,
    JournalError,
    JournalTruncated,
    JournalUnavailable,
    Register,
    RegisterChanged,
    Registers,
    RegistersUnavailable,
)
from palaver.storage.simulated import (
    CalmEngine,
    EngineHabits,
    SimulatedConnection,
    SimulatedEngine,
)

PROMPT = EngineHabits(latency_s=0.0)

WILD = EngineHabits(
    slow=0.2, trouble=0.2, election=0.05, dropped=0.3, twice=0.1, forgets=0.3, follow=0.1,
    stale=0.3, lag=0.3,
)  # fmt: skip


class Calm:
    """A cluster in which nothing is wrong."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.engine = SimulatedEngine(CalmEngine(loop.call_later, loop.time), PROMPT)
        self.nodes: dict[str, SimulatedConnection] = {}

    def node(self, name: str) -> SimulatedConnection:
        if name not in self.nodes:
            loop = asyncio.get_running_loop()
            self.nodes[name] = self.engine.connect(name, loop.call_later)
        return self.nodes[name]

    async def journal(self, node: str, partition: int) -> Journal:
        return self.node(node).journal(partition)

    async def registers(self, node: str) -> Registers:
        return self.node(node).registers()

    async def delete(self, partition: int) -> None:
        self.engine.delete_journal(partition)


@asynccontextmanager
async def calm() -> AsyncIterator[Cluster]:
    yield Calm()


class TestJournal(JournalContract):
    cluster = staticmethod(calm)


class TestRegisters(RegistersContract):
    cluster = staticmethod(calm)


# -- in a world ------------------------------------------------------------------------------------


@dataclass
class WorldEngineFaults:
    """The engine's way to a world; what it does not pass is chosen by the test."""

    world: World
    cut: set[tuple[str, bool]] = field(default_factory=set)

    def choose(self, name: str, options: int, rate: float) -> int:
        return self.world.tape.choose(name, options, rate)

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> object:
        return self.world.network.later(delay_s, fn)

    def now_s(self) -> float:
        return self.world.now_s

    def passes(self, node: str, *, back: bool) -> bool:
        return (node, back) not in self.cut


class Setting:
    """An engine in a world, and hosts that use it."""

    def __init__(self, world: World, habits: EngineHabits) -> None:
        self.world = world
        self.faults = WorldEngineFaults(world)
        self.engine = SimulatedEngine(self.faults, habits)

    def host(self, name: str) -> Host:
        host = self.world.host(name, None)
        host.boot()
        return host

    def connect(self, host: Host) -> SimulatedConnection:
        clock = host.clock
        connection = self.engine.connect(host.name, lambda s, fn: clock.call_later(s, fn))
        host.on_end.append(lambda _power: connection.lost())
        return connection


class Author:
    """Publishes numbered entries from a host, again and again where the outcome is not known."""

    def __init__(self, setting: Setting, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self.confirmed: dict[str, list[int]] = {}
        self.done = False
        host = setting.host(name)
        self.journal = setting.connect(host).journal(0)
        host.spawn(self.write())

    async def write(self) -> None:
        for number in range(self.count):
            name = f"{self.name}{number}"
            while not isinstance(answer := await publish(self.journal, name), int):
                assert isinstance(answer, JournalUnavailable)
            self.confirmed.setdefault(name, []).append(answer)
        self.done = True


async def publish(journal: Journal, name: str, body: bytes = b"") -> int | JournalError:
    future: asyncio.Future[int | JournalError] = asyncio.get_running_loop().create_future()
    journal.publish(name, body or name.encode(), future.set_result)
    return await future


class Watcher:
    """Follows a journal for ever, as the contract wants it."""

    def __init__(self, setting: Setting, name: str) -> None:
        self.entries: list[Entry] = []
        self.failures = 0
        self.journal = setting.connect(setting.host(name)).journal(0)
        self._follow()

    def _follow(self) -> None:
        self.journal.follow(len(self.entries), self._deliver, self._failed)

    def _deliver(self, entries: list[Entry]) -> None:
        for entry in entries:
            assert entry.position == len(self.entries) + 1
            self.entries.append(entry)

    def _failed(self, error: JournalError) -> None:
        assert not isinstance(error, JournalTruncated)
        self.failures += 1
        self._follow()


async def wild_journal(world: World) -> None:
    setting = Setting(world, WILD)
    authors = [Author(setting, name, 8) for name in ("ann", "ben")]
    watchers = [Watcher(setting, name) for name in ("w1", "w2")]
    await world.eventually(lambda: all(one.done for one in authors), "all is sent", within_s=600.0)
    setting.engine.calm()
    log = setting.engine.log(0)
    await world.sleep(60.0)  # what is stored late is stored now
    for one in watchers:
        await world.eventually(lambda one=one: len(one.entries) == log.last, "all is delivered")
    entries = watchers[0].entries
    assert entries == watchers[1].entries == log.after(0, log.last)
    for author in authors:
        for name, positions in author.confirmed.items():
            for position in positions:
                assert entries[position - 1].id == name, "what was confirmed is where it was said"
    names = [entry.id for entry in entries]
    world.sometimes("an entry is there twice", len(names) != len(set(names)))
    world.sometimes("a follower failed", any(one.failures for one in watchers))
    confirmed = [author.confirmed[f"{author.name}{n}"][0] for author in authors for n in range(8)]
    world.sometimes(
        "an entry was stored before its confirmed place",
        any(names.index(entries[at - 1].id) != at - 1 for at in confirmed),
    )


def test_what_is_confirmed_is_there_once_and_for_all_whatever_goes_wrong() -> None:
    campaign = check(wild_journal, range(60))
    assert not campaign.statistics.coverage.missed


async def wild_registers(world: World) -> None:
    world.coverage.declare(("somebody else was first", "an outcome was not known"))
    setting = Setting(world, WILD)
    held: dict[int, str] = {}
    seen: dict[str, Register | None] = {}
    ended: list[str] = []
    watcher = setting.host("watcher")
    setting.connect(watcher).registers().watch("o", seen.__setitem__)

    async def compete(name: str, registers: Registers) -> None:
        for _ in range(5):
            try:
                found = await registers.read("owner")
                expected = None if found is None else found.revision
                revision = await registers.write("owner", name.encode(), expected)
            except RegisterChanged:
                world.reach("somebody else was first")
            except RegistersUnavailable:
                world.reach("an outcome was not known")
            else:
                assert revision not in held, "a revision belongs to one writer"
                held[revision] = name
        ended.append(name)

    for name in ("ann", "ben"):
        host = setting.host(name)
        host.spawn(compete(name, setting.connect(host).registers()))
    await world.eventually(lambda: len(ended) == 2, "both have tried", within_s=600.0)
    setting.engine.calm()
    await world.sleep(60.0)
    table = setting.engine.table
    await world.eventually(lambda: seen == dict(table.now), "the last change is told")
    for revision, name in held.items():
        if table.now["owner"].revision == revision:
            assert table.now["owner"].value == name.encode()


def test_a_register_is_won_by_one_whatever_goes_wrong() -> None:
    campaign = check(wild_registers, range(60))
    assert not campaign.statistics.coverage.missed


async def each_way(world: World) -> None:
    """An entry whose outcome is not known is there, is not, or comes after newer ones."""
    setting = Setting(world, replace(EngineHabits(), trouble=1.0))
    author = setting.host("ann")
    journal = setting.connect(author).journal(0)
    log = setting.engine.log(0)
    answers: list[int | JournalError] = []

    async def one() -> None:
        answers.append(await publish(journal, "old"))
        stored = log.last
        setting.engine.calm()
        answers.append(await publish(journal, "new"))
        await asyncio.sleep(30.0)
        names = [entry.id for entry in log.after(0, 9)]
        if isinstance(answers[0], int):
            assert names == ["old", "new"]
        else:
            world.sometimes("it is not there", "old" not in names)
            world.sometimes("it is there", stored == 1)
            world.sometimes("it came after a newer one", names == ["new", "old"])

    await author.spawn(one())


def test_an_unknown_outcome_is_any_outcome() -> None:
    campaign = check(each_way, range(60))
    assert not campaign.statistics.coverage.missed


def in_a_world(habits: EngineHabits = EngineHabits()) -> Callable[..., None]:  # noqa: B008
    """Run a story of a `Setting` in a quiet world."""

    def decorate(story: Callable[[Setting], object]) -> Callable[[], None]:
        async def scenario(world: World) -> None:
            await story(Setting(world, habits))  # type: ignore[misc]

        def test() -> None:
            failure = run(scenario).failure
            if failure is not None:
                raise failure

        test.__name__ = story.__name__
        return test

    return decorate


@in_a_world()
async def test_a_node_that_is_cut_off_gets_nothing_and_knows_nothing(setting: Setting) -> None:
    setting.faults.cut = {("ann", False), ("ann", True)}
    ann, ben = setting.host("ann"), setting.host("ben")
    watcher = Watcher(setting, "cy")
    journal, other = setting.connect(ann).journal(0), setting.connect(ben).journal(0)
    heard: list[object] = []
    journal.follow(0, heard.append, heard.append)
    assert isinstance(await ann.spawn(publish(journal, "x")), JournalUnavailable)
    assert await ben.spawn(publish(other, "y")) == 1
    with pytest.raises(JournalUnavailable):
        await ann.spawn(journal.bounds())
    await setting.world.sleep(5.0)
    assert [type(one) for one in heard] == [JournalUnavailable]
    assert [entry.id for entry in watcher.entries] == ["y"]
    setting.faults.cut = set()
    assert await ann.spawn(publish(journal, "x")) == 2


@in_a_world()
async def test_who_is_heard_but_hears_nothing_has_stored_what_it_sent(setting: Setting) -> None:
    setting.faults.cut = {("ann", True)}
    ann = setting.host("ann")
    journal = setting.connect(ann).journal(0)
    assert isinstance(await ann.spawn(publish(journal, "x")), JournalUnavailable)
    assert [entry.id for entry in setting.engine.log(0).after(0, 9)] == ["x"]


@in_a_world()
async def test_a_node_that_ended_hears_nothing_and_what_was_confirmed_stays(
    setting: Setting,
) -> None:
    world = setting.world
    ann = setting.host("ann")
    journal = setting.connect(ann).journal(0)
    heard: list[object] = []
    journal.follow(0, heard.append, heard.append)
    assert await ann.spawn(publish(journal, "x")) == 1
    journal.publish("y", b"", heard.append)
    ann.power_off()
    before = list(heard)
    await world.sleep(30.0)
    assert heard == before
    ann.boot()
    watcher = Watcher(setting, "ben")
    await world.eventually(lambda: len(watcher.entries) == 2, "all is there")


@in_a_world()
async def test_a_node_that_stands_still_gets_everything_in_order_afterwards(
    setting: Setting,
) -> None:
    world = setting.world
    watcher = Watcher(setting, "ann")
    ben = setting.host("ben")
    journal = setting.connect(ben).journal(0)
    world.hosts["ann"].pause(10.0)
    for n in range(5):
        await ben.spawn(publish(journal, f"e{n}"))
    assert not watcher.entries
    await world.eventually(lambda: len(watcher.entries) == 5, "it goes on")


@in_a_world()
async def test_nobody_answers_during_an_election(setting: Setting) -> None:
    ann = setting.host("ann")
    connection = setting.connect(ann)
    journal, registers = connection.journal(0), connection.registers()
    setting.engine.silence(60.0)
    assert isinstance(await ann.spawn(publish(journal, "x")), JournalUnavailable)
    with pytest.raises(RegistersUnavailable):
        await ann.spawn(registers.read("k"))


@in_a_world()
async def test_a_connection_that_is_closed_leaves_nobody_waiting(setting: Setting) -> None:
    ann = setting.host("ann")
    connection = setting.connect(ann)
    journal = connection.journal(0)
    heard: list[object] = []
    follow = journal.follow(0, heard.append, heard.append)

    async def close() -> None:
        first = asyncio.ensure_future(publish(journal, "x"))
        await asyncio.sleep(0)
        connection.close()
        connection.close()
        assert isinstance(await first, JournalUnavailable)
        assert isinstance(await publish(journal, "y"), JournalUnavailable)

    await ann.spawn(close())
    follow.close()
    assert not heard
    log = setting.engine.log(0)
    await setting.world.eventually(lambda: log.last == 1, "what had been sent arrives")
