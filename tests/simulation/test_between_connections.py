"""Connections between nodes: lost, made again, of earlier lives, too slow."""

from __future__ import annotations

from typing import Any

import pytest
from between_kit import Cluster, Echo, in_cluster, server

from palaver.actors.distribution.signals import Hello
from palaver.actors.runtime import (
    KILL,
    NOCONNECTION,
    NOPROC,
    Down,
    Exit,
    GenServer,
    Node,
    NoProcess,
)
from palaver.actors.simulation import (
    Fabric,
    Host,
    Nodedown,
    Nodeup,
    Probe,
    SimulationError,
    World,
)
from palaver.actors.simulation.between.wires import Wire

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
        await probe.refute_receive(for_s=7200.0)

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
