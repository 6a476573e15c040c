"""The ways out of a process, as an embedder meets them: other asyncio code, and threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from embedding_kit import nothing_left

from palaver.actors.embedding import NodeThread
from palaver.actors.runtime import KILL, Crash, Node, NullObserver, ProcessContext


def quiet(**options: Any) -> NodeThread:
    return NodeThread(Node(observer=NullObserver(), **options))


def outcome(node: NodeThread, fn: Any) -> Any:
    """What `fn(ctx)` returns in a process of the node."""
    got: list[Any] = []

    async def body(ctx: ProcessContext) -> None:
        got.append(await fn(ctx))

    node.wait(node.spawn(body))
    [value] = got
    return value


def test_blocking_work_runs_in_a_thread_of_the_node_and_comes_back() -> None:
    async def work(ctx: ProcessContext) -> Any:
        with pytest.raises(KeyError, match="mine"):
            await ctx.run_blocking({}.__getitem__, "mine")
        return await ctx.run_blocking(threading.current_thread)

    with nothing_left(), quiet() as node:
        assert outcome(node, work).name.startswith("palaver-node")


def test_a_killed_process_leaves_its_blocking_work_to_end_by_itself() -> None:
    begun, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        let_go.wait()
        ended.set()

    async def body(ctx: ProcessContext) -> None:
        await ctx.run_blocking(work)

    with nothing_left(), quiet() as node:
        pid = node.spawn(body)
        begun.wait()
        node.exit(pid, KILL)
        node.apply(lambda _: None)
        assert not node.is_alive(pid)
        let_go.set()
        ended.wait()


def test_work_that_has_not_begun_is_not_begun_for_a_killed_process() -> None:
    begun, let_go = threading.Event(), threading.Event()
    done: list[str] = []

    async def first(ctx: ProcessContext) -> None:
        await ctx.run_blocking(lambda: (begun.set(), let_go.wait()))

    async def second(ctx: ProcessContext) -> None:
        await ctx.run_blocking(done.append, "second")

    with nothing_left(), quiet(max_threads=1) as node:
        node.spawn(first)
        begun.wait()
        waiting = node.spawn(second)
        node.apply(lambda _: None)
        node.exit(waiting, KILL)
        for _ in range(2):  # the loop has had a turn after that in which the signal was handled
            node.apply(lambda _: None)
        let_go.set()
    assert done == []


def test_a_killed_process_cancels_what_it_awaits() -> None:
    cancelled, begun = threading.Event(), threading.Event()

    async def foreign() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def body(ctx: ProcessContext) -> None:
        await ctx.bridge(foreign())

    with nothing_left(), quiet() as node:
        pid = node.spawn(body)
        begun.wait()
        node.exit(pid, KILL)
        cancelled.wait()


def test_a_cancelled_future_is_an_error_in_the_process_that_awaits_it() -> None:
    async def body(ctx: ProcessContext) -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        try:
            await ctx.bridge(future)
        except asyncio.CancelledError:
            return "cancelled"

    with nothing_left(), quiet() as node:
        assert outcome(node, body) == "cancelled"


def test_the_timeout_of_asyncio_works_within_a_bridge() -> None:
    async def foreign() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timeout"
        return "never"

    with nothing_left(), quiet() as node:
        assert outcome(node, lambda ctx: ctx.bridge(foreign())) == "timeout"


def test_what_a_bridge_raises_is_the_reason_of_the_process() -> None:
    async def foreign() -> None:
        raise KeyError("foreign")

    async def body(ctx: ProcessContext) -> None:
        await ctx.bridge(foreign())

    async def main() -> Any:
        async with Node(observer=NullObserver()) as node:
            return await node.wait(node.spawn(body))

    reason = asyncio.run(main())
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, KeyError)
