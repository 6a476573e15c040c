"""What asyncio's event loops do: one set of tests against real loops and the simulated one."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from nets import Net


def test_callbacks_run_later_in_the_order_asked_for(net: Net) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        done = asyncio.Event()
        handles = [loop.call_soon(ran.append, number) for number in range(10)]
        handles[3].cancel()
        assert handles[3].cancelled()
        loop.call_soon(done.set)
        assert ran == []
        await done.wait()
        assert ran == [0, 1, 2, 4, 5, 6, 7, 8, 9]

    net.run(main)


def test_a_callback_that_asks_for_another_lets_others_run_first(net: Net) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[str] = []
        done = asyncio.Event()

        def again(left: int) -> None:
            ran.append("again")
            if left:
                loop.call_soon(again, left - 1)
            else:
                done.set()

        loop.call_soon(again, 2)
        loop.call_soon(ran.append, "other")
        await done.wait()
        assert ran == ["again", "other", "again", "again"]

    net.run(main)


def test_timers_are_never_early_and_those_far_apart_keep_their_order(net: Net) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        ran: list[tuple[float, float]] = []
        done = asyncio.Event()
        for delay_s in (0.004, 0.0, 0.002, -1.0):
            loop.call_later(delay_s, lambda d=delay_s: ran.append((d, loop.time())))
        cancelled = loop.call_later(0.001, ran.append, (0.0, 0.0))
        assert cancelled.when() >= began_s + 0.001 - 1e-6  # a float
        cancelled.cancel()
        loop.call_at(began_s + 0.005, done.set)
        await done.wait()
        while len(ran) < 4:
            await asyncio.sleep(0.001)
        assert len(ran) == 4
        assert all(at_s >= began_s + delay_s - 0.001 for delay_s, at_s in ran)

    net.run(main)


def test_tasks_take_turns_and_can_be_cancelled(net: Net) -> None:
    async def main() -> None:
        ran: list[str] = []

        async def count(name: str) -> str:
            try:
                for _ in range(3):
                    ran.append(name)
                    await asyncio.sleep(0)
                return name
            finally:
                ran.append(f"{name} ends")

        tasks = [asyncio.create_task(count(name)) for name in "ab"]
        assert await asyncio.gather(*tasks) == ["a", "b"]
        assert ran == ["a", "b", "a", "b", "a", "b", "a ends", "b ends"]
        never = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        never.cancel()
        with pytest.raises(asyncio.CancelledError):
            await never
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)

    net.run(main)


def test_an_executor_gives_what_its_function_gave(net: Net) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(
            *(loop.run_in_executor(None, lambda n=number: n * n) for number in range(5))
        )
        assert results == [0, 1, 4, 9, 16]
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)

    net.run(main)


def test_what_is_called_back_sees_the_context_of_who_asked(net: Net) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        done = asyncio.Event()

        def look() -> None:
            seen.append(variable.get())
            variable.set("changed in the copy")

        variable.set("set")
        loop.call_soon(look)
        loop.call_later(0.0, look)
        loop.call_later(0.01, done.set)
        await done.wait()
        assert seen == ["set", "set"]
        assert variable.get() == "set"

    net.run(main)


def test_a_task_and_its_future_are_done_once(net: Net) -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        told: list[Any] = []
        future.add_done_callback(lambda done: told.append(done.result()))
        future.set_result(7)
        assert told == []  # never from within
        with pytest.raises(asyncio.InvalidStateError):
            future.set_result(8)
        assert await future == 7
        await asyncio.sleep(0)
        assert told == [7]

    net.run(main)
