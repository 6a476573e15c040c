"""Helpers of the runtime's tests: a clock that stands still, an observer that remembers."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from palaver.actors.runtime import (
    CrashReport,
    From,
    GenServer,
    Node,
    Pid,
    ProcessContext,
    Stop,
)


class ManualTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._serial = itertools.count()
        self._heap: list[tuple[float, int, ManualTimer, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return round(self.now_s * 1000)

    def call_at(self, when_s: float, fn: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer()
        heapq.heappush(self._heap, (when_s, next(self._serial), timer, fn))
        return timer

    @property
    def pending(self) -> int:
        return sum(not entry[2].cancelled for entry in self._heap)

    async def advance(self, node: Node, seconds: float) -> None:
        """Let time pass, from one timer to the next, and the node come to rest after each."""
        await settle(node)
        end_s = self.now_s + seconds
        while self._heap and self._heap[0][0] <= end_s:
            when_s, _, timer, fn = heapq.heappop(self._heap)
            if not timer.cancelled:
                self.now_s = max(self.now_s, when_s)
                fn()
                await settle(node)
        self.now_s = end_s
        await settle(node)


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.crashes: list[CrashReport] = []
        self.restarts: list[tuple[Pid, object, object]] = []
        self.gave_up: list[tuple[Pid, object]] = []
        self.slow: list[tuple[Pid, float]] = []

    def process_crashed(self, report: CrashReport) -> None:
        self.crashes.append(report)

    def child_restarted(self, supervisor: Pid, child_id: object, reason: object) -> None:
        self.restarts.append((supervisor, child_id, reason))

    def supervisor_gave_up(self, supervisor: Pid, reason: object) -> None:
        self.gave_up.append((supervisor, reason))

    def handler_slow(self, pid: Pid, seconds: float) -> None:
        self.slow.append((pid, seconds))


class ShuffledQueue(deque[Any]):
    """A run queue in which anyone may be next."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng

    def popleft(self) -> Any:
        self.rotate(self.rng.randrange(len(self)))
        return super().popleft()


class World:
    def __init__(self, node: Node, clock: ManualClock, observer: Recorder) -> None:
        self.node = node
        self.clock = clock
        self.observer = observer

    async def settle(self) -> None:
        await settle(self.node)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(self.node, seconds)


@asynccontextmanager
async def world(*, shuffle: random.Random | None = None, **options: Any) -> AsyncIterator[World]:
    clock = ManualClock()
    observer = Recorder()
    node = Node(clock=clock, random=random.Random(1), observer=observer, **options)
    if shuffle is not None:
        node.scheduler.queue = ShuffledQueue(shuffle)
    async with node:
        yield World(node, clock, observer)


async def settle(node: Node) -> None:
    """Run until no process has anything to do."""
    while node.scheduler.queue:
        await asyncio.sleep(0)


def run(test: Callable[[World], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run an async test in a fresh world."""

    async def main() -> None:
        async with world(**options) as here:
            await test(here)
            await here.settle()

    asyncio.run(main())


async def inside(here: World, fn: Callable[[ProcessContext], Coroutine[Any, Any, Any]]) -> Any:
    """Run `fn` as a process to its end; its value, or what it raised."""
    outcome: list[Any] = []

    async def body(ctx: ProcessContext) -> None:
        try:
            outcome.append((await fn(ctx), None))
        except Exception as error:
            outcome.append((None, error))

    pid = here.node.spawn(body)
    await here.node.wait(pid)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


class Server(GenServer):
    """Does what the functions it is sent say, and remembers everything."""

    def init(self, on_init: Callable[[Server], Any] | None = None, *, trap: bool = False) -> Any:
        self.log: list[Any] = []
        self.trap_exit = trap
        return None if on_init is None else on_init(self)

    def handle_call(self, request: Any, from_: From) -> Any:
        if callable(request):
            return request(self, from_)
        if request == "log":
            return list(self.log)
        return ("echo", request)

    def handle_cast(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self.log.append(("cast", message))
        return None

    def handle_info(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self.log.append(message)
        return None

    def handle_continue(self, arg: Any) -> Any:
        self.log.append(("continue", arg))
        return arg(self) if callable(arg) else None


class Trapper(Server):
    """Traps exits, and writes into a list when it terminates."""

    def init(self, ends: list[Any] | None = None) -> None:
        super().init(trap=True)
        self.ends = [] if ends is None else ends

    def terminate(self, reason: object) -> None:
        self.ends.append(reason)


def stop_with(reason: object) -> Callable[[Any], Stop]:
    return lambda _: Stop(reason)


def boom(*_: object) -> None:
    raise ValueError("boom")
