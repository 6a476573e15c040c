"""The probe: what it gets, what it refuses, and how it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    CalleeExited,
    CallTimeout,
    Crash,
    Exit,
    GenServer,
    Node,
    Request,
    Stop,
)
from palaver.actors.simulation import Host, Probe, ProbeFailed, Violation, World, run


class Parrot(GenServer):
    """Says things, later."""

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "who":
            return from_.pid
        if request == "crash":
            raise ValueError("crash")
        _, delay_s, message = request
        self.send_after(delay_s, from_.pid, message)
        return "soon"

    async def handle_cast(self, message: Any) -> Any:
        return Stop(message)

    async def handle_info(self, message: Any) -> None:
        dest, request = message
        try:
            self.send(dest, ("answer", await self.call(dest, request)))
        except CalleeExited as error:
            self.send(dest, error)


def with_probe(test: Callable[[World, Node, Probe], Awaitable[None]]) -> None:
    async def scenario(world: World) -> None:
        nodes: list[Node] = []

        async def boot(host: Host) -> None:
            node = await host.node()
            await node.start_server(Parrot, name="parrot")
            nodes.append(node)

        await world.host("h", boot).start()
        await test(world, nodes[0], Probe(nodes[0]))

    outcome = run(scenario)
    if outcome.failure is not None:
        raise outcome.failure


def test_it_takes_the_first_that_matches_and_leaves_the_others_in_order() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        for message in (1, "two", 3.0, "four", 1):
            node.send(probe.pid, message)
        assert await probe.assert_receive(str) == "two"
        assert await probe.assert_receive(lambda message: message > 1) == 3.0
        assert await probe.assert_receive(1) == 1
        assert probe.messages == ("four", 1)
        assert probe.assert_received() == "four"
        assert probe.flush() == (1,)
        assert probe.messages == ()

    with_probe(test)


def test_it_waits_in_virtual_time() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        assert await probe.call("parrot", ("say", 3600.0, "late")) == "soon"
        began_s = world.now_s
        assert await probe.assert_receive("late", within_s=4000.0) == "late"
        assert world.now_s - began_s == pytest.approx(3600.0)

    with_probe(test)


@settings(max_examples=60)
@given(delay_s=st.floats(0.01, 100.0), patience_s=st.floats(0.01, 100.0))
def test_receive_and_refute_are_each_others_opposite(delay_s: float, patience_s: float) -> None:
    assume(abs(delay_s - patience_s) > 0.001)

    async def test(world: World, node: Node, probe: Probe) -> None:
        other = Probe(node)
        node.send_after(delay_s, probe.pid, "x")
        node.send_after(delay_s, other.pid, "x")
        refuting = asyncio.ensure_future(other.refute_receive("x", for_s=patience_s))
        try:
            await probe.assert_receive("x", within_s=patience_s)
        except ProbeFailed:
            await refuting
            assert delay_s >= patience_s
        else:
            assert delay_s <= patience_s
            with pytest.raises(ProbeFailed, match="has come at"):
                await refuting

    with_probe(test)


def test_a_failure_lists_what_did_arrive() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        await world.sleep(1.5)
        node.send(probe.pid, ("hello", 1))
        with pytest.raises(ProbeFailed) as failed:
            await probe.assert_receive(Exit, within_s=2.0)
        assert str(failed.value).splitlines() == [
            "no message matches any Exit within 2 s: at 3.500 s of the probe <h.2>",
            "  messages that did not match or were not taken: 1",
            "         1.500 s  ('hello', 1)",
            "  taken before: 0",
        ]
        assert isinstance(failed.value, Violation)
        await probe.assert_receive()
        with pytest.raises(ProbeFailed, match="no message is left"):
            probe.assert_received()
        for number in range(30):
            node.send(probe.pid, number)
        with pytest.raises(ProbeFailed, match=r"10 earlier ones(.|\n)* 29\n"):
            await probe.assert_receive("x")

    with_probe(test)


def test_the_end_of_a_process_and_its_reason() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        parrot = node.whereis("parrot")
        assert parrot is not None
        with pytest.raises(ProbeFailed, match="has not exited within 1 s"):
            await probe.assert_down(parrot)
        probe.monitor(parrot)
        probe.cast(parrot, "enough")
        with pytest.raises(ProbeFailed, match="exited with 'enough', which is not normal"):
            await probe.assert_down(parrot, reason=NORMAL)
        await probe.assert_down(parrot, reason=NOPROC)
        other = node.spawn(Parrot)
        probe.link(other)
        probe.exit(other, KILL)
        await probe.assert_down(other, reason=KILLED)
        assert await probe.assert_receive(Exit) == Exit(other, KILLED)
        third = node.spawn(Parrot)
        ref = probe.monitor(third)
        node.exit(third, KILL)
        await world.sleep(0.1)
        probe.demonitor(ref)
        assert probe.messages == ()
        fourth = node.spawn(Parrot)
        probe.link(fourth)
        probe.unlink(fourth)
        node.exit(fourth, KILL)
        await probe.refute_receive()

    with_probe(test)


def test_it_calls_and_answers_as_a_process() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        assert await probe.call("parrot", "who") is probe.pid
        probe.send("parrot", (probe.pid, "question"))
        request = await probe.assert_receive(Request)
        assert request.body == "question"
        probe.reply(request, 42)
        assert await probe.assert_receive(tuple) == ("answer", 42)
        parrot = node.whereis("parrot")
        with pytest.raises(CalleeExited) as crashed:
            await probe.call(parrot, "crash")
        assert isinstance(crashed.value.reason, Crash)

    with_probe(test)


def test_an_answer_that_comes_too_late_is_dropped() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        other = Probe(node)
        with pytest.raises(CallTimeout):
            await probe.call(other.pid, "x", timeout_s=1.0)
        other.reply(await other.assert_receive(Request), "late")
        await probe.refute_receive()

    with_probe(test)


def test_a_probe_that_has_exited_says_so_at_once() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        node.send_after(1.0, probe.pid, "first")
        waiting = asyncio.ensure_future(probe.assert_receive("second", within_s=1000.0))
        await world.sleep(2.0)
        node.exit(probe.pid, KILL)
        with pytest.raises(ProbeFailed, match="process has exited: killed"):
            await waiting
        assert world.now_s < 3.0
        with pytest.raises(ProbeFailed, match="not known"):
            await probe.refute_receive("x")
        assert repr(probe).endswith("1 messages>")

    with_probe(test)


def test_it_ends_with_its_node() -> None:
    async def test(world: World, node: Node, probe: Probe) -> None:
        began_s = world.now_s
        await world.hosts["h"].spawn(node.stop())
        assert world.now_s - began_s < 1.0
        assert await probe.assert_receive(Exit) == Exit(None, SHUTDOWN)
        with pytest.raises(ProbeFailed, match="process has exited: normal"):
            await probe.assert_receive()

    with_probe(test)


def test_it_works_without_a_world() -> None:
    async def main() -> None:
        async with Node() as node:
            probe = Probe(node, name="probe")
            node.send("probe", "hello")
            assert await probe.assert_receive("hello", within_s=5.0) == "hello"

    asyncio.run(main())
