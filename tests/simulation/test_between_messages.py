"""Messages, calls, aliases and references between processes of several nodes."""

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

from palaver.actors.distribution import directory
from palaver.actors.runtime import (
    KILL,
    NOPROC,
    NORMAL,
    CalleeExited,
    CallTimeout,
    Crash,
    Down,
    MailboxFull,
    MailboxLimit,
    Node,
    NodeDown,
    NoProcess,
    Pid,
    Ref,
    RegistryName,
    Shutdown,
)
from palaver.actors.simulation import (
    CannotCross,
    Probe,
    RemoteName,
    RemotePid,
)
from palaver.actors.simulation.between.wires import MAX_RETIRED, Outboxes

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


# -- limits --------------------------------------------------------------------------------------


def test_what_means_nothing_any_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_TOLD", 10)

    async def test(c: Cluster) -> None:
        a, b = Probe(c.nodes["a"]), Probe(c.nodes["b"])
        there = c.fabric.remote(on=c.nodes["a"], pid=b.pid)
        kept = c.nodes["a"].spawn(Echo)
        a.send(there, kept)
        for _ in range(30):
            gone = c.nodes["a"].spawn(Echo)
            a.send(there, gone)
            c.nodes["a"].exit(gone, KILL)
            await c.world.sleep(0.1)
            context = a.pid.process_.context
            a.send(there, (context.alias(), a.monitor(there), Ref()))
        told = c.distribution("a").directory
        assert len(told._pids) <= 11
        assert len(told._refs) <= 11
        await c.world.sleep(0.1)
        pids = [message for message in b.messages if isinstance(message, Pid)]
        b.flush()
        b.send(pids[0], ("answer to", b.pid, "kept"))
        assert await b.assert_receive() == ("answer", "kept")
        # A forgotten one is nobody's, also at home.
        b.send(c.fabric.remote(on=c.nodes["b"], pid=a.pid), [pids[1]])
        (home,) = await a.assert_receive(list)
        await a.assert_down(home, reason=NOPROC)

    in_cluster(test)


def test_outboxes_of_ended_connections_are_kept_for_a_while() -> None:
    outboxes = Outboxes()
    numbers = [outboxes.open("a")[0] for _ in range(MAX_RETIRED + 1)]
    outboxes.retire_all("b")
    outboxes.retire_all("a")
    outboxes.retire(numbers[-1])
    assert outboxes.get(numbers[0]) is None
    assert all(outboxes.get(number) is not None for number in numbers[1:])


def test_a_name_of_a_registry_means_nothing_elsewhere() -> None:
    async def test(c: Cluster) -> None:
        with pytest.raises(CannotCross, match="means something only on node a: send the pid"):
            Probe(c.nodes["a"]).send(c.echo("a", "b"), RegistryName())

    in_cluster(test)
