"""The work for xoscar: actors in one in-process pool, addressed by local references.

The main pool of a program has no second process here (`n_process=0`). `create_actor` returns a
reference that sends through the pool's channel; `actor_ref` gives one to an actor in the same pool
that calls the method directly, which is xoscar at its fastest. Both are measured. It restarts
pools, not single actors, so there is no `restart`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import xoscar

from palaver.supervisors.cli.bench.runtime.results import (
    Result,
    Scale,
    Watch,
    Work,
    check_count,
    waves,
)

Body = Callable[["Pool", int, int], Awaitable[Result]]


class Pool:
    """Where actors are created, and which kind of reference to them is used."""

    __slots__ = ("address", "local")

    def __init__(self, address: str, *, local: bool) -> None:
        self.address = address
        self.local = local

    async def create(self, kind: type[Any], *args: Any) -> Any:
        """Create an actor; a reference to it."""
        ref = await xoscar.create_actor(kind, *args, address=self.address)
        return await xoscar.actor_ref(ref) if self.local else ref


class Idle(xoscar.Actor):  # type: ignore[misc]
    """Does nothing."""


class Counter(xoscar.Actor):  # type: ignore[misc]
    """Counts messages; `reached` is set whenever `step` more have come."""

    def __init__(self, step: int, reached: asyncio.Event) -> None:
        super().__init__()
        self.step, self.goal, self.reached, self.count = step, step, reached, 0

    def add(self) -> int:
        """Count one."""
        self.count += 1
        if self.count == self.goal:
            self.goal += self.step
            self.reached.set()
        return self.count

    def seen(self) -> int:
        """How many there were."""
        return self.count


class Member(xoscar.Actor):  # type: ignore[misc]
    """One of a ring: passes the token on."""

    def __init__(self, reached: asyncio.Future[None]) -> None:
        super().__init__()
        self.reached = reached
        self.next: Any = None

    def meet(self, neighbour: Any) -> None:
        """Get to know the neighbour."""
        self.next = neighbour

    async def hop(self, left: int) -> None:
        """Pass the token on."""
        if left:
            await self.next.hop.tell(left - 1)
        else:
            self.reached.set_result(None)


class Sender(xoscar.Actor):  # type: ignore[misc]
    """Sends and asks when told."""

    async def tell(self, server: Any, each: int) -> None:
        """Send `each` messages."""
        for _ in range(each):
            await server.add.tell()

    async def ask(self, server: Any, each: int) -> None:
        """Ask `each` times, one request after the other."""
        for _ in range(each):
            await server.add()


async def spawn(pool: Pool, count: int, width: int) -> Result:
    """Create actors, each when the one before is ready."""
    watch = Watch()
    refs = [await xoscar.create_actor(Idle, address=pool.address) for _ in range(count)]
    return watch.stop(len(refs))


async def bytes_per_process(pool: Pool, count: int, width: int) -> Result:
    """Weigh idle ones."""
    scale = Scale()
    refs = [await xoscar.create_actor(Idle, address=pool.address) for _ in range(count)]
    return scale.stop(len(refs))


async def cast(pool: Pool, count: int, width: int) -> Result:
    """Tell one actor from another, until all has been handled."""
    return await _tells(pool, 1, count, 1)


async def call(pool: Pool, count: int, width: int) -> Result:
    """Ask one actor from another, one request after the other."""
    server = await pool.create(Counter, 0, asyncio.Event())
    caller = await pool.create(Sender)
    watch = Watch()
    await caller.ask(server, count)
    result = watch.stop(count)
    check_count(await server.seen(), count, "requests")
    return result


async def ring(pool: Pool, count: int, width: int) -> Result:
    """Let one token go round a ring of `width` actors."""
    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    members = [await pool.create(Member, reached) for _ in range(width)]
    for member, neighbour in zip(members, members[1:] + members[:1], strict=True):
        await member.meet(neighbour)
    watch = Watch()
    await members[0].hop.tell(count - 1)
    await reached
    return watch.stop(count)


async def fan_in(pool: Pool, count: int, width: int) -> Result:
    """Tell one actor from `width` others, in waves that wait until all has been handled."""
    each, left = waves(count, width)
    return await _tells(pool, width, each, left)


async def _tells(pool: Pool, width: int, each: int, left: int) -> Result:
    total = left * each * width
    reached = asyncio.Event()
    server = await pool.create(Counter, each * width, reached)
    senders = [await pool.create(Sender) for _ in range(width)]
    watch = Watch()
    for _ in range(left):
        for sender in senders:
            await sender.tell.tell(server, each)
        await reached.wait()
        reached.clear()
    result = watch.stop(total)
    check_count(await server.seen(), total, "messages")
    return result


def _in_a_pool(body: Body, *, local: bool) -> Work:
    async def main(count: int, width: int) -> Result:
        pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
        try:
            return await body(Pool(pool.external_address, local=local), count, width)
        finally:
            await pool.stop()

    return lambda count, width: asyncio.run(main(count, width))


def works(*, local: bool) -> dict[str, Work]:
    """Return the work of each figure, by direct references or by those of `create_actor`."""
    bodies: dict[str, Body] = {"cast": cast, "call": call, "ring": ring, "fan_in": fan_in}
    if local:
        bodies |= {"spawn": spawn, "bytes_per_process": bytes_per_process}
    return {name: _in_a_pool(body, local=local) for name, body in bodies.items()}
