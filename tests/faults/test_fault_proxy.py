"""The fault proxy with real sockets: each fault does what it says, and nothing that TCP forbids."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from endpoints import Endpoint, Listening, connect
from fault_proxy import WAYS, FaultProxy, Name
from fault_way import HELD_BYTES, Conditions, End
from hypothesis import given, settings
from hypothesis import strategies as st

HOST = "127.0.0.1"
Body = Callable[["Line"], Awaitable[None]]


class Line:
    """A client and a server with the proxy between them."""

    def __init__(self, proxy: FaultProxy, client: Endpoint, server: Endpoint) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server

    @property
    def passage(self) -> Any:
        return self.proxy.passages[0]

    def ends(self, way: Name) -> tuple[Endpoint, Endpoint]:
        """Who writes on this way, and who reads."""
        both = (self.client, self.server)
        return both if way == "up" else both[::-1]


@asynccontextmanager
async def line(
    *, keep_open: bool = False, chance: random.Random | None = None
) -> AsyncIterator[Line]:
    listening = Listening(keep_open=keep_open)
    port = await listening.open(HOST)
    try:
        async with FaultProxy(lambda: (HOST, port), chance=chance) as proxy:
            client = await connect(HOST, proxy.port, keep_open=keep_open)
            server = await listening.end()
            await proxy.until(lambda: proxy.passages)
            yield Line(proxy, client, server)
            if not client.is_lost:
                client.transport.abort()
                await client.until_lost()
    finally:
        await listening.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runner(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as it:
            it.run(asyncio.wait_for(main, 60))

    return runner


@pytest.mark.parametrize("way", WAYS)
def test_a_quiet_proxy_carries_everything_and_the_end(run: Any, way: Name) -> None:
    async def main() -> None:
        async with line(keep_open=True) as it:
            writer, reader = it.ends(way)
            wanted = bytes(range(256)) * 4096
            writer.transport.write(wanted)
            writer.transport.write_eof()
            await reader.until_eof()
            assert reader.data == wanted
            reader.transport.write(b"still open")
            await writer.until_data(10)
            reader.transport.close()
            await writer.until_eof()
            writer.transport.close()
            await it.proxy.until(lambda: not it.proxy.passages)
            await writer.until_lost()
            assert (writer.lost_with, reader.lost_with) == (None, None)

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_a_reset_on_one_side_is_a_reset_on_the_other(run: Any, way: Name) -> None:
    async def main() -> None:
        async with line() as it:
            writer, reader = it.ends(way)
            sock = writer.transport.get_extra_info("socket")
            sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: close is a reset
            writer.transport.abort()
            await reader.until_lost()
            assert isinstance(reader.lost_with, ConnectionResetError)

    run(main())


def test_reset_and_cut(run: Any) -> None:
    async def main() -> None:
        async with line() as it:
            it.proxy.reset()
            await it.client.until_lost()
            await it.server.until_lost()
            assert isinstance(it.client.lost_with, ConnectionResetError)
            assert isinstance(it.server.lost_with, ConnectionResetError)
            assert not it.client.has_eof
        async with line() as it:
            it.client.transport.write(b"x" * 1000)
            await it.server.until_data(1000)
            it.proxy.cut()
            await it.client.until_lost()
            await it.server.until_lost()
            assert it.client.has_eof
            assert it.server.has_eof
            assert (it.client.lost_with, it.server.lost_with) == (None, None)
            assert it.proxy.counts["cut"] == 1

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_a_half_close_ends_one_way_only(run: Any, way: Name) -> None:
    async def main() -> None:
        async with line(keep_open=True) as it:
            writer, reader = it.ends(way)
            writer.transport.write(b"before")
            await reader.until_data(6)
            it.passage.half_close(way)
            await reader.until_eof()
            writer.transport.write(b"lost")
            reader.transport.write(b"the other way")
            await writer.until_data(13)
            assert reader.data == b"before"
            assert not writer.has_eof

    run(main())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["cut", "reset", "half_close"])
def test_an_end_in_the_middle_of_what_is_written(run: Any, way: Name, end: End) -> None:
    async def main() -> None:
        async with line(keep_open=True) as it:
            writer, reader = it.ends(way)
            it.passage.way(way).end_after(7, end)
            writer.transport.write(b"0123456789")
            # A reset may overtake what it comes behind.
            await reader.until(lambda: reader.has_eof or reader.is_lost)
            assert b"0123456".startswith(reader.data)
            if end != "reset":
                assert reader.data == b"0123456"
            assert it.proxy.counts[end] == 1

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_a_stall_holds_and_presses_back_on_one_way(run: Any, way: Name) -> None:
    async def main() -> None:
        async with line() as it:
            writer, reader = it.ends(way)
            it.proxy.change(way, Conditions(stalled=True))
            wanted = random.Random(1).randbytes(16 * 1024 * 1024)
            writer.transport.write(wanted)
            await writer.until(lambda: "pause_writing" in writer.calls)
            reader.transport.write(b"the other way is open")
            await writer.until_data(21)
            passage = it.passage.way(way)
            assert passage.held_bytes < HELD_BYTES + 16 * 1024
            assert reader.data == b""
            it.proxy.calm()
            await reader.until_data(len(wanted))
            assert reader.data == wanted
            assert "resume_writing" in writer.calls

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_what_is_swallowed_is_gone_and_the_connection_with_it(run: Any, way: Name) -> None:
    async def main() -> None:
        async with line() as it:
            writer, reader = it.ends(way)
            it.proxy.change(way, Conditions(swallowing=True))
            writer.transport.write(b"into the hole")
            reader.transport.write(b"the other way is open")
            await writer.until_data(21)
            it.proxy.calm()
            writer.transport.write(b"out of it")
            await reader.until_lost()
            await writer.until_lost()
            assert reader.data == b""
            assert isinstance(reader.lost_with, ConnectionResetError)

    run(main())


def test_segments_and_a_rate(run: Any) -> None:
    async def main() -> None:
        async with line() as it:
            it.proxy.change("up", Conditions(segment_bytes=1))
            it.client.transport.write(b"0123456789" * 10)
            await it.server.until_data(100)
            assert it.server.data == b"0123456789" * 10
            # The rate is kept by the clock: a megabyte a second takes no less than its time.
            loop = asyncio.get_running_loop()
            it.proxy.change("down", Conditions(rate_bytes_s=1_000_000, segment_bytes=10_000))
            before_s = loop.time()
            it.server.transport.write(b"x" * 100_001)
            await it.client.until_data(100_001)
            assert loop.time() - before_s >= 0.1

    run(main())


def test_a_delay_keeps_the_order(run: Any) -> None:
    async def main() -> None:
        async with line(chance=random.Random(5)) as it:
            it.proxy.change("up", Conditions(delay_s=0.02, jitter_s=0.02))
            loop = asyncio.get_running_loop()
            before_s = loop.time()
            for number in range(20):
                it.client.transport.write(b"%2d" % number)
                await it.passage.way("up").arrived(2 * (number + 1))
            await it.server.until_data(40)
            assert loop.time() - before_s >= 0.02
            assert it.server.data == b"".join(b"%2d" % number for number in range(20))

    run(main())


def test_a_delay_ends_when_it_is_calm(run: Any) -> None:
    async def main() -> None:
        async with line() as it:
            it.proxy.change("up", Conditions(delay_s=3600.0))
            it.client.transport.write(b"late")
            await it.passage.way("up").arrived(4)
            it.proxy.calm()
            await it.server.until_data(4)

    run(main())


def test_refusing_and_accepting_again(run: Any) -> None:
    async def main() -> None:
        async with line() as it:
            it.proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await connect(HOST, it.proxy.port)
            it.client.transport.write(b"those that are there stay")
            await it.server.until_data(25)
            it.proxy.accept()
            other = await connect(HOST, it.proxy.port)
            await it.proxy.until(lambda: len(it.proxy.passages) == 2)
            other.transport.abort()

    run(main())


def test_who_connects_to_nobody_is_reset(run: Any) -> None:
    async def main() -> None:
        listening = Listening()
        port = await listening.open(HOST)
        await listening.close()
        async with FaultProxy(lambda: (HOST, port)) as proxy:
            client = await connect(HOST, proxy.port)
            await client.until_lost()
            assert isinstance(client.lost_with, ConnectionResetError)

    run(main())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(WAYS), st.integers(1, 100_000)),
        st.tuples(
            st.just("change"),
            st.sampled_from(WAYS),
            st.builds(
                Conditions,
                delay_s=st.sampled_from([0.0, 0.001]),
                jitter_s=st.sampled_from([0.0, 0.002]),
                rate_bytes_s=st.sampled_from([None, 5_000_000.0]),
                segment_bytes=st.sampled_from([None, 100, 5_000]),
                stalled=st.booleans(),
            ),
        ),
        st.tuples(st.just("yield"), st.sampled_from(WAYS), st.integers(1, 5)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(steps=STEPS)
def test_whatever_conditions_change_nothing_is_lost_doubled_or_out_of_order(
    steps: list[Any],
) -> None:
    async def main() -> None:
        async with line() as it:
            wrote = dict.fromkeys(WAYS, b"")
            chance = random.Random(3)
            for kind, way, what in steps:
                writer, _ = it.ends(way)
                if kind == "write":
                    data = chance.randbytes(what)
                    wrote[way] += data
                    writer.transport.write(data)
                elif kind == "change":
                    it.passage.change(way, what)
                else:
                    for _ in range(what):
                        await asyncio.sleep(0)
            it.proxy.calm()
            for way in WAYS:
                _, reader = it.ends(way)
                await reader.until_data(len(wrote[way]))
                assert reader.data == wrote[way]

    asyncio.run(asyncio.wait_for(main(), 60))
