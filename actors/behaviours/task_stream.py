"""Many tasks, a few at a time: Elixir's `Task.async_stream`."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from palaver.actors.behaviours.task_results import Exited, TaskResult
from palaver.actors.runtime import (
    KILL,
    CallTimeout,
    Exit,
    ProcessContext,
    ReceiveTimeout,
    Ref,
    Response,
)

if TYPE_CHECKING:
    from palaver.actors.behaviours.task import Task

__all__ = ["TaskStream"]

T = TypeVar("T")


class _Running(Generic[T]):
    """One of the tasks that run now."""

    __slots__ = ("deadline_s", "place", "task")

    def __init__(self, task: Task[T], place: int, deadline_s: float | None) -> None:
        self.task = task
        self.place = place
        self.deadline_s = deadline_s


class TaskStream(Generic[T]):
    """The results of many tasks, each `Done(value)` or `Exited(reason)`.

        async with Task.async_stream(self, fetch, urls, max_concurrency=4) as results:
            async for result in results:
                ...

    Tasks start only while somebody asks for results: at most `max_concurrency` run or wait to be
    taken, whoever is slower. Leaving the `async with` kills those that still run.

    Args:
        owner: The process that asks.
        tasks: What starts them, one after the other.
        max_concurrency: How many at a time, at least 1.
        ordered: In the order of the items; else as they come.
        timeout_s: How long each may take; None: as long as it takes.
        on_timeout: ``exit``: `CallTimeout` is raised in the owner. ``kill_task``: the task is
            killed and its result is `Exited("timeout")`.
    """

    def __init__(
        self,
        owner: ProcessContext,
        tasks: Iterable[Awaitable[Task[T]]],
        *,
        max_concurrency: int,
        ordered: bool,
        timeout_s: float | None,
        on_timeout: Literal["exit", "kill_task"],
    ) -> None:
        if max_concurrency < 1:
            raise ValueError("at least one task has to run at a time")
        if on_timeout not in ("exit", "kill_task"):
            raise ValueError(f"unknown on_timeout {on_timeout!r}")
        self._owner = owner
        self._tasks = iter(tasks)
        self._max_concurrency = max_concurrency
        self._ordered = ordered
        self._timeout_s = timeout_s
        self._kills = on_timeout == "kill_task"
        self._running: dict[Ref, _Running[T]] = {}  # in the order of their deadlines
        self._started = 0
        self._exhausted = False
        # Results that wait for their place (if ordered), and those that are next.
        self._early: dict[int, TaskResult[T]] = {}
        self._ready: deque[TaskResult[T]] = deque()
        self._next = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskResult[T]:
        await self._fill()
        while not self._ready:
            if not self._running:
                raise StopAsyncIteration
            await self._wait()
            await self._fill()
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A process that is ended by a signal closes its coroutine, which cannot wait then; its
        # tasks are linked to it, or their supervisor's.
        if kind is not GeneratorExit:
            await self.aclose()

    async def aclose(self) -> None:
        """Kill the tasks that still run, and start no more."""
        self._exhausted = True
        running, self._running = list(self._running.values()), {}
        for each in running:
            self._owner.unlink(each.task.pid)
            self._owner.exit(each.task.pid, KILL)
        for each in running:
            await each.task.shutdown(self._owner, timeout_s=0)
            await self._forget(each.task)

    async def _fill(self) -> None:
        """Start tasks while there is room."""
        while not self._exhausted:
            if len(self._running) + len(self._early) + len(self._ready) >= self._max_concurrency:
                return
            start = next(self._tasks, None)
            if start is None:
                self._exhausted = True
                return
            task = await start
            deadline_s = None
            if self._timeout_s is not None:
                deadline_s = self._owner.clock.monotonic() + self._timeout_s
            self._running[task.ref] = _Running(task, self._started, deadline_s)
            self._started += 1

    async def _wait(self) -> None:
        """Wait for a result, or for a timeout."""
        first = next(iter(self._running.values()))
        left_s = None
        if first.deadline_s is not None:
            left_s = max(0.0, first.deadline_s - self._owner.clock.monotonic())
        result: TaskResult[T]
        try:
            answer: Response = await self._owner.receive(
                lambda m: type(m) is Response and m.ref in self._running, left_s
            )
        except ReceiveTimeout:
            if not self._kills:
                assert self._timeout_s is not None
                raise CallTimeout(self._timeout_s) from None
            done = first
            del self._running[done.task.ref]
            ended = await done.task.shutdown(self._owner, timeout_s=0)
            result = Exited("timeout") if ended is None else ended
        else:
            done = self._running.pop(answer.ref)
            result = done.task.take(answer)
        await self._forget(done.task)
        if self._ordered:
            self._early[done.place] = result
            while self._next in self._early:
                self._ready.append(self._early.pop(self._next))
                self._next += 1
        else:
            self._ready.append(result)

    async def _forget(self, task: Task[Any]) -> None:
        """An owner that traps exits is not told of the end of each task."""
        if self._owner.trap_exit:
            self._owner.unlink(task.pid)
            with contextlib.suppress(ReceiveTimeout):
                await self._owner.receive(lambda m: type(m) is Exit and m.sender is task.pid, 0)
