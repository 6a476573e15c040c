"""Replicas that have trouble: with their disks, their journal, with what they read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engines import Lmdb, PlainCodec, Simulated
from hypothesis import given
from hypothesis import strategies as st
from journal_kit import MemoryJournal, Time, turns, until
from storage_kit import Talk, append, problems, run, say, talk

from palaver.storage import BackupError, Outcome, RecordCorrupt, StoreError, StoreFull, WriteTxn
from palaver.storage.replicated import (
    EntryUnreadable,
    JournalMachine,
    Limits,
    NotOwner,
    OwnershipLost,
    PublishLimits,
    ReplicaDamaged,
    ReplicaForeign,
    ReplicatedStore,
    SnapshotMissing,
    may_forget,
)
from palaver.storage.replicated.entries import COMMANDS, TAKEOVER, pack
from palaver.storage.replicated.truncation import Sizes


@pytest.fixture(params=["lmdb", "simulated"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return Lmdb(tmp_path) if request.param == "lmdb" else Simulated()


class Cluster:
    """Some replicas of one partition, by name."""

    def __init__(self, engine: Any, **limits: Any) -> None:
        self.engine = engine
        self.journal = MemoryJournal()
        self.time = Time()
        self.limits = Limits(**({"tail_entries": 0} | limits))
        self.stores: dict[str, ReplicatedStore] = {}
        self.troubles: dict[str, list[Exception | None]] = {}
        self.lost: list[str] = []
        self.helpers: list[str] = []
        self.fetched = 0

    def open(self, name: str, machine: Any = talk) -> ReplicatedStore:
        told = self.troubles.setdefault(name, [])
        store = self.stores[name] = ReplicatedStore(
            self.engine.open(lambda n: JournalMachine(machine(n)), name=name),
            lambda _: self.journal,
            PlainCodec(),
            node_name=name,
            timers=self.time,
            limits=self.limits,
            fetch_snapshot=self._fetch,
            run_blocking=_inline,
            on_trouble=lambda _, error: told.append(error),
            on_lost=lambda _, why: self.lost.append(why),
        )
        return store

    async def _fetch(self, partition: int) -> Any:
        self.fetched += 1
        if not self.helpers:
            raise StoreError("no other replica is there")
        path = self.engine.file(f"snapshot{self.fetched}")
        return path, self.stores[self.helpers[0]].snapshot(partition, path)

    async def level(self) -> None:
        """Wait until all replicas have everything."""
        await until(
            lambda: all(
                store.state(0).position == self.journal.last  # type: ignore[union-attr]
                for store in self.stores.values()
            )
        )
        assert len({store.digest(0) for store in self.stores.values()}) == 1
        assert len({store.content_digest(0) for store in self.stores.values()}) == 1

    async def close(self) -> None:
        for store in self.stores.values():
            assert problems(store.store) == []
            await store.close()


async def _inline(fn: Any, *args: Any) -> Any:
    return fn(*args)


async def lead(cluster: Cluster, name: str = "a", epoch: int = 1) -> ReplicatedStore:
    store = cluster.open(name)
    store.follow(0)
    await store.lead(0, epoch)
    return store


def test_a_replica_behind_the_journals_begin_takes_a_snapshot(engine: Any) -> None:
    async def story() -> None:
        cluster = Cluster(engine)
        owner = await lead(cluster)
        for number in range(20):
            await append(owner, [say(number)])
        owner.truncate_allowed(0, 15)
        await until(lambda: cluster.journal.first == 16)
        await turns()
        owner.truncate_allowed(0, 10**9)
        await until(lambda: cluster.journal.first == cluster.journal.last + 1)
        late = cluster.open("b")
        late.follow(0)
        await until(lambda: cluster.troubles["b"])
        trouble = cluster.troubles["b"][-1]
        assert isinstance(trouble, SnapshotMissing)
        assert "start another replica" in str(trouble)
        state = late.state(0)
        assert state is not None
        assert (state.eligible, state.catching_up) == (False, True)
        cluster.helpers = ["a"]
        await cluster.time.advance(1.0)
        await cluster.level()
        assert cluster.troubles["b"][-1] is None
        await append(owner, [say(99)])
        await cluster.level()
        await late.lead(0, 2)
        assert await append(late, [say(7)]) == [Outcome(8, ("again",))]
        await cluster.close()

    run(story)


def test_a_replica_that_differs_is_rebuilt(engine: Any) -> None:
    async def story() -> None:
        cluster = Cluster(engine, checkpoint_s=1.0)
        owner = await lead(cluster)
        other = cluster.open("b")
        other.follow(0)
        await append(owner, [say(1)])
        await cluster.level()
        other.store.apply_now(0, [say(666)])  # as a bug would
        await append(owner, [say(2)])
        await cluster.time.advance(1.0)
        await until(lambda: owner.held(0) == other.held(0) == cluster.journal.last)
        mine, its = owner.state(0), other.state(0)
        assert mine is not None
        assert its is not None
        assert mine.digests[-1][0] == its.digests[-1][0]
        assert mine.digests[-1] != its.digests[-1], "checkpoints tell"
        cluster.helpers = ["a"]
        await other.rebuild(0)
        assert other.state(0).catching_up  # type: ignore[union-attr]
        await until(lambda: other.digest(0) == owner.digest(0))
        await cluster.level()
        await append(owner, [say(3)])
        await cluster.level()
        await cluster.close()

    run(story)


def test_tables_that_were_filled_without_a_journal_are_refused(engine: Any) -> None:
    async def story() -> None:
        local = engine.open(talk, name="a")
        await append(local, [say(1)])
        await local.close()
        cluster = Cluster(engine)
        store = cluster.open("a")
        with pytest.raises(ReplicaForeign, match="begin with an empty folder"):
            store.follow(0)
        assert store.state(0) is None
        await cluster.close()

    run(story)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        pack(9, 1, 1, None),
        pack(COMMANDS, 1, 1, None),
        pack(COMMANDS, 1, 1, [5]),
        pack(COMMANDS, 1, 1, [b"\xff"]),
        pack(TAKEOVER, 2, 0, None),
        pack(TAKEOVER, 0, 0, ("a", "b")),
    ],
)
def test_what_cannot_be_read_is_not_skipped(body: bytes) -> None:
    async def story() -> None:
        cluster = Cluster(Simulated())
        cluster.journal.add("t", pack(TAKEOVER, 1, 0, ("x", "t")))
        cluster.journal.add("new", body)
        store = cluster.open("a")
        store.follow(0)
        await until(lambda: cluster.troubles["a"])
        error = cluster.troubles["a"][-1]
        assert isinstance(error, EntryUnreadable)
        assert (error.position, "upgrade this node" in str(error)) == (2, True)
        await until(lambda: store.state(0).position == 1)  # type: ignore[union-attr]
        state = store.state(0)
        assert state is not None
        assert (state.eligible, state.following) == (False, False)
        with pytest.raises(EntryUnreadable):
            await store.lead(0, 7)
        await store.unfollow(0)
        assert store.state(0) is None
        await cluster.close()

    run(story)


class Fragile(Talk):
    """Meets a damaged record where a body says so."""

    def say(self, txn: WriteTxn, conv: bytes, cid: bytes, body: bytes) -> Outcome:
        if body == b"damaged":
            raise RecordCorrupt(Path("0000"), "message", b"k")
        return super().say(txn, conv, cid, body)


def test_a_damaged_record_stops_its_replica_and_no_other(engine: Any) -> None:
    async def story() -> None:
        cluster = Cluster(engine)
        other = cluster.open("b")
        other.follow(0)
        store = cluster.open("a", lambda _: Fragile())
        store.follow(0)
        await store.lead(0, 1)
        await append(store, [say(1)])
        (result,) = await append(store, [say(2, body=b"damaged")])
        assert isinstance(result, OwnershipLost)
        assert not result.certain
        await turns()
        assert isinstance(cluster.troubles["a"][-1], ReplicaDamaged)
        assert len(cluster.lost) == 1
        await other.lead(0, 2)
        assert await append(other, [say(2, body=b"damaged")]) == [Outcome(2, ("again",))]
        assert store.applied(0) == 1
        assert problems(store.store) == []
        cluster.helpers = ["b"]
        await store.rebuild(0)
        await until(lambda: store.digest(0) == other.digest(0))
        await cluster.level()
        assert cluster.troubles["a"][-1] is None
        await cluster.close()

    run(story)


def test_a_replica_without_room_waits_and_leaves_nothing_out() -> None:
    async def story() -> None:
        engine = Simulated()
        cluster = Cluster(engine, publish=PublishLimits(entry_commands=1))
        owner = await lead(cluster)
        assert engine.disk is not None
        engine.disk.fill(float("inf"))
        answers = [asyncio.ensure_future(append(owner, [say(n)])) for n in range(5)]
        found = [results[0] for results in await asyncio.gather(*answers)]
        assert {type(result) for result in found} == {OwnershipLost}
        await turns()
        assert len(cluster.lost) == 1
        state = owner.state(0)
        assert state is not None
        assert (state.eligible, state.leading, state.following) == (False, False, True)
        assert "no room" in state.trouble
        with pytest.raises(StoreFull):
            await owner.lead(0, 2)
        await cluster.time.advance(5.0)
        engine.disk.make_room()
        await cluster.time.advance(5.0)
        await cluster.level()
        assert cluster.troubles["a"][-1] is None
        await owner.lead(0, 2)
        for number in range(5):
            (result,) = await append(owner, [say(number)])
            assert result.value <= 5, "those that count are there, once"
        await cluster.close()

    run(story)


def test_closing_while_the_disk_has_no_room() -> None:
    async def story() -> None:
        engine = Simulated()
        cluster = Cluster(engine, publish=PublishLimits(entry_commands=1), close_s=0.0)
        owner = await lead(cluster)
        assert engine.disk is not None
        answer = asyncio.ensure_future(append(owner, [say(1)]))
        await until(lambda: len(owner._replicas[0]._feed))
        engine.disk.fill(float("inf"))
        owner.step_down(0)
        await owner.close()
        (result,) = await answer
        assert isinstance(result, OwnershipLost)

    run(story)


def test_a_commit_that_failed_and_is_there_is_not_repeated() -> None:
    async def story() -> None:
        for failure in (1, 2, 3):  # see `disk.FAILURES`
            engine = Simulated()
            cluster = Cluster(engine)
            owner = await lead(cluster)
            assert engine.disk is not None
            engine.disk.fail_next = [failure]
            (result,) = await append(owner, [say(1)])
            assert isinstance(result, OwnershipLost)
            await cluster.time.advance(20.0)
            await until(lambda owner=owner: not owner.state(0).trouble)
            await cluster.level()
            await owner.lead(0, 2)
            (result,) = await append(owner, [say(1)])
            assert result == Outcome(1, ("again",))
            await cluster.close()

    run(story)


def test_what_waits_for_the_tables_has_a_limit() -> None:
    async def story() -> None:
        engine = Simulated()
        cluster = Cluster(engine, feed_entries=8, publish=PublishLimits(entry_commands=1))
        owner = await lead(cluster)
        for number in range(300):
            await append(owner, [say(number)])
        late = cluster.open("b")
        replica = late._replicas[0]
        late.follow(0)
        most = 0
        while late.state(0).position < cluster.journal.last:  # type: ignore[union-attr]
            await asyncio.sleep(0)
            most = max(most, len(replica._feed))
        assert most == 8
        await cluster.level()
        await cluster.close()

    run(story)


def test_a_snapshot_put_in_place_by_hand(engine: Any) -> None:
    async def story() -> None:
        cluster = Cluster(engine)
        owner = await lead(cluster)
        other = cluster.open("b")
        other.follow(0)
        await append(owner, [say(1)])
        await cluster.level()
        info = owner.snapshot(0, engine.file("snap"))
        await append(owner, [say(2)])
        await cluster.level()
        other.install(0, engine.file("snap"), info)  # an older one: it reads on from there
        await cluster.level()
        with pytest.raises(BackupError):
            owner.install(0, engine.file("none"), info)
        assert owner.leads(0)
        owner.install(0, engine.file("snap"), info)
        assert not owner.leads(0)
        with pytest.raises(NotOwner):
            owner.append(0, [say(3)])
        await cluster.level()
        await cluster.close()

    run(story)


def test_truncation_leaves_a_tail_and_what_is_not_applied(engine: Any) -> None:
    async def story() -> None:
        cluster = Cluster(engine, tail_entries=10, checkpoint_s=1.0)
        owner = await lead(cluster)
        for number in range(20):
            await append(owner, [say(number)])
        owner.truncate_allowed(0, 10**9)
        await until(lambda: cluster.journal.first > 1)
        assert cluster.journal.first == cluster.journal.last - 9
        before = cluster.journal.first
        owner.truncate(0, 20)  # no checkpoint yet
        await cluster.time.advance(3.0)
        await append(owner, [say(n) for n in range(30, 40)])
        await turns()
        owner.truncate(0, owner.applied(0))
        await turns()
        assert before <= cluster.journal.first <= cluster.journal.last - 9
        await cluster.close()

    run(story)


def test_large_entries_leave_a_tail_of_some_bytes_only(engine: Any) -> None:
    async def story() -> None:
        cluster = Cluster(engine, tail_entries=1_000, tail_bytes=8_000, checkpoint_s=1.0)
        owner = await lead(cluster)
        for number in range(20):
            await append(owner, [say(number, body=b"x" * 1_000)])
        owner.truncate_allowed(0, 10**9)
        await until(lambda: cluster.journal.first > 1)
        assert 7 <= cluster.journal.last - cluster.journal.first <= 17
        before = cluster.journal.first
        for number in range(20, 40):
            await append(owner, [say(number, body=b"x" * 1_000)])
        owner.truncate_allowed(0, before - 1)  # a majority has no more
        await turns()
        assert cluster.journal.first == before
        await cluster.close()

    run(story)


@given(st.lists(st.integers(0, 5_000), max_size=60), st.sampled_from([1_000, 10_000, 5 << 20]))
def test_what_lies_beyond_a_size_is_at_least_so_much(sizes: list[int], most: int) -> None:
    known = Sizes(most)
    for position, size in enumerate(sizes, 1):
        known.add(position, size)
        behind = sum(sizes[known.beyond() : position])
        if known.beyond():
            assert most <= behind <= 2 * most + 5_000
        else:
            assert behind <= 2 * most + 5_000


def test_what_a_majority_has_may_be_forgotten() -> None:
    assert may_forget([9, 5, 7], replicas=3, tail=0) == 7
    assert may_forget([9, 7], replicas=3, tail=2) == 5
    assert may_forget([9], replicas=3, tail=0) == 0
    assert may_forget([9], replicas=1, tail=0) == 9
    assert may_forget([3, 2, 1], replicas=3, tail=9) == 0


def test_a_replica_goes_on_where_it_was(engine: Any) -> None:
    async def story() -> None:
        cluster = Cluster(engine)
        owner = await lead(cluster)
        other = cluster.open("b")
        for number in range(10):
            other.follow(0)
            await append(owner, [say(number)])
            await cluster.level()
            await other.unfollow(0)
            assert other.state(0) is None
            await append(owner, [say(100 + number)])
            if number % 3 == 0:
                await other.close()
                other = cluster.open("b")
        other.follow(0)
        await cluster.level()
        assert other.applied(0) == 20
        await cluster.close()

    run(story)


def test_an_old_kind_of_reader_sees_the_same_tables(engine: Any) -> None:
    """The place in the journal is beside the tables: a local program opens them as they are."""

    async def story() -> None:
        cluster = Cluster(engine)
        owner = await lead(cluster)
        await append(owner, [say(1), say(2)])
        digests = owner.digest(0), owner.content_digest(0)
        await owner.close()
        local = engine.open(talk, name="a")
        assert (local.digest(0), local.content_digest(0)) == digests
        await local.close()
        plain = engine.open(talk, name="plain")
        await append(plain, [say(1), say(2)])
        assert (plain.digest(0), plain.content_digest(0)) == digests
        await plain.close()

    run(story)


def test_the_checkpoints_are_read_once_for_each_that_comes(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        cluster = Cluster(engine, checkpoint_s=1.0)
        owner = await lead(cluster)
        reads = []
        view = owner.store.view
        monkeypatch.setattr(owner.store, "view", lambda *args: (reads.append(args), view(*args))[1])
        assert owner.state(0).digests == ()  # type: ignore[union-attr]
        for count in range(1, 4):
            before = len(reads)
            await cluster.time.advance(1.0)
            await until(lambda count=count: len(owner.state(0).digests) == count)
            position = owner.state(0).position  # type: ignore[union-attr]
            await append(owner, [say(count)])
            for _ in range(10):
                state = owner.state(0)
            assert state is not None
            assert state.position > position, "all else is as it is now"
            assert len(reads) - before == 1
        await cluster.close()

    run(story)
