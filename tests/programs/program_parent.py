"""A Python program with a supervised program, to be killed: prints their process ids and waits.

Run by `test_guard.py`.
"""

from __future__ import annotations

import asyncio

from palaver.actors.programs import Command, Data, GetInfo, Program, StopSteps, SystemLauncher
from palaver.actors.runtime import Node, ProcessContext


async def owner(ctx: ProcessContext, launcher: SystemLauncher) -> None:
    script = "trap '' TERM HUP; sleep 1000 & echo $$ $!; cat >/dev/null; sleep 1000"
    command = Command(("sh", "-c", script))
    steps = StopSteps(0.05, 0.05, 10)
    program = await ctx.start_link(Program, command, stop=steps, launcher=launcher)
    data = await ctx.receive(lambda message: isinstance(message, Data))
    info = await ctx.call(program, GetInfo())
    assert str(info.os_pid).encode() == data.frame.split()[0]
    print(data.frame.decode(), launcher.os_pid, flush=True)
    await ctx.receive(lambda message: False)


async def main() -> None:
    async with SystemLauncher() as launcher, Node() as node:
        await node.wait(node.spawn(owner, launcher))


if __name__ == "__main__":
    asyncio.run(main())
