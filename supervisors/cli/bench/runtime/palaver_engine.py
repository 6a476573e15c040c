"""The work for Palaver, in `GenServer`s; the same step by step as in palaver_bench.erl."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from palaver.actors.embedding import calm_garbage_collector
from palaver.actors.runtime import (
    KILL,
    From,
    GenServer,
    Node,
    NullObserver,
    Pid,
    ProcessContext,
)
from palaver.supervisors import (
    ChildInfo,
    ChildSpec,
    CountChildren,
    DynamicSupervisor,
    StartChild,
    Supervisor,
    WhichChildren,
)
from palaver.supervisors.cli.bench.runtime.results import (
    Result,
    Scale,
    Watch,
    Work,
    WorkFailed,
    check_count,
    waves,
)

TURN: int = inspect.signature(Node).parameters["reductions"].default
"""Messages that a process handles in a turn. The sender of `cast` sends as many in one of its own,
so that as few messages wait as in Erlang, whose sender is interrupted after its reductions."""

DONE, GO, UP, PING, PONG = "done", "go", "up", "ping", "pong"

Body = Callable[[ProcessContext, int, int], Awaitable[Result]]


class Idle(GenServer):
    """Does nothing, with the state that Erlang's has."""

    __slots__ = ("count",)

    def init(self) -> None:
        """Set the state."""
        self.count = 0


class Counter(GenServer):
    """Counts casts and calls; tells `driver` whenever `step` more casts have come."""

    __slots__ = ("count", "driver", "goal", "step")

    def init(self, driver: Pid, step: int) -> None:
        """Begin at zero."""
        self.driver, self.step, self.goal, self.count = driver, step, step, 0

    def handle_cast(self, message: str) -> None:
        """Count one."""
        self.count += 1
        if self.count == self.goal:
            self.goal += self.step
            self.send(self.driver, DONE)

    def handle_call(self, request: str, from_: From) -> int:
        """Count one, or only say how many there were."""
        if request == "add":
            self.count += 1
        return self.count


class Member(GenServer):
    """One of a ring: passes the token on."""

    __slots__ = ("driver", "next")

    def init(self, driver: Pid) -> None:
        """Begin without a neighbour."""
        self.driver = driver
        self.next: Pid | None = None

    def handle_cast(self, message: Pid | int) -> None:
        """Pass the token on; get to know the neighbour."""
        if type(message) is int:
            if message:
                self.cast(self.next, message - 1)  # type: ignore[arg-type]
            else:
                self.send(self.driver, DONE)
        else:
            self.next = message  # type: ignore[assignment]


class Child(GenServer):
    """A child of a supervisor: tells `driver` that it is up."""

    __slots__ = ("count",)

    def init(self, driver: Pid) -> None:
        """Say so."""
        self.count = 0
        self.send(driver, UP)


# -- the figures -------------------------------------------------------------------------------


async def spawn(me: ProcessContext, count: int, width: int) -> Result:
    """Start servers, linked, each when the one before has done its init."""
    watch = Watch()
    pids = [await me.start_link(Idle) for _ in range(count)]
    return watch.stop(len(pids))


async def spawn_process(me: ProcessContext, count: int, width: int) -> Result:
    """Spawn bare processes; the end is when the last of them answers."""
    watch = Watch()
    pids = [me.spawn(_idle) for _ in range(count)]
    me.send(pids[-1], (me.pid, PING))
    await me.receive()
    return watch.stop(count)


async def bytes_per_process(me: ProcessContext, count: int, width: int) -> Result:
    """Weigh idle servers."""
    scale = Scale()
    pids = [await me.start_link(Idle) for _ in range(count)]
    return scale.stop(len(pids))


async def cast(me: ProcessContext, count: int, width: int) -> Result:
    """Cast to one server from one process, until all has been handled."""
    server = await me.start_link(Counter, me.pid, count)
    watch = Watch()
    left = count
    while left:
        now = min(left, TURN)
        for _ in range(now):
            me.cast(server, "add")
        left -= now
        await me.sleep(0)
    await me.receive()
    result = watch.stop(count)
    check_count(await me.call(server, "count"), count, "casts")
    return result


async def call(me: ProcessContext, count: int, width: int) -> Result:
    """Call one server from one process, one call after the other."""
    server = await me.start_link(Counter, me.pid, 0)
    watch = Watch()
    for _ in range(count):
        await me.call(server, "add")
    result = watch.stop(count)
    check_count(await me.call(server, "count"), count, "calls")
    return result


