"""Replicas are compared; the one that differs from a majority is made anew, and no other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cluster_fakes import FakeStore
from cluster_kit import Town, in_town
from hypothesis import given
from hypothesis import strategies as st

from palaver.actors.cluster.auditing import compare, majority_position
from palaver.actors.cluster.fetching import FetchSnapshot
from palaver.actors.cluster.names import SNAPSHOTS
from palaver.actors.runtime.bridge import Bridges
from palaver.storage.errors import StoreError

rings = st.lists(st.integers(1, 30), unique=True).map(sorted)


@given(st.lists(rings, min_size=1, max_size=5))
def test_equal_replicas_are_never_at_fault(rings: list[list[int]]) -> None:
    digests = {f"n{i}": [(p, p * 7) for p in ring] for i, ring in enumerate(rings)}
    verdict = compare(digests, len(rings))
    assert verdict.wrong == ()
    assert verdict.torn == ()
    common = [p for p in range(31) if sum(p in ring for ring in rings) >= 2]
    assert verdict.position == max(common, default=0)


@given(st.integers(3, 5), st.data())
def test_one_that_differs_from_a_majority_is_found(replicas: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, replicas - 1))
    since = data.draw(st.integers(1, 20))
    digests = {
        f"n{i}": [(p, -p if i == wrong and p >= since else p) for p in range(1, 21)]
        for i in range(replicas)
    }
    assert compare(digests, replicas).wrong == (f"n{wrong}",)


def test_without_a_majority_nobody_is_at_fault() -> None:
    two = {"a": [(1, 1), (2, 2)], "b": [(1, 1), (2, 3)]}
    verdict = compare(two, 3)
    assert verdict.wrong == ()
    assert verdict.torn == (2,)
    assert compare({**two, "c": [(1, 1)]}, 3).wrong == ()
    assert compare({**two, "c": [(2, 2)]}, 3).wrong == ("b",)
    three = {"a": [(1, 1)], "b": [(1, 2)], "c": [(1, 3)]}
    assert compare(three, 3).torn == (1,)


@given(st.lists(st.integers(0, 50), max_size=5), st.integers(1, 5))
def test_a_majority_has_what_may_be_forgotten(positions: list[int], replicas: int) -> None:
    position = majority_position(positions[:replicas], replicas)
    have = sum(each >= position for each in positions[:replicas])
    assert position == 0 or have > replicas // 2


def corrupt(town: Town, name: str, partition: int) -> None:
    replica = town.store(name).replicas[partition]
    replica.digest = "wrong"


@pytest.mark.parametrize("who", ["owner", "follower"])
def test_a_replica_that_differs_is_made_anew(who: str) -> None:
    async def test(town: Town) -> None:
        n = 0
        (owner,) = town.servers(n)
        name = owner if who == "owner" else next(each for each in "abc" if each != owner)
        town.append_all()
        corrupt(town, name, n)
        await town.world.sleep(1.0)
        town.append_all()
        await town.world.eventually(lambda: town.told(name, "rebuilt"), "it is made anew")
        await town.served()
        digests = {replica.digest for each in "abc" for replica in [town.store(each).replicas[n]]}
        await town.world.eventually(
            lambda: len({town.store(each).replicas[n].digest for each in "abc"}) == 1,
            f"they are equal again: {digests}",
        )
        alarms = [e for each in "abc" for e in town.told(each, "replicas differ")]
        assert alarms
        assert all(e.level == "alarm" for e in alarms)
        for other in "abc":
            assert bool(town.told(other, "rebuilding")) == (other == name)

    in_town(test)


def test_two_that_differ_only_raise_an_alarm() -> None:
    async def test(town: Town) -> None:
        (owner,) = town.servers(0)
        away, other = (each for each in "abc" if each != owner)
        town.hosts[away].crash()
        await town.served()
        town.append_all()
        corrupt(town, other, 0)
        await town.world.sleep(1.0)
        town.append_all()
        (owner,) = town.servers(0)
        await town.world.eventually(lambda: town.told(owner, "replicas differ"), "an alarm")
        await town.world.sleep(30.0)
        assert len(town.told(owner, "replicas differ")) == 1, "once"
        assert not any(town.told(each, "rebuilding") for each in (owner, other))

    in_town(test)


def test_an_owner_lets_its_journal_forget_what_a_majority_has() -> None:
    async def test(town: Town) -> None:
        (owner,) = town.servers(0)
        slow = next(each for each in "abc" if each != owner)
        store = town.store(slow)
        store._pumping.add(0)  # it applies nothing more
        stuck = store.replicas[0].position
        town.append_all()
        await town.world.eventually(
            lambda: town.store(owner).allowed.get(0, 0) > stuck, "two of three are enough"
        )
        assert town.store(owner).allowed[0] <= len(town.journals.entries[0])

    in_town(test)


# -- snapshots -----------------------------------------------------------------------------------


def test_a_snapshot_comes_in_pieces_and_is_checked() -> None:
    async def test(town: Town) -> None:
        fetch = town.store("a").fetch
        assert fetch is not None
        big(town)
        path, info = await fetch(0)
        assert path.stat().st_size == info.size_bytes
        assert info.size_bytes > 10 * 1024
        await town.world.eventually(lambda: not list(town.folder.glob("?/sending/*")), "closed")

    in_town(test, chunk_bytes=1024)


def big(town: Town) -> None:
    for name in "abc":
        replica = town.store(name).replicas[0]
        replica.owner = "o" * 20_000


def test_a_snapshot_that_comes_damaged_is_not_used() -> None:
    async def test(town: Town) -> None:
        fetch = town.store("a").fetch
        assert fetch is not None
        for name in "bc":
            store = town.store(name)
            whole = store.snapshot

            def damaged(partition: int, dest: object, whole: object = whole) -> object:
                info = whole(partition, dest)  # type: ignore[operator]
                dest.write_bytes(b"x" * info.size_bytes)  # type: ignore[attr-defined]
                return info

            store.snapshot = damaged  # type: ignore[method-assign,assignment]
        with pytest.raises(StoreError, match="sha256"):
            await fetch(0)
        del town.store("b").snapshot
        await fetch(0)

    in_town(test)


def test_a_snapshot_is_got_from_another_when_its_node_dies() -> None:
    async def test(town: Town) -> None:
        fetch = town.store("a").fetch
        assert fetch is not None
        big(town)
        fetching = town.hosts["a"].spawn(fetch(0))  # type: ignore[arg-type]
        sending = lambda: [p.parent.parent.name for p in town.folder.glob("?/sending/*")]  # noqa: E731
        await town.world.eventually(sending, "it is being sent")
        (sender,) = sending()
        town.hosts[sender].power_off()
        _, info = await fetching
        assert info.partition == 0

    in_town(test, chunk_bytes=1024)


def test_a_node_sends_only_so_many_at_a_time() -> None:
    async def test(town: Town) -> None:
        from palaver.actors.cluster import TooManyTransfers
        from palaver.actors.cluster.names import SNAPSHOT_SERVER
        from palaver.actors.cluster.snapshots import OpenSnapshot, ReadChunk
        from palaver.actors.simulation import Probe

        node = town.nodes["a"]
        probe = Probe(node)
        opened = [await probe.call(SNAPSHOT_SERVER, OpenSnapshot(n, probe.pid)) for n in (0, 1)]
        with pytest.raises(TooManyTransfers):
            await probe.call(SNAPSHOT_SERVER, OpenSnapshot(2, probe.pid))
        assert await probe.call(SNAPSHOT_SERVER, ReadChunk(opened[0].transfer, 0))
        # What nobody reads any more is given up.
        await town.world.sleep(200.0)
        assert await probe.call(SNAPSHOT_SERVER, OpenSnapshot(2, probe.pid))

    in_town(test)


def test_a_snapshot_that_was_taken_in_is_removed_after_a_while() -> None:
    async def test(town: Town) -> None:
        town.append_all()
        town.journals.first = [2] * 4
        before = await town.nodes["a"].call(SNAPSHOTS, FetchSnapshot(1), timeout_s=60.0)
        path = before[0]
        assert path.exists()
        await town.world.sleep(5.0)
        again = await town.nodes["a"].call(SNAPSHOTS, FetchSnapshot(1), timeout_s=60.0)
        assert again[0] == path
        await town.world.sleep(8.0)
        assert path.exists(), "the later one is not old yet"
        await town.world.sleep(20.0)
        assert not path.exists()

    in_town(test, transfer_idle_s=10.0)


def test_a_snapshot_that_takes_long_to_make_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    in_thread = Bridges.in_thread

    def slowly(bridges: Bridges, work: Any) -> Any:
        async def snapshot() -> Any:
            await asyncio.sleep(300.0)
            return work()

        is_snapshot = getattr(work.func, "__func__", None) is FakeStore.snapshot
        return snapshot() if is_snapshot else in_thread(bridges, work)

    async def test(town: Town) -> None:
        town.append_all()
        monkeypatch.setattr(Bridges, "in_thread", slowly)
        path, _ = await town.nodes["a"].call(SNAPSHOTS, FetchSnapshot(1), timeout_s=None)
        assert path.exists()

    in_town(test)
