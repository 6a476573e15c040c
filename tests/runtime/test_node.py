"""Nodes: names, timers, limits, what can be seen of them, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
from runtime_kit import ManualClock, Recorder, Server, Trapper, World, boom, inside, run, settle

import palaver.actors.runtime as runtime
from palaver.actors.runtime import (
    KILL,
    NOREPLY,
    NORMAL,
    SHUTDOWN,
    GenServer,
    MailboxLimit,
    NameTaken,
    Node,
    NodeStopped,
    NullObserver,
    ProcessContext,
    ProcessLimit,
    StructlogObserver,
    SystemClock,
)


def test_names_belong_to_one_living_process() -> None:
    async def test(w: World) -> None:
        first = await w.node.start_server(Server, name="a")
        assert w.node.whereis("a") is first
        with pytest.raises(NameTaken) as caught:
            w.node.spawn(Server, name="a")
        assert caught.value.pid is first
        w.node.exit(first, KILL)
        await w.node.wait(first)
        assert w.node.whereis("a") is None
        second = await w.node.start_server(Server, name="a")
        assert w.node.whereis("a") is second

    run(test)


def test_a_process_registers_and_unregisters_itself() -> None:
    async def test(w: World) -> None:
        async def named(ctx: ProcessContext) -> None:
            ctx.register("one")
            ctx.register("two")
            other = ctx.spawn(Server, name="other")
            with pytest.raises(NameTaken):
                ctx.register("other")
            with pytest.raises(NameTaken):
                ctx.unregister("other")
            ctx.unregister("one")
            ctx.unregister("never")
            assert (ctx.whereis("one"), ctx.whereis("two"), ctx.whereis("other")) == (
                None,
                ctx.pid,
                other,
            )

        await inside(w, named)
        assert w.node.whereis("two") is None

    run(test)


def test_a_message_to_a_missing_name_is_dropped() -> None:
    async def test(w: World) -> None:
        w.node.send("nobody", 1)
        w.node.cast("nobody", 1)

        async def sender(ctx: ProcessContext) -> None:
            ctx.send("nobody", 1)
            ctx.cast("nobody", 1)

        await inside(w, sender)

    run(test)


def test_timers_fire_in_order_and_can_be_cancelled() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server, name="server")

        async def user(ctx: ProcessContext) -> None:
            ctx.send_after(3, server, "three")
            ctx.send_after(1, "server", "one")
            unwanted = ctx.send_after(2, server, "two")
            ctx.send_after(1, server, "one again")
            assert ctx.cancel_timer(unwanted)
            assert not ctx.cancel_timer(unwanted)

        await inside(w, user)
        assert await w.node.call(server, "log") == []
        await w.advance(1)
        assert await w.node.call(server, "log") == ["one", "one again"]
        await w.advance(2)
        assert await w.node.call(server, "log") == ["one", "one again", "three"]
        fired = w.node.send_after(1, server, "four")
        await w.advance(1)
        assert not w.node.timers.cancel(fired)

    run(test)


def test_ten_thousand_cancelled_timers_are_swept() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        timers = [w.node.send_after(n + 1, server, n) for n in range(10_000)]
        for timer in timers[5:]:
            assert w.node.timers.cancel(timer)
        assert len(w.node.timers) == 5
        assert len(w.node.timers._heap) < 100
        await w.advance(20_000)
        assert await w.node.call(server, "log") == [0, 1, 2, 3, 4]

    run(test)


def test_real_time_is_never_early() -> None:
    async def main() -> None:
        async with Node(observer=NullObserver()) as node:
            early: list[float] = []

            async def sleeper(ctx: ProcessContext, delay_s: float) -> None:
                began_s = ctx.clock.monotonic()
                await ctx.sleep(delay_s)
                if ctx.clock.monotonic() - began_s < delay_s:
                    early.append(delay_s)

            pids = [node.spawn(sleeper, n / 3000) for n in range(30)]
            for pid in pids:
                await node.wait(pid)
            assert not early
            assert SystemClock().time_ms() > 1_600_000_000_000

    asyncio.run(main())


def test_there_is_a_limit_to_processes() -> None:
    async def test(w: World) -> None:
        pids = [w.node.spawn(Server) for _ in range(5)]
        with pytest.raises(ProcessLimit):
            w.node.spawn(Server)
        w.node.exit(pids[0], KILL)
        await w.settle()
        w.node.spawn(Server)

    run(test, max_processes=5)


def test_what_cannot_be_a_process_is_refused() -> None:
    async def test(w: World) -> None:
        with pytest.raises(TypeError, match="async def"):
            w.node.spawn(lambda ctx: None)  # type: ignore[arg-type,return-value]
        assert w.node.stats().processes == 0

    run(test)


def test_nodes_share_nothing() -> None:
    async def main() -> None:
        async with Node("a@local", observer=NullObserver()) as a, Node("b@local") as b:
            first = await a.start_server(Server, name="server")
            second = await b.start_server(Server, name="server")
            a.cast("server", 1)
            assert await a.call("server", "log") == [("cast", 1)]
            assert await b.call("server", "log") == []
            assert str(first) == "<a@local.1>"
            assert str(second) == "<b@local.1>"

    asyncio.run(main())


def test_a_node_runs_only_between_start_and_stop() -> None:
    async def main() -> None:
        node = Node(observer=NullObserver())
        with pytest.raises(NodeStopped):
            node.spawn(Server)
        await node.start()
        with pytest.raises(NodeStopped):
            await node.start()
        pid = node.spawn(Server)
        await node.stop()
        await node.stop()
        assert not node.is_alive(pid)
        with pytest.raises(NodeStopped):
            node.spawn(Server)
        with pytest.raises(NodeStopped):
            await node.start_server(Server)
        with pytest.raises(NodeStopped):
            await node.start()
        node.cast(pid, 1)

    asyncio.run(main())


def test_stop_ends_the_last_started_first_and_everything() -> None:
    async def test(w: World) -> None:
        ends: list[Any] = []

        class Named(Trapper):
            def init(self, name: str) -> None:  # type: ignore[override]
                super().init(ends)
                self.spawn(Server)  # an orphan to be

            async def terminate(self, reason: object) -> None:  # type: ignore[override]
                await self.sleep(0)
                ends.append((self.pid.serial, reason))

        pids = [w.node.spawn(Named, "x") for _ in range(3)]
        await w.settle()
        await w.node.stop()
        assert ends == [(pid.serial, SHUTDOWN) for pid in reversed(pids)]
        assert w.node.stats().processes == 0

    run(test)


def test_stop_kills_what_does_not_end_in_time() -> None:
    async def main() -> None:
        node = Node(observer=NullObserver())
        await node.start()

        async def stubborn(ctx: ProcessContext) -> None:
            ctx.trap_exit = True
            while True:
                await ctx.receive()

        node.spawn(stubborn)
        await node.stop(timeout_s=0.01)
        assert node.stats().processes == 0

    asyncio.run(main())


def test_stop_leaves_no_task_timer_thread_or_process_behind() -> None:
    async def main() -> None:
        threads_before = threading.active_count()
        tasks_before = asyncio.all_tasks()
        loop: Any = asyncio.get_running_loop()
        node = Node(observer=NullObserver())
        await node.start()
        release = threading.Event()

        async def in_thread(ctx: ProcessContext) -> None:
            await ctx.run_blocking(release.wait)

        async def on_asyncio(ctx: ProcessContext) -> None:
            await ctx.bridge(asyncio.Event().wait())

        async def asleep(ctx: ProcessContext) -> None:
            ctx.send_after(1000, ctx.pid, "never")
            await ctx.sleep(1000)

        async def calling(ctx: ProcessContext) -> None:
            await ctx.call(deaf, 1, timeout_s=1000)

        deaf = node.spawn(Server)
        for body in (in_thread, on_asyncio, asleep, calling):
            node.spawn(body)
        for _ in range(3):
            node.spawn(Server)
        await settle(node)
        assert threading.active_count() > threads_before
        asyncio.get_running_loop().call_later(0.01, release.set)
        await node.stop()
        assert threading.active_count() == threads_before
        assert asyncio.all_tasks() == tasks_before
        await asyncio.sleep(0)
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []

    asyncio.run(main())


def test_a_dead_process_is_freed_without_the_garbage_collector() -> None:
    class Big(Server):
        pass

    async def test(w: World) -> None:
        seen: list[weakref.ref[Any]] = []

        def watch(other: Any) -> Any:
            def handler(s: Server) -> None:
                s.monitor(other)

            return handler

        def note(s: Server) -> None:
            seen.append(weakref.ref(s))

        gc.disable()
        try:
            for reason in (KILL, NORMAL, SHUTDOWN):
                pid = await w.node.start_server(Big, note)
                other = await w.node.start_server(Big)
                w.node.cast(pid, lambda s, o=other: s.link(o))
                w.node.cast(pid, watch(other))
                await w.node.call(pid, 1)
                w.node.cast(pid, lambda s, r=reason: s.exit(s.pid, r))
                await w.node.wait(pid)
                await w.settle()
            assert [ref() for ref in seen] == [None] * 3
        finally:
            gc.enable()

    run(test)


def test_what_a_node_shows_of_its_processes() -> None:
    async def test(w: World) -> None:
        async def holder(ctx: ProcessContext) -> None:
            child = ctx.spawn_link(Server, name="child", mailbox=MailboxLimit(9, "reject"))
            ctx.monitor(child)
            ctx.cast(child, 1)
            await ctx.call(child, lambda *_: NOREPLY)

        pid = w.node.spawn(holder)
        await w.settle()
        first, second = w.node.processes()
        assert first.pid is pid
        assert first.name is None
        assert first.parent is None
        assert first.links == first.monitors == (second.pid,)
        assert first.status == "waiting"
        assert "holder" in first.behaviour
        assert second.name == "child"
        assert second.parent is pid
        assert second.links == (pid,)
        assert second.status == "idle"
        assert second.reductions == 3
        assert second.behaviour == "runtime_kit.Server"
        stats = w.node.stats()
        assert (stats.processes, stats.spawned_total, stats.exited_total) == (2, 2, 0)
        assert stats.messages_total == 3
        w.node.cast(second.pid, 1)
        w.node.cast(second.pid, 2)
        assert [p.status for p in w.node.processes()] == ["waiting", "runnable"]
        assert w.node.stats().mailbox_max == 2
        assert w.node.stats().run_queue == 1

    run(test)


def test_a_crash_is_reported_so_that_a_person_can_read_it() -> None:
    class Secretive(Server):
        def format_status(self) -> object:
            return {"entries": len(self.log)}

    async def test(w: World) -> None:
        pid = await w.node.start_server(Secretive, name="secretive")
        w.node.cast(pid, 1)
        w.node.cast(pid, boom)
        w.node.cast(pid, 2)
        await w.settle()
        (report,) = w.observer.crashes
        assert report.pid is pid
        assert report.name == "secretive"
        assert report.last_message is boom
        assert report.state == {"entries": 1}
        assert report.mailbox_len == 1
        text = str(report)
        assert f"Secretive {pid} (secretive) terminating: crash: ValueError: boom" in text
        assert "state: {'entries': 1}" in text
        assert text.endswith("ValueError: boom")
        assert "runtime/server.py" not in text  # the traceback begins in the handler

    run(test)


def test_the_report_survives_what_it_reports() -> None:
    class Hostile(Server):
        def format_status(self) -> object:
            raise RuntimeError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no")

    async def test(w: World) -> None:
        pid = w.node.spawn(Hostile)
        w.node.cast(pid, lambda s: boom())
        await w.settle()
        assert "format_status raised" in str(w.observer.crashes[0])

        class Evil:
            def __call__(self, s: Server) -> None:
                raise ValueError("evil")

            def __repr__(self) -> str:
                raise RuntimeError("no repr")

        w.node.cast(w.node.spawn(Server), Evil())
        await w.settle()
        assert "whose repr raises RuntimeError" in str(w.observer.crashes[1])

    run(test)


def test_an_observer_that_fails_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Recorder):
        def process_crashed(self, report: object) -> None:
            raise RuntimeError("observer")

    async def main() -> None:
        async with Node(clock=ManualClock(), observer=Broken()) as node:
            pid = node.spawn(Server)
            node.cast(pid, boom)
            await node.wait(pid)

    asyncio.run(main())
    assert "the observer failed" in capsys.readouterr().out


def test_the_structlog_observer_prints_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with Node(clock=ManualClock(), observer=StructlogObserver()) as node:
            pid = node.spawn(Server, name="printed")
            node.cast(pid, boom)
            await node.wait(pid)
            node.observer.child_restarted(pid, "child", "reason")
            node.observer.supervisor_gave_up(pid, "reason")
            node.observer.handler_slow(pid, 1.5)

    asyncio.run(main())
    out = capsys.readouterr().out
    assert "runtime_kit.Server <palaver@local.1> (printed) terminating" in out
    assert "\nValueError: boom" in out
    for text in ("child restarted", "gave up", "handler slow"):
        assert text in out


def test_the_watchdog_names_the_slow_handler() -> None:
    async def test(w: World) -> None:
        def slow(s: Server) -> None:
            w.clock.now_s += 5

        good, bad = w.node.spawn(Server), w.node.spawn(Server)
        w.node.cast(bad, slow)
        w.node.cast(good, 1)
        await w.settle()
        assert w.observer.slow == [(bad, 5)]

    run(test)


def test_the_watchdog_names_the_callee_and_not_its_caller() -> None:
    async def test(w: World) -> None:
        def slow(s: Server, from_: Any) -> str:
            w.clock.now_s += 5
            return "done"

        async def caller(ctx: ProcessContext, callee: Any) -> None:
            for _ in range(3):
                assert await ctx.call(callee, slow) == "done"

        inner = w.node.spawn(Server)
        outer = w.node.spawn(Server)
        await w.settle()
        w.node.spawn(caller, inner)
        await w.settle()
        assert w.observer.slow
        assert {pid for pid, _ in w.observer.slow} == {inner}
        w.observer.slow.clear()

        async def relay(s: Server, from_: Any) -> Any:
            w.clock.now_s += 1
            return await s.call(inner, slow)

        await inside(w, lambda ctx: ctx.call(outer, relay))
        assert sorted(seconds for _, seconds in w.observer.slow) == [1, 5]

    run(test)


def test_a_slow_process_gets_shorter_turns_until_it_is_quick_again() -> None:
    async def test(w: World) -> None:
        def slow(s: Server) -> None:
            w.clock.now_s += 0.01

        server = w.node.spawn(Server)
        process: Any = server.process_
        for _ in range(200):
            w.node.cast(server, slow)
        await w.settle()
        assert process.budget == 1
        for n in range(10):
            w.node.cast(server, n)
            await w.settle()
        assert process.budget == w.node.scheduler.reductions

    run(test)


def test_the_event_loop_has_its_turn_between_slices() -> None:
    async def main() -> None:
        async with Node(observer=NullObserver(), slice_s=0.0005) as node:

            class Spinner(GenServer):
                def init(self) -> None:
                    self.cast(self.pid, 0)

                def handle_cast(self, message: int) -> None:
                    self.cast(self.pid, message + 1)

            node.spawn(Spinner)
            for _ in range(50):
                await asyncio.sleep(0)
            assert node.stats().messages_total > 50

    asyncio.run(main())


def test_a_keyboard_interrupt_leaves_the_scheduler_whole() -> None:
    async def test(w: World) -> None:
        def interrupt(_: object) -> None:
            raise KeyboardInterrupt

        bad, good = w.node.spawn(Server), w.node.spawn(Server)
        await w.settle()
        queue = w.node.scheduler.queue
        w.node.scheduler.armed = True  # this test runs the slice itself
        w.node.cast(bad, interrupt)
        w.node.cast(good, 1)
        assert len(queue) == 2
        with pytest.raises(KeyboardInterrupt):
            w.node.scheduler.run()
        assert await w.node.call(good, "log") == [("cast", 1)]
        assert not w.node.is_alive(bad)

    run(test)


def test_two_runs_are_the_same() -> None:
    async def trace() -> list[Any]:
        seen: list[Any] = []

        class Player(Server):
            def init(self, peers: list[Any]) -> None:  # type: ignore[override]
                self.peers = peers
                self.cast(self.pid, 20)

            def handle_cast(self, n: Any) -> None:
                seen.append((self.pid.serial, n))
                if n:
                    peer = self.random.choice(self.peers)
                    self.link(peer)
                    self.cast(peer, n - 1)
                    self.send_after(self.random.random(), self.pid, "tick")
                else:
                    boom()

        async def body(w: World) -> None:
            peers: list[Any] = []
            for _ in range(10):
                peers.append(w.node.spawn(Player, peers))
            await w.advance(5)
            seen.append([p.pid.serial for p in w.node.processes()])

        from runtime_kit import world

        async with world() as w:
            await body(w)
        return seen

    assert asyncio.run(trace()) == asyncio.run(trace())


def test_every_public_name_exists_once() -> None:
    assert len(set(runtime.__all__)) == len(runtime.__all__)
    for name in runtime.__all__:
        assert getattr(runtime, name) is not None


def test_processes_do_not_see_the_context_of_whoever_wakes_them() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def test(w: World) -> None:
        variable.set("outside")
        server = await w.node.start_server(Server)
        assert await w.node.call(server, lambda _s, _f: variable.get()) == "unset"

    run(test)


def test_a_timer_says_how_long_it_has_to_go() -> None:
    async def test(w: World) -> None:
        server = await w.node.start_server(Server)
        timer = await w.node.call(server, lambda s, _: s.send_after(5, s.pid, "late"))
        await w.advance(2)
        assert await w.node.call(server, lambda s, _: s.read_timer(timer)) == 3
        await w.advance(3)
        assert await w.node.call(server, lambda s, _: s.read_timer(timer)) is None
        other = await w.node.call(server, lambda s, _: s.send_after(5, s.pid, "never"))
        assert await w.node.call(server, lambda s, _: s.cancel_timer(other))
        assert await w.node.call(server, lambda s, _: s.read_timer(other)) is None

    run(test)
