"""What `kill -9` and SIGSTOP of a program look like from the other side of its connections.

The same tests against real child processes and against hosts that crash in a simulated world.
"""

from __future__ import annotations

import pytest
from nets import Net


def test_its_connections_end_in_order_if_all_was_read(net: Net) -> None:
    async def main() -> None:
        port = await net.program("echo")
        client = await net.connect(port, keep_open=True)
        client.transport.write(b"hello")
        await client.until_data(5)
        await net.kill()
        await client.until_eof()
        assert not client.is_lost
        while not client.is_lost:
            client.transport.write(b"is anybody there?")
            await net.a_moment()
        assert isinstance(client.lost_with, ConnectionResetError | BrokenPipeError)

    net.run(main)


def test_its_connections_are_reset_if_something_was_not_read(net: Net) -> None:
    async def main() -> None:
        port = await net.program("mute")
        client = await net.connect(port, keep_open=True)
        client.transport.write(b"hello")
        await net.a_while()
        await net.kill()
        await client.until_lost()
        assert isinstance(client.lost_with, ConnectionResetError)

    net.run(main)


def test_what_it_had_not_given_to_the_kernel_is_lost(net: Net) -> None:
    async def main() -> None:
        port = await net.program("talk")
        client = await net.connect(port)
        client.transport.pause_reading()
        client.transport.write(b"talk!")
        await net.arrived(client)
        await net.kill()
        client.transport.resume_reading()
        await client.until_lost()
        assert 0 < len(client.data) < net.talk
        assert client.data == b"x" * len(client.data)
        assert client.lost_with is None
        assert client.has_eof

    net.run(main)


def test_nobody_listens_until_it_is_started_again(net: Net) -> None:
    async def main() -> None:
        port = await net.program("echo")
        client = await net.connect(port)
        await net.kill()
        await client.until_lost()
        with pytest.raises(ConnectionRefusedError):
            await net.connect(port)
        assert await net.program("echo", port) == port
        client = await net.connect(port)
        client.transport.write(b"hello")
        await client.until_data(5)

    net.run(main)


def test_who_stands_still_is_connected_to_and_answers_later(net: Net) -> None:
    async def main() -> None:
        port = await net.program("echo")
        before = await net.connect(port)
        before.transport.write(b"one")
        await before.until_data(3)
        net.stop()
        after = await net.connect(port)
        for client in (before, after):
            client.transport.write(b"two")
        await net.a_while()
        assert (before.data, after.data) == (b"one", b"")
        net.go_on()
        await before.until_data(6)
        await after.until_data(3)
        assert (before.data, after.data) == (b"onetwo", b"two")

    net.run(main)
