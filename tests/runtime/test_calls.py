"""Calls: from processes, from asyncio, without waiting."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import Server, World, boom, inside, run, stop_with

from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOPROC,
    NOREPLY,
    NORMAL,
    CalleeExited,
    CallFailed,
    CallTimeout,
    Continue,
    Crash,
    NoProcess,
    Pid,
    ProcessContext,
    Request,
    Response,
    Stop,
)


def never(*_: object) -> object:
    return NOREPLY


def test_a_call_is_answered_with_what_the_handler_returns() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server, name="server")
        assert await w.node.call(server, 1) == ("echo", 1)
        assert await w.node.call("server", 2) == ("echo", 2)

        async def caller(ctx: ProcessContext) -> list[Any]:
            return [await ctx.call("server", 3), await ctx.call(server, 4, timeout_s=None)]

        assert await inside(w, caller) == [("echo", 3), ("echo", 4)]

    run(test)


def test_none_and_exceptions_are_values_like_others() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        error = ValueError("a value")

        async def caller(ctx: ProcessContext) -> list[Any]:
            return [
                await ctx.call(server, lambda *_: None),
                await ctx.call(server, lambda *_: error),
            ]

        assert await inside(w, caller) == [None, error]
        assert await w.node.call(server, lambda *_: error) is error

    run(test)


def test_a_call_can_be_answered_later_and_by_another_process() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        other = await w.node.start_server(Server)

        def delegate(s: Server, from_: Any) -> object:
            s.cast(other, lambda o: o.reply(from_, "from another"))
            return NOREPLY

        assert await w.node.call(server, delegate) == "from another"

        async def caller(ctx: ProcessContext) -> Any:
            return await ctx.call(server, delegate)

        assert await inside(w, caller) == "from another"
        assert not server.process_.pending  # type: ignore[union-attr]

    run(test)


def test_reply_error_raises_in_the_caller_and_leaves_the_server_alone() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)

        def refuse(s: Server, from_: Any) -> object:
            s.reply_error(from_, PermissionError("no"))
            return NOREPLY

        with pytest.raises(PermissionError):
            await w.node.call(server, refuse)

        async def caller(ctx: ProcessContext) -> None:
            with pytest.raises(PermissionError):
                await ctx.call(server, refuse)

        await inside(w, caller)
        assert w.node.is_alive(server)

    run(test)


def test_a_call_to_nobody_fails_at_once() -> None:
    async def test(w: World) -> None:
        dead = w.node.spawn(Server)
        w.node.exit(dead, KILL)
        await w.settle()
        for dest in (dead, "nobody"):
            with pytest.raises(NoProcess) as caught:
                await w.node.call(dest, 1)
            assert caught.value.reason is NOPROC

            async def caller(ctx: ProcessContext, dest: Any = dest) -> None:
                with pytest.raises(NoProcess):
                    await ctx.call(dest, 1)

            await inside(w, caller)

    run(test)


def test_a_process_cannot_call_itself() -> None:
    async def test(w: World) -> None:
        async def caller(ctx: ProcessContext) -> None:
            with pytest.raises(CallFailed, match="itself"):
                await ctx.call(ctx.pid, 1)

        await inside(w, caller)

    run(test)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (boom, Crash),
        (lambda s, f: Stop("stopped"), "stopped"),
        (lambda s, f: s.exit(s.pid, KILL) or NOREPLY, KILLED),
        (lambda s, f: s.cast(s.pid, stop_with("later")) or NOREPLY, "later"),
    ],
)
def test_a_call_fails_with_the_reason_of_the_callee(what: Any, reason: Any) -> None:
    async def test(w: World) -> None:
        def check(error: CalleeExited) -> None:
            if reason is Crash:
                assert isinstance(error.reason, Crash)
            else:
                assert error.reason == reason

        with pytest.raises(CalleeExited) as caught:
            await w.node.call(w.node.spawn(Server), what)
        check(caught.value)

        async def caller(ctx: ProcessContext) -> None:
            with pytest.raises(CalleeExited) as caught:
                await ctx.call(ctx.spawn(Server), what)
            check(caught.value)

        await inside(w, caller)

    run(test)


def test_waiting_calls_fail_when_the_callee_exits_before_it_reads_them() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        calls = [asyncio.ensure_future(w.node.call(server, n)) for n in range(3)]
        w.node.exit(server, "odd")
        results = await asyncio.gather(*calls, return_exceptions=True)
        # The first slice runs before the tasks: they find nobody. Later ones find it exiting.
        assert all(isinstance(result, CallFailed) for result in results)

        async def callers(ctx: ProcessContext) -> list[object]:
            busy = ctx.spawn(Server)
            ctx.cast(busy, stop_with("odd"))
            refs = [ctx.send_request(busy, n) for n in range(3)]
            answers = [await ctx.receive() for _ in refs]
            assert [answer.ref for answer in answers] == refs
            return [answer.error.reason for answer in answers]

        assert await inside(w, callers) == ["odd"] * 3

    run(test)


def test_stop_with_a_reply_answers_after_terminate() -> None:
    async def test(w: World) -> None:
        ends: list[object] = []

        class Ender(Server):
            def terminate(self, reason: object) -> None:
                ends.append(reason)

        async def caller(ctx: ProcessContext) -> None:
            assert await ctx.call(ctx.spawn(Ender), lambda *_: Stop(NORMAL, "bye")) == "bye"
            assert ends == [NORMAL]

        await inside(w, caller)

    run(test)


def test_a_timeout_raises_and_the_late_answer_reaches_nobody() -> None:
    async def test(w: World) -> None:
        calls: list[Any] = []

        def keep(s: Server, from_: Any) -> object:
            calls.append(from_)
            return NOREPLY

        server = await w.node.start_server(Server)

        async def caller(ctx: ProcessContext) -> str:
            with pytest.raises(CallTimeout) as caught:
                await ctx.call(server, keep, timeout_s=2)
            assert caught.value.timeout_s == 2
            assert isinstance(caught.value, TimeoutError)
            ctx.reply(calls[-1], "too late")
            ctx.send(ctx.pid, "first")
            return str(await ctx.receive())

        outside = asyncio.ensure_future(w.node.call(server, keep, timeout_s=3))
        inner = asyncio.ensure_future(inside(w, caller))
        await asyncio.sleep(0)
        await w.advance(1.9)
        assert not inner.done()
        assert not outside.done()
        await w.advance(0.1)
        assert await inner == "first"
        await w.advance(1)
        with pytest.raises(CallTimeout):
            await outside
        assert not server.process_.pending  # type: ignore[union-attr]

    run(test)


def test_many_timeouts_of_many_lengths_come_in_time_and_leave_nothing() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        raised: list[float] = []

        async def caller(ctx: ProcessContext, timeout_s: float) -> None:
            began = ctx.clock.monotonic()
            try:
                await ctx.call(server, never, timeout_s=timeout_s)
            except CallTimeout:
                assert ctx.clock.monotonic() - began == pytest.approx(timeout_s)
                raised.append(timeout_s)

        lengths = [0.5 + n / 10 for n in range(100)]
        for length in lengths * 3:
            w.node.spawn(caller, length)
        answered = [
            asyncio.ensure_future(w.node.call(server, n, timeout_s=1 + n)) for n in range(50)
        ]
        await w.advance(60)
        await asyncio.gather(*answered)
        assert sorted(raised) == sorted(lengths * 3)
        assert len(w.node.timers) == 0
        assert w.clock.pending == 0

    run(test)


def test_a_cancelled_asyncio_caller_is_forgotten() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        call = asyncio.ensure_future(w.node.call(server, never))
        await asyncio.sleep(0)
        await w.settle()
        assert server.process_.pending  # type: ignore[union-attr]
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not server.process_.pending  # type: ignore[union-attr]

    run(test)


def test_send_request_is_answered_by_one_response() -> None:
    async def test(w: World) -> None:
        def refuse(s: Server, from_: Any) -> object:
            s.reply_error(from_, PermissionError("no"))
            return NOREPLY

        async def asker(ctx: ProcessContext) -> None:
            server = ctx.spawn(Server)
            ref = ctx.send_request(server, 1)
            assert await ctx.receive() == Response(ref, ("echo", 1), None)
            ref = ctx.send_request(server, refuse)
            answer = await ctx.receive()
            assert answer.ref is ref
            with pytest.raises(PermissionError):
                answer.result()
            ctx.send_request("nobody", 1)
            assert isinstance((await ctx.receive()).error, NoProcess)
            ctx.send_request(server, boom)
            assert isinstance((await ctx.receive()).error, CalleeExited)
            ctx.send(ctx.pid, "nothing else")
            assert await ctx.receive() == "nothing else"

        await inside(w, asker)

    run(test)


def test_a_plain_function_answers_calls_too() -> None:
    async def test(w: World) -> None:
        async def adder(ctx: ProcessContext) -> None:
            while True:
                message = await ctx.receive(lambda m: isinstance(m, Request))
                if message.body is None:
                    return
                ctx.reply(message.from_, sum(message.body))

        pid = w.node.spawn(adder)
        assert await w.node.call(pid, (1, 2)) == 3
        with pytest.raises(CalleeExited) as caught:
            await w.node.call(pid, None)
        assert caught.value.reason is NORMAL

    run(test)


def test_continue_runs_before_the_next_message() -> None:
    async def test(w: World) -> None:
        def start(s: Server) -> Any:
            return Continue("first")

        server = w.node.spawn(Server, start)
        w.node.cast(server, "a")
        w.node.cast(server, lambda s: Continue("second"))
        w.node.cast(server, "b")
        log = await w.node.call(server, "log")
        assert log == [("continue", "first"), ("cast", "a"), ("continue", "second"), ("cast", "b")]

    run(test)


def test_a_chain_of_calls_deeper_than_any_stack() -> None:
    async def test(w: World) -> None:
        class Link(Server):
            async def handle_call(self, request: int, from_: Any) -> int:
                if request == 0:
                    return 0
                return 1 + int(await self.call(self.spawn(Link), request - 1))

        async def caller(ctx: ProcessContext) -> Any:
            return await ctx.call(ctx.spawn(Link), 3000)

        assert await inside(w, caller) == 3000

        idle = [w.node.spawn(Server) for _ in range(100)]
        await w.settle()

        def relay(index: int) -> Any:
            async def handler(s: Server, from_: Any) -> int:
                if index == len(idle) - 1:
                    return index
                return int(await s.call(idle[index + 1], relay(index + 1)))

            return handler

        async def through_idle(ctx: ProcessContext) -> Any:
            return await ctx.call(idle[0], relay(0))

        assert await inside(w, through_idle) == 99

    run(test)


def test_a_process_that_only_calls_lets_others_run() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        seen: list[int] = []

        async def caller(ctx: ProcessContext) -> None:
            for _ in range(6400):
                await ctx.call(server, 1)
            seen.append(-1)

        async def other(ctx: ProcessContext) -> None:
            for n in range(50):
                await ctx.sleep(0)
                seen.append(n)

        w.node.spawn(caller)
        w.node.spawn(other)
        await w.settle()
        assert seen == [*range(50), -1]

    run(test)


def test_a_callee_may_end_its_caller() -> None:
    async def test(w: World) -> None:
        after: list[object] = []

        def kill_caller(s: Server, from_: Any) -> str:
            s.exit(from_.pid, KILL)
            return "too late"

        async def caller(ctx: ProcessContext, callee: Any) -> None:
            after.append(await ctx.call(callee, kill_caller))

        busy, idle = w.node.spawn(Server), w.node.spawn(Server)
        await w.settle()
        for callee in (idle, busy):
            w.node.cast(busy, 1)
            pid = w.node.spawn(caller, callee)
            assert await w.node.wait(pid) is KILLED
        assert after == []
        assert w.node.is_alive(idle)
        assert w.node.is_alive(busy)

    run(test)


def test_a_linked_callee_that_crashes_takes_its_caller_along() -> None:
    async def test(w: World) -> None:
        async def caller(ctx: ProcessContext) -> None:
            callee = await ctx.start_link(Server)
            await ctx.call(callee, 1)
            with pytest.raises(CalleeExited):
                await ctx.call(callee, boom)

        assert isinstance(await w.node.wait(w.node.spawn(caller)), Crash)

    run(test)


class Callee(Server):
    """Does with each call what the first word of its request says."""

    def init(self, peers: list[Pid], rng: random.Random) -> None:  # type: ignore[override]
        super().init()
        self.peers, self.rng = peers, rng

    def handle_call(self, request: Any, from_: Any) -> Any:
        return getattr(self, request[0].replace(" ", "_"))(request[1:], from_)

    def reply_now(self, rest: Any, from_: Any) -> str:
        return "answer"

    def later(self, rest: Any, from_: Any) -> Any:
        self.send_after(1, self.pid, lambda s: s.reply(from_, "answer"))
        return NOREPLY

    def relay(self, rest: Any, from_: Any) -> Any:
        self.cast(self.rng.choice(self.peers), lambda s: s.reply(from_, "answer"))
        return NOREPLY

    def never(self, rest: Any, from_: Any) -> Any:
        return NOREPLY

    def crash(self, rest: Any, from_: Any) -> None:
        boom()

    def stop(self, rest: Any, from_: Any) -> Stop:
        return Stop(NORMAL, "answer") if self.rng.random() < 0.5 else Stop(NORMAL)

    def kill_caller(self, rest: Any, from_: Any) -> str:
        if from_.pid is not None:
            self.exit(from_.pid, KILL)
        return "answer"

    async def nested(self, rest: Any, from_: Any) -> str:
        if rest:
            with contextlib.suppress(CallFailed):
                await self.call(self.rng.choice(self.peers), rest, timeout_s=3)
        return "answer"

    async def rest(self, rest: Any, from_: Any) -> str:
        await self.sleep(0.5)
        return "answer"


STEPS = [
    "reply now",
    "later",
    "relay",
    "never",
    "crash",
    "stop",
    "kill caller",
    "nested",
    "rest",
]


@given(
    plans=st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.sampled_from(STEPS), min_size=1, max_size=4)),
        min_size=1,
        max_size=12,
    ),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None)
def test_every_call_has_exactly_one_outcome(plans: list[Any], seed: int) -> None:
    """Whatever the callees do, however the calls are nested: an answer, or a failure in time."""

    async def test(w: World) -> None:
        rng = random.Random(seed)
        callees: list[Pid] = []
        callees.extend(w.node.spawn(Callee, callees, rng) for _ in range(5))
        outcomes: list[Any] = []

        async def caller(ctx: ProcessContext, which: int, plan: list[str]) -> None:
            try:
                outcomes.append(await ctx.call(callees[which], plan))
            except CallFailed as error:
                outcomes.append(error)
            except GeneratorExit:
                outcomes.append("killed")
                raise

        if rng.random() < 0.5:
            await w.settle()  # idle callees: the first calls are handed over
        outside = [asyncio.ensure_future(w.node.call(callees[n], plan)) for n, plan in plans]
        for which, plan in plans:
            w.node.spawn(caller, which, plan)
        await asyncio.sleep(0)
        await w.advance(60)
        assert len(outcomes) == len(plans)
        for outcome in [*outcomes, *await asyncio.gather(*outside, return_exceptions=True)]:
            assert outcome in ("answer", "killed") or isinstance(outcome, CallFailed)
        assert len(w.node.timers) == 0
        # What is never answered has been given up by its callers.
        assert all(not pid.process_.pending for pid in callees if pid.process_ is not None)
        assert all(info.status == "idle" for info in w.node.processes())

    run(test, shuffle=random.Random(seed))
