"""Process groups over several simulated nodes: the real protocol, under every fault."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from between_kit import Cluster, in_cluster

from palaver.actors.names import Joined, Left, NodeUp, PeerDown, Scope, ScopeServer
from palaver.actors.names.group_messages import Discover
from palaver.actors.runtime import KILL, NOCONNECTION, GenServer, Pid
from palaver.actors.simulation import Coverage, Fabric, Faults, Host, Probe, Seeded, World, run
from palaver.supervisors import ChildSpec, Supervisor

FAULTS = Faults(
    crash=0.01, power=0.005, kill=0.02, partition=0.01, oneway=0.01, clog=0.02, reset=0.02,
    pause=0.01, spare=("tree",),
)  # fmt: skip

GROUPS = ("red", "blue", ("green", 1))
SEEDS = 40
LONG_SEEDS = 1000


class Member(GenServer):
    """Is in groups."""


class Listener(GenServer):
    """Keeps account of what its monitor of the scope tells."""

    def init(self, scope: Scope, tallies: dict[str, Listener]) -> None:
        self.ref, groups = scope.monitor_scope(self.pid)
        self.tally = Counter((group, pid) for group, pids in groups.items() for pid in pids)
        tallies[self.node.name] = self

    def handle_info(self, message: Any) -> None:
        assert isinstance(message, Joined | Left)
        assert message.ref is self.ref
        for pid in message.pids:
            self.tally[message.group, pid] += 1 if isinstance(message, Joined) else -1
            assert self.tally[message.group, pid] >= 0, f"{message} was never there"


class Groups:
    """One run: three nodes with a scope each, and members that come and go."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fabric = Fabric(net_ticktime_s=4.0)
        self.scopes: dict[str, Scope] = {}
        self.members: dict[str, list[Pid]] = {}
        self.listeners: dict[str, Listener] = {}
        self.booted: dict[str, int] = {}
        self.hosts = [world.host(name, self.boot) for name in "abc"]

    async def boot(self, host: Host) -> None:
        node = await host.node()
        distribution = await self.fabric.join(node)
        scope = Scope("chat", fabric=distribution.groups)
        children = [
            ChildSpec("scope", ScopeServer, (scope,)),
            ChildSpec("listener", Listener, (scope, self.listeners)),
        ]
        await node.start_server(
            Supervisor, children, strategy="rest_for_one", intensity=1000, name="tree"
        )
        self.scopes[host.name] = scope
        self.members[host.name] = [node.spawn(Member) for _ in range(3)]
        self.booted[host.name] = host.incarnation

    async def act(self) -> None:
        world = self.world
        world.nemesis(FAULTS)
        await world.start_all()
        chance = world.tape.random("steps")
        for _ in range(200):
            host = chance.choice(self.hosts)
            booted = host.alive and self.booted.get(host.name) == host.incarnation
            scope = self.scopes.get(host.name)
            if booted and scope is not None and scope.pid is not None:
                node = host.nodes[0]
                members = [pid for pid in self.members[host.name] if node.is_alive(pid)]
                if len(members) < 3:
                    self.members[host.name] = members = [*members, node.spawn(Member)]
                group, who = chance.choice(GROUPS), chance.choice(members)
                step = chance.choice(["join", "join", "leave", "exit"])
                if step == "join":
                    scope.join(group, who)
                elif step == "leave":
                    scope.leave(group, who)
                else:
                    node.exit(who, KILL)
            await world.sleep(chance.choice([0.0, 0.001, 0.05, 0.3]))
        await world.calm()
        await world.sleep(70.0)  # more than the longest pause

    def view(self, host: Host) -> Counter[Any]:
        """Who is where, as one node sees it: by the host, incarnation and number of each member."""
        scope = self.scopes[host.name]
        return Counter((group, pid) for group in GROUPS for pid in scope.get_members(group))

    def truth(self, host: Host) -> Counter[Any]:
        """Who is where, as those who joined know it, in the words of one node."""
        node = host.nodes[0]
        return Counter(
            (group, pid if there is host else self.fabric.remote(on=node, pid=pid))
            for there in self.hosts
            for group in GROUPS
            for pid in self.scopes[there.name].get_local_members(group)
        )

    def check(self) -> None:
        for host in self.hosts:
            view = self.view(host)
            assert view == self.truth(host), host.name
            listener = self.listeners[host.name]
            assert +listener.tally == view, f"the monitor at {host.name} has heard something else"
            if sum(view.values()) > len(self.scopes[host.name].which_local_groups()):
                self.world.reach("members elsewhere")


