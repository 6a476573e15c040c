"""`Task`: a process that computes one thing, and the wait for what comes of it; after Elixir's.

    async def fetch(ctx: ProcessContext, url: str) -> bytes:
        return await ctx.bridge(client.get(url))

    class Pages(GenServer):
        async def handle_call(self, url: str, from_: From) -> bytes:
            task = Task.async_(self, fetch, url)
            ...  # meanwhile something else
            return await task.await_(self)

A task is a process of its own: it may wait, crash, be killed. One started by `async_` is linked to
its owner: if the task crashes, so does the owner, unless that traps exits; if the owner exits
abnormally, the task ends with it. For tasks whose failure must not end their owner there is
`palaver.supervisors.TaskSupervisor`.

The answer comes into the owner's mailbox as one `Response` with the task's `ref`: a server that
does not want to wait gets it in `handle_info`, where its `error` says if the task has failed.

See https://hexdocs.pm/elixir/Task.html.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from types import CoroutineType
from typing import Any, Concatenate, Final, Generic, Literal, ParamSpec, TypeAlias, TypeVar, cast

from palaver.actors.behaviours.task_results import Done, Exited, TaskResult
from palaver.actors.behaviours.task_stream import TaskStream
from palaver.actors.runtime import (
    KILL,
    KILLED,
    SHUTDOWN,
    CalleeExited,
    CallTimeout,
    Crash,
    Down,
    Node,
    Pid,
    ProcessContext,
    ReceiveTimeout,
    Ref,
    Request,
    Response,
    RuntimeFault,
)

__all__ = [
    "Done",
    "Exited",
    "Task",
    "TaskFunction",
    "TaskMisuse",
    "TaskResult",
    "label_of",
    "lone_process",
    "outside",
    "task_process",
]

T = TypeVar("T")
Item = TypeVar("Item")
P = ParamSpec("P")

TaskFunction: TypeAlias = Callable[Concatenate[ProcessContext, P], Awaitable[T]]
"""What a task runs: an `async def fn(ctx, ...)`, with the task's own context."""


class TaskMisuse(RuntimeFault):
    """A task is awaited by a process that is not its owner, or once more after its answer."""


