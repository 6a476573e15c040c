"""Nodes on real NATS servers: they meet, talk in order, and hear of each other's end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

pytestmark = pytest.mark.peer

Run = Callable[[Coroutine[Any, Any, None]], None]

A, B, C = "a@host", "b.1@host.example", "c *>@hôst"


def test_nodes_meet_greet_and_hear_that_one_stops(run: Run, servers: Any, town: Any) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            b = await join(B, 7)
            a = await join(A, 5)
            c = await join(C, 9)
            await a.until_up(B, C)
            await b.until_up(A, C)
            await c.until_up(A, B)
            assert ("up", A, 5, b"I am a@host") in b.owner.told
            assert ("up", C, 9, f"I am {C}".encode()) in b.owner.told
            await b.fabric.stop("closing time")
            await a.until_down(B)
            await c.until_down(B)
            assert ("down", B, f"{B} says: closing time") in a.owner.told
            assert b.owner.of("down", A) == [("down", A, "closing time")]
            assert a.fabric.nodes() == [C]

    run(main())


def test_packets_come_in_order_whatever_their_size(run: Run, servers: Any, town: Any) -> None:
    server = servers.start()
    sizes = [0, 1, 100_000, 262_144, 5, 3_000_000, 7, 262_000, 16 * 1024 * 1024]
    sent = [bytes([n]) * size for n, size in enumerate(sizes * 2)]

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A), await join(B)
            await a.until_up(B)
            await b.until_up(A)
            b.owner.on_arrived = b.fabric.send  # an echo
            for packet in sent:
                a.fabric.send(B, packet)
            await a.owner.until(lambda: len(a.owner.packets(B)) == len(sent))
            assert b.owner.packets(A) == sent
            assert a.owner.packets(B) == sent
            assert not a.owner.of("down")
            assert a.fabric.waiting_bytes(B) >= 0

    run(main())


def test_a_node_that_crashes_is_given_up_by_its_silence_and_met_again(
    run: Run, servers: Any, town: Any
) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A, 1), await join(B, 1)
            await asyncio.gather(a.until_up(B), b.until_up(A))
            for crashing, name, other in ((b, B, a), (a, A, None)):
                await crashing.crash()
                staying = other or b
                await staying.until_down(name)
                assert "nothing has come for" in staying.owner.of("down", name)[-1][2]
                again = await join(name, 2)
                await staying.until_up(name)
                assert staying.owner.of("up", name)[-1][2] == 2
                await again.until_up(staying.name)
                if crashing is b:
                    b = again

    run(main())


def test_a_new_life_of_a_node_takes_the_place_of_the_one_before_at_once(
    run: Run, servers: Any, town: Any
) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A, 1), await join(B, 1)
            await asyncio.gather(a.until_up(B), b.until_up(A))
            later = await join(B, 2)  # and the one before goes on, as if it had been cut off
            await a.owner.until(lambda: len(a.owner.of("up", B)) == 2)
            assert a.owner.of("down", B) == [("down", B, f"{B} has begun anew")]
            a.fabric.send(B, b"for the second")
            await later.owner.until(lambda: later.owner.packets(A))
            b.fabric.send(A, b"from the first")
            await b.until_down(A)
            later.fabric.send(A, b"from the second")
            await a.owner.until(lambda: a.owner.packets(B))
            assert a.owner.packets(B) == [b"from the second"]
            assert b.owner.packets(A) == []
            assert later.owner.packets(A) == [b"for the second"]

    run(main())


def test_disconnecting_is_heard_by_both_and_they_meet_again(
    run: Run, servers: Any, town: Any
) -> None:
    server = servers.start()

    async def main() -> None:
        async with town(server.url) as join:
            a, b = await join(A), await join(B)
            await asyncio.gather(a.until_up(B), b.until_up(A))
            a.fabric.send(B, b"last")
            a.fabric.disconnect(B, "enough")
            a.fabric.send(B, b"nobody gets this")
            assert a.owner.of("down") == []  # nothing is told from within a method
            await a.until_down(B)
            await b.until_down(A)
            assert a.owner.of("down") == [("down", B, "enough")]
            assert b.owner.of("down") == [("down", A, f"{A} says: enough")]
            await asyncio.gather(a.until_up(B), b.until_up(A))
            assert b"nobody gets this" not in b.owner.packets(A)

    run(main())
