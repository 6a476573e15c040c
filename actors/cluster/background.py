"""Work that a server has done beside it: a process of its own that tells the outcome.

A handler that waited for the registers would keep the server from hearing anything else meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeAlias, TypeVar

from palaver.actors.runtime import GenServer, Pid, ProcessContext

__all__ = ["Finished", "Job", "begin", "within"]

T = TypeVar("T")

Job: TypeAlias = Callable[[ProcessContext], Coroutine[Any, Any, Any]]


class Finished(NamedTuple):
    """A message: some work is over.

    Attributes:
        worker: who has done it.
        what: as it was begun.
        value: what came of it.
        error: what it raised instead.
    """

    worker: Pid
    what: Any
    value: Any
    error: Exception | None


def begin(server: GenServer[Any], what: Any, job: Job) -> Pid:
    """Do some work beside a server, which gets a `Finished`; it ends with the server."""
    return server.spawn_link(_work, server.pid, what, job)


async def _work(ctx: ProcessContext, server: Pid, what: Any, job: Job) -> None:
    value, error = None, None
    try:
        value = await job(ctx)
    except Exception as raised:  # noqa: BLE001 - whoever has begun it sees to it
        error = raised
    ctx.send(server, Finished(ctx.pid, what, value, error))


async def within(ctx: ProcessContext, seconds: float, awaited: Awaitable[T]) -> T:
    """Await asyncio code; raises `TimeoutError` after a while.

    In virtual time too: the deadline is the node's, not the loop's.
    """
    task = asyncio.ensure_future(awaited)
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = ctx.node.timers.add(seconds, expire)
    try:
        return await ctx.bridge(task)
    except asyncio.CancelledError:
        if late:
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        raise
    finally:
        ctx.node.timers.cancel(timer)
