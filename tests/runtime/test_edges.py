"""What happens when two unusual things meet: each of these tests was a bug once."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from runtime_kit import Server, Trapper, World, boom, inside, run, stop_with

from palaver.actors.runtime import (
    KILL,
    NOREPLY,
    CallFailed,
    GenServer,
    MailboxFull,
    MailboxLimit,
    ProcessContext,
    ReceiveTimeout,
    StartError,
    Stop,
    Timeout,
)
from palaver.actors.runtime.inspection import Looker


async def nap(server: Server) -> None:
    await server.sleep(1)


def status(w: World, pid: object) -> str:
    return next(info.status for info in w.node.processes() if info.pid is pid)


def test_a_call_that_is_refused_behind_an_alias_is_over() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server, mailbox=MailboxLimit(1, "reject"))
        alias = await w.node.call(server, lambda s, _: s.alias())
        w.node.cast(server, nap)
        await w.settle()
        w.node.cast(server, "fills it")

        async def client(s: Server) -> None:
            with pytest.raises(MailboxFull):
                await s.call(alias, 1, timeout_s=0.1)
            s.send_request(alias, 1)

        caller = await w.node.start_server(Server)
        w.node.cast(caller, client)
        await w.settle()
        assert not w.node.timers.lane(0.1)  # nothing wakes the caller later
        (response,) = await w.node.call(caller, "log")
        assert isinstance(response.error, MailboxFull)

    run(test)


@pytest.mark.parametrize("parks", [False, True])
def test_a_process_ended_by_one_that_runs_in_its_turn_handles_no_further_message(
    parks: bool,
) -> None:
    async def test(w: World) -> None:
        class Child(GenServer):
            def init(self) -> None:
                assert self.parent is not None
                self.exit(self.parent, "away with you")

        async def park(s: Server) -> None:
            await s.start_link(Child)

        def at_once(s: Server) -> None:
            s.start_link_now(Child)

        log: list[Any] = []
        parent = await w.node.start_server(Server)
        w.node.cast(parent, park if parks else at_once)
        w.node.cast(parent, lambda _: log.append("handled"))
        await w.settle()
        assert log == []
        assert not w.node.is_alive(parent)

    run(test)


@pytest.mark.parametrize("parks", [False, True])
def test_a_stop_by_one_that_runs_in_its_turn_comes_before_further_messages(parks: bool) -> None:
    async def test(w: World) -> None:
        log: list[Any] = []

        class Child(Server):
            def init(self) -> None:
                super().init(trap=True)
                self.calls = True

            def handle_cast(self, message: Any) -> Any:
                log.append(message)
                return self.ask() if message == "ask" else None

            async def ask(self) -> None:
                if parks:
                    await self.sleep(1)
                assert self.parent is not None
                await self.call(middle, "end it")

            def terminate(self, reason: object) -> None:
                log.append(reason)

        class Middle(GenServer):
            """Has the child's parent's signal arrive while the child's turn goes on."""

            def handle_call(self, request: Any, from_: Any) -> None:
                child.process_.exit_signal(child.process_.parent, "stop", linked=True)

        async def parent(ctx: ProcessContext) -> None:
            children.append(await ctx.start_link(Child))
            await ctx.receive()

        children: list[Any] = []
        middle = await w.node.start_server(Middle)
        w.node.spawn(parent)
        await w.settle()
        (child,) = children
        for message in ("ask", "next", "last"):
            w.node.cast(child, message)
        await w.advance(2)
        assert log == ["ask", "stop"]

    run(test)


def test_a_stop_comes_before_what_a_receive_has_passed_over() -> None:
    async def test(w: World) -> None:
        async def pass_over(s: Server) -> None:
            with pytest.raises(ReceiveTimeout):
                await s.receive(lambda m: m == "never", timeout_s=1)
            await s.sleep(1)

        ends: list[Any] = []
        log: list[Any] = []
        server = w.node.spawn(Trapper, ends)
        w.node.cast(server, pass_over)
        w.node.cast(server, lambda _: log.append("handled"))
        await w.advance(1.5)
        w.node.exit(server, "stop")
        await w.advance(1)
        assert (log, ends) == ([], ["stop"])

    run(test)


def test_a_sender_suspended_in_an_async_handler_that_never_parks_handles_nothing_more() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server, mailbox=MailboxLimit(1))
        await w.settle()
        w.node.cast(server, nap)
        await w.settle()

        async def overfill(s: Server) -> None:
            s.cast(server, 1)
            s.cast(server, 2)

        sender = await w.node.start_server(Server)
        w.node.cast(sender, overfill)
        w.node.cast(sender, "next")
        await w.settle()
        assert status(w, sender) == "suspended"
        await w.advance(1)
        assert await w.node.call(server, "log") == [("cast", 1), ("cast", 2)]
        assert await w.node.call(sender, "log") == [("cast", "next")]

    run(test)


