"""Replicas over a journal that nothing is wrong with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engines import Lmdb, PlainCodec, Simulated
from journal_kit import MemoryJournal
from storage_kit import append, problems, run, say, talk

from palaver.storage import LogPort, Outcome
from palaver.storage.replicated import JournalMachine, NotOwner, ReplicatedStore


@pytest.fixture(params=["lmdb", "simulated"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return Lmdb(tmp_path) if request.param == "lmdb" else Simulated()


def make(engine: Any, journals: list[MemoryJournal], name: str, **more: Any) -> ReplicatedStore:
    store = engine.open(lambda n: JournalMachine(talk(n)), name=name, partitions=len(journals))
    return ReplicatedStore(store, journals.__getitem__, PlainCodec(), node_name=name, **more)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_replicas_become_equal(engine: Any) -> None:
    async def story() -> None:
        journals = [MemoryJournal()]
        stores = [make(engine, journals, name) for name in ("a", "b", "c")]
        for store in stores:
            store.follow(0)
        owner: LogPort = stores[0]
        with pytest.raises(NotOwner):
            owner.append(0, [say(1)])
        await stores[0].lead(0, 1)
        results = await asyncio.gather(*[append(stores[0], [say(n)]) for n in range(200)])
        assert [r[0] for r in results] == [
            Outcome(n + 1, (("said", b"c", n + 1),)) for n in range(200)
        ]
        assert len(journals[0].entries) < 20
        last = journals[0].last
        await until(lambda: all(s.state(0).position == last for s in stores))
        assert len({s.digest(0) for s in stores}) == len({s.content_digest(0) for s in stores}) == 1
        await stores[1].lead(0, 2)
        with pytest.raises(NotOwner, match="b leads it in epoch 2"):
            await until(lambda: stores[0].append(0, [say(1)]))
        await append(stores[1], [say(500)])
        for store in stores:
            assert problems(store.store) == []
            await store.close()

    run(story)
