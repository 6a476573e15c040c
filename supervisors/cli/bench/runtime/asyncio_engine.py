"""The work for plain asyncio: an actor is a task that reads a queue of its own.

This is the idiom that a program without an actor library would write. Its init is the constructor;
a call is a message with a future; a supervisor is a done-callback that starts the next task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from palaver.supervisors.cli.bench.runtime.results import (
    BURST,
    Result,
    Scale,
    Watch,
    Work,
    check_count,
    waves,
)


class Actor:
    """A queue and the task that reads it."""

    __slots__ = ("count", "queue", "task")

    def __init__(self) -> None:
        self.count = 0
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Handle what comes."""
        while True:
            self.handle(await self.queue.get())

    def handle(self, message: Any) -> None:
        """Handle one message."""


class Counter(Actor):
    """Counts casts and calls; `reached` is set whenever `step` more have come."""

    __slots__ = ("goal", "reached", "step")

    def __init__(self, step: int) -> None:
        super().__init__()
        self.goal = self.step = step
        self.reached = asyncio.Event()

    def handle(self, message: asyncio.Future[int] | None) -> None:
        """Count one; answer, if it is a call."""
        self.count += 1
        if message is not None:
            message.set_result(self.count)
        if self.count == self.goal:
            self.goal += self.step
            self.reached.set()

    async def call(self) -> int:
        """Ask, and wait for the answer."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.queue.put_nowait(answer)
        return await answer


class Sender(Actor):
    """Sends `each` messages when told."""

    __slots__ = ("each", "server")

    def __init__(self, server: Counter, each: int) -> None:
        super().__init__()
        self.server, self.each = server, each

    def handle(self, message: None) -> None:
        """Send them."""
        for _ in range(self.each):
            self.server.queue.put_nowait(None)


class Member(Actor):
    """One of a ring: passes the token on."""

    __slots__ = ("next", "reached")

    def __init__(self, reached: asyncio.Future[None]) -> None:
        super().__init__()
        self.reached = reached
        self.next: Member | None = None

    def handle(self, message: int) -> None:
        """Pass the token on."""
        if message:
            assert self.next is not None
            self.next.queue.put_nowait(message - 1)
        else:
            self.reached.set_result(None)


class Nursery:
    """Restarts tasks that have ended."""

    def __init__(self) -> None:
        self.children: dict[asyncio.Task[None], Actor] = {}
        self.up: asyncio.Queue[None] = asyncio.Queue()
        self.closing = False

    def start(self) -> None:
        """Start one."""
        child = Actor()
        self.children[child.task] = child
        child.task.add_done_callback(self.ended)
        self.up.put_nowait(None)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Start another in its place."""
        del self.children[task]
        if not self.closing:
            self.start()


async def spawn(count: int, width: int) -> Result:
    """Create tasks; the end is when all have begun."""
    watch = Watch()
    actors = [Actor() for _ in range(count)]
    await asyncio.sleep(0)
    result = watch.stop(len(actors))
    await _end(actors)
    return result


async def bytes_per_process(count: int, width: int) -> Result:
    """Weigh idle ones."""
    scale = Scale()
    actors = [Actor() for _ in range(count)]
    await asyncio.sleep(0)
    result = scale.stop(len(actors))
    await _end(actors)
    return result


async def cast(count: int, width: int) -> Result:
    """Send from one task to one actor, until all has been handled."""
    server = Counter(count)
    watch = Watch()
    left = count
    while left:
        now = min(left, BURST)
        for _ in range(now):
            server.queue.put_nowait(None)
        left -= now
        await asyncio.sleep(0)
    await server.reached.wait()
    result = watch.stop(count)
    check_count(server.count, count, "messages")
    await _end([server])
    return result


async def call(count: int, width: int) -> Result:
    """Ask one actor, one request after the other."""
    server = Counter(count)
    watch = Watch()
    for _ in range(count):
        await server.call()
    result = watch.stop(count)
    check_count(server.count, count, "requests")
    await _end([server])
    return result


async def ring(count: int, width: int) -> Result:
    """Let one token go round a ring of `width` actors."""
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    members = [Member(reached) for _ in range(width)]
    for member, neighbour in zip(members, members[1:] + members[:1], strict=True):
        member.next = neighbour
    await asyncio.sleep(0)
    watch = Watch()
    members[0].queue.put_nowait(count - 1)
    await reached
    result = watch.stop(count)
    await _end(members)
    return result


async def fan_in(count: int, width: int) -> Result:
    """Send from `width` actors to one, in waves that wait until all has been handled."""
    each, left = waves(count, width)
    total = left * each * width
    server = Counter(each * width)
    senders = [Sender(server, each) for _ in range(width)]
    watch = Watch()
    for _ in range(left):
        for sender in senders:
            sender.queue.put_nowait(None)
        await server.reached.wait()
        server.reached.clear()
    result = watch.stop(total)
    check_count(server.count, total, "messages")
    await _end([server, *senders])
    return result


async def restart(count: int, width: int) -> Result:
    """Cancel tasks one after the other, each when the one before has been replaced."""
    nursery = Nursery()
    for _ in range(width):
        nursery.start()
        await nursery.up.get()
    await asyncio.sleep(0)
    victims = list(nursery.children)[:count]
    watch = Watch()
    for victim in victims:
        victim.cancel()
        await nursery.up.get()
    result = watch.stop(len(victims))
    check_count(len(nursery.children), width, "children")
    nursery.closing = True
    await _end(list(nursery.children.values()))
    return result


async def _end(actors: list[Any]) -> None:
    for actor in actors:
        actor.task.cancel()
    for actor in actors:
        with suppress(asyncio.CancelledError):
            await actor.task


def _on_a_loop(body: Callable[[int, int], Awaitable[Result]]) -> Work:
    async def main(count: int, width: int) -> Result:
        return await body(count, width)

    return lambda count, width: asyncio.run(main(count, width))


def works() -> dict[str, Work]:
    """Return the work of each figure; there is nothing barer than a task for `spawn_process`."""
    bodies = (spawn, bytes_per_process, cast, call, ring, fan_in, restart)
    return {body.__name__: _on_a_loop(body) for body in bodies}
