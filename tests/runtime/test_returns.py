"""What handlers may return beside a reply: timeouts, hibernation, and a reply with more to do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from runtime_kit import Server, World, inside, run

from palaver.actors.runtime import (
    HIBERNATE,
    TIMEOUT,
    BadReturn,
    Continue,
    Crash,
    From,
    GenServer,
    ProcessContext,
    ReceiveTimeout,
    Reply,
    StartError,
    Timeout,
)


def test_a_timeout_comes_when_it_is_quiet_and_not_before() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.cast(server, lambda _: Timeout(2))
        await w.advance(1.9)
        assert await w.node.call(server, "log") == []  # and this call ends the wait
        await w.advance(10)
        assert await w.node.call(server, "log") == []
        w.node.send(server, lambda _: Timeout(2))
        await w.advance(2)
        assert await w.node.call(server, "log") == [TIMEOUT]

    run(test)


def test_a_message_that_waits_already_ends_a_timeout() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.cast(server, lambda _: Timeout(0))
        w.node.cast(server, 1)
        await w.advance(1)
        assert await w.node.call(server, "log") == [("cast", 1)]

    run(test)


def test_a_timeout_of_zero_comes_at_once() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.cast(server, lambda _: Timeout(0))
        await w.settle()
        assert await w.node.call(server, "log") == [TIMEOUT]

    run(test)


def test_init_continue_and_an_async_handler_may_ask_for_a_timeout() -> None:
    async def test(w: World) -> None:
        async def later(s: Server) -> Timeout:
            await s.sleep(1)
            return Timeout(1)

        first = w.node.spawn(Server, lambda _: Timeout(1))
        second = w.node.spawn(Server, lambda _: Continue(lambda _: Timeout(1)))
        third = w.node.spawn(Server)
        w.node.cast(third, later)
        await w.advance(3)
        assert await w.node.call(first, "log") == [TIMEOUT]
        assert (await w.node.call(second, "log"))[1:] == [TIMEOUT]
        assert await w.node.call(third, "log") == [TIMEOUT]

    run(test)


def test_a_timeout_ends_with_its_server() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.cast(server, lambda _: Timeout(5))
        await w.settle()
        assert len(w.node.timers) == 1
        w.node.exit(server, "gone")
        await w.settle()
        assert len(w.node.timers) == 0

    run(test)


def test_a_reply_may_have_more_to_do_after_it() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        answers = [
            await w.node.call(server, lambda _s, _f, then=then: Reply("yes", then))
            for then in (Continue("more"), HIBERNATE, Timeout(1))
        ]
        assert answers == ["yes"] * 3
        await w.advance(1)
        assert await w.node.call(server, "log") == [("continue", "more"), TIMEOUT]

    run(test)


def test_a_call_may_go_on_before_it_is_answered() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        for then in (Continue("more"), Timeout(1), HIBERNATE):
            waiting = asyncio.ensure_future(
                w.node.call(server, lambda s, f, then=then: (s.log.append(f), then)[1])
            )
            await asyncio.sleep(0)
            await w.settle()
            assert not waiting.done()
            log = await w.node.call(server, lambda s, _: s.log)
            from_ = next(entry for entry in log if isinstance(entry, From))
            log.remove(from_)
            from_.deliver("later")
            assert await waiting == "later"
        assert await w.node.call(server, "log") == [("continue", "more")]

    run(test)


def test_hibernation_frees_what_is_not_used() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        other = await w.node.start_server(Server)
        third = await w.node.start_server(Server)
        w.node.cast(server, lambda s: s.link(other))
        w.node.cast(server, lambda s: s.link(third))
        w.node.cast(server, lambda s: s.unlink(other))
        w.node.cast(server, lambda s: s.unlink(third))
        ref = await w.node.call(server, lambda s, _: s.monitor(other))
        w.node.cast(server, lambda s: s.demonitor(ref))
        await w.settle()
        process: Any = server.process_
        assert process.links == {}
        w.node.cast(server, lambda _: HIBERNATE)
        await w.settle()
        assert process.links is None
        assert process.monitors is None
        assert await w.node.call(server, "x") == ("echo", "x")

    run(test)


def test_what_means_nothing_is_refused() -> None:
    class Odd(GenServer):
        def handle_call(self, request: Any, from_: From) -> Any:
            return Reply(1, "what?")  # type: ignore[arg-type]

    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.cast(server, lambda _: "what?")
        reason = await w.node.wait(server)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, BadReturn)
        odd = w.node.spawn(Odd)
        assert await w.node.call(odd, "x") == 1  # it was answered before that
        assert isinstance(await w.node.wait(odd), Crash) or not w.node.is_alive(odd)

    run(test)


def test_start_link_now_gives_the_pid_or_something_to_await() -> None:
    class Plain(GenServer):
        def init(self, done: list[str]) -> None:
            done.append("plain")

    class Patient(GenServer):
        async def init(self, done: list[str]) -> None:
            await self.sleep(1)
            done.append("patient")

    class Failing(GenServer):
        def init(self) -> None:
            raise ValueError("no")

    class Parent(GenServer):
        def init(self) -> None:
            self.done: list[str] = []

        def handle_call(self, request: Any, from_: From) -> Any:
            if request == "plain":
                pid = self.start_link_now(Plain, (self.done,))
                assert self.done == ["plain"]
                return pid
            if request == "failing":
                with pytest.raises(StartError):
                    self.start_link_now(Failing)
                return "refused"
            return self._patient()

        async def _patient(self) -> Any:
            started = self.start_link_now(Patient, (self.done,))
            assert not self.done[1:]
            assert not hasattr(started, "serial")
            pid = await started  # type: ignore[misc]
            return pid, list(self.done)

    async def test(w: World) -> None:
        parent = await w.node.start_server(Parent)
        plain = await w.node.call(parent, "plain")
        assert w.node.is_alive(plain)
        assert await w.node.call(parent, "failing") == "refused"
        call = asyncio.ensure_future(w.node.call(parent, "patient"))
        await asyncio.sleep(0)
        await w.advance(1)
        pid, done = await call
        assert done == ["plain", "patient"]
        w.node.exit(parent, "gone")  # both are linked to it
        await w.settle()
        assert not w.node.is_alive(plain)
        assert not w.node.is_alive(pid)

    run(test)


def test_a_started_function_does_not_put_its_parent_on_the_run_queue_twice() -> None:
    async def test(w: World) -> None:
        async def child(ctx: ProcessContext) -> None:
            await ctx.receive()

        async def parent(ctx: ProcessContext) -> str:
            await ctx.start_link(child)
            assert ctx.process_ not in w.node.scheduler.queue
            try:
                return await ctx.receive(timeout_s=1)  # a second turn would end this at once
            except ReceiveTimeout:
                return "timeout"

        waiting = asyncio.ensure_future(inside(w, parent))
        await asyncio.sleep(0)
        await w.advance(2)
        assert await waiting == "timeout"

    run(test)
