"""No program, nor what it has started, outlives its process, its node or its Python process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from programs_kit import frame, is_alive, run, shell, the_end, until

from palaver.actors.programs import (
    GetInfo,
    LauncherLost,
    Program,
    ProgramStartError,
    StopSteps,
    SystemLauncher,
)
from palaver.actors.runtime import (
    KILL,
    SHUTDOWN,
    Node,
    NullObserver,
    Pid,
    ProcessContext,
    StartError,
)

PARENT = Path(__file__).with_name("program_parent.py")
STUBBORN = shell("trap '' TERM HUP INT; sleep 1000 & echo $$ $!; cat; sleep 1000")
SLOW = StopSteps(1000, 1000, 1000)


async def started(ctx: ProcessContext, **options: Any) -> tuple[Pid, list[int]]:
    """A program with a child, both of which ignore what they can; and their process ids."""
    program = ctx.spawn(Program, STUBBORN, owner=ctx.pid, stop=SLOW, **options)
    return program, [int(number) for number in (await frame(ctx)).split()]


async def gone(ctx: ProcessContext, os_pids: list[int]) -> None:
    await ctx.bridge(until(lambda: not any(map(is_alive, os_pids))))


def test_a_killed_process_takes_its_program_and_all_of_its_group_along() -> None:
    async def test(ctx: ProcessContext) -> None:
        program, os_pids = await started(ctx)
        assert all(map(is_alive, os_pids))
        ctx.exit(program, KILL)
        await gone(ctx, os_pids)

    run(test)


def test_a_process_killed_while_it_stops_its_program_takes_it_along() -> None:
    async def test(ctx: ProcessContext) -> None:
        program, os_pids = await started(ctx)
        ctx.link(program)
        ctx.trap_exit = True
        ctx.exit(program, SHUTDOWN)
        with pytest.raises(TimeoutError):
            await ctx.call(program, GetInfo(), timeout_s=0.01)  # it waits for its program
        ctx.exit(program, KILL)
        await gone(ctx, os_pids)

    run(test)


def test_a_killed_guard_takes_the_program_along() -> None:
    async def test(ctx: ProcessContext) -> None:
        program, os_pids = await started(ctx)
        [guard] = [info.pid for info in ctx.node.processes() if info.parent is program]
        ctx.exit(guard, KILL)
        status = await the_end(ctx, program)
        assert status.signal == signal.SIGKILL
        await gone(ctx, os_pids)

    run(test)


def test_guard_and_process_killed_together_take_the_program_along() -> None:
    async def test(ctx: ProcessContext) -> None:
        program, os_pids = await started(ctx)
        for info in ctx.node.processes():
            if program in (info.pid, info.parent):
                ctx.exit(info.pid, KILL)
        await gone(ctx, os_pids)

    run(test)


def test_what_a_program_leaves_behind_is_killed_when_it_ends() -> None:
    async def test(ctx: ProcessContext) -> None:
        program = await ctx.start_link(Program, shell("sleep 1000 & echo $!"))
        child = int(await frame(ctx))
        assert (await the_end(ctx, program)).ok
        await gone(ctx, [child])

    run(test)


def test_the_end_of_the_node_is_the_end_of_its_programs() -> None:
    async def main() -> None:
        async with SystemLauncher() as launcher:
            os_pids: list[int] = []
            ready = asyncio.Event()

            async def owner(ctx: ProcessContext) -> None:
                _, pids = await started(ctx, launcher=launcher)
                os_pids.extend(pids)
                ready.set()
                await ctx.receive(lambda _: False)

            async with Node(observer=NullObserver()) as node:
                node.spawn(owner)
                await ready.wait()
                await node.stop(timeout_s=0.05)  # the program would take longer: it is killed
        assert not is_alive(os_pids[0])
        await until(lambda: not is_alive(os_pids[1]))  # killed as well, but nobody's child

    asyncio.run(main())


def test_a_lost_helper_takes_the_programs_along() -> None:
    async def test(ctx: ProcessContext) -> None:
        ctx.trap_exit = True
        launcher = SystemLauncher()
        program, os_pids = await started(ctx, launcher=launcher)
        ctx.link(program)
        assert launcher.os_pid is not None
        os.kill(launcher.os_pid, signal.SIGKILL)
        assert await the_end(ctx, program) is None
        end = await ctx.receive()
        assert end.sender is program
        assert isinstance(end.reason, LauncherLost)
        await gone(ctx, os_pids)
        # The next program has a new helper.
        other = await ctx.start_link(Program, shell("echo hello"), launcher=launcher)
        assert await frame(ctx) == b"hello"
        assert (await the_end(ctx, other)).ok
        assert launcher.os_pid is None

    run(test)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_end_of_the_python_process_is_the_end_of_its_programs(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, str(PARENT)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        os_pids = [int(text) for text in parent.stdout.readline().split()]
        assert len(os_pids) == 3
        assert all(map(is_alive, os_pids))
        parent.send_signal(number)
        asyncio.run(until(lambda: not any(map(is_alive, os_pids))))


def test_no_helper_can_be_started() -> None:
    async def test(ctx: ProcessContext) -> None:
        launcher = SystemLauncher(python="/no/such/python")
        with pytest.raises(StartError) as caught:
            await ctx.start_link(Program, STUBBORN, launcher=launcher)
        assert isinstance(caught.value.reason, ProgramStartError)

    run(test)


def test_a_helper_that_ends_at_once_is_a_failed_start() -> None:
    async def test(ctx: ProcessContext) -> None:
        launcher = SystemLauncher(python="/bin/true")
        with pytest.raises(StartError) as caught:
            await ctx.start_link(Program, STUBBORN, launcher=launcher)
        assert isinstance(caught.value.reason, LauncherLost)

    run(test)