async def scenario(world: World) -> None:
    groups = Groups(world)
    await groups.act()
    groups.check()


def search(seeds: range) -> Coverage:
    coverage = Coverage()
    for seed in seeds:
        outcome = run(scenario, Seeded(seed))
        coverage.merge(outcome.coverage)
        if outcome.failure is not None:
            raise AssertionError(f"seed {seed}") from outcome.failure
    return coverage


def test_after_the_faults_all_nodes_agree_and_monitors_have_heard_just_that() -> None:
    coverage = search(range(SEEDS))
    assert not coverage.missed
    assert coverage.reached["members elsewhere"]


@pytest.mark.long
def test_after_the_faults_all_nodes_agree_for_long() -> None:
    search(range(SEEDS, LONG_SEEDS))


def test_a_line_says_that_a_peer_is_gone_before_anything_that_comes_later() -> None:
    async def test(c: Cluster) -> None:
        events: list[Any] = []
        one, two, three = (Probe(c.nodes[name]) for name in "abb")
        here, there = c.distribution("a").groups, c.distribution("b").groups
        line = here.open("scope", one.pid, events.append)
        there.open("scope", two.pid, events.append)
        peer = c.fabric.remote(on=c.nodes["a"], pid=two.pid)
        line.watch(peer)
        line.down(peer, NOCONNECTION)
        assert events == []  # not from within
        here.up("b")
        assert events == [PeerDown(peer), NodeUp("b")]
        events.clear()
        # What was for a scope process that has exited is not for the next one.
        later = there.open("scope", three.pid, events.append)
        line.send(peer, Discover(one.pid))
        await c.world.sleep(0.1)
        assert events == []
        line.send_to_node("b", Discover(one.pid))
        await c.world.sleep(0.1)
        assert events == [Discover(c.fabric.remote(on=c.nodes["b"], pid=one.pid))]
        events.clear()
        c.nodes["b"].exit(two.pid, KILL)
        await c.world.sleep(0.1)
        assert events == [PeerDown(peer)]
        line.watch(peer)  # it is dead already
        await c.world.sleep(0.1)
        c.distribution("b").disconnect("a")
        await c.world.sleep(0.1)
        line.watch(peer)
        line.send(peer, Discover(one.pid))
        line.send_to_node("b", Discover(one.pid))
        await c.world.sleep(0.1)
        assert events == [PeerDown(peer)] * 3
        assert list(line.nodes()) == []
        later.close()
        line.close()
        await c.connected()
        assert len(events) == 3
        with pytest.raises(TypeError, match="no scope process of another node"):
            line.watch(one.pid)

    in_cluster(test)


def test_groups_of_several_nodes_are_seen_on_each() -> None:
    async def quiet(world: World) -> None:
        groups = Groups(world)
        await world.start_all()
        await world.eventually(groups.fabric.connected, "the nodes are connected")
        for host in groups.hosts:
            groups.scopes[host.name].join("red", groups.members[host.name])
        await world.sleep(1.0)
        groups.check()
        assert [len(groups.scopes[name].get_members("red")) for name in "abc"] == [9, 9, 9]
        assert groups.scopes["a"].broadcast("red", "hello") == 9
        groups.hosts[0].crash()
        await world.sleep(1.0)
        assert [len(groups.scopes[name].get_members("red")) for name in "bc"] == [6, 6]
        await groups.hosts[0].start()
        await world.eventually(groups.fabric.connected, "the nodes are connected")
        await world.sleep(1.0)
        groups.check()

    outcome = run(quiet)
    if outcome.failure is not None:
        raise outcome.failure
