"""`Task` and `TaskSupervisor`: who gets the answer, and who is harmed by a failure."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import World, inside, run

from palaver.actors.behaviours import Done, Exited, Task, TaskMisuse
from palaver.actors.runtime import (
    KILL,
    KILLED,
    NORMAL,
    SHUTDOWN,
    CalleeExited,
    CallTimeout,
    Crash,
    Exit,
    ExitProcess,
    From,
    GenServer,
    Pid,
    ProcessContext,
    ReceiveTimeout,
    Response,
)
from palaver.supervisors import (
    ChildSpec,
    CountChildren,
    MaxChildren,
    Supervisor,
    TaskSupervisor,
)


async def double(ctx: ProcessContext, n: int, *, after_s: float = 0) -> int:
    await ctx.sleep(after_s)
    return 2 * n


async def fail(ctx: ProcessContext, reason: object = None) -> int:
    if reason is not None:
        raise ExitProcess(reason)
    raise ValueError("boom")


async def hang(ctx: ProcessContext) -> int:
    await ctx.receive(lambda m: False)
    return 0


async def mail(ctx: ProcessContext) -> list[Any]:
    """What is left in the mailbox."""
    found = []
    with contextlib.suppress(ReceiveTimeout):
        while True:
            found.append(await ctx.receive(timeout_s=0))
    return found


async def outcome(w: World, fn: Any) -> object:
    """The exit reason of a process that runs `fn`."""
    return await w.node.wait(w.node.spawn(fn))


def test_the_answer_is_awaited_once_by_the_owner_and_nothing_is_left() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> Any:
            tasks = [Task.async_(ctx, double, n) for n in range(3)]
            assert await tasks[2].await_(ctx) == 4
            assert await tasks[0].await_(ctx) == 0
            assert await tasks[1].await_(ctx) == 2
            with pytest.raises(TaskMisuse, match="awaited already"):
                await tasks[1].await_(ctx)
            task = Task.async_(ctx, double, 1)

            async def stranger(other: ProcessContext) -> None:
                await task.await_(other)

            pid, _ = ctx.spawn_monitor(stranger)
            down = await ctx.receive(lambda m: getattr(m, "pid", None) is pid)
            assert isinstance(down.reason.exception, TaskMisuse)
            assert await task.await_(ctx) == 2
            return await mail(ctx)

        assert await inside(w, owner) == []
        assert w.node.stats().processes == 0

    run(test)


def test_the_crash_of_a_task_ends_its_owner_unless_it_traps_exits() -> None:
    async def test(w: World) -> None:
        async def plain(ctx: ProcessContext) -> None:
            await Task.async_(ctx, fail).await_(ctx)

        reason = await outcome(w, plain)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, ValueError)

        async def trapping(ctx: ProcessContext) -> Any:
            ctx.trap_exit = True
            task = Task.async_(ctx, fail)
            with pytest.raises(CalleeExited) as caught:
                await task.await_(ctx)
            assert isinstance(caught.value.__cause__, ValueError)
            exit_ = await ctx.receive(timeout_s=0)
            assert isinstance(exit_, Exit)
            assert exit_.sender is task.pid
            return await Task.async_(ctx, fail, "odd").yield_(ctx)

        assert await inside(w, trapping) == Exited("odd")
        assert [report.behaviour for report in w.observer.crashes] == ["fail"] * 3

    run(test)


def test_the_end_of_the_owner_ends_its_task() -> None:
    async def test(w: World) -> None:
        pids: list[Pid] = []

        async def owner(ctx: ProcessContext) -> None:
            pids.append(Task.async_(ctx, hang).pid)
            await ctx.sleep(1)
            raise ExitProcess("odd")

        assert await asyncio.gather(outcome(w, owner), w.advance(2)) == ["odd", None]
        await w.settle()
        assert not w.node.is_alive(pids[0])

    run(test)


def test_a_timeout_leaves_the_task_and_shutdown_ends_it() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> Any:
            task = Task.async_(ctx, double, 4, after_s=2.5)
            with pytest.raises(CallTimeout):
                await task.await_(ctx, timeout_s=1)
            assert await task.yield_(ctx, timeout_s=1) is None
            assert await task.yield_(ctx, timeout_s=1) == Done(8)
            assert await Task.async_(ctx, hang).shutdown(ctx) is None
            assert await Task.async_(ctx, hang).shutdown(ctx, timeout_s=0) is None
            done = Task.async_(ctx, double, 5)
            await ctx.sleep(1)
            assert await done.shutdown(ctx) == Done(10)
            ctx.trap_exit = True
            failed = Task.async_(ctx, fail, "odd")
            await ctx.sleep(1)
            assert await failed.shutdown(ctx) == Exited("odd")
            return True

        result = asyncio.ensure_future(inside(w, owner))
        await asyncio.sleep(0)
        await w.advance(10)
        assert await result

    run(test)


def test_a_task_that_does_not_shut_down_is_killed() -> None:
    async def test(w: World) -> None:
        async def stubborn(ctx: ProcessContext) -> None:
            ctx.trap_exit = True
            while True:
                await ctx.receive()

        async def owner(ctx: ProcessContext) -> Any:
            task = Task.async_(ctx, stubborn)
            await ctx.sleep(1)
            return await task.shutdown(ctx, timeout_s=2), ctx.clock.monotonic()

        start_s = w.clock.monotonic()
        result = asyncio.ensure_future(inside(w, owner))
        await asyncio.sleep(0)
        await w.advance(10)
        assert await result == (None, start_s + 3)

    run(test)


def test_many_are_awaited_within_one_time() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> Any:
            tasks = [Task.async_(ctx, double, n, after_s=3 - n) for n in range(3)]
            assert await Task.await_many(ctx, tasks) == [0, 2, 4]
            tasks = [Task.async_(ctx, double, n, after_s=n) for n in (1, 2, 9)]
            found = await Task.yield_many(ctx, tasks, timeout_s=3)
            assert [result for _, result in found] == [Done(2), Done(4), None]
            with pytest.raises(CallTimeout):
                await Task.await_many(ctx, [tasks[2]], timeout_s=1)
            await tasks[2].shutdown(ctx)
            return await mail(ctx)

        result = asyncio.ensure_future(inside(w, owner))
        await asyncio.sleep(0)
        await w.advance(20)
        assert await result == []

    run(test)


def test_a_server_may_take_the_answer_in_handle_info() -> None:
    class Owner(GenServer):
        def init(self) -> None:
            self.waiting: dict[Any, tuple[Task[int], From]] = {}

        async def handle_call(self, request: Any, from_: From) -> Any:
            from palaver.actors.runtime import NOREPLY

            task = await TaskSupervisor.async_nolink(self, "tasks", request)
            self.waiting[task.ref] = (task, from_)
            return NOREPLY

        def handle_info(self, message: Response) -> None:
            task, from_ = self.waiting.pop(message.ref)
            self.reply(from_, task.take(message))

    async def test(w: World) -> None:
        await w.node.start_server(TaskSupervisor, name="tasks")
        owner = await w.node.start_server(Owner)

        async def seven(ctx: ProcessContext) -> int:
            return 7

        assert await w.node.call(owner, seven) == Done(7)
        failed = await w.node.call(owner, fail)
        assert isinstance(failed.reason, Crash)
        assert await w.node.call(owner, seven) == Done(7)

    run(test)


def test_start_and_start_link_wait_for_nothing() -> None:
    async def test(w: World) -> None:
        said: list[Any] = []

        async def say(ctx: ProcessContext, what: str, *, fails: bool = False) -> None:
            said.append(what)
            if fails:
                raise ExitProcess("odd")

        async def owner(ctx: ProcessContext) -> None:
            Task.start(ctx, say, "alone", fails=True)
            await ctx.sleep(0)
            await ctx.sleep(0)
            Task.start_link(ctx, say, "linked", fails=True)
            await ctx.sleep(1000)

        assert await outcome(w, owner) == "odd"
        assert said == ["alone", "linked"]

    run(test)


# -- under a supervisor ----------------------------------------------------------------------------


def test_a_failing_nolink_task_harms_nobody_and_a_linked_one_its_owner() -> None:
    async def test(w: World) -> None:
        tree = [ChildSpec("tasks", TaskSupervisor, kind="supervisor", name="tasks")]
        await w.node.start_server(Supervisor, tree)
        supervisor = w.node.whereis("tasks")

        async def owner(ctx: ProcessContext) -> Any:
            task = await TaskSupervisor.async_nolink(ctx, "tasks", fail, "odd")
            assert await task.yield_(ctx) == Exited("odd")
            task = await TaskSupervisor.async_(ctx, "tasks", double, 2)
            return await task.await_(ctx), await mail(ctx)

        assert await inside(w, owner) == (4, [])

        async def linked(ctx: ProcessContext) -> None:
            task = await TaskSupervisor.async_(ctx, "tasks", fail, "odd")
            await task.await_(ctx)

        assert await outcome(w, linked) == "odd"
        await w.settle()
        assert w.node.whereis("tasks") is supervisor
        assert (await w.node.call("tasks", CountChildren())).active == 0

    run(test)


def test_tasks_are_children_with_a_limit_and_stop_with_the_supervisor() -> None:
    async def test(w: World) -> None:
        tasks = await w.node.start_server(TaskSupervisor, name="tasks", max_children=2)

        async def owner(ctx: ProcessContext) -> Any:
            task = await TaskSupervisor.async_nolink(ctx, "tasks", hang)
            pid = await TaskSupervisor.start_child(ctx, "tasks", hang)
            assert await TaskSupervisor.children(ctx, "tasks") == [task.pid, pid]
            with pytest.raises(MaxChildren):
                await TaskSupervisor.async_nolink(ctx, "tasks", hang)
            ctx.node.exit(tasks, SHUTDOWN)
            return await task.yield_(ctx)

        assert await inside(w, owner) == Exited(SHUTDOWN)

    run(test)


def test_a_supervised_child_that_nobody_awaits_may_be_restarted() -> None:
    async def test(w: World) -> None:
        await w.node.start_server(TaskSupervisor, name="tasks", intensity=5)
        starts: list[int] = []

        async def flaky(ctx: ProcessContext) -> None:
            starts.append(1)
            if len(starts) < 3:
                raise ExitProcess("odd")

        async def owner(ctx: ProcessContext) -> None:
            await TaskSupervisor.start_child(ctx, "tasks", flaky, restart="transient")

        await inside(w, owner)
        await w.settle()
        assert len(starts) == 3

    run(test)


def test_a_task_whose_owner_is_gone_before_it_asked_ends() -> None:
    async def test(w: World) -> None:
        tasks = await w.node.start_server(TaskSupervisor, name="tasks")

        async def owner(ctx: ProcessContext) -> None:
            from palaver.actors.behaviours.task import task_process
            from palaver.supervisors import StartChild

            spec = ChildSpec("t", task_process, (ctx.pid, hang, (), {}), restart="temporary")
            ctx.send_request(tasks, StartChild(spec))

        await outcome(w, owner)
        await w.settle()
        assert (await w.node.call("tasks", CountChildren())).active == 0

    run(test)


# -- streams ---------------------------------------------------------------------------------------


@given(
    delays=st.lists(st.integers(0, 4), max_size=15),
    limit=st.integers(1, 5),
    ordered=st.booleans(),
    fails=st.sets(st.integers(0, 14)),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_a_stream_gives_every_result_once_and_runs_a_few_at_a_time(
    delays: list[int], limit: int, ordered: bool, fails: set[int], seed: int
) -> None:
    async def test(w: World) -> None:
        await w.node.start_server(TaskSupervisor, name="tasks", intensity=0)
        running = 0

        async def work(ctx: ProcessContext, item: tuple[int, int]) -> int:
            nonlocal running
            running += 1
            assert running <= limit
            await ctx.sleep(item[1])
            running -= 1
            if item[0] in fails:
                raise ExitProcess(item[0])
            return item[0]

        async def owner(ctx: ProcessContext) -> Any:
            ctx.trap_exit = bool(seed % 2)
            found: list[Any] = []
            if ctx.trap_exit:
                stream = Task.async_stream(
                    ctx, work, enumerate(delays), max_concurrency=limit, ordered=ordered
                )
            else:
                stream = TaskSupervisor.async_stream_nolink(
                    ctx, "tasks", work, enumerate(delays), max_concurrency=limit, ordered=ordered
                )
            async with stream as results:
                async for result in results:
                    found.append(result)
            assert await mail(ctx) == []
            return found

        result = asyncio.ensure_future(inside(w, owner))
        await asyncio.sleep(0)
        await w.advance(100)
        expected = [Exited(n) if n in fails else Done(n) for n in range(len(delays))]
        found = await result
        if ordered:
            assert found == expected
        assert len(found) == len(expected)
        assert all(one in found for one in expected)

    run(test, shuffle=random.Random(seed))


def test_a_stream_kills_what_is_late_or_lets_its_owner_exit() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> Any:
            async def work(task: ProcessContext, delay_s: float) -> float:
                await task.sleep(delay_s)
                return delay_s

            found = [
                result
                async for result in Task.async_stream(
                    ctx, work, [1, 9, 2], timeout_s=3, on_timeout="kill_task"
                )
            ]
            assert found == [Done(1), Exited("timeout"), Done(2)]

            async def all_of() -> None:
                async with Task.async_stream(ctx, work, [9, 9, 1], timeout_s=3) as results:
                    async for _ in results:
                        pass

            with pytest.raises(CallTimeout):
                await all_of()
            assert await mail(ctx) == []
            return ctx.node.stats().processes

        result = asyncio.ensure_future(inside(w, owner))
        await asyncio.sleep(0)
        await w.advance(20)
        assert await result == 1

    run(test)


def test_leaving_a_stream_kills_the_rest_and_starts_no_more() -> None:
    async def test(w: World) -> None:
        started: list[int] = []

        async def owner(ctx: ProcessContext) -> Any:
            async def work(task: ProcessContext, n: int) -> int:
                started.append(n)
                if n:
                    await task.receive()
                return n

            async with Task.async_stream(ctx, work, range(1000), max_concurrency=3) as results:
                async for result in results:
                    assert result == Done(0)
                    break
            assert await mail(ctx) == []
            return ctx.node.stats().processes

        assert await inside(w, owner) == 1
        assert set(started) <= {0, 1, 2, 3}

    run(test)


def test_a_stream_refuses_what_makes_no_sense() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> None:
            with pytest.raises(ValueError, match="at least one"):
                Task.async_stream(ctx, double, [], max_concurrency=0)
            with pytest.raises(ValueError, match="on_timeout"):
                Task.async_stream(ctx, double, [], on_timeout="wait")  # type: ignore[arg-type]

        await inside(w, owner)

    run(test)


# -- from outside ----------------------------------------------------------------------------------


def test_asyncio_code_awaits_a_task_and_its_cancellation_ends_it() -> None:
    async def test(w: World) -> None:
        await w.node.start_server(TaskSupervisor, name="tasks")
        assert await Task.run(w.node, double, 4) == 8
        assert await TaskSupervisor.run(w.node, "tasks", double, 5) == 10
        with pytest.raises(CalleeExited) as caught:
            await Task.run(w.node, fail)
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(CalleeExited) as caught:
            await TaskSupervisor.run(w.node, "tasks", fail, NORMAL)
        assert caught.value.reason is NORMAL
        waiting = asyncio.ensure_future(Task.run(w.node, hang))
        await asyncio.sleep(0)
        await w.settle()
        assert w.node.stats().processes == 2
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await w.settle()
        assert w.node.stats().processes == 1

    run(test)


def test_a_killed_task_says_so() -> None:
    async def test(w: World) -> None:
        async def owner(ctx: ProcessContext) -> Any:
            ctx.trap_exit = True
            task = Task.async_(ctx, hang)
            assert str(task.pid) in repr(task)
            ctx.exit(task.pid, KILL)
            return await task.yield_(ctx)

        assert await inside(w, owner) == Exited(KILLED)

    run(test)
