"""What asyncio's transports do: one set of tests against real sockets and the simulated network.

The code that runs in the simulation stands on these promises. Each test holds for asyncio's own
loop and uvloop over the loopback, and for the simulated loop under many schedules: late bytes,
other pieces, other turns. Where real loops differ, the test says what is common to them.
"""

from __future__ import annotations

import asyncio
import errno
import random
from typing import Any

import pytest
from endpoints import Endpoint, Listening
from nets import Net

LOST = (ConnectionResetError, BrokenPipeError, type(None))
"""What `connection_lost` may say after the other side has gone away in the midst of it."""


class Pair:
    """A client's end and the server's end of one connection, and the server."""

    def __init__(self, net: Net, listening: Listening, port: int) -> None:
        self.net = net
        self.listening = listening
        self.port = port
        self.client: Any = None
        self.server: Any = None

    @classmethod
    async def open(cls, net: Net, *, keep_open: bool = False) -> Pair:
        listening = net.listening(keep_open=keep_open)
        port = await net.there(listening.open(net.bind))
        pair = cls(net, listening, port)
        pair.client = await net.connect(port, keep_open=keep_open)
        pair.server = await listening.end()
        return pair

    def ends(self, way: str) -> tuple[Endpoint, Endpoint]:
        """Who acts, and the other one."""
        both = (self.client, self.server)
        return both if way == "client" else both[::-1]

    async def done(self) -> None:
        """End everything; both ends hear of it exactly once, and last."""
        for end in (self.client, self.server):
            if not end.is_lost:
                end.transport.abort()
        for end in (self.client, self.server):
            await end.until_lost()
            assert end.calls[0] == "connection_made"
            assert end.calls[-1] == "connection_lost"
            assert end.calls.count("connection_made") == 1
            assert end.calls.count("connection_lost") == 1
            assert end.calls.count("eof_received") <= 1
            assert end.transport.is_closing()
        await self.listening.close()


way = pytest.mark.parametrize("way", ["client", "server"])


# -- data --------------------------------------------------------------------------------------


