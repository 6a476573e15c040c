"""Time and memory: pings, deadlines, peers that do not read, crowds that say nothing, closing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import struct
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from palaver.transport import edge, wire

Run = Callable[[Coroutine[Any, Any, None]], None]
CLOSE = 8
PING = 9
PONG = 10


def test_a_quiet_peer_is_pinged_and_stays_as_long_as_it_answers(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        owner.on_frame_hook = kit.echo
        async with (
            kit.listening(owner, ping_s=0.05, pong_timeout_s=0.1) as listener,
            await kit.RawClient.connect(listener) as client,
        ):
            for _ in range(4):
                assert await client.frame() == (PING, b"")
                client.send_frame(PONG, b"")
            client.send_frame(2, kit.ops(1))
            while (await client.frame())[0] == PING:
                client.send_frame(PONG, b"")
            assert owner.closed == []
            assert listener.stats.pings_sent >= 4

    run(main())


def test_a_peer_that_does_not_answer_a_ping_is_gone(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner, ping_s=0.05, pong_timeout_s=0.1) as listener,
            await kit.RawClient.connect(listener) as client,
        ):
            await owner.until(lambda: owner.closed)
            assert owner.closed == [(1006, "no answer to a ping")]
            assert await client.ended() == b"\x89\x00"
            assert listener.stats.bad_input_total == {"pong_timeout": 1}

    run(main())


def test_a_peer_that_is_not_read_is_not_blamed_for_a_missing_pong(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        owner.on_open_hook = lambda conn: None
        async with (
            kit.listening(owner, ping_s=0.02, pong_timeout_s=0.02) as listener,
            await kit.RawClient.connect(listener) as client,
        ):
            # The unread connection outlives others that are pinged in vain.
            for n in range(5):
                owner.on_open_hook = lambda conn: conn.resume_reading()
                async with await kit.RawClient.connect(listener):
                    await owner.until(lambda n=n: len(owner.closed) > n)
            client.send_frame(2, b"late")
            owner.opened[0].resume_reading()
            await owner.until(lambda: owner.frames)

    run(main())


@pytest.mark.parametrize("begin", ["half a frame", "half a header", "a fragment"])
def test_half_a_message_and_silence(kit: Any, run: Run, begin: str) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner, half_message_timeout_s=0.1) as listener,
            await kit.RawClient.connect(listener) as client,
        ):
            client.send_frame(2, b"whole")
            await owner.until(lambda: owner.frames)
            if begin == "half a frame":
                client.send(kit.masked(2, bytes(1000))[:500])
            elif begin == "half a header":
                client.send(b"\x82")
            else:
                client.send_frame(2, b"begun", fin=False)
                client.send_frame(PING, b"")
                assert await client.frame() == (PONG, b"")
            assert await client.close_code() == 4408
            assert listener.stats.bad_input_total == {"half_message": 1}
            assert owner.frames == [b"whole"]

    run(main())


def test_a_deadline_of_the_owner_closes_in_time_or_is_lifted(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()

        def open_hook(conn: edge.Connection) -> None:
            conn.set_deadline(0.1)
            conn.resume_reading()

        owner.on_open_hook = open_hook
        owner.on_frame_hook = lambda conn, data: conn.set_deadline(None)
        async with (
            kit.listening(owner, ping_s=0.1) as listener,
            await kit.RawClient.connect(listener) as good,
        ):
            good.send_frame(2, b"hello")
            await owner.until(lambda: owner.frames)
            async with await kit.RawClient.connect(listener) as silent:
                assert await silent.close_code() == 4408
            assert await good.frame() == (PING, b"")
            assert listener.stats.bad_input_total == {"deadline": 1}

    run(main())


def test_a_thousand_connections_that_never_say_hello(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()

        def open_hook(conn: edge.Connection) -> None:
            if len(owner.opened) > 1:
                conn.set_deadline(0.5)
            conn.resume_reading()

        owner.on_open_hook = open_hook
        owner.on_frame_hook = kit.echo
        async with kit.listening(owner) as listener, kit.open_client(listener) as good:
            crowd = await kit.all_of(kit.RawClient.connect(listener) for _ in range(1000))
            await good.send(kit.ops(1))
            assert await good.recv() == kit.ops(1)
            assert set(await kit.all_of(client.close_code() for client in crowd)) == {4408}
            await kit.all_of(client.close() for client in crowd)
            await owner.until(lambda: len(owner.closed) == 1000)
            assert listener.stats.closed_total == {4408: 1000}
            await good.send(kit.ops(2))
            assert await good.recv() == kit.ops(2)

    run(main())


def test_an_owner_that_looks_at_writable_costs_the_mark_at_most(kit: Any, run: Run) -> None:
    mark = 50_000
    op = wire.encode([1, bytes(10_000)])

    async def main() -> None:
        owner = kit.Owner()
        most = 0
        sent = 0

        def fill(conn: edge.Connection) -> None:
            nonlocal most, sent
            while conn.writable and sent < 500:
                conn.send(op)
                sent += 1
            most = max(most, conn.buffered_bytes)

        owner.on_open_hook = fill
        owner.on_writable_hook = fill
        async with kit.listening(owner, write_high_water_bytes=mark) as listener:
            client = await kit.RawClient.connect(listener)
            await owner.until(lambda: owner.opened)
            (conn,) = owner.opened
            received = b""
            while len(received) < 500 * len(op):
                opcode, data = await client.frame()
                assert opcode == 2
                received += data
            assert sent == 500
            assert owner.writable > 20
            assert most <= 2 * (mark + len(op))
            assert conn.writable
            await client.close()

    run(main())


def test_a_client_that_never_reads_is_given_up(kit: Any, run: Run) -> None:
    mark = 50_000
    op = wire.encode([1, bytes(10_000)])

    async def main() -> None:
        owner = kit.Owner()

        def fill(conn: edge.Connection) -> None:
            while conn.writable:
                conn.send(op)

        owner.on_open_hook = fill
        owner.on_writable_hook = fill
        limits = {"write_high_water_bytes": mark, "write_timeout_s": 0.3}
        async with kit.listening(owner, **limits) as listener:
            client = await kit.RawClient.connect(listener)
            client.writer.transport.pause_reading()
            await owner.until(lambda: owner.closed)
            assert owner.closed == [(1006, "does not read")]
            assert listener.stats.bad_input_total == {"write_timeout": 1}
            await client.close()

    run(main())


def test_an_owner_that_does_not_look_is_stopped_at_the_hard_limit(kit: Any, run: Run) -> None:
    op = wire.encode([1, bytes(10_000)])

    async def main() -> None:
        owner = kit.Owner()

        def flood(conn: edge.Connection) -> None:
            for _ in range(1000):
                conn.send(op)
            assert not conn.writable

        owner.on_open_hook = flood
        async with (
            kit.listening(owner, write_hard_limit_bytes=1_000_000) as listener,
            await kit.RawClient.connect(listener) as client,
        ):
            await owner.until(lambda: owner.closed)
            assert owner.closed == [(1006, "too much waits to be written")]
            assert listener.stats.bad_input_total == {"write_overflow": 1}
            assert listener.stats.bytes_out < 10_000
            await client.ended()

    run(main())


def test_a_client_that_pings_and_never_reads_is_bounded(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner, write_timeout_s=0.3) as listener:
            client = await kit.RawClient.connect(listener)
            client.writer.transport.pause_reading()
            flood = kit.masked(PING, bytes(125)) * 1000
            with contextlib.suppress(ConnectionError):
                while not owner.closed:
                    client.send(flood)
                    await client.writer.drain()
            await owner.until(lambda: owner.closed)
            assert listener.stats.bad_input_total == {"write_timeout": 1}
            assert owner.frames == []
            await client.close()

    run(main())


def test_close_says_what_was_sent_first_and_then_why(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner) as listener, kit.open_client(listener) as client:
            (conn,) = owner.opened
            conn.send(wire.encode([1, "last"]))
            conn.close(4403, "revoked, " + "ä" * 200)
            conn.send(wire.encode([1, "too late"]))
            conn.close(1000)
            assert not conn.is_open
            assert await client.recv() == kit.ops("last")
            with pytest.raises(ConnectionClosed) as info:
                await client.recv()
            assert info.value.rcvd is not None
            assert info.value.rcvd.code == 4403
            assert info.value.rcvd.reason == "revoked, " + "ä" * 57
            await owner.until(lambda: owner.closed)
            assert owner.closed[0][0] == 4403
            conn.abort()
            assert conn.buffered_bytes == 0

    run(main())


def test_a_peer_that_ignores_the_goodbye_is_not_waited_for(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner, close_timeout_s=0.1) as listener:
            client = await kit.RawClient.connect(listener)
            owner.opened[0].close(4401, "no")
            assert (await client.frame())[0] == CLOSE
            client.send_frame(2, b"I go on talking")
            await owner.until(lambda: owner.closed)
            assert owner.closed == [(4401, "no")]
            assert owner.frames == []
            await client.close()

    run(main())


def test_codes_of_a_peers_own_making_do_not_grow_the_counters(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner) as listener:
            for code in (1000, 1001, 3000, 3001, 4998, 4999):
                async with await kit.RawClient.connect(listener) as client:
                    client.send_frame(CLOSE, struct.pack("!H", code) + b"bye")
                    assert await client.close_code() == code
            await owner.until(lambda: len(owner.closed) == 6)
            assert owner.closed[2] == (3000, "bye")
            assert listener.stats.closed_total == {1000: 1, 1001: 1, 0: 4}

    run(main())


def test_closing_the_listener_says_goodbye_to_all_and_ends(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner, close_timeout_s=0.2) as listener:
            polite = [await kit.open_client(listener) for _ in range(20)]
            rude = await kit.RawClient.connect(listener)
            unfinished = await kit.RawClient.connect(listener, upgrade=False)
            unfinished.send(b"GET /ws")
            await owner.until(lambda: len(owner.opened) == 21)
            for conn in listener.connections:
                conn.send(wire.going("restart", 1000))
            await listener.close()
            for client in polite:
                assert await client.recv() == wire.frame([wire.going("restart", 1000)])
                with pytest.raises(ConnectionClosed) as info:
                    await client.recv()
                assert info.value.rcvd is not None
                assert info.value.rcvd.code == 1001
            assert await unfinished.ended() == b""
            assert owner.closed == [(1001, "going away")] * 21
            with pytest.raises(OSError, match=r"[Cc]onnect"):
                await kit.RawClient.connect(listener)
            await rude.close()
            await unfinished.close()

    run(main())


def test_an_idle_connection_costs_less_than_eight_kilobytes(kit: Any, run: Run) -> None:
    count = 200

    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner) as listener:
            warm = [await kit.RawClient.connect(listener) for _ in range(10)]
            streams = [
                await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(count)
            ]
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for _, writer in streams:
                writer.write(kit.HEAD)
            await owner.until(lambda: len(owner.opened) == count + 10)
            gc.collect()
            # The heads were there before, so what they freed counts for the connections.
            cost = (tracemalloc.get_traced_memory()[0] - before) / count
            tracemalloc.stop()
            assert cost < 8192
            await kit.all_of(client.close() for client in warm)
            for _, writer in streams:
                writer.close()

    run(main())
