"""Frames in and out of the edge: delivery, order, joining, pausing, and what is no frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from palaver.transport import edge, wire

Run = Callable[[Coroutine[Any, Any, None]], None]


def test_operations_go_both_ways(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        owner.on_frame_hook = kit.echo
        async with kit.listening(owner) as listener, kit.open_client(listener) as client:
            for size in (0, 1, 120, 130, 65_530, 65_600, 200_000):
                await client.send(kit.ops(b"x" * size))
                assert await client.recv() == kit.ops(b"x" * size)
            assert owner.opened[0].peer.startswith("127.0.0.1:")
            assert owner.opened[0].address == "127.0.0.1"
            assert listener.stats.frames_in == listener.stats.frames_out == 7
            assert list(listener.connections) == owner.opened

    run(main())


def test_what_one_turn_sends_is_one_message(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner) as listener,
            kit.open_client(listener) as a,
            kit.open_client(listener) as b,
        ):
            for n in range(5):
                for conn in owner.opened:
                    conn.send(wire.encode([1, n]))
            assert await a.recv() == await b.recv() == kit.ops(0, 1, 2, 3, 4)
            assert listener.stats.frames_out == 2

    run(main())


def test_a_turn_that_says_too_much_is_split_in_order(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner) as listener, kit.open_client(listener) as client:
            sent = [[1, n] for n in range(600)] + [[2, bytes(100_000)]] * 6 + [[1, 0]]
            for op in sent:
                owner.opened[0].send(wire.encode(op))
            received: list[Any] = []
            while len(received) < len(sent):
                received += wire.decode_frame(await client.recv())
            assert received == sent

    run(main())


def test_an_operation_that_fits_in_no_frame_is_the_owners_error(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner) as listener, kit.open_client(listener) as client:
            with pytest.raises(ValueError, match="fits in no frame"):
                owner.opened[0].send(bytes(wire.MAX_FRAME_BYTES))
            owner.opened[0].send(wire.encode([1, 2]))
            assert await client.recv() == kit.ops(2)

    run(main())


def test_nothing_is_delivered_before_resume_or_while_paused(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        owner.on_open_hook = lambda conn: None
        owner.on_frame_hook = lambda conn, data: conn.pause_reading()
        async with (
            kit.listening(owner) as listener,
            await kit.RawClient.connect(listener) as client,
        ):
            await owner.until(lambda: owner.opened)
            (conn,) = owner.opened
            # One packet with several messages: each pause holds back the rest of it.
            client.send(b"".join(kit.masked(2, kit.ops(n)) for n in range(4)))
            client.send_frame(9, b"are you there")
            for n in range(4):
                assert owner.frames == [kit.ops(k) for k in range(n)]
                conn.resume_reading()
                conn.resume_reading()
                await owner.until(lambda n=n: len(owner.frames) > n)
            assert owner.frames == [kit.ops(n) for n in range(4)]

    run(main())


def test_frames_sent_together_with_the_handshake_are_not_lost(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner) as listener,
            await kit.RawClient.connect(listener, upgrade=False) as client,
        ):
            client.send(kit.HEAD + kit.masked(2, kit.ops(1)))
            await owner.until(lambda: owner.frames)
            assert owner.frames == [kit.ops(1)]

    run(main())


def test_a_message_in_fragments_with_a_ping_between_is_one_message(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner) as listener,
            await kit.RawClient.connect(listener) as client,
        ):
            client.send_frame(2, b"ab", fin=False)
            client.send_frame(0, b"", fin=False)
            client.send_frame(9, b"ping")
            assert await client.frame() == (10, b"ping")
            client.send_frame(0, b"cd", fin=False)
            client.send_frame(0, b"e")
            await owner.until(lambda: owner.frames)
            assert owner.frames == [b"abcde"]

    run(main())


BAD_BYTES: dict[str, tuple[Callable[[Any], bytes], int, str]] = {
    "text": (lambda kit: kit.masked(1, b"hello"), 1003, "text_frame"),
    "text in fragments": (lambda kit: kit.masked(1, b"he", fin=False), 1003, "text_frame"),
    "text that is no UTF-8": (lambda kit: kit.masked(1, b"\xff\xfe"), 1003, "text_frame"),
    "oversize": (lambda kit: kit.masked(2, bytes(262_145)), 1009, "too_big"),
    "oversize claim": (lambda kit: b"\x82\xff" + b"\x7f" * 8 + b"mask", 1009, "too_big"),
    "oversize in fragments": (
        lambda kit: kit.masked(2, bytes(200_000), fin=False) + kit.masked(0, bytes(62_145)),
        1009,
        "too_big",
    ),
    "not masked": (lambda kit: b"\x82\x01x", 1002, "protocol_error"),
    "unknown opcode": (lambda kit: b"\x83\x80mask", 1002, "protocol_error"),
    "reserved bits": (lambda kit: b"\xc2\x80mask", 1002, "protocol_error"),
    "continuation of nothing": (lambda kit: kit.masked(0, b"x"), 1002, "protocol_error"),
    "close reason that is no UTF-8": (
        lambda kit: kit.masked(8, b"\x03\xe8\xff\xfe"),
        1007,
        "bad_utf8",
    ),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_bad_bytes_close_with_the_right_code_and_disturb_nobody(
    kit: Any, run: Run, case: str
) -> None:
    make, code, kind = BAD_BYTES[case]

    async def main() -> None:
        owner = kit.Owner()
        owner.on_frame_hook = kit.echo
        async with kit.listening(owner) as listener, kit.open_client(listener) as good:
            async with await kit.RawClient.connect(listener) as bad:
                bad.send(make(kit))
                assert await bad.close_code() == code
            await owner.until(lambda: owner.closed)
            assert owner.closed[0][0] == code
            assert owner.frames == []
            assert listener.stats.bad_input_total == {kind: 1}
            assert listener.stats.closed_total == {code: 1}
            await good.send(kit.ops(1))
            assert await good.recv() == kit.ops(1)

    run(main())


def test_what_stands_before_a_violation_in_a_packet_is_delivered(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner) as listener:
            for hook in (kit.echo, lambda conn, data: conn.close(4401, "no")):
                owner.on_frame_hook = hook
                owner.frames.clear()
                async with await kit.RawClient.connect(listener) as client:
                    client.send(kit.masked(2, kit.ops(1)) + b"\x83\x80mask" + kit.masked(2, b""))
                    assert await client.close_code() == 1002
                    assert owner.frames == [kit.ops(1)]

    run(main())


def test_a_client_that_vanishes_in_the_middle_of_a_frame(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with kit.listening(owner) as listener:
            client = await kit.RawClient.connect(listener)
            client.send(kit.masked(2, bytes(1000))[:100])
            await client.close()
            await owner.until(lambda: owner.closed)
            assert owner.closed[0][0] == 1006
            assert owner.frames == []

    run(main())


def test_an_owner_that_raises_costs_one_connection(kit: Any, run: Run) -> None:
    async def main() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: reported.append(what))
        owner = kit.Owner()

        def fail_on_one(conn: edge.Connection, data: bytes) -> None:
            if data == kit.ops("bad"):
                raise RuntimeError("the owner's mistake")
            kit.echo(conn, data)

        owner.on_frame_hook = fail_on_one
        async with kit.listening(owner) as listener, kit.open_client(listener) as other:
            async with kit.open_client(listener) as client:
                await client.send(kit.ops("bad"))
                with pytest.raises(ConnectionClosed) as info:
                    await client.recv()
                assert info.value.rcvd is not None
                assert info.value.rcvd.code == 4500
            await other.send(kit.ops(1))
            assert await other.recv() == kit.ops(1)
            assert [str(what["exception"]) for what in reported] == ["the owner's mistake"]

    run(main())


def test_what_can_wait_rides_with_what_cannot(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner, patience_s=30.0) as listener,
            kit.open_client(listener) as client,
        ):
            conn = owner.opened[0]
            conn.send_patiently(wire.encode([1, 0]))
            conn.send_patiently(wire.encode([1, 1]))
            conn.send(wire.encode([1, 2]))
            assert await client.recv() == kit.ops(0, 1, 2)
            conn.send_patiently(wire.encode([1, 3]))
            conn.close()  # nothing that was sent is forgotten
            assert await client.recv() == kit.ops(3)

    run(main())


def test_what_can_wait_does_not_wait_for_ever(kit: Any, run: Run) -> None:
    async def main() -> None:
        owner = kit.Owner()
        async with (
            kit.listening(owner, patience_s=0.01) as listener,
            kit.open_client(listener) as client,
        ):
            owner.opened[0].send_patiently(wire.encode([1, 0]))
            assert await client.recv() == kit.ops(0)

    run(main())