@way
def test_bytes_arrive_whole_in_order_in_whatever_pieces(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        writer, reader = pair.ends(way)
        chance = random.Random(1)
        wanted = b""
        for size in (1, 2, 1000, 1, 70_000, 3, 200_000, 1, 1, 1):
            piece = chance.randbytes(size)
            wanted += piece
            writer.transport.write(piece)
        writer.transport.writelines([b"ab", bytearray(b"cd"), memoryview(b"ef")])
        writer.transport.write(bytearray(b"gh"))
        writer.transport.write(memoryview(b"ij"))
        wanted += b"abcdefghij"
        await reader.until_data(len(wanted))
        assert reader.data == wanted
        assert 0 not in reader.sizes
        await pair.done()

    net.run(main)


@way
def test_to_write_nothing_is_nothing(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        writer, reader = pair.ends(way)
        writer.transport.write(b"")
        writer.transport.writelines([])
        writer.transport.write(b"x")
        await reader.until_data(1)
        assert reader.sizes == [1]
        assert not reader.has_eof
        await pair.done()

    net.run(main)


def test_only_bytes_can_be_written(net: Net) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        for wrong in ("text", 5):  # uvloop takes None for nothing
            with pytest.raises(TypeError):
                pair.client.transport.write(wrong)
        await pair.done()

    net.run(main)


def test_what_was_written_may_be_changed_after_it_has_left(net: Net) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        buffer = bytearray(b"before")
        pair.client.transport.write(buffer)
        assert pair.client.transport.get_write_buffer_size() == 0
        buffer[:] = b"after!"
        await pair.server.until_data(6)
        assert pair.server.data == b"before"
        await pair.done()

    net.run(main)


@way
def test_a_write_calls_nobody_back_at_once(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        inside = False

        def never(_: bytes) -> None:
            assert not inside

        one.on_data = other.on_data = never
        inside = True
        one.transport.write(b"ping")
        other.transport.write(b"pong")
        inside = False
        await other.until_data(4)
        await one.until_data(4)
        await pair.done()

    net.run(main)


def test_both_ways_at_once_under_backpressure(net: Net) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        data = random.Random(2).randbytes(net.far_more // 4)
        pair.client.transport.write(data)
        pair.server.transport.write(data[::-1])
        await pair.server.until_data(len(data))
        await pair.client.until_data(len(data))
        assert pair.server.data == data
        assert pair.client.data == data[::-1]
        await pair.done()

    net.run(main)


def test_connections_do_not_mix(net: Net) -> None:
    async def main() -> None:
        listening = net.listening()
        port = await net.there(listening.open(net.bind))
        clients = [await net.connect(port) for _ in range(5)]
        for number, client in enumerate(clients):
            client.transport.write(b"%d" % number * 1000)
        for number in range(5):
            await (await listening.end(number)).until_data(1000)
        assert sorted(end.data for end in listening.ends) == [b"%d" % n * 1000 for n in range(5)]
        for client in clients:
            client.transport.close()
            await client.until_lost()
        await listening.close()

    net.run(main)


# -- half-close --------------------------------------------------------------------------------


@way
def test_after_write_eof_the_other_way_goes_on(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net, keep_open=True)
        one, other = pair.ends(way)
        assert one.transport.can_write_eof()
        one.transport.write(b"x" * 300_000)
        one.transport.write_eof()
        one.transport.write_eof()  # harmless
        with pytest.raises(RuntimeError):
            one.transport.write(b"more")
        await other.until_eof()
        assert len(other.data) == 300_000
        assert not one.transport.is_closing()
        assert not other.transport.is_closing()
        other.transport.write(b"y" * 300_000)
        await one.until_data(300_000)
        other.transport.close()
        await one.until_eof()
        await other.until_lost()
        assert not one.is_lost
        one.transport.close()
        await one.until_lost()
        assert (one.lost_with, other.lost_with) == (None, None)
        await pair.done()

    net.run(main)


@way
def test_who_hears_the_end_and_does_not_keep_open_is_closed(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        other.transport.write(b"z" * 100_000)
        one.transport.write(b"last")
        one.transport.write_eof()
        await other.until_lost()
        await one.until_lost()
        assert other.data == b"last"
        assert one.data == b"z" * 100_000
        assert other.calls[-2:] == ["eof_received", "connection_lost"]
        assert one.calls[-2:] == ["eof_received", "connection_lost"]
        assert (one.lost_with, other.lost_with) == (None, None)
        await pair.done()

    net.run(main)


# -- close and abort ---------------------------------------------------------------------------


@way
def test_close_delivers_what_was_written_then_the_end(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        one.transport.write(b"a" * 300_000)
        one.transport.close()
        assert one.transport.is_closing()
        assert not one.is_lost  # never from within
        one.transport.close()  # harmless
        await other.until_lost()
        await one.until_lost()
        assert len(other.data) == 300_000
        assert other.calls[-2:] == ["eof_received", "connection_lost"]
        assert "eof_received" not in one.calls
        assert (one.lost_with, other.lost_with) == (None, None)
        await pair.done()

    net.run(main)


@way
def test_close_waits_for_a_slow_reader(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        other.transport.pause_reading()
        data = random.Random(3).randbytes(net.far_more)
        one.transport.write(data)
        one.transport.close()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not one.is_lost
        assert not other.is_lost
        other.transport.resume_reading()
        await other.until_lost()
        await one.until_lost()
        assert other.data == data
        assert (one.lost_with, other.lost_with) == (None, None)
        await pair.done()

    net.run(main)


@way
def test_nothing_arrives_after_close(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net, keep_open=True)
        one, other = pair.ends(way)
        other.transport.write(b"early")
        await one.until_data(5)
        one.transport.close()
        other.transport.write(b"late")
        await one.until_lost()
        assert one.data == b"early"
        await pair.done()

    net.run(main)


@way
def test_to_write_after_close_raises_nothing(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        one.transport.write(b"before")
        one.transport.close()
        one.transport.write(b"after")
        one.transport.resume_reading()
        await one.until_lost()  # Then uvloop raises, and asyncio does not.
        one.transport.close()
        await other.until_lost()
        assert other.data == b"before"
        await pair.done()

    net.run(main)


@way
def test_abort_gives_up_what_was_not_sent(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        other.transport.pause_reading()
        data = random.Random(4).randbytes(net.far_more)
        one.transport.write(data)
        assert one.transport.get_write_buffer_size() > 0
        one.transport.abort()
        assert one.transport.is_closing()
        assert not one.is_lost
        await one.until_lost()
        assert one.lost_with is None
        other.transport.resume_reading()
        await other.until_lost()
        assert len(other.data) < len(data)
        assert data.startswith(other.data)
        assert isinstance(other.lost_with, LOST)
        await pair.done()

    net.run(main)


@way
def test_abort_when_all_is_read_is_an_end_of_file(net: Net, way: str) -> None:
    """`abort` is not a reset: with nothing unread, the kernel says goodbye as after `close`."""

    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        one.transport.write(b"all of it")
        await other.until_data(9)
        one.transport.abort()
        await one.until_lost()
        await other.until_lost()
        assert (one.lost_with, other.lost_with) == (None, None)
        assert other.calls[-2:] == ["eof_received", "connection_lost"]
        await pair.done()

    net.run(main)


@way
def test_what_the_kernel_has_taken_arrives_though_its_writer_aborts(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        one.transport.write(b"taken" * 100)
        assert one.transport.get_write_buffer_size() == 0
        one.transport.abort()
        await other.until_lost()
        assert other.data == b"taken" * 100
        assert other.lost_with is None
        await pair.done()

    net.run(main)


@way
def test_to_close_with_something_unread_is_a_reset(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net, keep_open=True)
        one, other = pair.ends(way)
        one.transport.pause_reading()
        other.transport.write(b"not read")
        await net.arrived(one)
        one.transport.close()
        await other.until_lost()
        assert isinstance(other.lost_with, ConnectionResetError)
        assert one.data == b""
        await pair.done()

    net.run(main)


@way
def test_to_write_to_who_has_closed_ends_by_an_error(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net, keep_open=True)
        one, other = pair.ends(way)
        one.transport.close()
        await one.until_lost()
        await other.until_eof()
        assert not other.is_lost
        while not other.is_lost:
            other.transport.write(b"is anybody there?")
            await net.a_moment()
        assert isinstance(other.lost_with, ConnectionResetError | BrokenPipeError)
        await pair.done()

    net.run(main)


def test_both_close_at_once(net: Net) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        pair.client.transport.write(b"one")
        pair.server.transport.write(b"two")
        await pair.client.until_data(3)
        await pair.server.until_data(3)
        pair.client.transport.close()
        pair.server.transport.close()
        await pair.client.until_lost()
        await pair.server.until_lost()
        assert (pair.client.lost_with, pair.server.lost_with) == (None, None)
        await pair.done()

    net.run(main)


# -- resets ------------------------------------------------------------------------------------


@way
def test_a_reset_is_an_error(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        net.reset(one)
        await one.until_lost()
        await other.until_lost()
        assert isinstance(other.lost_with, ConnectionResetError)
        assert not other.has_eof
        await pair.done()

    net.run(main)


@way
def test_what_has_arrived_before_a_reset_can_be_read(net: Net, way: str) -> None:
    """And who neither reads nor writes does not hear of the reset."""

    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        other.transport.pause_reading()
        one.transport.write(b"before it")
        await net.arrived(other)
        net.reset(one)
        await one.until_lost()
        await net.a_moment()
        assert other.calls == ["connection_made"]
        assert not other.transport.is_closing()
        other.transport.resume_reading()
        await other.until_lost()
        assert other.data == b"before it"
        assert isinstance(other.lost_with, ConnectionResetError)
        await pair.done()

    net.run(main)


@way
def test_to_write_after_a_reset_says_so(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        other.transport.pause_reading()
        net.reset(one)
        await one.until_lost()
        await net.a_moment()
        assert not other.is_lost
        other.transport.write(b"is anybody there?")
        await other.until_lost()
        assert isinstance(other.lost_with, ConnectionResetError | BrokenPipeError)
        await pair.done()

    net.run(main)


@way
def test_to_close_after_a_reset_is_an_end(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        one, other = pair.ends(way)
        other.transport.pause_reading()
        net.reset(one)
        await one.until_lost()
        await net.a_moment()
        other.transport.close()
        await other.until_lost()
        assert other.lost_with is None
        await pair.done()

    net.run(main)


@way
def test_to_end_one_way_after_both_have_is_harmless(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net, keep_open=True)
        one, other = pair.ends(way)
        one.transport.close()
        await one.until_lost()
        await other.until_eof()
        other.transport.write_eof()
        await net.a_moment()
        assert not other.is_lost
        other.transport.close()
        await other.until_lost()
        assert other.lost_with is None
        await pair.done()

    net.run(main)


# -- reading -----------------------------------------------------------------------------------


@way
def test_nothing_is_read_while_reading_is_paused(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        writer, reader = pair.ends(way)
        assert reader.transport.is_reading()
        reader.transport.pause_reading()
        reader.transport.pause_reading()  # harmless
        assert not reader.transport.is_reading()
        writer.transport.write(b"wait")
        writer.transport.close()
        await net.arrived(reader)
        assert reader.calls == ["connection_made"]
        assert reader.data == b""
        reader.transport.resume_reading()
        reader.transport.resume_reading()
        assert reader.data == b""  # never from within
        assert reader.transport.is_reading()
        await reader.until_lost()
        assert reader.data == b"wait"
        assert reader.calls[1:] == ["eof_received", "connection_lost"]
        await pair.done()

    net.run(main)


@way
def test_who_pauses_in_data_received_gets_no_more(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        writer, reader = pair.ends(way)
        reader.on_data = lambda _: reader.transport.pause_reading()
        data = random.Random(5).randbytes(1_000_000)
        writer.transport.write(data)
        while len(reader.data) < len(data):
            had = len(reader.data)
            await reader.until_data(had + 1)
            pieces = len(reader.sizes)
            await net.a_moment()
            assert len(reader.sizes) == pieces
            reader.transport.resume_reading()
        assert reader.data == data
        await pair.done()

    net.run(main)


@way
def test_who_closes_in_data_received_gets_no_more(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net, keep_open=True)
        writer, reader = pair.ends(way)
        reader.on_data = lambda _: reader.transport.close()
        writer.transport.write(b"x" * 1_000_000)
        await reader.until_lost()
        assert len(reader.sizes) == 1
        await pair.done()

    net.run(main)


def test_the_first_bytes_wait_for_connection_made(net: Net) -> None:
    class Greeting(Endpoint):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.write(b"welcome")  # type: ignore[attr-defined]

    async def main() -> None:
        greeted: list[Greeting] = []

        def new() -> Greeting:
            greeted.append(Greeting())
            return greeted[-1]

        loop = asyncio.get_running_loop()
        server = await net.there(loop.create_server(new, net.bind, 0))
        client = await net.connect(server.sockets[0].getsockname()[1])
        assert client.calls == ["connection_made"]
        await client.until_data(7)
        assert client.data == b"welcome"
        client.transport.close()
        await client.until_lost()
        await greeted[0].until_lost()
        server.close()
        await server.wait_closed()

    net.run(main)


@way
def test_another_protocol_takes_over(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        writer, reader = pair.ends(way)
        after = Endpoint()
        after.transport = reader.transport

        def change(_: bytes) -> None:
            reader.transport.set_protocol(after)

        reader.on_data = change
        assert reader.transport.get_protocol() is reader
        writer.transport.write(b"first")
        await reader.until_data(1)
        assert reader.transport.get_protocol() is after
        writer.transport.write(b"second")
        await after.until(lambda: (reader.data + after.data) == b"firstsecond")
        writer.transport.close()
        await after.until_lost()
        assert not reader.is_lost
        reader.calls.append("connection_lost")
        await pair.done()

    net.run(main)


# -- writing -----------------------------------------------------------------------------------


@way
def test_a_slow_reader_pauses_the_writer_and_lets_it_go_on(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        writer, reader = pair.ends(way)
        transport = writer.transport
        low, high = transport.get_write_buffer_limits()
        assert low in (16, 16 * 1024)  # uvloop means bytes where asyncio means KiB.
        assert high == 64 * 1024
        reader.transport.pause_reading()
        wrote = 0
        while "pause_writing" not in writer.calls:
            transport.write(b"x" * 10_000)
            wrote += 10_000
            if writer.calls[-1] == "pause_writing":
                assert transport.get_write_buffer_size() > 64 * 1024
            await net.a_moment()
        transport.write(b"y")  # A pause is an advice.
        assert writer.calls.count("pause_writing") == 1
        assert "resume_writing" not in writer.calls
        reader.transport.resume_reading()
        await writer.until(lambda: "resume_writing" in writer.calls)
        assert transport.get_write_buffer_size() <= 16 * 1024
        await reader.until_data(wrote + 1)
        assert writer.calls == ["connection_made", "pause_writing", "resume_writing"]
        assert transport.get_write_buffer_size() == 0
        await pair.done()

    net.run(main)


def test_the_marks_of_the_write_buffer(net: Net) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        transport = pair.client.transport
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=100)
        assert transport.get_write_buffer_limits() == (100, 400)
        transport.set_write_buffer_limits(high=300, low=300)
        assert transport.get_write_buffer_limits() == (300, 300)
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        for high, low in ((1, 2), (1, -1)):
            with pytest.raises(ValueError, match="must be >="):
                transport.set_write_buffer_limits(high=high, low=low)
        pair.server.transport.pause_reading()
        transport.write(b"x" * net.far_more)
        assert pair.client.calls[-1] == "pause_writing"
        pair.server.transport.resume_reading()
        await pair.client.until(lambda: pair.client.calls[-1] == "resume_writing")
        assert transport.get_write_buffer_size() == 0
        await pair.done()

    net.run(main)


@way
def test_nobody_resumes_who_is_closed(net: Net, way: str) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        writer, reader = pair.ends(way)
        reader.transport.pause_reading()
        writer.transport.write(b"x" * net.far_more)
        assert writer.calls[-1] == "pause_writing"
        reader.transport.abort()
        await writer.until_lost()
        assert writer.calls[-1] == "connection_lost"
        assert isinstance(writer.lost_with, ConnectionResetError | BrokenPipeError)
        await pair.done()

    net.run(main)


# -- servers and addresses ---------------------------------------------------------------------


def test_addresses(net: Net) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        client, server = pair.client.transport, pair.server.transport
        assert client.get_extra_info("peername") == (net.address, pair.port)
        assert server.get_extra_info("sockname") == (net.address, pair.port)
        assert client.get_extra_info("sockname") == server.get_extra_info("peername")
        assert client.get_extra_info("socket") is not None
        assert client.get_extra_info("sslcontext") is None
        assert client.get_extra_info("no such thing", 7) == 7
        other = await net.connect(pair.port)
        assert other.transport.get_extra_info("sockname") != client.get_extra_info("sockname")
        other.transport.close()
        await other.until_lost()
        await pair.done()

    net.run(main)


def test_who_connects_where_nobody_listens_is_refused(net: Net) -> None:
    async def main() -> None:
        listening = net.listening()
        port = await net.there(listening.open(net.bind))
        await listening.close()
        with pytest.raises(ConnectionRefusedError) as caught:
            await net.connect(port)
        assert caught.value.errno == errno.ECONNREFUSED

    net.run(main)


def test_who_connects_to_an_unknown_name_hears_so(net: Net) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"not known|[Tt]emporary|resolution"):
            await net.connect(80, host="no-such-host.invalid")

    net.run(main)


def test_a_port_has_one_server(net: Net) -> None:
    async def main() -> None:
        one, other = net.listening(), net.listening()
        port = await net.there(one.open(net.bind))
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says which
            await net.there(other.open(net.bind, port))
        assert caught.value.errno == errno.EADDRINUSE
        await one.close()
        assert await net.there(other.open(net.bind, port)) == port
        await other.close()

    net.run(main)


def test_a_closed_server_takes_nobody_and_keeps_whom_it_has(net: Net) -> None:
    async def main() -> None:
        pair = await Pair.open(net)
        server = pair.listening.server
        assert server.is_serving()
        assert len(server.sockets) == 1
        server.close()
        server.close()  # harmless
        assert not server.is_serving()
        assert not server.sockets
        # uvloop lets go of the socket a moment later.
        await net.a_moment()
        with pytest.raises(ConnectionRefusedError):
            await net.connect(pair.port)
        pair.client.transport.write(b"still here")
        await pair.server.until_data(10)
        await pair.done()

    net.run(main)


def test_who_connects_and_goes_at_once_was_there(net: Net) -> None:
    async def main() -> None:
        listening = net.listening()
        port = await net.there(listening.open(net.bind))
        client = await net.connect(port)
        client.transport.write(b"hello and goodbye")
        client.transport.close()
        server = await listening.end()
        await server.until_lost()
        assert server.data == b"hello and goodbye"
        assert server.lost_with is None
        await listening.close()

    net.run(main)


# -- streams -----------------------------------------------------------------------------------


def test_streams_stand_on_it(net: Net) -> None:
    async def main() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await net.there(asyncio.start_server(echo, net.bind, 0))
        port = server.sockets[0].getsockname()[1]
        reader, writer = await net.here(asyncio.open_connection(net.host, port))
        for line in (b"one\n", b"two\n" * 2_000):
            writer.write(line)
            reading = asyncio.ensure_future(reader.readexactly(len(line)))
            await writer.drain()
            assert await reading == line.upper()
        writer.write_eof()
        assert await reader.read() == b""
        assert reader.at_eof()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    net.run(main)
