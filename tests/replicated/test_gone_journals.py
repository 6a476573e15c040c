"""Journals that are gone, seem to be shorter, or take nothing: what is final and what passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engines import Lmdb, PlainCodec, Simulated
from journal_kit import MemoryJournal, Time, turns
from nats_kit import QUICK, Servers, Town
from storage_kit import append, bodies, problems, run, say, talk

from palaver.storage import Outcome
from palaver.storage.jetstream import JetStreamJournals, JournalDeleted, JournalReplaced
from palaver.storage.replicated import (
    JournalLost,
    JournalMachine,
    JournalRefuses,
    Limits,
    NotOwner,
    OwnershipLost,
    ReplicaOrphaned,
    ReplicatedStore,
)
from palaver.storage.replicated.ports import (
    JournalError,
    JournalGone,
    JournalRefused,
    JournalShort,
)
from palaver.supervisors.trees.nats_binary import NatsServerMissing, find_nats_server

GONE = JournalGone("somebody has deleted it: restore it")


class Answering(MemoryJournal):
    """A journal that answers what a test wants."""

    bounds_error: JournalError | None = None
    publish_error: JournalError | None = None

    async def bounds(self) -> tuple[int, int]:
        if self.bounds_error is not None:
            raise self.bounds_error
        return await super().bounds()

    def publish(self, id: str, body: bytes, done: Callable[[int | JournalError], None]) -> None:  # noqa: A002
        if self.publish_error is not None:
            asyncio.get_running_loop().call_soon(partial(done, self.publish_error))
        else:
            super().publish(id, body, done)


class Bench:
    """A store with two partitions, each with a journal."""

    def __init__(self, **limits: Any) -> None:
        self.journals = [Answering(), Answering()]
        self.time = Time()
        self.troubles: list[tuple[int, Exception | None]] = []
        self.lost: list[str] = []
        self.store = ReplicatedStore(
            Simulated().open(lambda n: JournalMachine(talk(n)), partitions=2),
            self.journals.__getitem__,
            PlainCodec(),
            node_name="me",
            timers=self.time,
            limits=Limits(**limits),
            on_lost=lambda _, why: self.lost.append(why),
            on_trouble=lambda *told: self.troubles.append(told),
        )

    async def lead_both(self) -> ReplicatedStore:
        for number in (0, 1):
            self.store.follow(number)
            await self.store.lead(number, 1)
            await append(self.store, [say(1)], number)
        return self.store


async def by_follower(bench: Bench) -> None:
    bench.journals[0].fail(GONE)


async def by_bounds(bench: Bench) -> None:
    bench.journals[0].bounds_error = GONE
    bench.journals[0].deaf = True
    await bench.time.advance(6.0)


async def by_publishing(bench: Bench) -> None:
    bench.journals[0].publish_error = GONE
    bench.journals[0].deaf = True
    bench.store.append(0, [say(2)])


@pytest.mark.parametrize("told", [by_follower, by_bounds, by_publishing])
def test_a_replica_whose_journal_is_gone_stops_and_the_others_go_on(
    told: Callable[[Bench], Awaitable[None]],
) -> None:
    async def story() -> None:
        bench = Bench()
        store = await bench.lead_both()
        applied = store.applied(0)
        held = bench.journals[0].held = []
        waiting = asyncio.ensure_future(append(store, [say(5)]))
        await turns()
        bench.journals[0].held = None
        await told(bench)
        await turns()
        (number, trouble) = bench.troubles[-1]
        assert number == 0
        assert isinstance(trouble, ReplicaOrphaned)
        assert "restore it" in str(trouble)
        assert "nothing is lost" in str(trouble)
        (result,) = await waiting
        assert isinstance(result, OwnershipLost)
        assert not result.certain
        with pytest.raises(NotOwner, match="restore it"):
            store.append(0, [say(6)])
        with pytest.raises(ReplicaOrphaned):
            await store.lead(0, 2)
        with pytest.raises(ReplicaOrphaned):
            store.follow(0)
        state = store.state(0)
        assert state is not None
        assert (state.following, state.leading, state.eligible) == (False, False, False)
        assert "restore it" in state.trouble
        assert bench.lost
        # Whatever comes of it later: nothing is read, applied or tried again.
        held[0].store().confirm()
        looks, entries = bench.journals[0].looks, bench.journals[0].last
        await bench.time.advance(60.0)
        assert (bench.journals[0].looks, bench.journals[0].last) == (looks, entries)
        assert not bench.journals[0].readers
        assert store.applied(0) == applied
        assert [type(one) for one in await append(store, [say(7)], 1)] == [Outcome]
        await store.close()

    run(story)


def test_a_takeover_in_a_journal_that_is_gone_is_refused_at_once() -> None:
    async def story() -> None:
        bench = Bench()
        bench.store.follow(0)
        bench.journals[0].publish_error = GONE
        with pytest.raises(ReplicaOrphaned):
            await bench.store.lead(0, 1)
        await bench.store.close()

    run(story)


def test_a_journal_that_seems_shorter_is_made_sure_of_by_an_entry() -> None:
    async def story() -> None:
        bench = Bench()
        store = await bench.lead_both()
        store.step_down(0)
        journal = bench.journals[0]
        held = journal.held = []
        journal.fail(JournalShort("it ends at 1"))
        await turns()
        held[0].store().confirm()  # it was not so
        await bench.time.advance(1.0)
        assert [told for told in bench.troubles if told[1] is not None] == []
        assert store.state(0).following  # type: ignore[union-attr]
        journal.entries.clear()
        held.clear()
        journal.fail(JournalShort("it ends at 0"))
        await turns()
        held[0].store().confirm()
        await turns()
        assert isinstance(bench.troubles[-1][1], JournalLost)
        await store.close()

    run(story)


def test_an_owner_whose_journal_takes_nothing_says_why_and_comes_back() -> None:
    async def story() -> None:
        bench = Bench(lease_s=3.0, takeover_s=5.0)
        store = await bench.lead_both()
        journal = bench.journals[0]
        journal.publish_error = JournalRefused("it is full: give it more room")
        waiting = asyncio.ensure_future(append(store, [say(2)]))
        await bench.time.advance(5.0)
        (result,) = await waiting
        assert isinstance(result, OwnershipLost)
        assert "takes nothing (it is full: give it more room)" in bench.lost[-1]
        leading = asyncio.ensure_future(store.lead(0, 2))
        await turns()
        await bench.time.advance(6.0)
        with pytest.raises(JournalRefuses, match="more room"):
            await leading
        journal.publish_error = None
        await store.lead(0, 3)
        assert [type(one) for one in await append(store, [say(3)])] == [Outcome]
        await store.close()

    run(story)


# -- over a real server ----------------------------------------------------------------------------


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Servers]:
    try:
        find_nats_server()
    except NatsServerMissing as error:
        pytest.skip(str(error))
    with Servers(tmp_path / "servers", 1) as servers:
        yield servers


@pytest.mark.peer
@pytest.mark.parametrize("anew", [False, True])
def test_a_stream_that_is_deleted_stops_its_replica_and_no_other(
    single: Servers, tmp_path: Path, anew: bool
) -> None:
    async def story() -> None:
        engine = Lmdb(tmp_path)
        troubles: dict[int, Exception | None] = {}
        async with Town(single, "gone", 1) as town:
            journals = [await town.journal("a", number) for number in (0, 1)]
            store = ReplicatedStore(
                engine.open(lambda n: JournalMachine(talk(n)), partitions=2),
                journals.__getitem__,
                PlainCodec(),
                node_name="a",
                on_trouble=troubles.__setitem__,
            )
            for number in (0, 1):
                store.follow(number)
                await store.lead(number, 1)
                await append(store, [say(n, body=b"%d" % n) for n in range(5)], number)
            await town.delete(0)
            if anew:
                await town.journal("b", 0)
            async with asyncio.timeout(20.0):
                while not isinstance(troubles.get(0), ReplicaOrphaned):
                    await asyncio.sleep(0.01)
            assert journals[0].stream in str(troubles[0])
            with pytest.raises(ReplicaOrphaned):
                await store.lead(0, 2)
            (result,) = await append(store, [say(9)], 1)
            assert isinstance(result, Outcome)
            assert sorted(bodies(store.store)) == [b"%d" % n for n in range(5)]
            assert problems(store.store) == []
            await store.close()
            # A node that begins anew can use the others, too.
            known = {number: journal.identity for number, journal in enumerate(journals)}
            fresh = JetStreamJournals(
                await town.client("a"), "gone", replicas=1, identities=Known(known), limits=QUICK
            )
            gone: dict[int, JournalGone] = {}
            await fresh.open([0, 1], gone=gone.__setitem__)
            assert {n: type(error) for n, error in gone.items()} == {
                0: JournalReplaced if anew else JournalDeleted
            }
            assert (await fresh(1).bounds())[1] > 0
            await fresh.close()

    run(story)


class Known:
    """What a node knows of the journals."""

    def __init__(self, known: dict[int, str | None]) -> None:
        self._known = known

    def get(self, partition: int) -> str | None:
        return self._known.get(partition)

    def remember(self, partition: int, identity: str) -> None:
        assert self._known[partition] == identity
