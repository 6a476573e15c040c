"""Helpers of the programs' tests: a real node, and a look at the machine's processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from palaver.actors.programs import Command, Data, ProgramExited
from palaver.actors.runtime import Node, NullObserver, Pid, ProcessContext

SLEEP = 0.005
Body = Callable[[ProcessContext], Coroutine[Any, Any, None]]


def is_alive(os_pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    return state(os_pid) not in ("", "Z", "X")


def state(os_pid: int) -> str:
    try:
        text = Path(f"/proc/{os_pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.rpartition(")")[2].split()[0]


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition of the world outside, which sends no message; pytest's limit ends it."""
    while not condition():
        await asyncio.sleep(SLEEP)


def run(test: Body, *, loop_factory: Any = None) -> None:
    """Run a test as a process of a real node, and see that it leaves nothing behind."""

    async def main() -> None:
        tasks = asyncio.all_tasks()
        fds, mine = descriptors(), children()
        failure: list[BaseException] = []

        async def body(ctx: ProcessContext) -> None:
            try:
                await test(ctx)
            except BaseException as error:
                failure.append(error)

        async with Node(observer=NullObserver()) as node:
            await node.wait(node.spawn(body))
        if failure:
            raise failure[0]
        await until(lambda: descriptors() == fds and children() == mine)
        assert asyncio.all_tasks() == tasks

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def shell(script: str, **options: Any) -> Command:
    return Command(("sh", "-c", script), **options)


async def frame(ctx: ProcessContext) -> bytes:
    """The next frame of output."""
    message = await ctx.receive(lambda m: isinstance(m, Data))
    return bytes(message.frame)


async def the_end(ctx: ProcessContext, program: Pid) -> Any:
    """How a program ended."""
    done = await ctx.receive(lambda m: isinstance(m, ProgramExited) and m.program is program)
    return done.status
