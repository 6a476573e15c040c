"""Real nodes over links that bring bytes: lost connections, other versions, nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from distribution_kit import Frozen, Point, everything
from hypothesis import given, settings
from hypothesis import strategies as st
from links_kit import Echo, Hub, MemoryLinks, two, until

from palaver.actors.distribution import (
    CannotCross,
    LinkCarrier,
    Nodedown,
    Unreadable,
    Vocabulary,
    signals,
)
from palaver.actors.distribution.encoding import BadPacket
from palaver.actors.distribution.packets import MAX_HEADS, Packets
from palaver.actors.distribution.signals import Where
from palaver.actors.embedding import cluster_node
from palaver.actors.runtime import (
    NOCONNECTION,
    NOPROC,
    Crash,
    GenServer,
    Node,
    NodeDown,
    NoProcess,
    Stop,
)

WHERE = Where("pid", "b", 1, 3)
PID = Where("pid", "a", 1, 7)
SIGNALS: list[Any] = [
    signals.Post(WHERE, "info", b"\x01"),
    signals.Post(Where("name", "b", 0, "echo"), "cast", b"\x61x"),
    signals.Ask(WHERE, Where("call", "a", 1, 2), PID, True, b"\x01"),
    signals.Ask(WHERE, Where("call", "a", 1, 2), None, False, b"\x80"),
    signals.Answer(3, b"\xf6"),
    signals.Fail(3, b"\xf6"),
    signals.NoTarget(3),
    signals.Abandon(Where("call", "a", 1, 2)),
    signals.Watch(3, WHERE),
    signals.Unwatch(3),
    signals.Gone(3, b"\xf6"),
    signals.LinkTo(("a", 3), PID, WHERE),
    signals.UnlinkFrom((("a", 3), ("b", 4)), PID, WHERE),
    signals.ExitLinked((("a", 3),), PID, WHERE, b"\xf6"),
    signals.ExitSent(PID, WHERE, b"\xf6"),
    signals.ExitSent(None, WHERE, b"\xf6"),
    signals.Grouped("pg", b"\xf6"),
    signals.GroupedTo(WHERE, b"\xf6"),
]


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: type(s).__name__)
def test_a_signal_crosses_in_a_packet(signal: Any) -> None:
    out, back = Packets(), Packets()
    for _ in range(2):  # the second time, the head is known
        got = back.signal(out.packet(signal), "a", 1)
        assert type(got) is type(signal)
        names = [name for name in signal.__slots__ if type(getattr(signal, name)) is not bytes]
        assert [getattr(got, name) for name in names] == [getattr(signal, name) for name in names]
    with pytest.raises(BadPacket):
        back.signal(out.packet(signal) + b"\x01", "a", 1)


def test_a_node_speaks_only_for_itself() -> None:
    for signal in SIGNALS:
        packet = Packets().packet(signal)
        named = isinstance(signal, (signals.LinkTo, signals.UnlinkFrom, signals.ExitLinked))
        if named or isinstance(signal, (signals.Ask, signals.Abandon)):
            with pytest.raises(BadPacket, match="speaks for a"):
                Packets().signal(packet, "c", 1)
    with pytest.raises(BadPacket, match="earlier incarnation"):
        Packets().signal(Packets().packet(SIGNALS[2]), "a", 2)


def test_remembered_heads_are_bounded() -> None:
    packets, other = Packets(), Packets()
    for number in range(MAX_HEADS + 2):
        post = signals.Post(Where("pid", "b", 1, number), "info", b"\x01")
        assert other.signal(packets.packet(post), "a", 1).target == post.target  # type: ignore[union-attr]
    assert len(packets._out) == len(other._in) == 2
    with pytest.raises(CannotCross, match="no Unicode"):
        packets.packet(signals.Post(Where("name", "b", 0, "\ud800"), "info", b"\x01"))
    with pytest.raises(CannotCross, match="too many"):
        packets.packet(signals.Post(Where("name", "b", 0, "x" * 70_000), "info", b"\x01"))


@given(st.binary() | st.sampled_from(SIGNALS).map(lambda s: Packets().packet(s)), st.data())
def test_any_bytes_are_a_signal_or_a_typed_error(data: bytes, draw: st.DataObject) -> None:
    for _ in range(draw.draw(st.integers(0, 3))):
        at = draw.draw(st.integers(0, len(data)))
        data = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + 1 :]
    with contextlib.suppress(BadPacket):
        Packets().signal(data, "a", 1)


# -- two nodes -------------------------------------------------------------------------------------


def test_messages_calls_and_monitors_cross() -> None:
    async def test() -> None:
        async with two(everything()) as both:
            echo = both.echo()
            message = Point((1, [2]), Frozen({"k": echo}))
            got = await both.a.call(echo, message)
            assert got == message
            assert got.y.items["k"] is echo
            both.a.send(echo, "one")
            both.a.send(both.da.at("b", "echo"), ["two"])
            assert await both.a.call(echo, "got") == ["one", ["two"]]
            with pytest.raises(NoProcess):
                await both.a.call(both.da.at("b", "nobody"), 1)
            with pytest.raises(CannotCross):
                await both.a.call(echo, object())
            assert await both.a.call(echo, 3) == 3

    asyncio.run(test())


class Watching(GenServer):
    """Watches and links to a process; keeps what it hears."""

    def init(self, distribution: Any, other: Any) -> None:
        self.trap_exit = True
        self.heard: list[Any] = []
        self.monitor(other)
        self.link(other)
        distribution.monitor_node(self.pid, other.node_name)

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.heard

    def handle_info(self, message: Any) -> None:
        self.heard.append(getattr(message, "reason", message))


async def story(drop_after: int | None) -> int:
    """Messages, calls, monitors and links, while a connection is lost after some packets."""
    async with two() as both:
        hub, echo = both.hub, both.echo()
        hub.packets, hub.drop_after = 0, drop_after
        watching = await both.a.start_server(Watching, both.da, echo)
        lost = 0
        for number in range(4):
            both.a.send(echo, number)
            try:
                assert await both.a.call(echo, ("ask", number)) == ("ask", number)
            except NodeDown:
                lost += 1
        packets = hub.packets
        got = [each for each in await both.b.call("echo", "got") if type(each) is int]
        assert got == list(range(len(got))), "what arrives is in order, up to the loss"
        if drop_after is None or packets < drop_after:
            assert (lost, len(got)) == (0, 4)
            assert await both.a.call(watching, 1) == []
        else:
            await until(lambda: not both.da.nodes() and not both.db.nodes())
            assert lost
            heard = await both.a.call(watching, 1)
            assert heard == [NOCONNECTION, NOCONNECTION, Nodedown("b")]
            hub.drop_after = None
            hub.connect("a", "b")
            await both.connected()
            assert await both.a.call(both.echo(), "again") == "again"
        return packets


def test_a_connection_may_be_lost_at_any_point() -> None:
    packets = asyncio.run(story(None))
    for after in range(1, packets + 1):
        asyncio.run(story(after))


def test_nonsense_ends_the_connection_and_nothing_else() -> None:
    async def test(nonsense: bytes) -> None:
        async with two() as both:
            echo = both.echo()
            both.hub.send("a", "b", nonsense)
            await until(lambda: not both.da.nodes() and not both.db.nodes())
            both.hub.connect("a", "b")
            await both.connected()
            assert await both.a.call(echo, 1) == 1

    for nonsense in (b"", b"\x00\x01\x80\x01", b"\xff" * 30):
        asyncio.run(test(nonsense))


@settings(max_examples=30)
@given(st.lists(st.binary() | st.sampled_from(SIGNALS).map(lambda s: Packets().packet(s))))
def test_a_node_lives_whatever_it_is_sent(packets: list[bytes]) -> None:
    async def test() -> None:
        async with two() as both:
            for packet in packets:
                both.hub.send("a", "b", packet)
            assert await both.b.call("echo", 1) == 1
            await until(lambda: not both.hub.news)
            assert await both.b.call("echo", 1) == 1

    asyncio.run(test())


def test_a_node_of_another_format_does_not_connect() -> None:
    async def test() -> None:
        hub, node = Hub(), Node("a")
        async with cluster_node(node, lambda c: MemoryLinks(hub, c), creation=1) as distribution:
            carrier = hub.told["a"][1]
            hub.told["z"] = (1, carrier)
            for greeting in (b"", b"x", b"\x78\x9c\x03\x00\x00\x00\x00\x01"):
                hub.up.add(frozenset("az"))
                carrier.up("z", 1, greeting)
                assert distribution.nodes() == ()
                carrier.arrived("z", b"whatever")
                assert frozenset("az") not in hub.up  # it was given up
                hub.news.clear()
                carrier.down("z", "given up")
            del hub.told["z"]

    asyncio.run(test())


def test_what_only_one_side_knows_fails_alone() -> None:
    class Stopper(GenServer):
        def handle_call(self, request: Any, from_: Any) -> Any:
            return Stop(Point(1)) if request == "stop" else Point(2)

    async def test() -> None:
        async with two(Vocabulary(), everything()) as both:
            # b knows Point, a does not.
            pid = await both.b.start_server(Stopper, name="stopper")
            stopper = both.da.at("b", "stopper")
            with pytest.raises(Unreadable, match="Point is not in the vocabulary"):
                await both.a.call(stopper, "point")
            remote = both.da.directory.found(both.db.directory.where(pid))
            watching = await both.a.start_server(Watching, both.da, remote)
            assert await both.b.call(pid, "point") == Point(2)
            assert await both.a.call(both.echo(), 1) == 1  # the monitor has arrived
            both.b.exit(pid, Point(3))
            heard: list[Any] = []
            while len(heard) < 2:
                heard = await both.a.call(watching, 1)
            for reason in heard:
                assert isinstance(reason, Crash)
                assert isinstance(reason.exception, Unreadable)
            both.b.send(both.db.at("a", "echo"), Point(4))
            both.b.send(both.db.at("a", "echo"), 5)
            with pytest.raises(Unreadable):
                await both.b.call(both.db.at("a", "echo"), Point(4))
            assert await both.a.call("echo", "got") == [5]
            assert both.da.nodes() == ("b",)

    asyncio.run(test())


def test_a_pid_of_an_earlier_incarnation_reaches_nobody() -> None:
    async def test() -> None:
        hub, a = Hub(), Node("a")
        async with cluster_node(a, lambda c: MemoryLinks(hub, c), creation=1) as here:
            pids = []
            for creation in (1, 2):
                b = Node("b")
                async with cluster_node(
                    b, lambda c: MemoryLinks(hub, c), creation=creation
                ) as there:
                    pid = await b.start_server(Echo, name="echo")
                    await until(lambda: bool(here.nodes()))
                    pids.append(here.directory.found(there.directory.where(pid)))
                    assert await a.call(pids[-1], 1) == 1
                    if creation == 2:
                        assert pids[0].serial == pids[1].serial
                        with pytest.raises(NoProcess):
                            await a.call(pids[0], 1)
                        a.send(pids[0], "for the dead")
                        watching = await a.start_server(Watching, here, pids[0])
                        assert await a.call(pids[1], "got") == []
                        assert await a.call(watching, 1) == [NOPROC, NOPROC]
                await until(lambda: not here.nodes())
                with pytest.raises(NodeDown):
                    await a.call(pids[-1], 1)

    asyncio.run(test())


def test_a_message_that_is_too_great_is_refused() -> None:
    hub, node = Hub(), Node("a")
    carrier = LinkCarrier(node, 1, max_message_bytes=1000)
    MemoryLinks(hub, carrier)
    with pytest.raises(CannotCross, match="at most 1000"):
        carrier.distribution.packed(b"x" * 1001)