@pytest.mark.parametrize("then", ["kill", "alarm"])
def test_a_receive_that_a_stop_has_woken_is_woken_once(then: str) -> None:
    async def test(w: World) -> None:
        async def wait(s: Server) -> None:
            with pytest.raises(ReceiveTimeout):
                await s.receive(lambda m: m == "never", timeout_s=1)

        server = w.node.spawn(Trapper)
        w.node.cast(server, wait)
        await w.settle()
        w.node.exit(server, "stop")  # within the turn, the alarm or another signal may come
        if then == "kill":
            w.node.exit(server, KILL)
        else:
            w.clock.now_s += 1
            w.node.timers._fire()
        assert len(w.node.scheduler.queue) == 1
        await w.settle()
        assert not w.node.is_alive(server)

    run(test)


@pytest.mark.parametrize("where", ["handler", "terminate", "callee"])
def test_an_interrupt_in_an_async_handler_ends_the_process_once(where: str) -> None:
    async def test(w: World) -> None:
        ends: list[Any] = []

        async def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        class Victim(Trapper):
            def terminate(self, reason: object) -> Any:
                super().terminate(reason)
                return interrupt() if where == "terminate" else None

        async def ask(s: Server) -> None:
            await s.call(victim, interrupt)

        victim = await w.node.start_server(Victim, ends)
        caller = await w.node.start_server(Server)
        scheduler = w.node.scheduler
        scheduler.armed = True  # the test runs the slice, for the loop would end with it
        if where == "callee":
            w.node.cast(caller, ask)
        else:
            w.node.cast(victim, interrupt if where == "handler" else stop_with("done"))
        with pytest.raises(KeyboardInterrupt):
            scheduler.run()
        assert len(ends) == 1
        assert not w.node.is_alive(victim)
        assert (scheduler.dying, scheduler.depth, scheduler.current) == (0, 0, None)
        assert next(iter(scheduler.rest), None) is None

    run(test)


def test_what_is_flushed_makes_room_in_a_bounded_mailbox() -> None:
    async def test(w: World) -> None:
        other = await w.node.start_server(Server)

        async def watch(s: Server) -> None:
            ref = s.monitor(other)
            await s.sleep(1)
            s.demonitor(ref, flush=True)

        server = await w.node.start_server(Server, mailbox=MailboxLimit(1))
        sender = await w.node.start_server(Server)
        w.node.cast(server, watch)
        await w.settle()
        w.node.exit(other, "gone")
        await w.settle()  # the `Down` fills the mailbox
        w.node.cast(sender, lambda s: s.cast(server, "waits"))
        await w.settle()
        assert status(w, sender) == "suspended"
        await w.advance(1)
        assert status(w, sender) == "idle"
        assert await w.node.call(server, "log") == [("cast", "waits")]

    run(test)


def test_what_sys_takes_makes_room_in_a_bounded_mailbox() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server, mailbox=MailboxLimit(1))
        sender = await w.node.start_server(Server)

        def suspend(process: Any) -> None:
            process.inspect().suspended = True

        def resume(process: Any) -> None:
            process.inspection = None

        server.process_.system(suspend)
        await w.settle()
        w.node.cast(sender, lambda s: s.cast(server, "waits"))
        server.process_.system(lambda _: None)  # takes the only place before the sender's turn
        await w.settle()
        server.process_.system(resume)
        await w.settle()
        assert status(w, sender) == "idle"
        assert await w.node.call(server, "log") == [("cast", "waits")]

    run(test)


def test_requests_of_sys_keep_their_order_behind_a_receive() -> None:
    async def test(w: World) -> None:
        async def wait(s: Server) -> None:
            await s.receive(lambda m: m == "go on")

        order: list[int] = []
        server = await w.node.start_server(Server)
        w.node.cast(server, wait)
        await w.settle()
        for n in range(3):
            server.process_.system(lambda _, n=n: order.append(n))
            await w.settle()
        w.node.send(server, "go on")
        await w.settle()
        assert order == [0, 1, 2]

    run(test)


def test_several_starts_are_awaited_in_any_order() -> None:
    async def test(w: World) -> None:
        class Slow(GenServer):
            async def init(self, delay_s: float) -> None:
                await self.sleep(delay_s)
                self.delay_s = delay_s

            def handle_call(self, request: Any, from_: Any) -> float:
                return self.delay_s

        class Failing(GenServer):
            async def init(self) -> Stop:
                await self.sleep(0.5)
                return Stop("no")

        async def starter(ctx: ProcessContext) -> list[Any]:
            started: list[Any] = [ctx.start_link_now(Slow, (n,)) for n in (3, 1, 2)]
            failing: Any = ctx.start_link_now(Failing)
            await ctx.sleep(1.5)
            with pytest.raises(StartError):
                await failing
            return [await ctx.call(await one, "delay") for one in started]

        waiting = asyncio.ensure_future(inside(w, starter))
        await asyncio.sleep(0)
        await w.advance(5)
        assert await waiting == [3, 1, 2]

    run(test)


async def receiving(s: Server) -> None:
    await s.receive(lambda _: False, timeout_s=1000)


