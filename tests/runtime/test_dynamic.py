"""Dynamic supervisors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from runtime_kit import Server, World, inside, run, stop_with

from palaver.actors.runtime import (
    KILL,
    NORMAL,
    SHUTDOWN,
    GenServer,
    Ignore,
    ProcessContext,
    Response,
    StartError,
    Stop,
)
from palaver.supervisors import (
    ChildNotFound,
    ChildSpec,
    CountChildren,
    DynamicSupervisor,
    MaxChildren,
    RestartChild,
    StartChild,
    TerminateChild,
    WhichChildren,
)


class Small(GenServer):
    __slots__ = ()

    def init(self) -> None:
        pass

    def handle_cast(self, message: Any) -> Any:
        return Stop(message)


def test_children_come_and_go() -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(DynamicSupervisor, max_children=2)
        spec = ChildSpec("any", Server, restart="temporary")
        first = await w.node.call(sup, StartChild(spec))
        second = await w.node.call(sup, StartChild(spec))
        with pytest.raises(MaxChildren):
            await w.node.call(sup, StartChild(spec))
        infos = await w.node.call(sup, WhichChildren())
        assert [(info.id, info.pid) for info in infos] == [("any", first), ("any", second)]
        await w.node.call(sup, TerminateChild(first))
        assert not w.node.is_alive(first)
        with pytest.raises(ChildNotFound):
            await w.node.call(sup, TerminateChild(first))
        await w.node.call(sup, TerminateChild("any"))
        assert not w.node.is_alive(second)
        with pytest.raises(ChildNotFound):
            await w.node.call(sup, TerminateChild("any"))
        assert (await w.node.call(sup, CountChildren())).specs == 0
        with pytest.raises(TypeError):
            await w.node.call(sup, RestartChild("any"))

    run(test)


def test_a_child_that_does_not_start_is_an_answer() -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(DynamicSupervisor)

        async def ask(on_init: Any, **options: Any) -> Any:
            return await w.node.call(sup, StartChild(ChildSpec(1, Server, (on_init,), **options)))

        with pytest.raises(StartError):
            await ask(stop_with("no"))
        assert await ask(lambda s: Ignore()) is None
        with pytest.raises(TypeError):
            await ask(None, restart="transient", significant=True)
        assert (await w.node.call(sup, CountChildren())).specs == 0

    run(test)


def test_children_are_restarted_one_for_one() -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(DynamicSupervisor, intensity=2)
        permanent = await w.node.call(sup, StartChild(ChildSpec("p", Server)))
        transient = await w.node.call(sup, StartChild(ChildSpec("t", Server, restart="transient")))
        w.node.exit(permanent, KILL)
        w.node.cast(transient, stop_with(NORMAL))
        await w.settle()
        infos = await w.node.call(sup, WhichChildren())
        assert [info.id for info in infos] == ["p"]
        assert infos[0].pid is not permanent
        assert w.node.stats().restarts_total == 1

    run(test)


def test_failing_restarts_are_tried_again_until_it_gives_up() -> None:
    async def test(w: World) -> None:
        plan: list[Any] = [None, Stop("no"), Stop("no"), None, Stop("no"), Stop("no"), Stop("no")]
        sup = await w.node.start_server(DynamicSupervisor, intensity=3, period_s=5)
        other = await w.node.call(sup, StartChild(ChildSpec("other", Server)))
        child = await w.node.call(
            sup, StartChild(ChildSpec("c", Server, (lambda s: plan.pop(0),), name="c"))
        )
        w.node.exit(child, KILL)
        await w.settle()
        assert w.node.whereis("c") is not None
        await w.advance(10)
        again = w.node.whereis("c")
        assert again is not None
        w.node.exit(again, KILL)
        await w.settle()
        assert not w.node.is_alive(sup)
        assert not w.node.is_alive(other)
        assert [entry[0] for entry in w.observer.gave_up] == [sup]

    run(test)


def test_children_stop_together_and_late_ones_are_killed() -> None:
    async def test(w: World) -> None:
        class Slow(GenServer):
            def init(self) -> None:
                self.trap_exit = True

            async def terminate(self, reason: Any) -> None:
                await self.sleep(4)

        sup = await w.node.start_server(DynamicSupervisor)
        for shutdown_s in (5, 5, 1, 0, None):
            spec = ChildSpec("x", Slow, shutdown_s=shutdown_s)
            await w.node.call(sup, StartChild(spec))
        w.node.exit(sup, SHUTDOWN)
        await w.advance(0)
        assert w.node.stats().processes == 5
        await w.advance(1)
        assert w.node.stats().processes == 4
        await w.advance(3)
        assert w.node.stats().processes == 0

    run(test)


def test_starting_needs_no_parking_with_send_request() -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(DynamicSupervisor)

        async def asker(ctx: ProcessContext) -> None:
            refs = [ctx.send_request(sup, StartChild(ChildSpec(n, Small))) for n in range(10)]
            for ref in refs:
                answer = await ctx.receive()
                assert isinstance(answer, Response)
                assert answer.ref is ref
                assert ctx.node.is_alive(answer.result())

        await inside(w, asker)

    run(test)


def test_a_hundred_thousand_children() -> None:
    """The work per child does not grow with their number: counted, not timed.

    A child costs four: a request and its answer, an `init` and its answer.
    """

    async def test(w: World) -> None:
        sup = await w.node.start_server(DynamicSupervisor)
        spec = ChildSpec("x", Small, restart="temporary")
        pids: list[Any] = []

        async def fill(ctx: ProcessContext) -> None:
            for _ in range(100_000):
                pids.append(await ctx.call(sup, StartChild(spec), timeout_s=None))

        async def empty(ctx: ProcessContext) -> None:
            for pid in pids[:500]:
                await ctx.call(sup, TerminateChild(pid), timeout_s=None)
            for pid in pids[500:1000]:
                ctx.cast(pid, "odd")

        before = w.node.stats().messages_total
        await inside(w, fill)
        assert w.node.stats().processes == 100_001
        assert w.node.stats().messages_total - before <= 4 * 100_000 + 10
        await inside(w, empty)
        assert (await w.node.call(sup, CountChildren())).active == 99_000
        stopping = asyncio.ensure_future(w.node.wait(sup))
        await asyncio.sleep(0)
        w.node.exit(sup, SHUTDOWN)
        assert await stopping is SHUTDOWN
        assert w.node.stats().processes == 0

    run(test)
