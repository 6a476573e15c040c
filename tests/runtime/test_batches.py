"""A turn takes a whole mailbox: what may come up in the middle of a batch, and what must not."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import Server, Trapper, World, boom, inside, run, stop_with

from palaver.actors.runtime import (
    KILL,
    SHUTDOWN,
    CalleeExited,
    Continue,
    From,
    GenServer,
    MailboxLimit,
    Pid,
    ProcessContext,
    ReceiveTimeout,
)


def test_a_backlog_longer_than_a_turn_keeps_its_order_and_lets_others_run() -> None:
    async def test(w: World) -> None:
        order: list[Any] = []

        class Noter(GenServer):
            def handle_cast(self, message: Any) -> None:
                order.append(message)

        busy, other = w.node.spawn(Noter), w.node.spawn(Noter)
        for n in range(1000):
            w.node.cast(busy, n)
        w.node.cast(other, "other")
        await w.settle()
        assert [n for n in order if n != "other"] == list(range(1000))
        assert order.index("other") <= 64  # the reductions of one turn

    run(test)


def test_a_server_that_casts_to_itself_lets_others_run() -> None:
    async def test(w: World) -> None:
        class Ticker(GenServer):
            def handle_cast(self, message: int) -> None:
                if message:
                    self.cast(self.pid, message - 1)

        ticker = w.node.spawn(Ticker)
        w.node.cast(ticker, 5000)
        other = w.node.spawn(Server)
        assert await w.node.call(other, "x") == ("echo", "x")
        assert w.node.scheduler.queue  # the ticker has still much to do
        await w.settle()

    run(test)


@pytest.mark.parametrize("how", ["stop", "crash", "exit", "kill"])
def test_calls_behind_the_end_in_one_batch_fail(how: str) -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Trapper if how == "exit" else Server)
        await w.settle()
        w.node.cast(server, 1)
        end: Any = {
            "stop": stop_with("done"),
            "crash": boom,
            "exit": stop_with("done"),
            "kill": lambda s: s.exit(s.pid, KILL),
        }[how]

        async def client(ctx: ProcessContext) -> None:
            ctx.send_request(server, "before")
            ctx.cast(server, end)
            for n in range(3):
                ctx.send_request(server, n)
            answers = [await ctx.receive() for _ in range(4)]
            assert answers[0].value == ("echo", "before")
            assert all(isinstance(answer.error, CalleeExited) for answer in answers[1:])

        await inside(w, client)

    run(test)


def test_an_exit_signal_in_a_batch_comes_before_the_next_message() -> None:
    async def test(w: World) -> None:
        log: list[Any] = []

        class Victim(Server):
            def handle_cast(self, message: Any) -> Any:
                if message == "die":
                    self.exit(self.pid, SHUTDOWN)
                log.append(message)

        victim = w.node.spawn(Victim)
        for message in ("a", "die", "b"):
            w.node.cast(victim, message)
        await w.settle()
        assert log == ["a", "die"]
        assert not w.node.is_alive(victim)

    run(test)


def test_a_continue_in_a_batch_comes_before_the_next_message() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.cast(server, 1)
        w.node.cast(server, lambda _: Continue("go on"))
        w.node.cast(server, 2)
        await w.settle()
        log = await w.node.call(server, "log")
        assert log == [("cast", 1), ("continue", "go on"), ("cast", 2)]

    run(test)


def test_a_handler_that_parks_in_a_batch_holds_the_rest() -> None:
    async def test(w: World) -> None:
        async def nap(s: Server) -> None:
            s.log.append("asleep")
            await s.sleep(1)
            s.log.append("awake")

        server = w.node.spawn(Server)
        for message in (1, nap, 2, nap, 3):
            w.node.cast(server, message)
        await w.settle()
        w.node.cast(server, 4)
        await w.advance(3)
        assert await w.node.call(server, "log") == [
            ("cast", 1), "asleep", "awake", ("cast", 2), "asleep", "awake",
            ("cast", 3), ("cast", 4),
        ]  # fmt: skip

    run(test)


def test_a_receive_in_a_batch_sees_the_rest_of_it_first() -> None:
    async def test(w: World) -> None:
        async def take(s: Server) -> None:
            s.log.append(("took", await s.receive(lambda m: m == "wanted")))

        server = w.node.spawn(Server)
        for message in (1, take, 2, "wanted", 3):
            w.node.cast(server, message)
        await w.settle()
        assert await w.node.call(server, "log") == [
            ("cast", 1), ("took", "wanted"), ("cast", 2), ("cast", 3),
        ]  # fmt: skip

    run(test)


def test_the_patience_of_a_receive_ends_although_a_message_came_with_it() -> None:
    """The alarm rang while the process was on its way to look at a message that did not match."""

    async def test(w: World) -> None:
        async def impatient(ctx: ProcessContext) -> str:
            try:
                await ctx.receive(lambda m: m == "wanted", timeout_s=1)
            except ReceiveTimeout:
                return "timeout"
            return "wanted"

        waiting = asyncio.ensure_future(inside(w, impatient))
        await asyncio.sleep(0)
        await w.settle()
        pid = next(info.pid for info in w.node.processes())
        # Both at the same moment, the message first: it wakes the process, then the alarm rings.
        w.clock.call_at(w.clock.now_s + 1, lambda: None)
        w.clock.now_s += 1
        w.node.send(pid, "unwanted")
        w.node.timers._fire()
        await w.settle()
        assert await waiting == "timeout"

    run(test)


def test_a_sender_suspended_in_a_batch_handles_the_rest_when_there_is_room() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server, mailbox=MailboxLimit(2))
        await w.settle()

        async def nap(s: Server) -> None:
            await s.sleep(1)

        w.node.cast(server, nap)
        await w.settle()
        sender = w.node.spawn(Server)
        for n in range(6):
            w.node.cast(sender, lambda s, n=n: s.cast(server, n))
        await w.settle()
        info = next(info for info in w.node.processes() if info.pid is sender)
        assert info.status == "suspended"
        assert info.mailbox_len == 3
        await w.advance(2)
        assert await w.node.call(server, "log") == [("cast", n) for n in range(6)]

    run(test)


def test_a_sender_suspended_in_a_parked_handler_handles_nothing_more() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server, mailbox=MailboxLimit(1))
        await w.settle()

        async def nap(s: Server) -> None:
            await s.sleep(5)

        async def send_later(s: Server) -> None:
            await s.sleep(1)
            for n in range(2):
                s.cast(server, n)

        w.node.cast(server, nap)
        await w.settle()
        sender = w.node.spawn(Server)
        w.node.cast(sender, send_later)
        await w.settle()
        w.node.cast(sender, "next")
        await w.advance(2)
        info = next(info for info in w.node.processes() if info.pid is sender)
        assert info.status == "suspended"
        assert info.mailbox_len == 1
        await w.advance(5)
        assert await w.node.call(server, "log") == [("cast", 0), ("cast", 1)]
        assert await w.node.call(sender, "log") == [("cast", "next")]

    run(test)


class Worker(GenServer):
    """Does what each message says, and notes what it got."""

    def init(self, got: dict[str, list[Any]], name: str) -> None:
        self.got = got[name] = []
        self.peers: list[Pid] = []

    def handle_cast(self, message: Any) -> Any:
        kind, sender, n = message
        self.got.append((sender, n))
        if kind == "nap":
            return self._nap()
        if kind == "continue":
            return Continue()
        if kind == "self":
            self.cast(self.pid, ("plain", "self", n))
        if kind == "receive":
            return self._look()
        return None

    async def _nap(self) -> None:
        await self.sleep(0.1)

    async def _look(self) -> None:
        try:
            await self.receive(lambda m: m == "never", timeout_s=0.1)
        except ReceiveTimeout:
            return

    def handle_call(self, request: Any, from_: From) -> Any:
        self.got.append(request)
        return request


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["plain", "nap", "continue", "self", "receive", "call"]),
        ),
        max_size=120,
    ),
    seed=st.integers(0, 2**16),
    reductions=st.sampled_from([1, 3, 32]),
)
def test_each_pair_keeps_its_order_whatever_the_handlers_do(
    plan: list[tuple[str, str]], seed: int, reductions: int
) -> None:
    async def test(w: World) -> None:
        got: dict[str, list[Any]] = {}
        server = await w.node.start_server(Worker, got, "server")
        sent: dict[str, list[int]] = {"a": [], "b": [], "c": []}

        async def sender(ctx: ProcessContext, name: str) -> None:
            for n, (who, kind) in enumerate(plan):
                if who != name:
                    continue
                sent[name].append(n)
                if kind == "call":
                    await ctx.call(server, (name, n), timeout_s=None)
                else:
                    ctx.cast(server, (kind, name, n))
                if n % 7 == 0:
                    await ctx.sleep(0)

        for name in sent:
            w.node.spawn(sender, name)
        await w.advance(100)
        for name, ns in sent.items():
            assert [n for who, n in got["server"] if who == name] == ns
        own = [n for n, (_, kind) in enumerate(plan) if kind == "self"]
        assert sorted(n for who, n in got["server"] if who == "self") == own

    run(test, shuffle=random.Random(seed), reductions=reductions)