async def sleeping(s: Server) -> None:
    await s.sleep(1000)


async def failed_call(s: Server) -> None:
    with pytest.raises(CallFailed):
        await s.call(s.spawn(Server), lambda *_: Stop("no"))


async def timed_out_call(s: Server) -> None:
    with pytest.raises(CallFailed):
        await s.call(s.spawn(Server), lambda *_: NOREPLY, timeout_s=0.1)


async def failed_start(s: Server) -> None:
    with pytest.raises(StartError):
        await s.start_link(Server, stop_with("no"))


def idle(s: Server) -> Timeout:
    return Timeout(1000)


def alias(s: Server) -> None:
    s.log.append(s.alias(once=True))


def monitor_with_alias(s: Server) -> None:
    s.log.append(s.monitor(s.spawn(Server), alias="reply_demonitor"))


def timer(s: Server) -> None:
    s.log.append(s.send_after(1000, s.pid, "late"))


class Holder(Looker):
    def __init__(self, process: Any) -> None:
        self.process = process


def under_inspection(s: Server) -> None:
    def begin(process: Any) -> None:
        process.inspect().lookers["test"] = Holder(process)

    s.process_.system(begin)


@pytest.mark.parametrize("end", ["kill", "crash"])
@pytest.mark.parametrize(
    "deed",
    [
        receiving, sleeping, failed_call, timed_out_call, failed_start, idle, alias,
        monitor_with_alias, timer, under_inspection,
    ],
)  # fmt: skip
def test_a_dead_process_is_freed_whatever_it_was_doing(deed: Any, end: str) -> None:
    class Marked(Server):
        pass

    def alive() -> list[Any]:
        """The processes of the node that there still are, dead ones too."""
        kinds = [one for one in gc.get_objects() if type(one).__name__ == "ServerProcess"]
        return [one for one in kinds if one.scheduler is scheduler and one.pid is pid]

    gc.collect()
    gc.disable()
    try:

        async def test(w: World) -> None:
            nonlocal scheduler, pid
            scheduler = w.node.scheduler
            pid = await w.node.start_server(Marked)
            seen = weakref.ref(pid.process_.context)
            w.node.cast(pid, deed)
            await w.settle()
            if deed is timed_out_call:
                await w.advance(1)
            if end == "kill":
                w.node.exit(pid, KILL)
            else:
                w.node.cast(pid, boom)
            await w.advance(1000 if end == "crash" else 0)
            assert not w.node.is_alive(pid)
            w.observer.crashes.clear()
            assert seen() is None
            assert alive() == []

        scheduler: Any = None
        pid: Any = None
        run(test)
    finally:
        gc.enable()


def test_a_stopped_node_has_no_timers_whatever_was_cancelled_before() -> None:
    async def test(w: World) -> None:
        async def timers(ctx: ProcessContext) -> None:
            ctx.cancel_timer(ctx.send_after(5, ctx.pid, 1))

        w.node.spawn(timers)
        await w.settle()
        left = w.node.send_after(5, "nobody", 1)
        await w.node.stop()
        assert len(w.node.timers) == 0
        assert not w.node.timers.cancel(left)
        assert len(w.node.timers) == 0

    run(test)


def test_an_exit_signal_in_the_last_lap_of_a_parked_handler_comes_before_what_waits() -> None:
    async def test(w: World) -> None:
        async def end(s: Server) -> None:
            await s.sleep(1)
            s.exit(s.pid, "away with you")

        log: list[Any] = []
        server = await w.node.start_server(Server)
        w.node.cast(server, end)
        w.node.cast(server, lambda _: log.append("handled"))
        await w.advance(1)
        assert log == []
        assert not w.node.is_alive(server)
        assert w.node.scheduler.dying == 0

    run(test)


def test_a_root_that_ends_while_another_is_waited_for_is_not_told_to() -> None:
    async def test(w: World) -> None:
        class Slow(Trapper):
            async def terminate(self, reason: object) -> None:
                await self.sleep(0)

        await w.node.start_server(Slow)
        first = await w.node.start_server(Trapper)
        last = await w.node.start_server(Server)

        def end_both(s: Server) -> None:
            s.trap_exit = True
            s.terminate = lambda reason: s.exit(first, KILL)  # type: ignore[method-assign]

        w.node.cast(last, end_both)
        await w.settle()
        await w.node.stop()
        assert not w.node.table
        assert w.node.scheduler.dying == 0  # the dead one had no turn

    run(test)


def test_a_message_at_which_match_raises_is_not_lost() -> None:
    async def test(w: World) -> None:
        def fail(message: Any) -> bool:
            raise ValueError(message)

        async def receiver(ctx: ProcessContext) -> list[Any]:
            for n in range(3):
                ctx.send(ctx.pid, n)
            with pytest.raises(ValueError, match="0"):
                await ctx.receive(fail)
            return [await ctx.receive(timeout_s=0) for _ in range(3)]

        assert await inside(w, receiver) == [0, 1, 2]

    run(test)
