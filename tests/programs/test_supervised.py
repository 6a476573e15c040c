"""Programs under supervisors."""

from __future__ import annotations

import os
import signal
from typing import Any

from programs_kit import frame, is_alive, run, shell, the_end

from palaver.actors.programs import (
    CloseStdin,
    Command,
    ExitStatus,
    Program,
    ProgramExited,
    SystemLauncher,
)
from palaver.actors.runtime import SHUTDOWN, Down, ProcessContext
from palaver.supervisors import ChildSpec, CountChildren, Supervisor, SupervisorFlags


class Tree(Supervisor):
    def specification(self, *children: ChildSpec) -> Any:
        return SupervisorFlags("one_for_one", intensity=3, period_s=60), list(children)


def child(owner: Any, script: str, **options: Any) -> ChildSpec:
    return ChildSpec("program", Program, (shell(script),), options={"owner": owner, **options})


async def start(ctx: ProcessContext, *children: ChildSpec) -> tuple[Any, Any]:
    tree = ctx.spawn(Tree, *children)
    return tree, ctx.monitor(tree)


def test_a_program_that_crashes_again_and_again_ends_its_supervisor() -> None:
    async def test(ctx: ProcessContext) -> None:
        launcher = SystemLauncher()
        tree, watch = await start(ctx, child(ctx.pid, "echo up; exit 3", launcher=launcher))
        for _ in range(4):  # the first, and three restarts
            assert await frame(ctx) == b"up"
            end = await ctx.receive(lambda m: isinstance(m, ProgramExited))
            assert end.status == ExitStatus(code=3)
        assert await ctx.receive() == Down(watch, tree, SHUTDOWN)

    run(test)


def test_a_program_that_is_killed_from_outside_runs_again() -> None:
    async def test(ctx: ProcessContext) -> None:
        tree, watch = await start(ctx, child(ctx.pid, "echo $$; cat"))
        first = int(await frame(ctx))
        os.kill(first, signal.SIGKILL)
        end = await ctx.receive(lambda m: isinstance(m, ProgramExited))
        assert end.status == ExitStatus(signal=9)
        second = int(await frame(ctx))
        assert is_alive(second)
        ctx.exit(tree, SHUTDOWN)
        assert await ctx.receive(lambda m: isinstance(m, Down)) == Down(watch, tree, SHUTDOWN)
        assert not is_alive(second)

    run(test)


def test_a_program_that_does_not_start_does_not_let_its_supervisor_start() -> None:
    async def test(ctx: ProcessContext) -> None:
        spec = ChildSpec(
            "program", Program, (Command(("no-such-program",)),), options={"owner": ctx.pid}
        )
        _, watch = await start(ctx, spec)
        down = await ctx.receive()
        assert down.ref is watch
        assert "no-such-program did not start" in str(down.reason)

    run(test)


def test_a_transient_program_may_end_well() -> None:
    async def test(ctx: ProcessContext) -> None:
        spec = ChildSpec(
            "program",
            Program,
            (Command(("cat",)),),
            restart="transient",
            name="program",
            options={"owner": ctx.pid},
        )
        tree, _ = await start(ctx, spec)
        await ctx.call(tree, CountChildren())
        program = ctx.whereis("program")
        assert program is not None
        ctx.cast(program, CloseStdin())
        assert (await the_end(ctx, program)).ok
        assert (await ctx.call(tree, CountChildren())).active == 0
        ctx.exit(tree, SHUTDOWN)

    run(test)
