"""Limited mailboxes, selective receive, and the order of messages."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import Server, Trapper, World, inside, run

from palaver.actors.runtime import (
    KILL,
    NOREPLY,
    CallTimeout,
    Exit,
    GenServer,
    MailboxFull,
    MailboxLimit,
    Overflow,
    ProcessContext,
    ReceiveTimeout,
    Response,
)


async def hold(s: Server) -> None:
    """A handler that parks until a second has passed, so that messages gather."""
    await s.sleep(1)


async def full(w: World, overflow: Any, size: int = 3) -> Any:
    """A server that is parked, with a full mailbox."""
    server = w.node.spawn(Server, mailbox=MailboxLimit(size, overflow))
    w.node.cast(server, hold)
    await w.settle()
    for n in range(size):
        w.node.cast(server, n)
    return server


def casts(*numbers: int) -> list[Any]:
    return [("cast", n) for n in numbers]


def test_reject_raises_in_the_sender() -> None:
    async def test(w: World) -> None:
        server = await full(w, "reject")
        with pytest.raises(MailboxFull):
            w.node.cast(server, 3)
        with pytest.raises(MailboxFull):
            await w.node.call(server, "log")

        async def sender(ctx: ProcessContext) -> None:
            with pytest.raises(MailboxFull):
                ctx.send(server, 3)
            with pytest.raises(MailboxFull):
                await ctx.call(server, 3)
            ctx.send_request(server, 3)
            assert isinstance((await ctx.receive()).error, MailboxFull)

        await inside(w, sender)
        w.node.send_after(0.5, server, "lost")
        await w.advance(1)
        assert await w.node.call(server, "log") == casts(0, 1, 2)

    run(test)


def test_drop_oldest_drops_messages_and_fails_calls_but_keeps_signals() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Trapper, mailbox=MailboxLimit(3, "drop_oldest"))
        w.node.cast(server, hold)
        await w.settle()

        async def poke(ctx: ProcessContext) -> None:
            ctx.exit(server, "poke")

        await w.node.wait(w.node.spawn(poke))
        call = asyncio.ensure_future(w.node.call(server, "log"))
        await asyncio.sleep(0)
        for n in range(4):
            w.node.cast(server, n)
        with pytest.raises(MailboxFull):
            await call
        await w.advance(1)
        log = await w.node.call(server, "log")
        assert isinstance(log[0], Exit)
        assert log[1:] == casts(2, 3)

    run(test)


def test_exit_ends_the_receiver() -> None:
    async def test(w: World) -> None:
        server = await full(w, "exit")
        w.node.cast(server, 3)
        assert await w.node.wait(server) == Overflow(3)

    run(test)


def test_signals_are_never_refused() -> None:
    async def test(w: World) -> None:
        slow = w.node.spawn(Server)
        trapper = w.node.spawn(Trapper, mailbox=MailboxLimit(1, "reject"))

        async def ask(s: Server) -> None:
            for _ in range(5):
                s.send_request(slow, 1)
            await s.sleep(1)

        w.node.cast(trapper, ask)
        await w.advance(1)
        log = await w.node.call(trapper, "log")
        assert len(log) == 5
        assert all(isinstance(entry, Response) for entry in log)

    run(test)


def test_suspend_makes_senders_wait_for_room() -> None:
    async def test(w: World) -> None:
        server = await full(w, "suspend")
        progress: list[int] = []

        class Producer(GenServer):
            def init(self) -> None:
                self.cast(self.pid, 10)

            def handle_cast(self, n: int) -> None:
                self.cast(server, n)
                progress.append(n)
                if n < 20:
                    self.cast(self.pid, n + 1)

        producer = w.node.spawn(Producer)
        await w.settle()
        # The first message waits with its sender, who handles nothing more.
        assert progress == [10]
        assert [p.status for p in w.node.processes()] == ["waiting", "suspended"]
        with pytest.raises(MailboxFull):  # nobody can suspend the outside
            w.node.cast(server, 99)
        await w.advance(1)
        assert progress == list(range(10, 21))
        assert await w.node.call(server, "log") == casts(0, 1, 2, *range(10, 21))
        assert w.node.is_alive(producer)

    run(test)


def test_a_suspended_sender_holds_no_more_than_the_limit() -> None:
    async def test(w: World) -> None:
        server = await full(w, "suspend")

        async def flood(ctx: ProcessContext) -> int:
            sent = 0
            try:
                while True:
                    ctx.cast(server, sent)
                    sent += 1
            except MailboxFull:
                return sent

        assert await inside(w, flood) == 3
        await w.advance(1)
        assert await w.node.call(server, "log") == casts(0, 1, 2, 0, 1, 2)

    run(test)


def test_a_suspended_sender_can_be_ended_and_its_receiver_can_die() -> None:
    async def test(w: World) -> None:
        server = await full(w, "suspend")

        class Sender(Trapper):
            def handle_cast(self, message: Any) -> None:
                self.cast(server, message)

        ends: list[Any] = []
        first, second, third = (w.node.spawn(Sender, ends) for _ in range(3))
        for pid in (first, second, third):
            w.node.cast(pid, 1)
            w.node.cast(pid, 2)
        await w.settle()
        w.node.exit(first, "stop")
        w.node.exit(second, KILL)
        await w.settle()
        assert not w.node.is_alive(first)
        assert not w.node.is_alive(second)
        assert ends == ["stop"]  # it traps exits: only its parent ends it
        w.node.exit(server, "gone")
        await w.settle()
        assert await w.node.call(third, "log") == []  # it goes on

    run(test)


def test_callers_wait_for_room_until_their_timeout() -> None:
    async def test(w: World) -> None:
        server = await full(w, "suspend", 1)
        results: list[Any] = []

        async def caller(ctx: ProcessContext, timeout_s: float) -> None:
            try:
                results.append(await ctx.call(server, timeout_s, timeout_s=timeout_s))
            except CallTimeout:
                results.append("timeout")

        for n in range(200):
            w.node.spawn(caller, 0.5 if n % 2 else 5)
        calls = [asyncio.ensure_future(w.node.call(server, "x", timeout_s=5)) for _ in range(3)]
        await asyncio.sleep(0)
        await w.advance(2)
        assert sorted(map(str, results)) == ["('echo', 5)"] * 100 + ["timeout"] * 100
        assert await asyncio.gather(*calls) == [("echo", "x")] * 3

    run(test)


def test_a_limit_is_checked() -> None:
    with pytest.raises(ValueError, match="at least one"):
        MailboxLimit(0, "reject")
    with pytest.raises(ValueError, match="overflow"):
        MailboxLimit(1, "explode")  # type: ignore[arg-type]


def test_receive_takes_the_first_match_and_keeps_the_rest_in_order() -> None:
    async def test(w: World) -> None:
        async def picky(ctx: ProcessContext) -> list[Any]:
            for n in range(6):
                ctx.send(ctx.pid, n)
            return [
                await ctx.receive(lambda n: n == 4),
                await ctx.receive(lambda n: n % 2 == 1),
                await ctx.receive(),
                await ctx.receive(lambda n: n > 2),
                await ctx.receive(),
                await ctx.receive(),
            ]

        assert await inside(w, picky) == [4, 1, 0, 3, 2, 5]

    run(test)


def test_receive_waits_no_longer_than_it_is_told() -> None:
    async def test(w: World) -> None:
        async def waiter(ctx: ProcessContext) -> None:
            with pytest.raises(ReceiveTimeout):
                await ctx.receive(timeout_s=0)
            began = ctx.clock.monotonic()
            ctx.send_after(1, ctx.pid, "unwanted")
            with pytest.raises(ReceiveTimeout):
                await ctx.receive(lambda m: m == "wanted", timeout_s=2)
            assert ctx.clock.monotonic() == began + 2
            ctx.send_after(1, ctx.pid, "wanted")
            assert await ctx.receive(lambda m: m == "wanted", timeout_s=2) == "wanted"
            assert await ctx.receive(timeout_s=0) == "unwanted"
            assert len(ctx.node.timers) == 0

        pid = w.node.spawn(waiter)
        await w.advance(10)
        assert not w.node.is_alive(pid)
        assert not w.observer.crashes

    run(test)


def test_a_server_may_receive_in_a_handler_and_loses_nothing() -> None:
    async def test(w: World) -> None:
        async def wait_for_token(s: Server) -> None:
            s.log.append(await s.receive(lambda m: m == "token"))

        server = w.node.spawn(Server)
        w.node.cast(server, wait_for_token)
        for message in (1, 2, "token", 3):
            w.node.cast(server, message)
        call = asyncio.ensure_future(w.node.call(server, "log"))
        assert await call == ["token", *casts(1, 2, 3)]

        ends: list[Any] = []
        trapper = w.node.spawn(Trapper, ends)
        w.node.cast(trapper, wait_for_token)
        w.node.cast(trapper, 1)
        await w.settle()
        w.node.exit(trapper, "stop")  # its parent: waits for the handler, overtakes the cast
        await w.settle()
        assert ends == []
        w.node.send(trapper, "token")
        assert await w.node.wait(trapper) == "stop"

    run(test)


def test_a_receiver_that_never_waits_lets_others_run() -> None:
    async def test(w: World) -> None:
        others: list[int] = []

        async def busy(ctx: ProcessContext) -> None:
            for n in range(10_000):
                ctx.send(ctx.pid, n)
            for _ in range(10_000):
                await ctx.receive()
            others.append(-1)

        async def other(ctx: ProcessContext) -> None:
            for n in range(50):
                await ctx.sleep(0)
                others.append(n)

        w.node.spawn(busy)
        w.node.spawn(other)
        await w.settle()
        assert others == [*range(50), -1]

    run(test)


@given(
    senders=st.lists(st.lists(st.integers(0, 2), max_size=30), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
    reductions=st.integers(1, 8),
    limit=st.none() | st.integers(1, 10),
)
@settings(max_examples=60, deadline=None)
def test_messages_of_a_pair_arrive_in_order(
    senders: list[list[int]], seed: int, reductions: int, limit: int | None
) -> None:
    """Whoever is scheduled when: each receiver sees each sender's messages in their order."""

    async def test(w: World) -> None:
        bound = None if limit is None else MailboxLimit(limit, "suspend")
        receivers = [w.node.spawn(Server, mailbox=bound) for _ in range(3)]

        class Sender(GenServer):
            def init(self, index: int) -> None:
                self.index = index

            def handle_cast(self, step: tuple[int, int]) -> None:
                target, number = step
                send = self.cast if number % 2 else self.send
                send(receivers[target], (self.index, number))

        class AsyncSender(Sender):
            async def handle_cast(self, step: tuple[int, int]) -> None:  # type: ignore[override]
                await self.sleep(0)
                super().handle_cast(step)

        for index, targets in enumerate(senders):
            pid = w.node.spawn(AsyncSender if index % 2 else Sender, index)
            for number, target in enumerate(targets):
                w.node.cast(pid, (target, number))
        await w.settle()
        for which, receiver in enumerate(receivers):
            log = [m[1] if m[0] == "cast" else m for m in await w.node.call(receiver, "log")]
            for index, targets in enumerate(senders):
                seen = [number for who, number in log if who == index]
                assert seen == [n for n, target in enumerate(targets) if target == which]

    run(test, shuffle=random.Random(seed), reductions=reductions)


def test_a_call_that_waits_for_room_fails_when_the_callee_exits() -> None:
    async def test(w: World) -> None:
        server = await full(w, "suspend", 1)
        call = asyncio.ensure_future(w.node.call(server, lambda *_: NOREPLY))
        await asyncio.sleep(0)
        w.node.exit(server, "odd")
        with pytest.raises(Exception, match="odd"):
            await call

    run(test)
