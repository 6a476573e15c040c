"""Replicas that are not needed any more: their tables are removed, and may come again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engines import Lmdb, PlainCodec, Simulated
from journal_kit import MemoryJournal, Time, turns, until
from storage_kit import append, bodies, problems, run, say, talk

from palaver.storage import Outcome, StoreError
from palaver.storage.replicated import JournalMachine, Limits, ReplicaForeign, ReplicatedStore


@pytest.fixture(params=["lmdb", "simulated"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return Lmdb(tmp_path) if request.param == "lmdb" else Simulated()


class Pair:
    """Two nodes and one journal."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.journal = MemoryJournal()
        self.time = Time()
        self.gate: asyncio.Event | None = None
        self.fetched = 0
        self.offered: Any = None
        self.owner = self.open("a")
        self.other = self.open("b")

    def open(self, name: str) -> ReplicatedStore:
        return ReplicatedStore(
            self.engine.open(lambda n: JournalMachine(talk(n)), name=name),
            lambda _: self.journal,
            PlainCodec(),
            node_name=name,
            timers=self.time,
            limits=Limits(tail_entries=0),
            fetch_snapshot=self._fetch,
            run_blocking=self._run,
        )

    async def _run(self, fn: Any, *args: Any) -> Any:
        if self.gate is not None:
            await self.gate.wait()
        return fn(*args)

    async def _fetch(self, partition: int) -> Any:
        self.fetched += 1
        if self.offered is not None:
            return self.offered
        path = self.engine.file(f"snapshot{self.fetched}")
        return path, self.owner.snapshot(partition, path)

    async def begin(self) -> None:
        for store in (self.owner, self.other):
            store.follow(0)
        await self.owner.lead(0, 1)
        for number in range(10):
            await append(self.owner, [say(number, body=b"%d" % number)])
        await self.level()

    async def level(self) -> None:
        await until(lambda: self.other.held(0) == self.owner.held(0) == self.journal.last)
        assert self.owner.content_digest(0) == self.other.content_digest(0)

    async def close(self) -> None:
        for store in (self.owner, self.other):
            assert problems(store.store) == []
            await store.close()


@pytest.mark.parametrize("truncated", [False, True])
def test_a_replica_that_was_forgotten_holds_nothing_and_may_come_again(
    engine: Any, truncated: bool
) -> None:
    async def story() -> None:
        pair = Pair(engine)
        await pair.begin()
        await pair.other.unfollow(0)
        assert pair.other.held(0) > 0, "the tables stay until they are forgotten"
        await pair.other.forget(0)
        assert (pair.other.held(0), pair.other.applied(0)) == (0, 0)
        assert bodies(pair.other.store) == []
        await pair.other.forget(0)
        await pair.other.close()
        pair.other = pair.open("b")
        assert pair.other.held(0) == 0
        if truncated:
            pair.owner.truncate_allowed(0, pair.journal.last)
            await until(lambda: pair.journal.first > 1)
        pair.other.follow(0)
        await pair.level()
        assert pair.fetched == truncated
        assert await append(pair.owner, [say(99)]) == [Outcome(11, (("said", b"c", 11),))]
        await pair.level()
        await pair.close()

    run(story)


def test_a_replica_that_is_followed_again_while_it_is_forgotten_begins_with_nothing() -> None:
    async def story() -> None:
        pair = Pair(Simulated())
        await pair.begin()
        pair.gate = asyncio.Event()
        forgetting = asyncio.ensure_future(pair.other.forget(0))
        await turns()
        forgetting.cancel()  # whoever asked is gone; the work goes on
        pair.other.follow(0)
        await append(pair.owner, [say(50)])
        await turns()
        pair.gate.set()
        await pair.level()
        assert len(bodies(pair.other.store)) == 11
        await pair.close()

    run(story)


def test_an_owner_that_is_forgotten_leads_no_longer() -> None:
    async def story() -> None:
        pair = Pair(Simulated())
        await pair.begin()
        await pair.owner.forget(0)
        assert not pair.owner.leads(0)
        assert pair.owner.state(0) is None
        await pair.other.lead(0, 2)
        assert len(bodies(pair.other.store)) == 10
        await pair.close()

    run(story)


def test_tables_that_came_out_of_no_journal_are_left_alone(engine: Any) -> None:
    async def story() -> None:
        local = engine.open(lambda n: JournalMachine(talk(n)), name="c")
        await append(local, [say(1)])
        await local.close()
        pair = Pair(engine)
        foreign = pair.open("c")
        with pytest.raises(ReplicaForeign):
            await foreign.forget(0)
        assert foreign.applied(0) == 1
        await foreign.close()
        await pair.close()

    run(story)


def test_tables_that_cannot_be_removed_are_whole_and_are_removed_later() -> None:
    async def story() -> None:
        pair = Pair(Simulated())
        await pair.begin()
        with pair.other.look(0), pytest.raises(StoreError):
            await pair.other.forget(0)
        assert len(bodies(pair.other.store)) == 10
        await pair.other.forget(0)
        assert pair.other.held(0) == 0
        await pair.close()

    run(story)


def test_a_rebuilding_that_was_given_up_does_not_let_an_old_snapshot_in_later() -> None:
    async def story() -> None:
        pair = Pair(Simulated())
        await pair.begin()
        old = pair.engine.file("old")
        info = pair.owner.snapshot(0, old)
        pair.gate = asyncio.Event()
        await pair.other.rebuild(0)
        await pair.other.unfollow(0)
        pair.gate.set()
        pair.gate = None
        await turns()
        pair.other.follow(0)
        for number in range(20, 30):
            await append(pair.owner, [say(number)])
        await pair.level()
        applied = pair.other.applied(0)
        pair.offered = (old, info)
        await pair.other.unfollow(0)
        await append(pair.owner, [say(40)])
        pair.owner.truncate_allowed(0, pair.journal.last)
        await until(lambda: pair.journal.first > 1)
        pair.other.follow(0)
        fetched = pair.fetched
        await until(lambda: pair.fetched > fetched)
        await turns()
        assert pair.other.applied(0) == applied, "it is not set back"
        pair.offered = None
        await pair.time.advance(5.0)
        await pair.level()
        await pair.close()

    run(story)
