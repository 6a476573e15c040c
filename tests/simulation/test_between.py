"""Processes of several nodes: messages, calls, monitors, links, as OTP has them."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from attrs import define
from between_kit import Cluster, Echo, in_cluster, server

from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOCONNECTION,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    CalleeExited,
    CallTimeout,
    Crash,
    Down,
    Exit,
    GenServer,
    MailboxFull,
    MailboxLimit,
    Node,
    NodeDown,
    NoProcess,
    Pid,
    Ref,
    Shutdown,
)
from palaver.actors.simulation import (
    CannotCross,
    Fabric,
    Host,
    Nodedown,
    Nodeup,
    Probe,
    RemoteName,
    RemotePid,
    SimulationError,
    World,
)
from palaver.actors.simulation.between.signals import Hello
from palaver.actors.simulation.between.wires import Wire

# -- messages ------------------------------------------------------------------------------------


def test_a_message_a_cast_and_a_call_reach_a_process_of_another_node() -> None:
    async def test(c: Cluster) -> None:
        echo = c.echo("a", "b")
        probe = Probe(c.nodes["a"])
        probe.send(echo, ("answer to", probe.pid, 1))
        assert await probe.assert_receive(tuple) == ("answer", 1)
        probe.cast(echo, "a cast")
        assert await probe.call(echo, "hello") == ("echo", "hello", echo)
        assert await c.nodes["a"].call(echo, "hello") == ("echo", "hello", echo)
        assert ("cast", "a cast") in server(c, "b").got

    in_cluster(test)


def test_a_name_at_a_node_reaches_whoever_has_it() -> None:
    async def test(c: Cluster) -> None:
        name = c.fabric.remote(on=c.nodes["a"], at=("b", "echo"))
        assert isinstance(name, RemoteName)
        assert str(name) == "<echo at b>"
        probe = Probe(c.nodes["a"])
        first = (await probe.call(name, 1))[2]
        probe.exit(first, KILL)
        await probe.assert_down(first)
        with pytest.raises(NoProcess, match="echo at b"):
            await probe.call(name, 2)
        await c.nodes["b"].start_server(Echo, name="echo")
        second = (await probe.call(name, 3))[2]
        assert second is not first
        # At its own node it is the name itself.
        assert c.distribution("b").at("b", "echo") == "echo"
        assert name == c.distribution("a").at("b", "echo")

    in_cluster(test)


def test_a_pid_is_one_object_on_each_node_and_itself_at_home() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        assert there is c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        assert isinstance(there, RemotePid)
        assert repr(there) == repr(b.pid)
        a.send(there, {"me": a.pid, "you": [there]})
        got = await b.assert_receive(dict)
        assert got["you"] == [b.pid]
        b.send(got["me"], (got["me"], b.pid))
        assert await a.assert_receive(tuple) == (a.pid, there)

    in_cluster(test)


def test_a_pid_of_a_third_node_crosses_too() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        a.send(c.fabric.remote(on=c.nodes["a"], pid=b.pid), c.echo("a", "c"))
        echo = await b.assert_receive(Pid)
        assert echo is c.echo("b", "c")
        assert (await b.call(echo, "x"))[1] == "x"

    in_cluster(test, "abc")


class Colour(Enum):
    RED = 1


@dataclass(frozen=True, slots=True)
class Frozen:
    items: list[Any]


@define
class Attrs:
    items: list[Any]


Named = namedtuple("Named", "items")  # noqa: PYI024


class Odd(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(f"odd: {number}")
        self.number = number


def test_a_message_is_copied() -> None:
    inner = [1]
    values: list[Any] = [
        [inner], (inner,), {"k": inner}, Frozen(inner), Attrs(inner), Named(inner),
        deque([inner], 3), OrderedDict(k=inner),
    ]  # fmt: skip
    same: list[Any] = [
        None, 1.5, "x", b"x", {1, 2}, frozenset({3}), bytearray(b"y"), Colour.RED, date(2026, 1, 1),
        NORMAL, Shutdown("x"), dict, Counter.fromkeys,
    ]  # fmt: skip

    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        a.send(there, values)
        a.send(there, same[:-1])
        inner.append(2)
        got = await b.assert_receive(list)
        assert got == [
            [[1]], ([1],), {"k": [1]}, Frozen([1]), Attrs([1]), Named([1]), deque([[1]]),
            OrderedDict(k=[1]),
        ]  # fmt: skip
        assert [type(each) for each in got] == [type(each) for each in values]
        assert await b.assert_receive(list) == same[:-1]
        counted: defaultdict[str, list[int]] = defaultdict(list, k=[1])
        a.send(there, (counted, MappingProxyType({"k": 1})))
        assert await b.assert_receive(tuple) == ({"k": [1]}, {"k": 1})

    in_cluster(test)


def test_an_exception_crosses_without_its_traceback() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        error = Odd(3)
        error.__cause__ = UnicodeDecodeError("utf-8", b"x", 0, 1, "why")
        a.send(c.fabric.remote(on=c.nodes["a"], pid=b.pid), error)
        got = await b.assert_receive(Odd)
        assert got is not error
        assert (str(got), got.number, got.__traceback__) == ("odd: 3", 3, None)
        assert str(got.__cause__) == str(error.__cause__)

    in_cluster(test)


def test_what_is_no_data_is_refused_where_it_is_sent() -> None:
    deep: list[Any] = []
    deep.append(deep)
    number = 3

    async def test(c: Cluster) -> None:
        echo = c.echo("a", "b")
        probe = Probe(c.nodes["a"])
        for bad in (lambda: number, object(), deep, probe):
            with pytest.raises(CannotCross, match="cannot go to another node"):
                probe.send(echo, [bad])
        foreign = c.nodes["b"].whereis("echo")
        with pytest.raises(CannotCross, match=r"Fabric\.remote"):
            probe.send(echo, foreign)
        # As a reason it arrives all the same, as a text.
        mate = Probe(c.nodes["b"])
        there = c.fabric.remote(on=c.nodes["a"], pid=mate.pid)
        mate.monitor(c.echo("b", "a"))
        await c.world.sleep(0.1)
        c.nodes["a"].cast("echo", ("stop", object()))
        down = await mate.assert_receive(Down)
        assert isinstance(down.reason, Crash)
        assert "object object" in str(down.reason)
        with pytest.raises(CannotCross):
            probe.exit(there, object())

    in_cluster(test)


def test_messages_of_one_process_to_another_stay_in_order() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        for number in range(500):
            a.send(there, number)
        await c.world.eventually(lambda: len(b.messages) == 500, "all arrive")
        assert b.flush() == tuple(range(500))

    in_cluster(test)


def test_a_full_mailbox_drops_a_message_from_elsewhere_and_fails_a_call() -> None:
    class Stuck(Echo):
        async def handle_info(self, message: Any) -> None:
            await self.sleep(10.0)

    async def test(c: Cluster) -> None:
        limit = MailboxLimit(1, "reject")
        pid = await c.nodes["b"].start_server(Stuck, mailbox=limit)
        there = c.fabric.remote(on=c.nodes["a"], pid=pid)
        probe = Probe(c.nodes["a"])
        for number in range(5):
            probe.send(there, number)
        with pytest.raises(MailboxFull) as full:
            await probe.call(there, "x")
        assert full.value.pid is there

    in_cluster(test)


# -- calls ---------------------------------------------------------------------------------------


def test_a_call_fails_as_on_one_node() -> None:
    async def test(c: Cluster) -> None:
        echo = c.echo("a", "b")
        probe = Probe(c.nodes["a"])
        with pytest.raises(CalleeExited) as crashed:
            await probe.call(echo, "crash")
        assert isinstance(crashed.value.reason, Crash)
        assert crashed.value.pid is echo
        with pytest.raises(NoProcess) as gone:
            await probe.call(echo, "x")
        assert gone.value.dest is echo

    in_cluster(test)


def test_a_call_that_nobody_waits_for_any_more_is_closed_at_the_callee() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        node = c.nodes["a"]
        with pytest.raises(CallTimeout):
            await node.call(c.echo("a", "b"), "keep", timeout_s=1.0)
        await c.world.sleep(1.0)
        (call,) = server(c, "b").calls
        assert not call.open
        c.nodes["b"].cast("echo", ("do", lambda echo: echo.reply(call, "late")))
        await probe.refute_receive(for_s=1.0)

    in_cluster(test)


def test_a_call_ends_with_the_connection() -> None:
    async def test(c: Cluster) -> None:
        node = c.nodes["a"]
        echo = c.echo("a", "b")
        asking = c.hosts["a"].spawn(raised(node, echo))
        await c.world.sleep(0.5)
        c.distribution("a").disconnect("b")
        error = await asking
        assert isinstance(error, NodeDown)
        assert error.node_name == "b"
        await c.world.sleep(0.1)
        assert not server(c, "b").calls[0].open
        with pytest.raises(NodeDown):
            await node.call(echo, "x")
        await c.connected()
        assert (await node.call(echo, "x"))[1] == "x"

    async def raised(node: Node, echo: Any) -> BaseException | None:
        try:
            await node.call(echo, "keep")
        except NodeDown as error:
            return error
        return None

    in_cluster(test)


def test_another_process_on_another_node_may_answer() -> None:
    async def test(c: Cluster) -> None:
        asker, first, second = Probe(c.nodes["a"]), Probe(c.nodes["b"]), Probe(c.nodes["c"])
        there = c.fabric.remote(on=c.nodes["a"], pid=first.pid)
        asking = c.hosts["a"].spawn(asker.call(there, "question"))
        request = await first.assert_receive(lambda m: getattr(m, "body", None) == "question")
        assert request.from_.pid is c.fabric.remote(on=c.nodes["b"], pid=asker.pid)
        first.send(c.fabric.remote(on=c.nodes["b"], pid=second.pid), request.from_)
        from_ = await second.assert_receive(Ref)
        second.reply(from_, [second.pid])
        (answered,) = await asking
        assert answered is c.fabric.remote(on=c.nodes["a"], pid=second.pid)
        second.reply(from_, "again")
        await asker.refute_receive(for_s=1.0)

    in_cluster(test, "abc")


def test_an_answer_that_is_no_data_crashes_who_gives_it() -> None:
    class Bad(Echo):
        def handle_call(self, request: Any, from_: Any) -> Any:
            return object()

    async def test(c: Cluster) -> None:
        pid = await c.nodes["b"].start_server(Bad)
        with pytest.raises(CalleeExited) as crashed:
            await c.nodes["a"].call(c.fabric.remote(on=c.nodes["a"], pid=pid), "x")
        assert isinstance(crashed.value.reason, Crash)
        assert isinstance(crashed.value.reason.exception, CannotCross)

    in_cluster(test)


# -- aliases and references ----------------------------------------------------------------------


def test_an_alias_and_a_reference_cross() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        context = a.pid.process_.context
        alias, ref = context.alias(once=True), a.monitor(c.echo("a", "b"))
        a.send(there, (alias, ref, ref))
        address, one, other = await b.assert_receive(tuple)
        assert one is other is not ref
        b.send(address, (one, address))
        b.send(address, "too late")
        assert await a.assert_receive(tuple) == (ref, alias)
        await a.refute_receive(for_s=1.0)

    in_cluster(test)


# -- monitors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("why"), ("own", 1)])
def test_a_monitor_tells_the_reason(reason: Any) -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        echo = c.echo("a", "b")
        ref = probe.monitor(echo)
        probe.cast(echo, ("stop", reason))
        down = await probe.assert_down(echo, reason=reason)
        assert (down.ref, down.pid) == (ref, echo)
        await probe.assert_down(echo, reason=NOPROC)
        await probe.refute_receive(for_s=1.0)

    in_cluster(test)


def test_a_monitor_by_name_tells_the_name() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        name = c.distribution("a").at("b", "echo")
        probe.monitor(name)
        await probe.refute_receive(for_s=1.0)
        probe.exit(c.echo("a", "b"), KILL)
        assert (await probe.assert_down(name, reason=KILLED)).pid is name
        await probe.assert_down(c.distribution("a").at("b", "nobody"), reason=NOPROC)

    in_cluster(test)


def test_a_monitor_that_has_ended_tells_nothing() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        echo = c.echo("a", "b")
        ref = probe.monitor(echo)
        await c.world.sleep(0.1)
        assert server(c, "b").process_.watchers
        probe.demonitor(ref)
        await c.world.sleep(0.1)
        assert not server(c, "b").process_.watchers
        probe.monitor(echo)
        await c.world.sleep(0.1)
        c.nodes["a"].exit(probe.pid, KILL)  # with its owner it ends as well
        await c.world.sleep(0.1)
        assert not server(c, "b").process_.watchers

    in_cluster(test)


def test_asyncio_code_waits_for_the_end_of_a_process_elsewhere() -> None:
    async def test(c: Cluster) -> None:
        echo = c.echo("a", "b")
        waiting = c.hosts["a"].spawn(c.nodes["a"].wait(echo))
        await c.world.sleep(0.1)
        c.nodes["a"].exit(echo, KILL)
        assert await waiting is KILLED

    in_cluster(test)


# -- links ---------------------------------------------------------------------------------------


def test_linked_processes_of_two_nodes_end_together() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        echo = c.echo("a", "b")
        a.link(echo)
        await c.world.sleep(0.1)
        here = c.nodes["b"].whereis("echo")
        assert here is not None
        b.monitor(here)
        c.nodes["a"].exit(a.pid, KILL)
        await b.assert_down(here, reason=KILLED)

    in_cluster(test)


def test_the_exit_of_a_linked_process_can_be_trapped() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        b_there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        a.link(b_there)
        a.link(b_there)
        await c.world.sleep(0.1)
        c.nodes["b"].exit(b.pid, KILL)
        assert await a.assert_receive(Exit) == Exit(b_there, KILLED)
        await a.refute_receive(for_s=1.0)
        a.link(b_there)
        assert await a.assert_receive(Exit) == Exit(b_there, NOPROC)

    in_cluster(test)


def test_a_link_that_was_undone_brings_no_exit() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        b_there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        a.link(b_there)
        await c.world.sleep(0.1)
        c.nodes["b"].exit(b.pid, KILL)
        a.unlink(b_there)  # the exit signal is under way
        await a.refute_receive(for_s=1.0)

    in_cluster(test)


def test_both_sides_agree_on_links_made_and_undone_at_the_same_time() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        b_there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        a_there = c.fabric.remote(on=c.nodes["b"], pid=a.pid)
        a.link(b_there)
        await c.world.sleep(0.1)
        a.unlink(b_there)
        b.unlink(a_there)
        b.link(a_there)
        await c.world.sleep(0.1)
        c.nodes["b"].exit(b.pid, KILL)
        assert (await a.assert_receive(Exit)).sender is b_there

    in_cluster(test)


def test_the_exit_of_a_link_that_was_undone_is_not_that_of_a_new_one() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        b_there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        a.link(b_there)
        await c.world.sleep(0.1)
        c.nodes["b"].exit(b.pid, KILL)
        a.unlink(b_there)
        a.link(b_there)
        assert await a.assert_receive(Exit) == Exit(b_there, NOPROC)
        await a.refute_receive(for_s=1.0)

    in_cluster(test)


def test_exit_signals_follow_the_rules_of_one_node() -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        b_there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        a_there = c.fabric.remote(on=c.nodes["b"], pid=a.pid)
        a.exit(b_there, "told")
        assert await b.assert_receive(Exit) == Exit(a_there, "told")
        echo = c.echo("a", "b")
        a.monitor(echo)
        a.exit(echo, NORMAL)
        await a.refute_receive(for_s=1.0)
        a.exit(echo, "told")
        await a.assert_down(echo, reason="told")
        a.monitor(b_there)
        a.exit(b_there, KILL)
        await a.assert_down(b_there, reason=KILLED)

    in_cluster(test)


# -- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["partition", "oneway", "crash", "power", "stop", "disconnect"])
def test_a_lost_connection_fires_noconnection_on_both_sides(fault: str) -> None:
    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        b_there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        a.link(b_there)
        a.monitor(b_there)
        c.distribution("a").monitor_node(a.pid, "b")
        c.distribution("b").monitor_node(b.pid, "a")
        await c.world.sleep(1.0)
        network = c.world.network
        if fault == "partition":
            network.cut(["a"], ["b"])
        elif fault == "oneway":
            network.cut(["b"], ["a"], both_ways=False)
        elif fault == "crash":
            c.hosts["b"].crash()
        elif fault == "power":
            c.hosts["b"].power_off()
        elif fault == "stop":
            await c.hosts["b"].spawn(c.nodes["b"].stop())
        else:
            c.distribution("a").disconnect("b")
        # A quarter more than the net_ticktime of 8 s.
        down = await a.assert_receive(Down, within_s=10.0)
        exit_ = await a.assert_receive(Exit)
        if fault != "stop":
            assert down.reason is exit_.reason is NOCONNECTION
        await a.assert_receive(Nodedown("b"))
        if fault in ("partition", "oneway", "disconnect"):
            await b.assert_receive(Exit, within_s=10.0)
            await b.assert_receive(Nodedown("a"))
            c.distribution("b").monitor_node(b.pid, "nowhere")
            await b.assert_receive(Nodedown("nowhere"))
        assert a.messages == ()

    in_cluster(test)


def test_a_silent_network_is_no_lost_connection_while_ticks_pass() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        c.distribution("a").monitor_nodes(probe.pid)
        await probe.refute_receive(for_s=86_400.0)

    in_cluster(test)


def test_nodeup_comes_before_and_nodedown_after_all_else_of_a_connection() -> None:
    async def test(c: Cluster) -> None:
        a = Probe(c.nodes["a"])
        ref = c.distribution("a").monitor_nodes(a.pid)
        echo = c.echo("a", "b")
        a.monitor(echo)
        a.link(echo)
        await c.world.sleep(1.0)
        c.distribution("a").disconnect("b")
        await c.world.eventually(lambda: len(a.messages) == 4, "all of it")
        kinds = [type(message) for message in a.flush()]
        assert kinds == [Exit, Down, Nodedown, Nodeup]
        c.distribution("a").demonitor_nodes(ref)
        c.distribution("a").disconnect("b")
        await a.refute_receive(for_s=10.0)

    in_cluster(test)


def test_a_pid_goes_on_to_mean_its_process_after_a_reconnect() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        echo = c.echo("a", "b")
        c.distribution("a").disconnect("b")
        await c.world.sleep(0.01)
        probe.send(echo, ("answer to", probe.pid, "lost"))
        probe.link(echo)
        assert await probe.assert_receive(Exit) == Exit(echo, NOCONNECTION)
        await probe.assert_down(echo, reason=NOCONNECTION)
        await c.connected()
        probe.send(echo, ("answer to", probe.pid, "kept"))
        assert await probe.assert_receive() == ("answer", "kept")

    in_cluster(test)


def test_a_pid_of_an_earlier_incarnation_reaches_nobody() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        old = c.echo("a", "b")
        await c.hosts["b"].restart()
        await c.connected()
        new = c.echo("a", "b")
        assert (old.serial, old is new) == (new.serial, False)
        probe.send(old, ("answer to", probe.pid, "x"))
        probe.exit(old, KILL)
        with pytest.raises(NoProcess):
            await probe.call(old, "x")
        await probe.assert_down(old, reason=NOPROC)
        probe.link(old)
        assert (await probe.assert_receive(Exit)).reason is NOPROC
        assert (await probe.call(new, "x"))[2] is new
        # Nor does it where it comes home.
        mate = Probe(c.nodes["b"])
        probe.send(c.fabric.remote(on=c.nodes["a"], pid=mate.pid), [old])
        (home,) = await mate.assert_receive(list)
        await mate.assert_down(home, reason=NOPROC)
        mate.send(home, "x")
        with pytest.raises(NoProcess):
            await mate.call(home, "x")
        mate.link(home)
        assert (await mate.assert_receive(Exit)).reason is NOPROC
        assert server(c, "b").got == []

    in_cluster(test)


def test_a_node_that_is_too_slow_is_given_up() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        c.distribution("a").monitor_node(probe.pid, "b")
        c.world.network.link("a", "b").clog(5.0)
        for _ in range(60):
            probe.send(c.echo("a", "b"), "x")
        await probe.assert_receive(Nodedown("b"), within_s=0.1)
        await c.connected()

    in_cluster(test, max_waiting=50)


def test_the_kernel_process_is_replaced_when_it_is_killed() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["a"])
        c.distribution("a").monitor_nodes(probe.pid)
        kernel = c.nodes["a"].whereis("net_kernel")
        assert kernel is not None
        c.nodes["a"].exit(kernel, KILL)
        await probe.refute_receive(for_s=60.0)
        assert c.nodes["a"].whereis("net_kernel") not in (None, kernel)

    in_cluster(test)


def test_a_node_that_stops_closes_its_connections() -> None:
    async def test(c: Cluster) -> None:
        probe = Probe(c.nodes["b"])
        c.distribution("b").monitor_nodes(probe.pid)
        await c.hosts["a"].spawn(c.nodes["a"].stop())
        await probe.assert_receive(Nodedown("a"), within_s=0.1)
        await probe.refute_receive(for_s=60.0)

    in_cluster(test)


def test_a_connection_of_an_earlier_life_or_attempt_is_refused() -> None:
    async def test(c: Cluster) -> None:
        station = c.fabric._stations["b"]
        wire = Wire(station, None)
        for hello, accepted in (
            (Hello("a", 1, 1), False),  # which is there
            (Hello("a", 1, 3), True),
            (Hello("a", 1, 2), False),
            (Hello("a", 2, 1), True),
            (Hello("a", 1, 9), False),
            (Hello("b", 9, 9), False),  # itself
        ):
            assert station.accepts(wire, hello) == accepted, hello

    in_cluster(test)


def test_mistakes_are_told() -> None:
    async def test(c: Cluster) -> None:
        a, b = c.nodes["a"], c.nodes["b"]
        with pytest.raises(SimulationError, match="joined already"):
            await c.fabric.join(a)
        with pytest.raises(SimulationError, match="of a pid, or of a name"):
            c.fabric.remote(on=a)
        with pytest.raises(SimulationError, match="of a pid, or of a name"):
            c.fabric.remote(on=a, pid=b.whereis("echo"), at=("b", "echo"))
        other = await c.hosts["a"].node("other")
        with pytest.raises(SimulationError, match="has not joined"):
            c.fabric.remote(on=other, at=("b", "echo"))
        with pytest.raises(SimulationError, match="has not joined"):
            c.fabric.remote(on=a, pid=other.spawn(Echo))
        with pytest.raises(TypeError, match="linked to a pid"):
            Probe(a).link(c.distribution("a").at("b", "echo"))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="more than 0"):
            Fabric(net_ticktime_s=0)

    in_cluster(test)


def test_several_nodes_live_on_one_host() -> None:
    class Namer(GenServer):
        def handle_call(self, request: Any, from_: Any) -> Any:
            return self.node.name

    with World() as world:
        fabric = Fabric()
        nodes: list[Node] = []

        async def boot(host: Host) -> None:
            for name in ("one", "two", "three"):
                node = await host.node(name)
                await fabric.join(node)
                await node.start_server(Namer, name="counter")
                nodes.append(node)

        async def scenario() -> None:
            await world.start_all()
            await world.eventually(fabric.connected, "connected")
            for node in nodes:
                for other in nodes:
                    address = fabric.remote(on=node, at=(other.name, "counter"))
                    assert await node.call(address, None) == other.name

        world.host("h", boot)
        world.run(scenario())
