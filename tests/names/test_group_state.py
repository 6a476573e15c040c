"""The state machine of process groups alone: several of them, and any order of what arrives."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh import Line, Mesh

from palaver.actors.names import group_messages as messages
from palaver.actors.names.group_messages import Joined, Left, PeerEvent
from palaver.actors.names.group_state import GroupState
from palaver.actors.runtime import Pid, Ref

ME, PEER, NEXT = Pid("here", 1), Pid("there", 1), Pid("there", 2)
A, B, C = Pid("here", 11), Pid("here", 12), Pid("here", 13)
X, Y = Pid("there", 21), Pid("there", 22)


def known() -> GroupState:
    """A state that has PEER as its peer."""
    state = GroupState(ME)
    state.handle(messages.Sync(PEER, ()))
    return state


def test_who_comes_up_is_looked_for() -> None:
    effects = GroupState(ME).handle(messages.NodeUp("there"))
    assert effects == [messages.SendToNode("there", messages.Discover(ME))]


def test_who_looks_is_told_everything_and_asked_once() -> None:
    state = GroupState(ME)
    state.handle(messages.LocalJoin("g", (A, A, B)))
    assert state.handle(messages.Discover(PEER)) == [
        messages.Send(PEER, messages.Sync(ME, (("g", (A, A, B)),))),
        messages.WatchPeer(PEER),
        messages.Send(PEER, messages.Discover(ME)),
    ]
    assert state.handle(messages.Discover(PEER)) == [
        messages.Send(PEER, messages.Sync(ME, (("g", (A, A, B)),)))
    ]
    assert list(state.peers()) == [PEER]


def test_peers_are_told_of_joins_leaves_and_ends() -> None:
    state = known()
    assert state.handle(messages.LocalJoin("g", (A, B))) == [
        messages.Watch(A),
        messages.Watch(B),
        messages.Send(PEER, messages.Join(ME, "g", (A, B))),
    ]
    assert state.handle(messages.LocalJoin("h", (A,))) == [
        messages.Send(PEER, messages.Join(ME, "h", (A,)))
    ]
    assert state.handle(messages.LocalLeave("g", (B, C, B))) == [
        messages.Unwatch(B),
        messages.Send(PEER, messages.Leave(ME, (B,), ("g",))),
    ]
    assert state.handle(messages.LocalLeave("g", (B,))) == []
    assert state.handle(messages.MemberDown(A)) == [
        messages.Send(PEER, messages.Leave(ME, (A,), ("g", "h")))
    ]
    assert state.handle(messages.MemberDown(A)) == []
    assert state.groups() == state.local_groups() == []


def test_a_sync_replaces_what_was_known_and_tells_only_the_difference() -> None:
    state = known()
    ref = Ref()
    state.handle(messages.MonitorScope(ref, C))
    state.handle(messages.LocalJoin("g", (A,)))
    state.handle(messages.Join(PEER, "g", (X, X)))
    state.handle(messages.Join(PEER, "h", (X,)))
    effects = state.handle(messages.Sync(PEER, (("g", (X, Y)), ("i", (Y,)))))
    assert effects == [
        messages.Notify(C, Left(ref, "g", (X,))),
        messages.Notify(C, Left(ref, "h", (X,))),
        messages.Notify(C, Joined(ref, "g", (Y,))),
        messages.Notify(C, Joined(ref, "i", (Y,))),
    ]
    assert state.members("g") == (A, X, Y)
    assert state.local_members("g") == (A,)
    assert state.groups() == ["g", "i"]
    assert state.local_groups() == ["g"]
    assert state.handle(messages.Sync(PEER, (("g", (X, Y)), ("i", (Y,))))) == []


def test_strangers_and_the_gone_change_nothing() -> None:
    state = known()
    state.handle(messages.Join(PEER, "g", (X,)))
    assert state.handle(messages.Join(NEXT, "g", (Y,))) == []
    assert state.handle(messages.Leave(NEXT, (X,), ("g",))) == []
    assert state.members("g") == (X,)
    state.handle(messages.PeerDown(PEER))
    assert state.members("g") == ()
    assert state.handle(messages.Join(PEER, "g", (X,))) == []
    assert state.handle(messages.PeerDown(PEER)) == []
    assert state.groups() == []


def test_a_leave_of_who_is_not_there_changes_nothing() -> None:
    state = known()
    ref = Ref()
    state.handle(messages.Join(PEER, "g", (X,)))
    state.handle(messages.MonitorGroup(ref, C, "g"))
    assert state.handle(messages.Leave(PEER, (Y,), ("g", "h"))) == []
    assert state.handle(messages.Leave(PEER, (X, Y), ("g", "g"))) == [
        messages.Notify(C, Left(ref, "g", (X,)))
    ]


def test_monitors_hear_of_their_group_until_they_end() -> None:
    state = GroupState(ME)
    one, two, scope = Ref(), Ref(), Ref()
    state.handle(messages.MonitorGroup(one, A, "g"))
    state.handle(messages.MonitorGroup(two, A, "g"))
    state.handle(messages.MonitorScope(scope, B))
    effects = state.handle(messages.LocalJoin("g", (C,)))
    assert effects == [
        messages.Watch(C),
        messages.Notify(B, Joined(scope, "g", (C,))),
        messages.Notify(A, Joined(one, "g", (C,))),
        messages.Notify(A, Joined(two, "g", (C,))),
    ]
    state.handle(messages.Demonitor(one))
    state.handle(messages.Demonitor(scope))
    state.handle(messages.Demonitor(scope))
    assert state.handle(messages.LocalLeave("g", (C,))) == [
        messages.Unwatch(C),
        messages.Notify(A, Left(two, "g", (C,))),
    ]
    state.handle(messages.Demonitor(two))
    assert state.handle(messages.LocalJoin("g", (C,))) == [messages.Watch(C)]


# -- several nodes ---------------------------------------------------------------------------------

NAMES = ("n0", "n1", "n2")


class Peer:
    """A state, and the thin shell around it that performs its effects on the mesh."""

    def __init__(self, mesh: Mesh, pid: Pid) -> None:
        self.pid = pid
        self.state = GroupState(pid)
        self.monitor = Ref()
        # What one would know who only had listened to the monitor.
        self.heard: Counter[tuple[Any, Pid]] = Counter()
        self.line: Line = mesh.open("scope", pid, self.handle)
        self.handle(messages.MonitorScope(self.monitor, pid))
        for name in self.line.nodes():
            self.handle(messages.NodeUp(name))

    def handle(self, event: PeerEvent | Any) -> None:
        for effect in self.state.handle(event):
            if isinstance(effect, messages.Send):
                assert effect.peer.node_name != self.pid.node_name
                self.line.send(effect.peer, effect.message)
            elif isinstance(effect, messages.SendToNode):
                self.line.send_to_node(effect.node_name, effect.message)
            elif isinstance(effect, messages.WatchPeer):
                self.line.watch(effect.peer)
            elif isinstance(effect, messages.Notify):
                self.hear(effect.event)

    def hear(self, event: Joined | Left) -> None:
        assert event.pids
        for pid in event.pids:
            self.heard[event.group, pid] += 1 if isinstance(event, Joined) else -1
            assert self.heard[event.group, pid] >= 0
            if not self.heard[event.group, pid]:
                del self.heard[event.group, pid]

    def view(self) -> dict[Any, Counter[Pid]]:
        return {group: Counter(self.state.members(group)) for group in self.state.groups()}

    def local(self) -> dict[Any, Counter[Pid]]:
        groups = self.state.local_groups()
        return {group: Counter(self.state.local_members(group)) for group in groups}


class Cluster:
    """Three nodes with two processes each, and what may happen to them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.mesh = Mesh(NAMES)
        self.serials = itertools.count(1)
        self.peers = [Peer(self.mesh, self.pid(name)) for name in NAMES]
        self.members = [[self.pid(name) for _ in range(2)] for name in NAMES]

    def pid(self, name: str) -> Pid:
        return Pid(name, next(self.serials))

    def join(self, node: int, member: int, group: str) -> None:
        self.peers[node].handle(messages.LocalJoin(group, (self.members[node][member],)))

    def leave(self, node: int, member: int, group: str) -> None:
        self.peers[node].handle(messages.LocalLeave(group, (self.members[node][member],)))

    def end(self, node: int, member: int) -> None:
        pid = self.members[node][member]
        self.members[node][member] = self.pid(NAMES[node])
        self.peers[node].handle(messages.MemberDown(pid))

    def restart(self, node: int) -> None:
        self.peers[node].line.close()
        self.peers[node] = Peer(self.mesh, self.pid(NAMES[node]))

    def drop(self, one: int, two: int) -> None:
        self.mesh.drop(NAMES[one], NAMES[two], self.rng)

    def connect(self, one: int, two: int) -> None:
        self.mesh.connect(NAMES[one], NAMES[two])

    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.mesh.step(self.rng)

    def quiesce(self) -> None:
        """Connect all, let everything arrive, and compare."""
        for one, two in itertools.combinations(NAMES, 2):
            self.mesh.connect(one, two)
        while self.mesh.step(self.rng):
            pass
        truth: dict[Any, Counter[Pid]] = {}
        for peer in self.peers:
            for group, counts in peer.local().items():
                truth[group] = truth.get(group, Counter()) + counts
        for peer in self.peers:
            assert peer.view() == truth
            others = {other.pid for other in self.peers if other is not peer}
            assert set(peer.state.peers()) == others
            assert peer.heard == sum_of(truth)


