"""Replicas on real tables over real servers, one of which is killed while an owner is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import Lmdb, PlainCodec
from nats_kit import Servers, Town
from storage_kit import append, bodies, problems, run, say, talk

from palaver.storage import Outcome, StoreUnavailable
from palaver.storage.replicated import JournalMachine, ReplicatedStore
from palaver.supervisors.trees.nats_binary import NatsServerMissing, find_nats_server

pytestmark = pytest.mark.peer

COUNT = 200


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Servers]:
    try:
        find_nats_server()
    except NatsServerMissing as error:
        pytest.skip(str(error))
    with Servers(tmp_path / "servers", 3) as servers:
        yield servers


async def say_all(stores: dict[str, ReplicatedStore], first: int, heard: set[int]) -> None:
    """Say so many things, each again and again under its id until an owner has answered."""

    async def one(number: int) -> None:
        while True:
            for store in stores.values():
                try:
                    (result,) = await append(store, [say(number, body=b"%d" % number)])
                except StoreUnavailable:
                    continue
                if isinstance(result, Outcome):
                    heard.add(number)
                    return
            await asyncio.sleep(0.01)

    await asyncio.gather(*[one(number) for number in range(first, first + COUNT)])


async def lead(store: ReplicatedStore, epoch: int) -> None:
    while True:
        try:
            return await store.lead(0, epoch)
        except StoreUnavailable:
            epoch += 1


def test_replicas_over_three_servers(three: Servers, tmp_path: Path) -> None:
    async def story() -> None:
        engine = Lmdb(tmp_path)
        async with Town(three, "replicas", 3) as town:
            stores: dict[str, Any] = {}
            for name in ("a", "b", "c"):
                journal = await town.journal(name, 0)
                local = engine.open(lambda n: JournalMachine(talk(n)), name=name)
                store = stores[name] = ReplicatedStore(
                    local, lambda _, journal=journal: journal, PlainCodec(), node_name=name
                )
                store.follow(0)
            heard: set[int] = set()
            await lead(stores["a"], 1)
            await say_all(stores, 0, heard)
            talking = asyncio.ensure_future(say_all(stores, COUNT, heard))
            three.kill(0)
            await lead(stores["b"], 10)
            await talking
            three.start(0)
            await lead(stores["c"], 100)
            await say_all(stores, 2 * COUNT, heard)
            stores["c"].step_down(0)
            while len({(s.state(0).position, s.digest(0)) for s in stores.values()}) > 1:
                await asyncio.sleep(0.01)
            for store in stores.values():
                said = bodies(store.store)
                assert len(said) == len(set(said)) == len(heard) == 3 * COUNT
                assert problems(store.store) == []
            for store in stores.values():
                await store.close()

    run(story)
