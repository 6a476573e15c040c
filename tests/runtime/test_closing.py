"""A process that awaits in a `finally` when it is ended is over once, and nothing else breaks."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import Server, Trapper, World, inside, run

from palaver.actors.runtime import (
    KILL,
    KILLED,
    AwaitedAtEnd,
    CallFailed,
    Crash,
    Exit,
    Pid,
    ProcessContext,
)

Step = Callable[[ProcessContext, Pid], Coroutine[Any, Any, Any]]


async def passes_by(ctx: ProcessContext, server: Pid) -> None:
    ctx.send(ctx.pid, "to myself")


async def asks(ctx: ProcessContext, server: Pid) -> None:
    await ctx.call(server, lambda s, _: s.sleep(1), timeout_s=None)


async def counts(ctx: ProcessContext, server: Pid) -> AsyncIterator[int]:
    try:
        yield 1
        await ctx.sleep(50)
    finally:
        await ctx.bridge(asyncio.sleep(0))


async def iterates(ctx: ProcessContext, server: Pid) -> None:
    async for _ in counts(ctx, server):
        pass


async def starts(ctx: ProcessContext, server: Pid) -> None:
    await ctx.start_link(Server, lambda s: s.sleep(1))


STEPS: dict[str, Step] = {
    "bridge": lambda ctx, _: ctx.bridge(asyncio.sleep(0)),
    "sleep": lambda ctx, _: ctx.sleep(5),
    "yield": lambda ctx, _: ctx.sleep(0),
    "receive": lambda ctx, _: ctx.receive(),
    "receive in time": lambda ctx, _: ctx.receive(lambda m: m == "never", timeout_s=3),
    "call": asks,
    "call at once": lambda ctx, server: ctx.call(server, "a"),
    "join": lambda ctx, server: ctx.join([server], timeout_s=2),
    "iterate": iterates,
    "start": starts,
    "send": passes_by,
}


async def nested(ctx: ProcessContext, server: Pid, steps: list[str], begun: list[bool]) -> None:
    """Await the last step, in a `finally` the one before it, and so on."""
    try:
        if steps[1:]:
            await nested(ctx, server, steps[1:], begun)
        else:
            begun.append(True)
            await ctx.bridge(asyncio.Event().wait())
    finally:
        await STEPS[steps[0]](ctx, server)


class Handler(Server):
    """Runs the same in a handler."""

    async def handle_cast(self, message: Any) -> None:
        await nested(self, *message)


@given(
    steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=5),
    how=st.sampled_from(["kill", "exit"]),
    in_server=st.booleans(),
    waiting=st.integers(0, 2),
)
@settings(max_examples=150, deadline=None)
def test_a_process_that_awaits_when_it_is_ended_is_over_once(
    steps: list[str], how: str, in_server: bool, waiting: int
) -> None:
    async def test(w: World) -> None:
        ends: list[Any] = []
        begun: list[bool] = []
        server = await w.node.start_server(Server)
        trapper = await w.node.start_server(Trapper, ends)
        if in_server:
            pid = await w.node.start_server(Handler, name="it")
            w.node.cast(pid, (server, steps, begun))
        else:
            pid = w.node.spawn(nested, server, steps, begun, name="it")
        await w.node.call(trapper, lambda s, _: s.link(pid))
        ref = await w.node.call(trapper, lambda s, _: s.monitor(pid))
        await w.settle()
        assert begun == [True]
        calls = [asyncio.ensure_future(w.node.call(pid, n)) for n in range(waiting)]
        await w.settle()

        w.node.exit(pid, KILL if how == "kill" else "enough")
        await w.settle()
        await w.advance(100)

        reason = KILLED if how == "kill" else "enough"
        assert not w.node.is_alive(pid)
        assert w.node.whereis("it") is None
        log = await w.node.call(trapper, "log")
        assert [type(message).__name__ for message in log] == ["Exit", "Down"]
        assert isinstance(log[0], Exit)
        assert (log[0].reason, log[1].reason, log[1].ref) == (reason, reason, ref)
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, CallFailed)
        # Reported once, if it awaited anything, and never as anything else.
        reports = [report.reason for report in w.observer.crashes if report.pid == pid]
        refusals = [
            reason
            for reason in reports
            if isinstance(reason, Crash) and isinstance(reason.exception, AwaitedAtEnd)
        ]
        assert reports == refusals
        assert len(refusals) <= 1
        # A `receive` may find what it wants at once.
        assert refusals or not set(steps) - {"send", "receive"}
        assert all("terminate" in str(reason) for reason in refusals)
        assert await w.node.call(server, "still there") == ("echo", "still there")
        stats = w.node.stats()
        assert stats.processes == stats.spawned_total - stats.exited_total
        assert stats.run_queue == 0

    run(test)


def test_what_is_said_names_the_process_and_the_line() -> None:
    async def worker(ctx: ProcessContext) -> None:
        try:
            await ctx.bridge(asyncio.sleep(10))
        finally:
            await ctx.bridge(asyncio.sleep(0))

    async def test(w: World) -> None:
        pid = w.node.spawn(worker)
        await w.settle()
        w.node.exit(pid, KILL)
        await w.settle()
        [report] = w.observer.crashes
        assert isinstance(report.reason, Crash)
        said = str(report.reason.exception)
        assert "worker" in said
        assert f"{__file__}:" in said

    run(test)


def test_what_fails_behind_the_await_is_reported_too() -> None:
    async def worker(ctx: ProcessContext) -> None:
        try:
            await ctx.receive()
        finally:
            try:
                await ctx.sleep(1)
            finally:
                raise ValueError("it broke")

    async def test(w: World) -> None:
        pid = w.node.spawn(worker)
        await w.settle()
        w.node.exit(pid, KILL)
        assert await w.node.wait(pid) is KILLED
        kinds = [type(report.reason.exception) for report in w.observer.crashes]
        assert sorted(kind.__name__ for kind in kinds) == ["AwaitedAtEnd", "ValueError"]

    run(test)


def test_one_that_will_not_end_is_over_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Any] = []

    async def worker(ctx: ProcessContext, server: Pid) -> None:
        while True:
            try:
                await ctx.call(server, lambda s, _: s.sleep(1), timeout_s=None)
            except BaseException:
                continue

    async def test(w: World) -> None:
        monkeypatch.setattr(sys, "unraisablehook", left.append)
        server = await w.node.start_server(Server)
        pid = w.node.spawn(worker, server)
        await w.settle()
        w.node.exit(pid, KILL)
        assert await w.node.wait(pid) is KILLED
        await w.advance(1000)
        gc.collect()
        await w.advance(1000)  # the answer to what it asked when Python freed it
        assert [type(report.reason.exception) for report in w.observer.crashes] == [AwaitedAtEnd]
        assert await inside(w, lambda ctx: ctx.call(server, 1)) == ("echo", 1)

    run(test)
    assert left  # Python has said so as well
