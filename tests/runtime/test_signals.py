"""Links, monitors and exit signals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from runtime_kit import Server, Trapper, World, boom, inside, run, stop_with

from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    Crash,
    Down,
    Exit,
    ExitProcess,
    NoProcess,
    ProcessContext,
    Shutdown,
    Stop,
)
from palaver.supervisors import ChildSpec, Supervisor


async def forever(ctx: ProcessContext) -> None:
    while True:
        await ctx.receive()


def test_a_function_that_returns_exits_normal() -> None:
    async def test(w: World) -> None:
        async def quick(ctx: ProcessContext) -> int:
            return 1

        assert await w.node.wait(w.node.spawn(quick)) is NORMAL

    run(test)


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("done"), "odd", 7, None, KILL])
def test_a_process_exits_with_the_reason_it_gives(reason: object) -> None:
    async def test(w: World) -> None:
        async def leave(ctx: ProcessContext) -> None:
            raise ExitProcess(reason)

        async def stop(ctx: ProcessContext) -> Stop:
            return Stop(reason)

        assert await w.node.wait(w.node.spawn(leave)) == reason
        assert await w.node.wait(w.node.spawn(stop)) == reason
        server = w.node.spawn(Server)
        w.node.cast(server, stop_with(reason))
        assert await w.node.wait(server) == reason

    run(test)


def test_an_exception_is_a_crash_with_its_cause_and_traceback() -> None:
    async def test(w: World) -> None:
        def fail(_: Any) -> None:
            try:
                boom()
            except ValueError as error:
                raise KeyError("worse") from error

        server = w.node.spawn(Server)
        w.node.cast(server, fail)
        reason = await w.node.wait(server)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, KeyError)
        assert isinstance(reason.exception.__cause__, ValueError)
        assert "ValueError: boom" in reason.traceback
        assert "direct cause" in reason.traceback
        assert str(reason) == "crash: KeyError: 'worse'"

    run(test)


def test_an_abnormal_exit_takes_linked_processes_along_and_a_normal_one_does_not() -> None:
    async def test(w: World) -> None:
        async def parent(ctx: ProcessContext, child_reason: object) -> None:
            child = ctx.spawn_link(Server)
            ctx.cast(child, stop_with(child_reason))
            await ctx.receive()

        gone = w.node.spawn(parent, "bad")
        stays = w.node.spawn(parent, NORMAL)
        assert await w.node.wait(gone) == "bad"
        await w.settle()
        assert w.node.is_alive(stays)

    run(test)


def test_exit_signals_run_along_chains_of_links() -> None:
    async def test(w: World) -> None:
        async def link_of(ctx: ProcessContext, depth: int) -> None:
            if depth:
                ctx.spawn_link(link_of, depth - 1)
            else:
                await ctx.sleep(1)
                raise ExitProcess("end")
            await ctx.receive()

        first = w.node.spawn(link_of, 5000)
        await w.settle()
        assert w.node.stats().processes == 5001
        await w.advance(2)
        assert not w.node.is_alive(first)
        assert w.node.stats().processes == 0

    run(test)


def test_trapped_exits_are_messages() -> None:
    async def test(w: World) -> None:
        async def parent(ctx: ProcessContext) -> list[Any]:
            ctx.trap_exit = True
            seen = []
            for reason in (NORMAL, SHUTDOWN, "odd", KILL):
                child = ctx.spawn_link(Server)
                ctx.cast(child, stop_with(reason))
                message = await ctx.receive()
                assert message.sender is child
                seen.append(message.reason)
            return seen

        # A kill that comes by a link is an ordinary reason: it can be trapped.
        assert await inside(w, parent) == [NORMAL, SHUTDOWN, "odd", KILL]

    run(test)


def test_kill_cannot_be_trapped_and_its_links_see_killed() -> None:
    async def test(w: World) -> None:
        async def parent(ctx: ProcessContext) -> Any:
            ctx.trap_exit = True
            child = ctx.spawn_link(Trapper)
            ctx.exit(child, KILL)
            return await ctx.receive()

        message = await inside(w, parent)
        assert isinstance(message, Exit)
        assert message.reason is KILLED

    run(test)


def test_a_kill_by_a_link_ends_who_does_not_trap_with_the_reason_kill() -> None:
    async def test(w: World) -> None:
        async def parent(ctx: ProcessContext) -> None:
            ctx.cast(ctx.spawn_link(Server), stop_with(KILL))
            await ctx.receive()

        assert await w.node.wait(w.node.spawn(parent)) is KILL

    run(test)


def test_exit_normal_ends_nobody_but_the_sender_itself() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)
        w.node.exit(server, NORMAL)
        await w.settle()
        assert w.node.is_alive(server)
        w.node.cast(server, lambda s: s.exit(s.pid, NORMAL))
        assert await w.node.wait(server) is NORMAL

    run(test)


def test_exit_and_kill_overtake_messages() -> None:
    async def test(w: World) -> None:
        handled: list[int] = []
        for reason, expected in ((KILL, KILLED), ("odd", "odd")):
            server = w.node.spawn(Server)
            await w.settle()
            for _ in range(100):
                w.node.cast(server, lambda s: handled.append(1))
            w.node.exit(server, reason)
            assert await w.node.wait(server) == expected
        assert not handled

    run(test)


def test_the_end_of_a_trapping_server_by_its_parent_overtakes_messages_and_runs_terminate() -> None:
    async def test(w: World) -> None:
        ends: list[object] = []
        handled: list[int] = []
        server = w.node.spawn(Trapper, ends)
        await w.settle()
        for _ in range(100):
            w.node.cast(server, lambda s: handled.append(1))
        w.node.exit(server, SHUTDOWN)
        assert await w.node.wait(server) is SHUTDOWN
        assert ends == [SHUTDOWN]
        assert not handled

    run(test)


def test_a_trapping_server_gets_the_exits_of_others_in_order_with_messages() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Trapper)

        async def other(ctx: ProcessContext) -> Any:
            ctx.cast(server, 1)
            ctx.exit(server, "poke")
            ctx.cast(server, 2)
            assert await ctx.call(server, "log") == [
                ("cast", 1),
                Exit(ctx.pid, "poke"),
                ("cast", 2),
            ]

        await inside(w, other)

    run(test)


def test_terminate_runs_on_stop_and_crash_but_not_for_an_untrapped_signal() -> None:
    async def test(w: World) -> None:
        ends: list[object] = []
        stopped = w.node.spawn(Trapper, ends)
        w.node.cast(stopped, stop_with(SHUTDOWN))
        await w.settle()
        crashed = w.node.spawn(Trapper, ends)
        w.node.cast(crashed, boom)
        await w.settle()
        killed = w.node.spawn(Trapper, ends)
        w.node.exit(killed, KILL)
        untrapping = w.node.spawn(Trapper, ends)
        w.node.cast(untrapping, lambda s: setattr(s, "trap_exit", False))
        await w.settle()
        w.node.exit(untrapping, "odd")
        await w.settle()
        assert ends[0] is SHUTDOWN
        assert isinstance(ends[1], Crash)
        assert len(ends) == 2
        assert w.node.stats().processes == 0

    run(test)


def test_linking_a_dead_pid_is_an_exit_signal_noproc() -> None:
    async def test(w: World) -> None:
        dead = w.node.spawn(Server)
        w.node.exit(dead, KILL)
        await w.settle()

        async def trapping(ctx: ProcessContext) -> Any:
            ctx.trap_exit = True
            ctx.link(dead)
            return await ctx.receive()

        async def plain(ctx: ProcessContext) -> None:
            ctx.link(dead)
            await ctx.receive()

        assert await inside(w, trapping) == Exit(dead, NOPROC)
        assert await w.node.wait(w.node.spawn(plain)) is NOPROC

    run(test)


def test_unlink_undoes_a_link() -> None:
    async def test(w: World) -> None:
        async def parent(ctx: ProcessContext) -> str:
            child = ctx.spawn_link(Server)
            ctx.unlink(child)
            ctx.exit(child, "odd")
            await ctx.join([child])
            return "alive"

        assert await inside(w, parent) == "alive"

    run(test)


def test_a_link_to_oneself_is_nothing() -> None:
    async def test(w: World) -> None:
        async def alone(ctx: ProcessContext) -> None:
            ctx.link(ctx.pid)
            ctx.unlink(ctx.pid)

        await inside(w, alone)

    run(test)


def test_down_comes_once_per_monitor_after_the_names_are_free() -> None:
    async def test(w: World) -> None:
        async def watcher(ctx: ProcessContext) -> None:
            pid = ctx.spawn(Server, name="watched")
            refs = [ctx.monitor(pid), ctx.monitor("watched")]
            ctx.exit(pid, "odd")
            for ref in refs:
                message = await ctx.receive()
                assert message == Down(ref, pid, "odd")
                assert ctx.whereis("watched") is None
            late = ctx.monitor(pid)
            assert await ctx.receive() == Down(late, pid, NOPROC)
            missing = ctx.monitor("nobody")
            assert await ctx.receive() == Down(missing, "nobody", NOPROC)

        await inside(w, watcher)

    run(test)


def test_demonitor_stops_and_flushes() -> None:
    async def test(w: World) -> None:
        async def watcher(ctx: ProcessContext) -> None:
            pid, ref = ctx.spawn_monitor(Server)
            ctx.demonitor(ref)
            kept = ctx.monitor(pid)
            flushed = ctx.monitor(pid)
            ctx.exit(pid, "odd")
            await ctx.join([pid])
            ctx.demonitor(flushed)
            ctx.demonitor(ref)
            assert (await ctx.receive()).ref is kept
            ctx.send(ctx.pid, "last")
            assert await ctx.receive() == "last"

        await inside(w, watcher)

    run(test)


def test_the_watcher_may_die_first() -> None:
    async def test(w: World) -> None:
        server = w.node.spawn(Server)

        async def watcher(ctx: ProcessContext) -> None:
            ctx.monitor(server)
            ctx.link(server)

        await w.node.wait(w.node.spawn(watcher))
        w.node.exit(server, "odd")
        assert await w.node.wait(server) == "odd"

    run(test)


def test_join_waits_for_all_or_for_the_time() -> None:
    async def test(w: World) -> None:
        async def waiter(ctx: ProcessContext) -> None:
            short, long = ctx.spawn(Server), ctx.spawn(Server)
            dead = ctx.spawn(Server)
            ctx.exit(dead, KILL)
            assert await ctx.join([dead]) == {dead: KILLED}
            ctx.send_after(1, short, stop_with("short"))
            ctx.send_after(5, long, stop_with("long"))
            assert await ctx.join([short, long, dead], timeout_s=3) == {
                short: "short",
                dead: NOPROC,
            }
            assert await ctx.join([long]) == {long: "long"}
            assert await ctx.join([]) == {}

        pid = w.node.spawn(waiter)
        await w.advance(10)
        assert not w.node.is_alive(pid)
        assert [report.reason for report in w.observer.crashes] == ["short", "long"]

    run(test)


def test_a_process_that_an_exit_signal_has_ended_is_dead_to_the_signals_behind_it() -> None:
    """Signals of a pair are handled in the order sent: what comes behind the end finds nobody."""

    async def test(w: World) -> None:
        victims = [await w.node.start_server(Server, name=f"victim{n}") for n in range(4)]

        async def killer(ctx: ProcessContext) -> None:
            ctx.trap_exit = True
            for victim in victims:
                ctx.exit(victim, "bad")
            ctx.link(victims[0])
            assert await ctx.receive() == Exit(victims[0], NOPROC)
            ref = ctx.monitor(victims[1])
            assert await ctx.receive() == Down(ref, victims[1], NOPROC)
            assert ctx.whereis("victim1") is None

        await inside(w, killer)

        async def caller(ctx: ProcessContext) -> None:
            victim = await ctx.start_link(Server)
            ctx.unlink(victim)
            ctx.exit(victim, "bad")
            with pytest.raises(NoProcess):
                await ctx.call(victim, "x")
            ctx.send_request(victim, "x")
            assert isinstance((await ctx.receive()).error, NoProcess)

        await inside(w, caller)

    run(test)


def test_the_first_exit_signal_says_the_reason() -> None:
    async def test(w: World) -> None:
        victim = await w.node.start_server(Server)
        gone = asyncio.ensure_future(w.node.wait(victim))
        await asyncio.sleep(0)
        w.node.exit(victim, "bad")
        w.node.exit(victim, KILL)
        assert await gone == "bad"
        ends: list[Any] = []
        trapper = await w.node.start_server(Trapper, ends)
        w.node.exit(trapper, "bad")
        w.node.exit(trapper, "worse")  # both from its parent
        await w.settle()
        assert ends == ["bad"]

    run(test)


def test_linking_again_to_a_process_that_is_about_to_exit_changes_nothing() -> None:
    async def test(w: World) -> None:
        async def linker(ctx: ProcessContext) -> None:
            ctx.trap_exit = True
            victim = ctx.spawn_link(Server)
            ctx.exit(victim, "bad")
            ctx.link(victim)
            assert await ctx.receive() == Exit(victim, "bad")

        await inside(w, linker)

    run(test)


def test_a_call_behind_an_exit_signal_fails_when_the_linked_have_heard_of_it() -> None:
    """As on the BEAM: who learns by a call that a process is gone cannot outrun its links."""

    async def test(w: World) -> None:
        parent = await w.node.start_server(Server)
        child = await w.node.call(parent, lambda s, _: s.spawn_link(Server))
        gone = asyncio.ensure_future(w.node.wait(child))
        await asyncio.sleep(0)

        async def killer(ctx: ProcessContext) -> None:
            ctx.exit(parent, KILL)
            with pytest.raises(NoProcess):
                await ctx.call(parent, "x")
            ctx.exit(child, SHUTDOWN)

        await inside(w, killer)
        assert await gone is KILLED

    run(test)


def test_a_supervisor_restarts_behind_the_end_of_its_grandchildren() -> None:
    """They trap exits, have names, and are told to stop by the end of a killed supervisor."""

    async def test(w: World) -> None:
        ends: list[Any] = []
        inner = ChildSpec("leaf", Trapper, (ends,), name="leaf")
        top = await w.node.start_server(
            Supervisor,
            [ChildSpec("inner", Supervisor, ([inner],), kind="supervisor", name="inner")],
        )
        killed = w.node.whereis("inner")
        assert killed is not None
        w.node.exit(killed, KILL)
        await w.settle()
        assert ends == [KILLED]
        assert w.node.whereis("leaf") is not None
        assert w.node.whereis("inner") not in (None, killed)
        assert w.node.is_alive(top)
        assert w.node.scheduler.dying == 0
        assert len(w.observer.restarts) == 1  # at the first attempt

    run(test)
