"""The rate limiter of the examples, in a time that is turned by hand."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from runtime_kit import World, run

from palaver.actors.runtime import KILL


def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "rate_limiter.py"
    spec = importlib.util.spec_from_file_location("rate_limiter", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LIMITER = example()


def test_tokens_come_back_at_the_rate() -> None:
    async def test(w: World) -> None:
        limiter = LIMITER.RateLimiter("limits", rate_per_s=2, burst=3, idle_s=100)
        await limiter.start(w.node)
        assert [await limiter.take("ann") for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]
        assert await limiter.take("bob") == 0
        await w.advance(0.5)
        assert [await limiter.take("ann") for _ in range(2)] == [0, pytest.approx(0.5)]
        await w.advance(60)
        assert [await limiter.take("ann") for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]

    run(test)


def test_buckets_end_when_they_are_idle_and_full() -> None:
    async def test(w: World) -> None:
        limiter = LIMITER.RateLimiter("limits", rate_per_s=0.1, burst=3, idle_s=1)
        await limiter.start(w.node)
        await limiter.take("ann")
        await w.advance(29)
        assert limiter.buckets.count() == 1
        await limiter.take("ann")
        await w.advance(29)
        assert limiter.buckets.count() == 1
        await w.advance(1)
        assert limiter.buckets.count() == 0
        assert await limiter.take("ann") == 0

    run(test)


def test_many_who_ask_at_once_share_one_bucket() -> None:
    async def test(w: World) -> None:
        limiter = LIMITER.RateLimiter("limits", rate_per_s=1, burst=3, idle_s=1, max_keys=1)
        await limiter.start(w.node)
        waits_s = await asyncio.gather(*(limiter.take("ann") for _ in range(10)))
        assert waits_s.count(0) == 3
        assert limiter.buckets.count() == 1
        # The limit of keys refuses others until one is forgotten.
        assert await limiter.take("bob") > 0
        await w.advance(3)
        assert await limiter.take("bob") == 0

    run(test)


def test_a_registry_that_ends_takes_the_buckets_along() -> None:
    async def test(w: World) -> None:
        limiter = LIMITER.RateLimiter("limits", rate_per_s=1, burst=1, idle_s=1)
        await limiter.start(w.node)
        await limiter.take("ann")
        w.node.exit(limiter.buckets.pid, KILL)
        await w.settle()
        assert limiter.buckets.count() == 0
        assert await limiter.take("ann") == 0
        assert limiter.buckets.count() == 1

    run(test)
