"""Monitors, links and exit signals between processes of several nodes, as OTP has them."""

from __future__ import annotations

from typing import Any

import pytest
from between_kit import Cluster, in_cluster, server

from palaver.actors.runtime import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    Exit,
    Shutdown,
)
from palaver.actors.simulation import (
    Probe,
)

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