class _Begin:
    """What the owner asks of a new task."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "BEGIN"


BEGIN: Final = _Begin()


def task_process(
    ctx: ProcessContext,
    owner: Pid | None,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Coroutine[Any, Any, None]:
    """A process that waits for its owner to ask, computes, and answers.

    If the owner exits before it has asked, there is nobody to compute for.
    """
    return _named(fn, _answering(ctx, owner, fn, args, options))


def lone_process(
    ctx: ProcessContext,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Coroutine[Any, Any, None]:
    """A process that computes for nobody."""
    return _named(fn, _alone(ctx, fn, args, options))


def _named(fn: Callable[..., Any], body: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    """Let reports show the function and not what is around it."""
    cast("CoroutineType[Any, Any, None]", body).__qualname__ = label_of(fn)
    return body


def label_of(fn: Callable[..., Any]) -> str:
    """What a function is called in reports."""
    return str(getattr(fn, "__qualname__", fn))


async def _alone(
    ctx: ProcessContext,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    await fn(ctx, *args, **options)


async def _answering(
    ctx: ProcessContext,
    owner: Pid | None,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    watch = None if owner is None else ctx.monitor(owner)
    asked = await ctx.receive(lambda m: type(m) is Request or (type(m) is Down and m.ref is watch))
    if type(asked) is Down:
        return
    if watch is not None:
        ctx.demonitor(watch)
    ctx.reply(asked.from_, await fn(ctx, *args, **options))


class Task(Generic[T]):
    """A task, as its owner sees it."""

    __slots__ = ("_awaited", "label", "owner", "pid", "ref")

    def __init__(self, owner: ProcessContext, pid: Pid, label: str) -> None:
        """Ask a `task_process` for its answer, for `owner`; the ways to start one end here."""
        self.pid = pid
        self.owner = owner.pid
        self.label = label
        self.ref: Ref = owner.send_request(pid, BEGIN)
        self._awaited = False

    def __repr__(self) -> str:
        return f"<task {self.label} {self.pid}>"

    # -- starting -----------------------------------------------------------------------------

    @staticmethod
    def start(
        ctx: ProcessContext, fn: TaskFunction[P, Any], *args: P.args, **options: P.kwargs
    ) -> Pid:
        """Run `fn` in a process that nobody waits for and nothing is linked to."""
        return ctx.spawn(lone_process, fn, args, options)

    @staticmethod
    def start_link(
        ctx: ProcessContext, fn: TaskFunction[P, Any], *args: P.args, **options: P.kwargs
    ) -> Pid:
        """Run `fn` in a linked process that nobody waits for."""
        return ctx.spawn_link(lone_process, fn, args, options)

    @classmethod
    def async_(
        cls, owner: ProcessContext, fn: TaskFunction[P, T], *args: P.args, **options: P.kwargs
    ) -> Task[T]:
        """Run `fn` in a linked process whose answer `owner` awaits."""
        pid = owner.spawn_link(task_process, owner.pid, fn, args, options)
        return Task(owner, pid, label_of(fn))

    # -- waiting ------------------------------------------------------------------------------

    async def await_(self, owner: ProcessContext, *, timeout_s: float | None = 5.0) -> T:
        """The answer, as soon as it is there; None waits for ever.

        Raises `CallTimeout` (the task goes on: see `shutdown`), `CalleeExited` if the task has
        exited without one (caused by its exception, if that is why), or `TaskMisuse`. A linked task
        that crashes ends an owner that does not trap exits.
        """
        result = await self.yield_(owner, timeout_s=timeout_s)
        if result is None:
            assert timeout_s is not None
            raise CallTimeout(timeout_s)
        return self.value_of(result)

    async def yield_(
        self, owner: ProcessContext, *, timeout_s: float | None = 5.0
    ) -> TaskResult[T] | None:
        """What became of the task; None if it still runs after `timeout_s`: ask again later."""
        self.check(owner)
        try:
            answer = await owner.receive(
                lambda m: type(m) is Response and m.ref is self.ref, timeout_s
            )
        except ReceiveTimeout:
            return None
        return self.take(answer)

    async def shutdown(
        self, owner: ProcessContext, *, timeout_s: float | None = 5.0
    ) -> TaskResult[T] | None:
        """End the task by `SHUTDOWN`, after `timeout_s` by `KILL` (0: at once); it is unlinked.

        Returns its answer if that was quicker, `Exited(reason)` if it ended of something else, and
        None if it was ended.
        """
        self.check(owner)
        owner.unlink(self.pid)
        if timeout_s != 0:
            owner.exit(self.pid, SHUTDOWN)
            result = await self.yield_(owner, timeout_s=timeout_s)
            if result is not None:
                return None if _ended_by(result, SHUTDOWN) else result
        owner.exit(self.pid, KILL)
        result = await self.yield_(owner, timeout_s=None)
        return None if result is not None and _ended_by(result, KILLED) else result

    @staticmethod
    async def await_many(
        owner: ProcessContext, tasks: Iterable[Task[T]], *, timeout_s: float | None = 5.0
    ) -> list[T]:
        """The answers of all tasks in their order, within `timeout_s` for all together.

        Raises what `await_` does for the first that fails.
        """
        tasks = list(tasks)
        for task in tasks:
            task.check(owner)
        by_ref = {task.ref: (n, task) for n, task in enumerate(tasks)}
        values: list[Any] = [None] * len(tasks)
        deadline_s = _deadline(owner, timeout_s)
        while by_ref:
            answer = await _first_answer(owner, by_ref, deadline_s)
            if answer is None:
                assert timeout_s is not None
                raise CallTimeout(timeout_s)
            n, task = by_ref.pop(answer.ref)
            values[n] = task.value_of(task.take(answer))
        return values

    @staticmethod
    async def yield_many(
        owner: ProcessContext, tasks: Sequence[Task[T]], *, timeout_s: float | None = 5.0
    ) -> list[tuple[Task[T], TaskResult[T] | None]]:
        """What became of each task within `timeout_s`; None beside those that still run."""
        results: dict[Ref, TaskResult[T]] = {}
        for task in tasks:
            task.check(owner)
        by_ref = {task.ref: (n, task) for n, task in enumerate(tasks)}
        deadline_s = _deadline(owner, timeout_s)
        while by_ref:
            answer = await _first_answer(owner, by_ref, deadline_s)
            if answer is None:
                break
            results[answer.ref] = by_ref.pop(answer.ref)[1].take(answer)
        return [(task, results.get(task.ref)) for task in tasks]

    @classmethod
    def async_stream(
        cls,
        owner: ProcessContext,
        fn: Callable[[ProcessContext, Item], Awaitable[T]],
        items: Iterable[Item],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout_s: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
    ) -> TaskStream[T]:
        """Run `fn(ctx, item)` in a linked task for each item, a few at a time; see `TaskStream`."""

        async def start(item: Item) -> Task[T]:
            return cls.async_(owner, fn, item)

        return TaskStream(
            owner,
            map(start, items),
            max_concurrency=max_concurrency,
            ordered=ordered,
            timeout_s=timeout_s,
            on_timeout=on_timeout,
        )

    # -- from outside -------------------------------------------------------------------------

    @staticmethod
    async def run(
        node: Node,
        fn: TaskFunction[P, T],
        *args: P.args,
        **options: P.kwargs,
    ) -> T:
        """Run a task and await its answer in asyncio code, outside of any process.

        Raises `CalleeExited` if the task has exited without one (caused by its exception, if that
        is why). If the wait is cancelled (by `asyncio.timeout`, say), the task ends by `SHUTDOWN`.
        """
        pid = node.spawn(task_process, None, fn, args, options)
        return cast("T", await outside(node, pid))

    # -- the rest -----------------------------------------------------------------------------

    def check(self, owner: ProcessContext) -> None:
        """Raise `TaskMisuse` if `owner` cannot await this task, or not any more."""
        if owner.pid is not self.owner:
            raise TaskMisuse(f"{self} can be awaited by its owner {self.owner} only")
        if self._awaited:
            raise TaskMisuse(f"{self} was awaited already: there is one answer")

    def take(self, answer: Response) -> TaskResult[T]:
        """What the task's `Response` says, for those who got it themselves; it is awaited then."""
        self._awaited = True
        if answer.error is None:
            return Done(answer.value)
        return Exited(getattr(answer.error, "reason", answer.error))

    def value_of(self, result: TaskResult[T]) -> T:
        """The value; raises `CalleeExited` if there is none."""
        if isinstance(result, Exited):
            raise CalleeExited(self.pid, result.reason) from _cause(result.reason)
        return result.value


async def outside(node: Node, pid: Pid) -> Any:
    """Await the answer of a `task_process` in asyncio code; see `Task.run`."""
    try:
        return await node.call(pid, BEGIN, timeout_s=None)
    except asyncio.CancelledError:
        node.exit(pid, SHUTDOWN)
        raise
    except CalleeExited as error:
        raise error from _cause(error.reason)


async def _first_answer(
    owner: ProcessContext, by_ref: dict[Ref, tuple[int, Task[Any]]], deadline_s: float | None
) -> Any:
    """The next `Response` of one of these tasks; None if there is none in time."""
    left_s = None if deadline_s is None else max(0.0, deadline_s - owner.clock.monotonic())
    try:
        return await owner.receive(lambda m: type(m) is Response and m.ref in by_ref, left_s)
    except ReceiveTimeout:
        return None


def _deadline(owner: ProcessContext, timeout_s: float | None) -> float | None:
    return None if timeout_s is None else owner.clock.monotonic() + timeout_s


def _ended_by(result: TaskResult[Any], reason: object) -> bool:
    return isinstance(result, Exited) and result.reason is reason


def _cause(reason: object) -> BaseException | None:
    return reason.exception if isinstance(reason, Crash) else None
