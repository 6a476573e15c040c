"""`TaskSupervisor`: tasks whose failure harms neither their owner nor each other; after Elixir's.

    ChildSpec("tasks", TaskSupervisor, kind="supervisor", name="tasks")

    async def handle_call(self, url, from_):
        task = await TaskSupervisor.async_nolink(self, "tasks", fetch, url)
        return await task.yield_(self)

The tasks are children of the supervisor: they are seen there, limited by `max_children`, and
stopped with it.

See https://hexdocs.pm/elixir/Task.Supervisor.html.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, ParamSpec, TypeVar, cast

from palaver.actors.behaviours.task import (
    Task,
    TaskFunction,
    label_of,
    lone_process,
    outside,
    task_process,
)
from palaver.actors.behaviours.task_stream import TaskStream
from palaver.actors.runtime import Dest, Node, Pid, ProcessContext
from palaver.supervisors.dynamic import DynamicSupervisor
from palaver.supervisors.requests import ChildInfo, StartChild, WhichChildren
from palaver.supervisors.spec import ChildSpec, Restart

__all__ = ["TaskSupervisor"]

Item = TypeVar("Item")
P = ParamSpec("P")
T = TypeVar("T")


class TaskSupervisor(DynamicSupervisor):
    """Supervises tasks; started as any supervisor, with the options of `DynamicSupervisor`.

    The methods are for other processes, which name the supervisor. They raise what a call raises,
    and `MaxChildren` where there are too many tasks.
    """

    __slots__ = ()

    @staticmethod
    async def async_nolink(
        owner: ProcessContext,
        supervisor: Dest,
        fn: TaskFunction[P, T],
        *args: P.args,
        **options: P.kwargs,
    ) -> Task[T]:
        """Run `fn` in a task whose answer `owner` awaits, and whose failure is only that.

        The task goes on if the owner exits.
        """
        spec = ChildSpec(
            label_of(fn), task_process, (owner.pid, fn, args, options), restart="temporary"
        )
        pid: Pid = await owner.call(supervisor, StartChild(spec))
        return Task(owner, pid, label_of(fn))

    @staticmethod
    async def async_(
        owner: ProcessContext,
        supervisor: Dest,
        fn: TaskFunction[P, T],
        *args: P.args,
        **options: P.kwargs,
    ) -> Task[T]:
        """`async_nolink`, with a link between task and owner as `Task.async_` makes it."""
        task = await TaskSupervisor.async_nolink(owner, supervisor, fn, *args, **options)
        owner.link(task.pid)
        return task

    @staticmethod
    async def start_child(
        ctx: ProcessContext,
        supervisor: Dest,
        fn: Callable[..., Awaitable[Any]],
        *args: Any,
        restart: Restart = "temporary",
    ) -> Pid:
        """Run `fn` in a process that nobody waits for; `restart` says what if it ends."""
        spec = ChildSpec(label_of(fn), lone_process, (fn, args, {}), restart=restart)
        return cast("Pid", await ctx.call(supervisor, StartChild(spec)))

    @staticmethod
    async def children(ctx: ProcessContext, supervisor: Dest) -> list[Pid]:
        """The tasks that run."""
        infos: list[ChildInfo] = await ctx.call(supervisor, WhichChildren())
        return [info.pid for info in infos if info.pid is not None]

    @staticmethod
    def async_stream_nolink(
        owner: ProcessContext,
        supervisor: Dest,
        fn: Callable[[ProcessContext, Item], Awaitable[T]],
        items: Iterable[Item],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout_s: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
    ) -> TaskStream[T]:
        """`Task.async_stream` with tasks under the supervisor, not linked to the owner.

        One that fails is an `Exited(reason)` among the results.
        """

        async def start(item: Item) -> Task[T]:
            return await TaskSupervisor.async_nolink(owner, supervisor, fn, item)

        return TaskStream(
            owner,
            map(start, items),
            max_concurrency=max_concurrency,
            ordered=ordered,
            timeout_s=timeout_s,
            on_timeout=on_timeout,
        )

    @staticmethod
    async def run(
        node: Node,
        supervisor: Dest,
        fn: TaskFunction[P, T],
        *args: P.args,
        **options: P.kwargs,
    ) -> T:
        """`Task.run` under the supervisor: for asyncio code outside of any process."""
        spec = ChildSpec(label_of(fn), task_process, (None, fn, args, options), restart="temporary")
        pid: Pid = await node.call(supervisor, StartChild(spec))
        return cast("T", await outside(node, pid))
