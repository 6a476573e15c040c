"""Read by mypy only: a line with `# wrong` must be an error, every other line must not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from palaver.actors.runtime import (
    Call,
    Cast,
    From,
    GenServer,
    Node,
    Pid,
    ProcessContext,
)


@dataclass(frozen=True, slots=True)
class Count(Call["Counter", int]):
    pass


@dataclass(frozen=True, slots=True)
class Add(Cast["Counter"]):
    step: int


@dataclass(frozen=True, slots=True)
class Ring(Cast["Bell"]):
    pass


class Counter(GenServer["Counter"]):
    def init(self, start: int = 0) -> None:
        self.count = start

    def handle_cast(self, message: Add) -> None:
        self.count += message.step

    def handle_call(self, request: Count, from_: From) -> int:
        return self.count


class SubCounter(Counter):
    pass


class Bell(GenServer["Bell"]):
    def handle_cast(self, message: Ring) -> None:
        pass


class Anything(GenServer):
    pass


async def function(ctx: ProcessContext) -> None:
    counter = await ctx.start_link(Counter, 1)
    assert_type(counter, Pid[Counter])
    assert_type(await ctx.call(counter, Count()), int)
    ctx.cast(counter, Add(1))
    ctx.cast(counter, Ring())  # wrong
    ctx.cast(counter, "add")  # wrong
    await ctx.call(counter, Add(1))  # wrong
    await ctx.call(counter, "count")  # wrong
    ctx.send_request(counter, Count())
    ctx.send_request(counter, Ring())  # wrong
    text: str = await ctx.call(counter, Count())  # wrong
    ctx.link(counter)
    ctx.monitor(counter)
    ctx.exit(counter, text)
    ctx.cast(ctx.spawn(SubCounter), Add(2))
    ctx.cast(ctx.spawn_link(Bell), Add(2))  # wrong
    pid, ref = ctx.spawn_monitor(Counter)
    assert_type(pid, Pid[Counter])
    ctx.demonitor(ref)


async def slow_double(n: int) -> int:
    return 2 * n


def read(path: str, *, size: int = 1) -> bytes:
    return b""


async def the_world_outside(ctx: ProcessContext) -> None:
    assert_type(await ctx.bridge(slow_double(1)), int)
    assert_type(await ctx.run_blocking(read, "x", size=2), bytes)
    await ctx.run_blocking(read, 1)  # wrong


async def outside(node: Node) -> None:
    counter = await node.start_server(Counter)
    assert_type(await node.call(counter, Count()), int)
    node.cast(counter, Add("2"))  # wrong
    node.cast(counter, Ring())  # wrong
    await node.call(counter, "count")  # wrong
    anything = node.spawn(Anything)
    assert_type(anything, Pid[Any])
    node.cast(anything, "whatever")
    assert_type(await node.call(anything, "whatever"), Any)
    by_name: Any = await node.call("a name", "whatever")
    node.cast(node.spawn(function), by_name)
    everyone: list[Pid] = [counter, anything]
    for each in everyone:
        node.cast(each, "whatever")


def takes_a_counter(counter: Pid[Counter]) -> None:
    """Only a counter will do."""


def gives_a_bell(bell: Pid[Bell], sub: Pid[SubCounter]) -> None:
    takes_a_counter(bell)  # wrong
    takes_a_counter(sub)
