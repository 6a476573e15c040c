"""Files on several nodes: kept twice, found everywhere, exact, whatever node goes when."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.actors.chat.media_peers import MEDIA_PEERS, DistributedPeers, MediaPeers
from palaver.actors.chat.media_shared import HOMES, WINDOW, PeerFailed, SharedBlobs, homes
from palaver.actors.distribution.links import LinkCarrier
from palaver.actors.runtime import Node
from palaver.storage.blob_local import blob_path
from palaver.storage.blobs import CHUNK_BYTES, BlobError, BlobStore

LARGE = random.Random(1).randbytes(5 * CHUNK_BYTES + 11)
IDS = st.binary(min_size=32, max_size=32)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


# -- homes -------------------------------------------------------------------------------------


@given(IDS, st.sets(st.text(min_size=1), min_size=3, max_size=9), st.randoms())
def test_homes_are_the_same_for_all_and_move_only_with_a_home(
    file_id: bytes, nodes: set[str], chance: random.Random
) -> None:
    shuffled = sorted(nodes)
    chance.shuffle(shuffled)
    ranked = homes(file_id, shuffled)
    assert ranked == homes(file_id, nodes)
    gone = chance.choice(shuffled)
    # Who goes takes nothing but its own place.
    assert homes(file_id, nodes - {gone}) == [each for each in ranked if each != gone]


def test_homes_are_spread_over_the_nodes() -> None:
    nodes = ["a@x", "b@x", "c@x", "d@x"]
    count = dict.fromkeys(nodes, 0)
    for number in range(2000):
        for node in homes(sha(b"%d" % number), nodes)[:HOMES]:
            count[node] += 1
    assert all(850 < each < 1150 for each in count.values())


# -- nodes in one process, with faults between them --------------------------------------------


class Town:
    """Nodes with a folder each; what they ask of each other is called directly."""

    def __init__(self, root: Path, names: Sequence[str] = ("a", "b", "c", "d")) -> None:
        self.root = root
        self.up = dict.fromkeys(names, True)
        self.fault: Callable[[str, str], None] = lambda _verb, _node: None
        self.wrong: set[str] = set()  # nodes whose chunks are garbage
        self.fetched: list[tuple[str, int]] = []
        self.under_way = self.most_under_way = 0
        self.nodes = {
            name: SharedBlobs(
                BlobStore.open(root / name / "blobs"),
                root / name / "copies",
                Direct(self, name),
                name,
            )
            for name in names
        }

    async def open(self) -> Town:
        for node in self.nodes.values():
            await node.open()
        return self

    def reach(self, verb: str, me: str, node: str) -> SharedBlobs:
        self.fault(verb, node)
        if not (self.up[node] and self.up[me]):
            raise PeerFailed(f"{node} is down")
        return self.nodes[node]

    async def upload(self, name: str, content: bytes) -> bytes:
        path = self.root / f"upload.{random.getrandbits(64)}"
        path.write_bytes(content)
        try:
            await self.nodes[name].put_file(path, sha(content))
        finally:
            path.unlink()
        return sha(content)

    async def download(self, name: str, file_id: bytes, size: int) -> bytes:
        found = await self.nodes[name].size(file_id)
        if found is None:
            raise PeerFailed("not found")
        assert found == size
        return b"".join([each async for each in self.nodes[name].open_range(file_id, 0, size)])

    async def holders(self, file_id: bytes) -> set[str]:
        return {name for name, node in self.nodes.items() if await node.local.size(file_id)}

    async def away(self, file_id: bytes) -> str:
        """A node that does not have it."""
        holders = await self.holders(file_id)
        return next(each for each in self.nodes if each not in holders)


class Direct:
    """The peers of one node of a town."""

    def __init__(self, town: Town, me: str) -> None:
        self.town = town
        self.me = me

    def nodes(self) -> list[str]:
        return [each for each, up in self.town.up.items() if up and each != self.me]

    def is_alone(self) -> bool:
        return len(self.town.up) == 1

    async def size(self, node: str, file_id: bytes) -> int | None:
        return await self.town.reach("size", self.me, node).local.size(file_id)

    async def fetch(self, node: str, file_id: bytes, offset: int, length: int) -> bytes:
        town = self.town
        there = town.reach("fetch", self.me, node)
        assert length <= CHUNK_BYTES
        town.fetched.append((node, offset))
        town.under_way += 1
        town.most_under_way = max(town.most_under_way, town.under_way)
        try:
            chunks = [c async for c in there.local.open_range(file_id, offset, offset + length)]
        except BlobError as error:
            raise PeerFailed(str(error)) from error
        finally:
            town.under_way -= 1
        town.reach("fetched", self.me, node)
        return bytes(length) if node in town.wrong else b"".join(chunks)

    async def keep(self, node: str, file_id: bytes) -> None:
        there = self.town.reach("keep", self.me, node)
        try:
            kept = await there.fetch(file_id, first=self.me)
        except BlobError as error:
            raise PeerFailed(str(error)) from error
        self.town.reach("kept", self.me, node)
        if not kept:
            raise PeerFailed("not copied")

    async def lacking(self, node: str, file_ids: Sequence[bytes]) -> list[bytes]:
        there = self.town.reach("lacking", self.me, node)
        return [each for each in file_ids if await there.local.size(each) is None]


def test_an_acknowledged_file_is_on_a_home_besides(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        for number in range(8):
            content = b"%d" % number * 1000
            file_id = await town.upload("a", content)
            ranked = homes(file_id, town.nodes)
            second = next(each for each in ranked if each != "a")
            assert await town.holders(file_id) == {"a", second}

    run(main())


def test_a_file_is_found_from_everywhere_and_kept_where_it_was_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        file_id = await town.upload("a", LARGE)
        for name in town.nodes:
            assert await town.download(name, file_id, len(LARGE)) == LARGE
        assert await town.holders(file_id) == set(town.nodes)
        asked = len(town.fetched)
        for name in town.nodes:
            assert await town.download(name, file_id, len(LARGE)) == LARGE
        assert len(town.fetched) == asked
        assert town.most_under_way <= WINDOW
        assert not list(tmp_path.glob("*/copies/*"))

    run(main())


def test_many_who_ask_at_once_share_one_copy_which_outlives_who_gives_up(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        file_id = await town.upload("a", LARGE)
        away = await town.away(file_id)
        before = len(town.fetched)
        first = asyncio.ensure_future(town.download(away, file_id, len(LARGE)))
        others = [asyncio.ensure_future(town.download(away, file_id, len(LARGE))) for _ in range(5)]
        while len(town.fetched) == before:
            await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == [LARGE] * 5
        assert len(town.fetched) == before + 6  # each chunk once

    run(main())


def test_without_a_second_node_an_upload_is_not_acknowledged(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path, ("a", "b")).open()
        town.up["b"] = False
        with pytest.raises(BlobError, match="no second node"):
            await town.upload("a", LARGE)
        town.up["b"] = True
        file_id = await town.upload("a", LARGE)  # as the client's next HEAD does
        assert await town.holders(file_id) == {"a", "b"}
        alone = await Town(tmp_path / "alone", ("a",)).open()
        assert await alone.holders(await alone.upload("a", LARGE)) == {"a"}

    run(main())


def test_a_copy_goes_on_with_another_node_where_one_broke_off(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        file_id = await town.upload("a", LARGE)
        first, second = sorted(await town.holders(file_id), key=homes(file_id, "abcd").index)
        away = next(each for each in town.nodes if each not in {first, second})
        town.fetched.clear()

        def fault(verb: str, node: str) -> None:
            if verb == "fetched" and node == first and len(town.fetched) >= WINDOW + 1:
                town.up[first] = False

        town.fault = fault
        assert await town.download(away, file_id, len(LARGE)) == LARGE
        again = [offset for node, offset in town.fetched if node == second]
        assert again
        assert min(again) > 0

    run(main())


def test_a_wrong_copy_is_no_file_and_another_node_is_asked(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        file_id = await town.upload("a", LARGE)
        holders = await town.holders(file_id)
        away = next(each for each in town.nodes if each not in holders)
        town.wrong = set(holders)
        with pytest.raises(BlobError):
            await town.download(away, file_id, len(LARGE))
        assert await town.holders(file_id) == holders
        for right in holders:
            town.wrong = holders - {right}
            assert await town.download(away, file_id, len(LARGE)) == LARGE
            (tmp_path / away / "blobs" / blob_path(file_id)).unlink()

    run(main())


def test_a_file_nobody_has_is_none_but_not_while_somebody_is_not_heard(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        assert await town.nodes["a"].size(bytes(32)) is None

        def fault(verb: str, node: str) -> None:
            if node == "c":
                raise PeerFailed("no answer")

        town.fault = fault
        with pytest.raises(BlobError, match="cannot look everywhere"):
            await town.nodes["a"].size(bytes(32))

    run(main())


def test_a_sweep_gives_files_to_homes_that_lack_them_and_then_has_nothing_to_do(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        town.up["b"] = town.up["c"] = False
        files = [await town.upload("a", b"%d" % number) for number in range(12)]
        town.up["b"] = town.up["c"] = True
        made = sum([await node.sweep(0) for node in town.nodes.values()])
        assert made > 0
        for file_id in files:
            assert await town.holders(file_id) >= set(homes(file_id, town.nodes)[:HOMES])
        assert sum([await node.sweep(0) for node in town.nodes.values()]) == 0

    run(main())


def test_closing_waits_for_no_other_node(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        file_id = await town.upload("a", LARGE)
        away = await town.away(file_id)
        never = asyncio.Event()
        begun = 0

        async def stuck(*_: object) -> Any:
            nonlocal begun
            begun += 1
            await never.wait()

        node: Any = town.nodes[away]
        node._peers.keep = node._peers.fetch = stuck
        work = [
            asyncio.ensure_future(town.upload(away, b"another")),
            asyncio.ensure_future(town.download(away, file_id, len(LARGE))),
        ]
        while begun < 1 + WINDOW:
            await asyncio.sleep(0.001)
        await node.close()
        for each in work:
            with pytest.raises(BlobError, match="going down"):
                await each
        with pytest.raises(BlobError, match="going down"):
            await town.upload(away, b"later")

    run(main())


def test_an_unfinished_copy_is_cleared_by_the_next_start(tmp_path: Path) -> None:
    async def main() -> None:
        town = await Town(tmp_path).open()
        file_id = await town.upload("a", LARGE)
        away = await town.away(file_id)
        reached = asyncio.Event()

        def fault(verb: str, node: str) -> None:
            if verb == "fetched":
                reached.set()

        town.fault = fault
        asking = asyncio.ensure_future(town.download(away, file_id, len(LARGE)))
        await reached.wait()
        await town.nodes[away].close()
        await asyncio.gather(asking, return_exceptions=True)
        leftover = tmp_path / away / "copies" / "ab.1.part"
        leftover.write_bytes(b"left by kill -9")
        await town.nodes[away].open()
        assert not list((tmp_path / away / "copies").iterdir())

    run(main())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upload"), st.sampled_from("abcd"), st.integers(0, 5)),
        st.tuples(st.just("download"), st.sampled_from("abcd"), st.integers(0, 5)),
        st.tuples(st.just("flip"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("sweep"), st.sampled_from("abcd"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(STEPS, st.randoms(), st.floats(0.0, 0.4))
def test_an_acknowledged_file_is_reachable_while_one_that_has_it_is_up(
    steps: list[tuple[str, str, int]], chance: random.Random, failing: float
) -> None:
    async def main(root: Path) -> None:
        town = await Town(root).open()
        contents = [random.Random(n).randbytes(n * 120_000 + 1) for n in range(6)]
        acked: set[int] = set()

        def fault(verb: str, node: str) -> None:
            if chance.random() < failing:
                raise PeerFailed(f"{node} did not {verb}")

        for verb, name, number in steps:
            town.fault = fault if verb != "flip" else town.fault
            if verb == "flip":
                town.up[name] = not town.up[name]
            elif not town.up[name]:
                continue
            elif verb == "upload":
                try:
                    await town.upload(name, contents[number])
                    acked.add(number)
                except BlobError:
                    continue
            elif verb == "sweep":
                await town.nodes[name].sweep(0)
            else:
                try:
                    got = await town.download(name, sha(contents[number]), len(contents[number]))
                except (BlobError, PeerFailed):
                    continue
                assert got == contents[number]
        town.fault = lambda _verb, _node: None
        for number in acked:
            file_id = sha(contents[number])
            holders = await town.holders(file_id)
            assert len(holders) >= HOMES
            survivor = chance.choice(sorted(holders))
            reader = chance.choice(sorted(town.nodes))
            town.up = {name: name in (survivor, reader) for name in town.nodes}
            assert await town.download(reader, file_id, len(contents[number])) == contents[number]

    with tempfile.TemporaryDirectory() as folder:
        run(main(Path(folder)))


# -- over the distribution ---------------------------------------------------------------------


class Wires:
    """Connections between nodes of one process: packets are bytes, and arrive in a later turn."""

    def __init__(self) -> None:
        self.carriers: dict[str, LinkCarrier] = {}
        self.joined: set[frozenset[str]] = set()
        self.packets = 0
        self.on_packet: Callable[[], None] = lambda: None

    def add(self, node: Node, creation: int) -> LinkCarrier:
        carrier = self.carriers[node.name] = LinkCarrier(node, creation)
        carrier.open(_Ends(self, node.name))
        for other in self.carriers.values():
            if other is not carrier:
                self.joined.add(frozenset((node.name, other.name)))
                carrier.up(other.name, other.distribution.creation, other.greeting)
                other.up(node.name, creation, carrier.greeting)
        return carrier

    def cut(self, one: str, two: str) -> None:
        pair = frozenset((one, two))
        if pair in self.joined:
            self.joined.discard(pair)
            self.carriers[one].down(two, "cut")
            self.carriers[two].down(one, "cut")

    def isolate(self, name: str) -> None:
        for other in self.carriers:
            if other != name:
                self.cut(name, other)


class _Ends:
    def __init__(self, wires: Wires, name: str) -> None:
        self.wires = wires
        self.name = name

    def send(self, node_name: str, packet: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._arrive, node_name, packet)

    def _arrive(self, node_name: str, packet: bytes) -> None:
        self.wires.packets += 1
        self.wires.on_packet()
        if frozenset((self.name, node_name)) in self.wires.joined:
            self.wires.carriers[node_name].arrived(self.name, packet)

    def disconnect(self, node_name: str) -> None:
        asyncio.get_running_loop().call_soon(self.wires.cut, self.name, node_name)


class Cluster:
    """Real nodes over wires, each with its files and its process `media.peers`."""

    def __init__(self) -> None:
        self.wires = Wires()
        self.blobs: dict[str, SharedBlobs] = {}
        self.nodes: dict[str, Node] = {}


@asynccontextmanager
async def cluster(root: Path, names: Sequence[str] = ("a", "b", "c")) -> AsyncIterator[Cluster]:
    made = Cluster()
    for name in names:
        node = made.nodes[name] = Node(name)
        await node.start()
        distribution = made.wires.add(node, 1).distribution
        store = BlobStore.open(root / name / "blobs")
        peers = DistributedPeers(distribution, lambda: names)
        blobs = made.blobs[name] = SharedBlobs(store, root / name / "copies", peers, name)
        await blobs.open()
        await node.start_server(MediaPeers, blobs, name=MEDIA_PEERS)
    try:
        yield made
    finally:
        for blobs in made.blobs.values():
            await blobs.close()
        for node in made.nodes.values():
            await node.stop()


async def put(blobs: SharedBlobs, root: Path, content: bytes) -> bytes:
    path = root / "upload"
    path.write_bytes(content)
    await blobs.put_file(path, sha(content))
    return sha(content)


async def get(blobs: SharedBlobs, file_id: bytes, size: int) -> bytes:
    assert await blobs.size(file_id) == size
    return b"".join([each async for each in blobs.open_range(file_id, 0, size)])


def test_files_travel_over_the_distribution(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as town:
            file_id = await put(town.blobs["a"], tmp_path, LARGE)
            holders = [n for n, each in town.blobs.items() if await each.local.size(file_id)]
            assert len(holders) == HOMES
            for blobs in town.blobs.values():
                assert await get(blobs, file_id, len(LARGE)) == LARGE
            assert await town.blobs["b"].size(bytes(32)) is None
            assert sum([await each.sweep(0) for each in town.blobs.values()]) == 0

    run(main())


def test_a_node_that_is_lost_at_any_packet_of_an_upload_costs_no_acknowledged_file(
    tmp_path: Path,
) -> None:
    async def main(root: Path, at_packet: int) -> bool:
        async with cluster(root) as town:
            ranked = homes(sha(LARGE), town.nodes)
            taker, second, third = ranked[2], ranked[0], ranked[1]

            def on_packet() -> None:
                if town.wires.packets == at_packet:
                    town.wires.isolate(second)

            town.wires.on_packet = on_packet
            file_id = await put(town.blobs[taker], root, LARGE)
            # Acknowledged: whoever took it may be lost now, and the other one has it.
            lost = not town.wires.joined >= {frozenset((taker, second))}
            town.wires.isolate(taker)
            if lost:
                assert await get(town.blobs[third], file_id, len(LARGE)) == LARGE
            else:
                assert await get(town.blobs[second], file_id, len(LARGE)) == LARGE
            return lost

    for at_packet in (1, 2, 3, 5, 8, 12, 1000):
        folder = tmp_path / str(at_packet)
        folder.mkdir()
        outcome: list[bool] = []

        async def once(folder: Path = folder, at: int = at_packet, into: Any = outcome) -> None:
            into.append(await main(folder, at))

        run(once())
        assert outcome == [at_packet < 1000]


def test_what_another_node_says_wrongly_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path, ("a", "b")) as town:
            there = town.wires.carriers["a"].distribution.at("b", MEDIA_PEERS)
            for wrong in (
                None,
                ("size", b"short"),
                ("fetch", bytes(32), -1, 5),
                ("fetch", bytes(32), 0, CHUNK_BYTES + 1),
                ("lacking", [bytes(32)] * 501),
                ("lacking", ["x"]),
                ("keep", bytes(32), 7),
                ("erase", bytes(32)),
            ):
                done, reason = await town.nodes["a"].call(there, wrong)
                assert (done, reason) == (False, "not understood")
            done, reason = await town.nodes["a"].call(there, ("fetch", bytes(32), 0, 5))
            assert not done
            assert "there is no blob" in reason
            assert await town.blobs["a"].size(bytes(32)) is None

    run(main())


def test_a_file_that_was_uploaded_at_one_node_comes_down_from_another(
    tmp_path: Path, kit: ModuleType
) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as town:
            ledger = kit.Ledger()
            worlds = {}
            for name, blobs in town.blobs.items():
                world = worlds[name] = kit.World(tmp_path / name)
                world.shared, world.ledger = blobs, ledger
                await world.start()
            try:
                name = await worlds["a"].upload(LARGE)
                for world in worlds.values():
                    answer = await world.get(name)
                    assert (answer.status, answer.body) == (200, LARGE)
                    part = await world.get(name, Range="bytes=1000-1999")
                    assert (part.status, part.body) == (206, LARGE[1000:2000])
            finally:
                for world in worlds.values():
                    await world.stop()

    run(main())
