"""Handlers that are coroutines: parking, the outside world, and what ends them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from runtime_kit import Server, Trapper, World, boom, inside, run

from palaver.actors.runtime import (
    KILL,
    KILLED,
    NORMAL,
    SHUTDOWN,
    BadReturn,
    Continue,
    Crash,
    ForeignAwait,
    From,
    GenServer,
    Ignore,
    ProcessContext,
    StartError,
    StartIgnored,
    Stop,
)


async def kill_self(s: Server) -> None:
    s.exit(s.pid, KILL)
    await s.sleep(0)


class Sleeper(Server):
    """Sleeps as long as it is told, and says what became of that."""

    async def handle_cast(self, message: Any) -> Any:
        try:
            if callable(message):
                return await message(self)
            await self.sleep(message)
            self.log.append(("slept", message))
        except BaseException as error:
            self.log.append(type(error))
            raise
        finally:
            self.log.append("finally")


def test_while_a_handler_is_parked_the_mailbox_waits() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Sleeper)
        w.node.cast(server, 5)
        w.node.send(server, "info")
        log = asyncio.ensure_future(w.node.call(server, "log", timeout_s=100))
        await asyncio.sleep(0)
        await w.advance(4.9)
        assert not log.done()
        assert [p.status for p in w.node.processes()] == ["waiting"]
        assert [p.mailbox_len for p in w.node.processes()] == [2]
        await w.advance(0.1)
        assert await log == [("slept", 5), "finally", "info"]

    run(test)


def test_a_kill_closes_a_parked_handler() -> None:
    async def test(w: World) -> None:
        logs: list[list[Any]] = []
        server = w.node.spawn(Sleeper, lambda s: logs.append(s.log))
        w.node.cast(server, 5)
        await w.settle()
        w.node.exit(server, KILL)
        assert await w.node.wait(server) is KILLED
        assert logs[0] == [GeneratorExit, "finally"]
        assert len(w.node.timers) == 0

    run(test)


def test_a_signal_that_comes_while_the_handler_runs_ends_it_where_it_parks() -> None:
    async def test(w: World) -> None:
        async def suicidal(s: Sleeper) -> None:
            s.exit(s.pid, "odd")
            s.log.append("still here")
            await s.sleep(1)

        logs: list[list[Any]] = []
        server = w.node.spawn(Sleeper, lambda s: logs.append(s.log))
        w.node.cast(server, suicidal)
        assert await w.node.wait(server) == "odd"
        assert logs[0] == ["still here", GeneratorExit, "finally"]

        async def function(ctx: ProcessContext) -> None:
            ctx.exit(ctx.pid, "odd")
            await ctx.receive()

        pid = w.node.spawn(function)
        assert await w.node.wait(pid) == "odd"

    run(test)


def test_a_trapping_server_finishes_its_handler_before_its_parent_ends_it() -> None:
    async def test(w: World) -> None:
        class Patient(Trapper):
            async def handle_cast(self, message: Any) -> None:
                await self.sleep(message)
                self.ends.append("slept")

        ends: list[Any] = []
        server = w.node.spawn(Patient, ends)
        w.node.cast(server, 5)
        w.node.cast(server, 5)
        await w.settle()
        w.node.exit(server, SHUTDOWN)
        await w.advance(4)
        assert ends == []
        await w.advance(1)
        assert ends == ["slept", SHUTDOWN]
        assert not w.node.is_alive(server)

    run(test)


def test_terminate_may_be_a_coroutine_and_a_kill_cuts_it_short() -> None:
    async def test(w: World) -> None:
        class Slow(Trapper):
            async def terminate(self, reason: object) -> None:
                await self.sleep(5)
                self.ends.append(reason)

        ends: list[Any] = []
        server = w.node.spawn(Slow, ends)
        await w.settle()
        w.node.exit(server, SHUTDOWN)
        await w.advance(5)
        assert ends == [SHUTDOWN]
        server = w.node.spawn(Slow, ends)
        await w.settle()
        w.node.exit(server, SHUTDOWN)
        await w.advance(1)
        w.node.exit(server, KILL)
        assert await w.node.wait(server) is KILLED
        assert ends == [SHUTDOWN]

    run(test)


def test_a_crash_in_terminate_is_the_reason() -> None:
    async def test(w: World) -> None:
        class Bad(Server):
            def terminate(self, reason: object) -> None:
                raise RuntimeError("worse")

        server = w.node.spawn(Bad)
        w.node.cast(server, boom)
        reason = await w.node.wait(server)
        assert isinstance(reason, Crash)
        assert str(reason) == "crash: RuntimeError: worse"
        assert len(w.observer.crashes) == 2

    run(test)


def test_every_handler_may_be_a_coroutine() -> None:
    class Async(GenServer):
        async def init(self, start: int, *, double: bool = False) -> Continue:
            await self.sleep(1)
            self.log: list[Any] = [start * 2 if double else start]
            return Continue("go")

        async def handle_continue(self, arg: Any) -> None:
            await self.sleep(1)
            self.log.append(arg)

        async def handle_info(self, message: Any) -> Any:
            await self.sleep(1)
            self.log.append(message)
            return Stop("done") if message == "stop" else None

        async def handle_call(self, request: Any, from_: From) -> Any:
            await self.sleep(1)
            return self.log

    async def test(w: World) -> None:
        starting = asyncio.ensure_future(w.node.start_server(Async, 21, double=True))
        await asyncio.sleep(0)
        await w.advance(1)
        server = await starting
        w.node.send(server, "info")
        call = asyncio.ensure_future(w.node.call(server, "log"))
        await asyncio.sleep(0)
        await w.advance(3)
        assert await call == [42, "go", "info"]
        w.node.send(server, "stop")
        await w.advance(1)
        assert not w.node.is_alive(server)

    run(test)


@pytest.mark.parametrize("make", [lambda: asyncio.sleep(0.001), lambda: asyncio.Future()])
def test_asyncio_code_awaited_directly_is_an_error_that_names_the_bridge(make: Any) -> None:
    async def test(w: World) -> None:
        async def wrong(ctx: ProcessContext) -> str:
            with pytest.raises(ForeignAwait, match="bridge"):
                await make()
            await ctx.sleep(0)
            return "goes on"

        assert await inside(w, wrong) == "goes on"

        async def unhandled(s: Sleeper) -> None:
            await make()

        server = w.node.spawn(Sleeper)
        w.node.cast(server, unhandled)
        reason = await w.node.wait(server)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, ForeignAwait)

    run(test)


def test_a_process_method_awaited_in_an_asyncio_task_says_what_to_use() -> None:
    async def test(w: World) -> None:
        contexts: list[ProcessContext] = []

        async def lend(ctx: ProcessContext) -> None:
            contexts.append(ctx)
            await ctx.receive()

        w.node.spawn(lend)
        await w.settle()
        with pytest.raises(RuntimeError, match=r"Node\.call"):
            await asyncio.ensure_future(contexts[0].call(w.node.spawn(Server), 1))

    run(test)


def test_bridge_awaits_asyncio_code_and_threads() -> None:
    async def test(w: World) -> None:
        async def foreign(value: Any) -> Any:
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                if isinstance(value, Exception):
                    raise value
            return value

        async def user(ctx: ProcessContext) -> list[Any]:
            with pytest.raises(KeyError):
                await ctx.bridge(foreign(KeyError("x")))
            with pytest.raises(ZeroDivisionError):
                await ctx.run_blocking(lambda: 1 // 0)
            return [
                await ctx.bridge(foreign(5)),
                await ctx.run_blocking(max, 3, 4),
                await ctx.run_blocking(threading.get_ident) != threading.get_ident(),
            ]

        assert await inside(w, user) == [5, 4, True]

    run(test)


def test_a_killed_process_cancels_what_it_bridged() -> None:
    async def test(w: World) -> None:
        cancelled: list[bool] = []

        async def foreign() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        async def user(ctx: ProcessContext) -> None:
            await ctx.bridge(foreign())

        pid = w.node.spawn(user)
        await w.settle()
        await asyncio.sleep(0)
        w.node.exit(pid, KILL)
        assert await w.node.wait(pid) is KILLED
        while not cancelled:
            await asyncio.sleep(0)

    run(test)


@pytest.mark.parametrize(
    ("on_init", "error", "reason"),
    [
        (boom, StartError, Crash),
        (lambda s: Stop("no"), StartError, "no"),
        (lambda s: Ignore(), StartIgnored, NORMAL),
        (kill_self, StartError, KILLED),
        (lambda s: "nonsense", StartError, Crash),
    ],
)
def test_a_failing_init_raises_in_who_started_it(on_init: Any, error: Any, reason: Any) -> None:
    async def test(w: World) -> None:
        async def starter(ctx: ProcessContext) -> str:
            # Not trapping exits: the failure is raised, and no exit signal comes on top.
            with pytest.raises(error) as caught:
                await ctx.start_link(Server, on_init, name="s")
            check(caught.value.reason)
            assert ctx.whereis("s") is None
            await ctx.sleep(0)
            return "alive"

        def check(given: Any) -> None:
            assert isinstance(given, Crash) if reason is Crash else given == reason

        assert await inside(w, starter) == "alive"
        with pytest.raises(error) as caught:
            await w.node.start_server(Server, on_init)
        check(caught.value.reason)

    run(test)


def test_start_link_waits_for_init_and_links() -> None:
    async def test(w: World) -> None:
        async def slow(s: Server) -> None:
            await s.sleep(1)
            s.log.append("up")

        async def parent(ctx: ProcessContext) -> None:
            child = await ctx.start_link(Server, slow, name="child")
            assert await ctx.call("child", "log") == ["up"]
            function = await ctx.start_link(waiting)
            assert ctx.node.is_alive(function)
            ctx.exit(child, "odd")
            await ctx.receive()

        async def waiting(ctx: ProcessContext) -> None:
            await ctx.receive()

        pid = w.node.spawn(parent)
        await w.advance(1)
        assert not w.node.is_alive(pid)
        assert w.node.stats().processes == 0

    run(test)


@pytest.mark.parametrize("value", ["nonsense", 5, Ignore()])
def test_a_return_value_without_meaning_is_a_crash(value: Any) -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.cast(server, lambda s: value)
        reason = await w.node.wait(server)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, BadReturn)

    run(test)


def test_the_default_handlers() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(GenServer)
        w.node.send(server, "unexpected")
        await w.settle()
        assert w.node.is_alive(server)
        w.node.cast(server, "unexpected")
        assert isinstance(await w.node.wait(server), Crash)

    run(test)


def test_a_plain_handler_may_hand_its_call_on_as_a_coroutine() -> None:
    async def test(w: World) -> None:
        back = w.node.spawn(Server)
        front = w.node.spawn(Server)
        assert await w.node.call(front, lambda s, f: s.call(back, 1)) == ("echo", 1)

    run(test)


def test_a_crash_harms_nobody_else() -> None:
    async def test(w: World) -> None:
        good = w.node.spawn(Server)
        for _ in range(20):
            bad = w.node.spawn(Server)
            w.node.cast(bad, boom)
            w.node.cast(good, 1)

        async def bad_function(ctx: ProcessContext) -> None:
            await ctx.sleep(0)
            raise asyncio.CancelledError

        w.node.spawn(bad_function)
        await w.settle()
        assert len(await w.node.call(good, "log")) == 20
        assert len(w.observer.crashes) == 21

    run(test)


def test_a_crash_that_cannot_be_reported_ends_its_process_all_the_same() -> None:
    async def test(w: World) -> None:
        async def parent(ctx: ProcessContext) -> None:
            with pytest.raises(StartError):
                ctx.start_link_now(Server, 7)  # type: ignore[arg-type] # no tuple of arguments

        await inside(w, parent)
        await w.settle()
        assert not list(w.node.processes())

    run(test)