def sum_of(truth: dict[Any, Counter[Pid]]) -> Counter[tuple[Any, Pid]]:
    return Counter(
        {(group, pid): count for group, counts in truth.items() for pid, count in counts.items()}
    )


nodes, two, groups = st.integers(0, 2), st.integers(0, 1), st.sampled_from("ab")
steps = st.one_of(
    st.tuples(st.just("join"), nodes, two, groups),
    st.tuples(st.just("leave"), nodes, two, groups),
    st.tuples(st.just("end"), nodes, two),
    st.tuples(st.just("restart"), nodes),
    st.tuples(st.just("drop"), nodes, nodes),
    st.tuples(st.just("connect"), nodes, nodes),
    st.tuples(st.just("deliver"), st.integers(1, 8)),
    st.tuples(st.just("quiesce")),
)


def live(seed: int, history: list[Any]) -> None:
    cluster = Cluster(seed)
    for what, *args in history:
        getattr(cluster, what)(*args)
    cluster.quiesce()


@given(history=st.lists(steps, max_size=40), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_all_agree_once_everything_has_arrived(history: list[Any], seed: int) -> None:
    live(seed, history)


def long_history(rng: random.Random) -> list[Any]:
    """Longer ones than are drawn from above; rare orders of arrival need many steps."""
    weights = {"join": 6, "leave": 2, "end": 2, "restart": 2, "drop": 4, "connect": 5, "deliver": 8}
    history: list[Any] = []
    for what in rng.choices([*weights, "quiesce"], [*weights.values(), 1], k=200):
        node, other = rng.sample(range(3), 2)
        args = {
            "join": (node, rng.randrange(2), rng.choice("ab")),
            "leave": (node, rng.randrange(2), rng.choice("ab")),
            "end": (node, rng.randrange(2)),
            "restart": (node,),
            "drop": (node, other),
            "connect": (node, other),
            "deliver": (rng.randrange(1, 6),),
        }.get(what, ())
        history.append((what, *args))
    return history


def test_all_agree_after_long_histories() -> None:
    for seed in range(150):
        live(seed, long_history(random.Random(seed)))


@pytest.mark.long
def test_all_agree_after_very_many_histories() -> None:
    for seed in range(150, 10_000):
        live(seed, long_history(random.Random(seed)))