async def ring(me: ProcessContext, count: int, width: int) -> Result:
    """Let one token go round a ring of `width` servers."""
    members = [await me.start_link(Member, me.pid) for _ in range(width)]
    for member, neighbour in zip(members, members[1:] + members[:1], strict=True):
        me.cast(member, neighbour)
    watch = Watch()
    me.cast(members[0], count - 1)
    await me.receive()
    return watch.stop(count)


async def fan_in(me: ProcessContext, count: int, width: int) -> Result:
    """Cast to one server from `width` processes, in waves that wait until all has been handled."""
    each, left = waves(count, width)
    total = left * each * width
    server = await me.start_link(Counter, me.pid, each * width)
    senders = [me.spawn_link(_sender, server, each) for _ in range(width)]
    watch = Watch()
    for _ in range(left):
        for sender in senders:
            me.send(sender, GO)
        await me.receive()
    result = watch.stop(total)
    check_count(await me.call(server, "count"), total, "casts")
    return result


async def restart(me: ProcessContext, count: int, width: int) -> Result:
    """Kill children of a `Supervisor` that were there from its start."""
    specs = [ChildSpec(n, Child, (me.pid,)) for n in range(width)]
    supervisor = await me.start_link(Supervisor, specs, intensity=10_000_000, period_s=1.0)
    return await _restarts(me, supervisor, count, width)


async def restart_dynamic(me: ProcessContext, count: int, width: int) -> Result:
    """Kill children of a `DynamicSupervisor`."""
    supervisor = await me.start_link(DynamicSupervisor, intensity=10_000_000, period_s=1.0)
    for _ in range(width):
        await me.call(supervisor, StartChild(ChildSpec("child", Child, (me.pid,))))
    return await _restarts(me, supervisor, count, width)


async def _restarts(me: ProcessContext, supervisor: Pid, count: int, width: int) -> Result:
    """Kill children one after the other, each when the one before is up again."""
    for _ in range(width):
        await me.receive()
    children: list[ChildInfo] = await me.call(supervisor, WhichChildren())
    victims = [child.pid for child in children[:count] if child.pid is not None]
    watch = Watch()
    for victim in victims:
        me.exit(victim, KILL)
        await me.receive()
    result = watch.stop(len(victims))
    counts = await me.call(supervisor, CountChildren())
    check_count(counts.active, width, "children")
    return result


# -- the parts ---------------------------------------------------------------------------------


async def _idle(ctx: ProcessContext) -> None:
    while True:
        sender, _ = await ctx.receive()
        ctx.send(sender, PONG)


async def _sender(ctx: ProcessContext, server: Pid, each: int) -> None:
    while True:
        await ctx.receive()
        for _ in range(each):
            ctx.cast(server, "add")


# -- running them ------------------------------------------------------------------------------


def on_a_node(
    body: Body,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    calm: Callable[[], AbstractContextManager[None]],
) -> Work:
    """Make work of a process's body: it runs as the first process of a node of its own."""

    async def run(count: int, width: int) -> Result:
        results: list[Result] = []

        async def driver(ctx: ProcessContext) -> None:
            results.append(await body(ctx, count, width))

        # Crash reports cost time, and are not what is measured.
        async with Node(observer=NullObserver()) as node:
            reason: Any = await node.wait(node.spawn(driver))
        if not results:
            raise WorkFailed(f"the driver ended with {reason}")
        return results[0]

    def work(count: int, width: int) -> Result:
        with calm(), asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(run(count, width))

    return work


FIGURES: dict[str, Body] = {
    "spawn": spawn,
    "spawn_process": spawn_process,
    "bytes_per_process": bytes_per_process,
    "cast": cast,
    "call": call,
    "ring": ring,
    "fan_in": fan_in,
    "restart": restart,
    "restart_dynamic": restart_dynamic,
}


def works(*, uvloop: bool = False, default_gc: bool = False) -> dict[str, Work]:
    """Return the work of each figure, on asyncio's own event loop or on uvloop's.

    The garbage collector is set as `palaver.actors.embedding.run` and `palaver serve` set it, or
    left as Python's default is.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if uvloop:
        import uvloop as library  # only where it is asked for

        factory = library.new_event_loop
    calm = nullcontext if default_gc else calm_garbage_collector
    return {name: on_a_node(body, factory, calm) for name, body in FIGURES.items()}
