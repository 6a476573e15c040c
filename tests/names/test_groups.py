"""Process groups on running nodes."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog
from mesh import Mesh
from runtime_kit import ManualClock, Recorder, Server, World, inside, run, settle

from palaver.actors.names import (
    AlreadyRunning,
    Joined,
    Left,
    LocalOnly,
    NotLocal,
    NotRunning,
    PeerMessage,
    Scope,
    ScopeServer,
)
from palaver.actors.runtime import (
    KILL,
    Down,
    GenServer,
    MailboxLimit,
    Node,
    NoProcess,
    Pid,
    ProcessContext,
    StartError,
)
from palaver.supervisors import ChildSpec, CountChildren, Supervisor, SupervisorFlags


async def opened(w: World, **options: Any) -> Scope:
    scope = Scope("groups", **options)
    await w.node.start_server(ScopeServer, scope)
    return scope


def test_a_member_counts_as_often_as_it_has_joined() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        scope.join("g", one)
        scope.join("g", [one, two])
        scope.join(("h", 1), two)
        assert Counter(scope.get_members("g")) == {one: 2, two: 1}
        assert scope.get_local_members("g") == scope.get_members("g")
        assert sorted(scope.which_groups(), key=repr) == [("h", 1), "g"][::-1]
        assert scope.which_local_groups() == scope.which_groups()
        assert scope.leave("g", one)
        assert Counter(scope.get_members("g")) == {one: 1, two: 1}
        assert scope.leave("g", [one, one])
        assert scope.get_members("g") == (two,)
        assert not scope.leave("g", one)
        assert not scope.leave("unknown", [one, two])
        assert scope.leave("g", [one, two])
        assert scope.which_groups() == [("h", 1)]
        scope.join("empty", [])
        assert scope.get_members("empty") == ()
        assert scope.which_groups() == [("h", 1)]
        assert not scope.leave("empty", [])

    run(test)


def test_the_joining_process_sees_it_at_once() -> None:
    class Member(GenServer):
        def init(self, scope: Scope) -> None:
            scope.join("g", self.pid)
            assert scope.get_members("g") == (self.pid,)
            assert scope.leave("g", self.pid)
            assert scope.get_members("g") == ()
            scope.join("g", self.pid)

    async def test(w: World) -> None:
        scope = await opened(w)
        pid = await w.node.start_server(Member, scope)
        assert scope.get_members("g") == (pid,)

    run(test)


def test_members_are_gone_before_anybody_hears_of_their_end() -> None:
    class Watcher(GenServer):
        def init(self, scope: Scope, pid: Pid) -> None:
            self.scope = scope
            self.monitor(pid)
            self.found: Any = None

        def handle_info(self, message: Any) -> None:
            assert isinstance(message, Down)
            self.found = (self.scope.get_members("g"), self.scope.which_groups())

        def handle_call(self, request: object, from_: object) -> object:
            return self.found

    async def test(w: World) -> None:
        scope = await opened(w)
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        watchers = [await w.node.start_server(Watcher, scope, one) for _ in range(2)]
        scope.join("g", [one, two, one])
        scope.join("h", one)
        w.node.exit(one, KILL)
        await w.settle()
        for watcher in watchers:
            assert await w.node.call(watcher, "found") == ((two,), ["g"])

    run(test)


def test_monitors_get_a_snapshot_and_every_change_after_it() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        one, two = w.node.spawn(Server), w.node.spawn(Server)
        of_group, of_scope = w.node.spawn(Server), w.node.spawn(Server)
        scope.join("g", one)
        scope_ref, groups = scope.monitor_scope(of_scope)
        group_ref, members = scope.monitor(of_group, "g")
        assert groups == {"g": (one,)}
        assert members == (one,)
        assert scope.monitor(of_group, "unknown")[1] == ()
        scope.join("g", [one, two])
        scope.join("h", two)
        scope.leave("g", [one, two, two])
        w.node.exit(one, KILL)
        await w.settle()
        expected = [
            Joined(scope_ref, "g", (one, two)),
            Joined(scope_ref, "h", (two,)),
            Left(scope_ref, "g", (one, two)),
            Left(scope_ref, "g", (one,)),
        ]
        assert await w.node.call(of_scope, "log") == expected
        assert await w.node.call(of_group, "log") == [
            type(event)(group_ref, "g", event.pids) for event in expected if event.group == "g"
        ]
        assert scope.demonitor(group_ref)
        assert not scope.demonitor(group_ref)
        scope.join("g", two)
        await w.settle()
        assert len(await w.node.call(of_group, "log")) == 3

    run(test)


def test_a_process_that_has_exited_joins_and_leaves_in_one_moment() -> None:
    """As in OTP, where the monitor of a dead process fires at once."""

    async def test(w: World) -> None:
        scope = await opened(w)
        watcher, dead = w.node.spawn(Server), w.node.spawn(Server)
        w.node.exit(dead, KILL)
        await w.settle()
        ref, _ = scope.monitor_scope(watcher)
        scope.join("g", dead)
        assert scope.which_groups() == []
        await w.settle()
        assert await w.node.call(watcher, "log") == [
            Joined(ref, "g", (dead,)),
            Left(ref, "g", (dead,)),
        ]

    run(test)


def test_demonitor_takes_back_what_was_not_handled() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        member = w.node.spawn(Server)

        async def body(ctx: ProcessContext) -> list[object]:
            ref, _ = scope.monitor(ctx.pid, "g")
            other, _ = scope.monitor(ctx.pid, "g")
            ctx.send(ctx.pid, "before")
            scope.join("g", member)
            scope.leave("g", member)
            ctx.send(ctx.pid, "after")
            assert scope.demonitor(ref)
            assert not scope.demonitor(ref)
            scope.join("g", member)
            left = [await ctx.receive(timeout_s=0) for _ in range(5)]
            assert [m.ref is other for m in left if isinstance(m, Joined | Left)] == [True] * 3
            return [m for m in left if isinstance(m, str)]

        assert await inside(w, body) == ["before", "after"]

        # A server that handles messages in batches, and one that is not running.
        class Owner(Server):
            def handle_cast(self, message: Any) -> None:
                if message == "monitor":
                    self.ref, _ = scope.monitor(self.pid, "h")
                elif message == "demonitor":
                    scope.demonitor(self.ref)

        owner = w.node.spawn(Owner)
        w.node.cast(owner, "monitor")
        await w.settle()
        w.node.cast(owner, "demonitor")
        for _ in range(3):
            scope.join("h", member)
        w.node.send(owner, "last")
        await w.settle()
        assert await w.node.call(owner, "log") == ["last"]
        w.node.cast(owner, "monitor")
        await w.settle()
        scope.leave("h", member)
        server = owner.process_
        assert server is not None
        scope.demonitor(server.context.ref)  # type: ignore[union-attr]
        await w.settle()
        assert await w.node.call(owner, "log") == ["last"]

    run(test)


def test_who_has_left_or_ended_its_monitors_is_not_watched() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        pid = w.node.spawn(Server)
        process = pid.process_
        assert process is not None
        scope.join("g", [pid, pid])
        ref, _ = scope.monitor(pid, "g")
        scope.leave("g", pid)
        assert process.watchers
        scope.leave("g", pid)
        scope.demonitor(ref)
        assert not process.watchers

    run(test)


def test_a_monitor_ends_with_its_owner() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        owner, other = w.node.spawn(Server), w.node.spawn(Server)
        one, _ = scope.monitor_scope(owner)
        two, _ = scope.monitor(owner, "g")
        w.node.exit(owner, KILL)
        await w.settle()
        assert not scope.demonitor(one)
        assert not scope.demonitor(two)
        scope.join("g", other)
        with pytest.raises(NoProcess):
            scope.monitor(owner, "g")

    run(test)


def test_a_full_mailbox_loses_no_change() -> None:
    async def test(w: World) -> None:
        async def busy(ctx: ProcessContext) -> None:
            await ctx.receive(lambda message: message == "go on")
            while True:
                got.append(await ctx.receive())

        got: list[object] = []
        scope = await opened(w)
        owner = w.node.spawn(busy, mailbox=MailboxLimit(1, "reject"))
        scope.monitor_scope(owner)
        member = w.node.spawn(Server)
        for _ in range(10):
            scope.join("g", member)
        await w.settle()
        w.node.send(owner, "go on")
        await w.settle()
        assert len(got) == 10

    run(test)


def test_broadcast_reaches_every_member_once() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        one, two, slow = (
            w.node.spawn(Server),
            w.node.spawn(Server),
            w.node.spawn(hold, mailbox=MailboxLimit(1, "reject")),
        )
        await w.settle()
        w.node.send(slow, "the one that fits")
        scope.join("g", [one, slow, two, one])
        assert scope.broadcast("g", "hello") == 2
        assert scope.broadcast("unknown", "hello") == 0
        for pid in (one, two):
            assert await w.node.call(pid, "log") == ["hello"]

    async def hold(ctx: ProcessContext) -> None:
        await ctx.sleep(1e6)

    run(test)


def test_random_and_closest_member() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        assert scope.random_member("g") is None
        assert scope.closest_member("g") is None
        pids = [w.node.spawn(Server) for _ in range(4)]
        scope.join("g", pids)
        w.node.random.seed(5)
        drawn = [scope.random_member("g") for _ in range(50)]
        assert set(drawn) == set(pids)
        w.node.random.seed(5)
        assert [scope.random_member("g") for _ in range(50)] == drawn
        assert {scope.closest_member("g") for _ in range(50)} == set(pids)

    run(test)


def test_without_its_process_a_scope_is_empty_and_takes_nothing() -> None:
    async def test(w: World) -> None:
        scope = Scope()
        pid = w.node.spawn(Server)
        for attempt in (
            lambda: scope.join("g", pid),
            lambda: scope.leave("g", pid),
            lambda: scope.monitor(pid, "g"),
            lambda: scope.monitor_scope(pid),
        ):
            with pytest.raises(NotRunning, match="scope pg is not running"):
                attempt()
        assert scope.get_members("g") == scope.get_local_members("g") == ()
        assert scope.which_groups() == scope.which_local_groups() == []
        assert scope.broadcast("g", "hello") == 0
        assert scope.random_member("g") is None
        assert scope.pid is None
        assert repr(scope) == "<scope pg, 0 groups>"

    run(test)


def test_the_end_of_the_scope_forgets_members_and_harms_none() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        member, owner = w.node.spawn(Server), w.node.spawn(Server)
        scope.join("g", member)
        ref, _ = scope.monitor(owner, "g")
        first = scope.pid
        assert first is not None
        w.node.exit(first, KILL)
        await w.settle()
        assert scope.which_groups() == []
        assert not scope.demonitor(ref)
        for pid in (member, owner):
            process = pid.process_
            assert process is not None
            assert not process.watchers
        await w.node.start_server(ScopeServer, scope)
        assert scope.which_groups() == []
        scope.join("g", member)
        assert scope.get_members("g") == (member,)
        await w.settle()
        assert await w.node.call(owner, "log") == []

    run(test)


def test_only_processes_of_the_node_join() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        mine = w.node.spawn(Server)
        async with Node("other@local") as other:
            foreign = other.spawn(Server)
            with pytest.raises(NotLocal):
                scope.join("g", [mine, foreign])
            with pytest.raises(NotLocal):
                scope.leave("g", foreign)
            with pytest.raises(NotLocal):
                scope.monitor(foreign, "g")
            with pytest.raises(StartError, match="runs as"):
                await other.start_server(ScopeServer, scope)
        with pytest.raises(NotLocal):
            scope.join("g", foreign)
        assert scope.which_groups() == []

        async def again(ctx: ProcessContext) -> None:
            scope.attach_(ctx)

        with pytest.raises(AlreadyRunning):
            await inside(w, again)

    run(test)


def test_a_scope_has_its_name_and_refuses_requests() -> None:
    async def test(w: World) -> None:
        scope = await opened(w)
        assert w.node.whereis("groups") is scope.pid
        with pytest.raises(TypeError, match="does not understand"):
            await w.node.call("groups", "anything")
        w.node.cast("groups", "anything")
        w.node.send("groups", "anything")
        await w.settle()
        assert w.node.whereis("groups") is scope.pid
        with pytest.raises(StartError, match="belongs to"):
            await w.node.start_server(ScopeServer, Scope("groups"))
        assert "<scope groups, 0 groups>" in str(w.observer.crashes[-1].state)
        named = Scope("named")
        assert await w.node.start_server(ScopeServer, named, name="named") is named.pid

    run(test)


class Broken(LocalOnly):
    """A fabric that fails as it is told."""

    def __init__(self) -> None:
        self.fails: set[str] = set()

    def open(self, scope: str, pid: Pid, deliver: Any) -> Broken:
        self.deliver = deliver
        return self

    def nodes(self) -> Iterable[str]:
        return ["there"]

    def send(self, peer: Pid, message: PeerMessage) -> None:
        if "send" in self.fails:
            raise OSError("no way")

    def close(self) -> None:
        if "close" in self.fails:
            raise OSError("not even that")


def test_a_failing_fabric_ends_the_scope_and_nobody_else() -> None:
    from palaver.actors.names import Discover

    async def test(w: World) -> None:
        fabric = Broken()
        scope = await opened(w, fabric=fabric)
        first = scope.pid
        assert first is not None
        members = [w.node.spawn(Server) for _ in range(2)]
        scope.join("g", members)
        fabric.deliver(Discover(Pid("there", 1)))
        await w.settle()
        fabric.fails = {"send", "close"}
        with structlog.testing.capture_logs() as logs:
            w.node.exit(members[0], KILL)
            await w.settle()
        assert not w.node.is_alive(members[0])
        assert w.node.is_alive(members[1])
        assert scope.pid is None
        assert [entry["event"] for entry in logs] == ["the fabric failed"] * 2
        assert await w.node.wait(first) is not None

    run(test)


class Tree(Supervisor):
    def specification(self, scope: Scope) -> Any:
        return SupervisorFlags("rest_for_one"), [
            ChildSpec("scope", ScopeServer, (scope,)),
            ChildSpec("member", Member, (scope,)),
        ]


class Member(GenServer):
    def init(self, scope: Scope) -> None:
        scope.join("g", self.pid)


def test_under_a_supervisor_members_after_the_scope_join_again() -> None:
    async def test(w: World) -> None:
        scope = Scope("groups")
        tree = await w.node.start_server(Tree, scope)
        (before,) = scope.get_members("g")
        assert scope.pid is not None
        w.node.exit(scope.pid, KILL)
        await w.settle()
        await w.node.call(tree, CountChildren())
        (after,) = scope.get_members("g")
        assert after is not before

    run(test)


def test_thirty_thousand_members_leave_one_by_one() -> None:
    """In one group: no end searches among the others (that would take half an hour)."""

    async def test(w: World) -> None:
        scope = await opened(w)
        pids = [w.node.spawn(Server) for _ in range(30_000)]
        for pid in pids:
            scope.join("g", pid)
        assert len(scope.get_members("g")) == 30_000
        assert scope.get_members("g") is scope.get_members("g")
        for pid in reversed(pids):
            w.node.exit(pid, KILL)
        await w.settle()
        assert scope.which_groups() == []

    run(test)


# -- several nodes ---------------------------------------------------------------------------------


class Alone(Supervisor):
    def specification(self, scope: Scope) -> Any:
        return SupervisorFlags(intensity=1000), [ChildSpec("scope", ScopeServer, (scope,))]


class Nodes:
    """Nodes in one process, each with the same scope under a supervisor, on one mesh."""

    def __init__(self, mesh: Mesh, nodes: list[Node], scopes: list[Scope]) -> None:
        self.mesh = mesh
        self.nodes = nodes
        self.scopes = scopes

    async def settle(self) -> None:
        for node in self.nodes:
            await settle(node)

    async def quiesce(self, rng: random.Random) -> None:
        await self.settle()
        while self.mesh.step(rng):
            await self.settle()


def run_nodes(test: Any, count: int = 3) -> None:
    async def main() -> None:
        mesh = Mesh([f"n{number}" for number in range(count)])
        async with AsyncExitStack() as stack:
            nodes, scopes = [], []
            for name in mesh.names:
                clock, rng = ManualClock(), random.Random(1)
                node = Node(name, clock=clock, random=rng, observer=Recorder())
                await stack.enter_async_context(node)
                scope = Scope("groups", fabric=mesh)
                await node.start_server(Alone, scope)
                nodes.append(node)
                scopes.append(scope)
            await test(Nodes(mesh, nodes, scopes))

    asyncio.run(main())


def test_all_nodes_see_the_members_of_all() -> None:
    async def test(all_: Nodes) -> None:
        rng = random.Random(3)
        pids = [node.spawn(Server) for node in all_.nodes]
        watcher = all_.nodes[0].spawn(Server)
        ref, _ = all_.scopes[0].monitor(watcher, "g")
        for scope, pid in zip(all_.scopes, pids, strict=True):
            scope.join("g", pid)
            assert scope.get_members("g") == (pid,)
        await all_.quiesce(rng)
        for scope, pid in zip(all_.scopes, pids, strict=True):
            assert set(scope.get_members("g")) == set(pids)
            assert scope.get_local_members("g") == (pid,)
            assert scope.which_local_groups() == ["g"]
            assert scope.closest_member("g") is pid
        assert all_.scopes[0].broadcast("g", "hello") == 3
        await all_.settle()
        for node, pid in zip(all_.nodes, pids, strict=True):
            assert await node.call(pid, "log") == ["hello"]
        # A process of another node ends: its own node sees it at once, the others soon.
        all_.nodes[1].exit(pids[1], KILL)
        await all_.settle()
        assert pids[1] not in all_.scopes[1].get_members("g")
        assert pids[1] in all_.scopes[0].get_members("g")
        await all_.quiesce(rng)
        assert pids[1] not in all_.scopes[0].get_members("g")
        assert all_.scopes[1].closest_member("g") in {pids[0], pids[2]}
        # A connection is lost, and comes back.
        all_.mesh.drop("n0", "n2", rng)
        await all_.quiesce(rng)
        assert all_.scopes[0].get_members("g") == (pids[0],)
        assert set(all_.scopes[1].get_members("g")) == {pids[0], pids[2]}
        all_.mesh.connect("n0", "n2")
        await all_.quiesce(rng)
        assert set(all_.scopes[0].get_members("g")) == {pids[0], pids[2]}
        log = await all_.nodes[0].call(watcher, "log")
        assert log[-2:] == [Left(ref, "g", (pids[2],)), Joined(ref, "g", (pids[2],))]

    run_nodes(test)


def test_the_members_of_a_scope_that_exits_are_gone_everywhere() -> None:
    async def test(all_: Nodes) -> None:
        rng = random.Random(3)
        pids = [node.spawn(Server) for node in all_.nodes]
        for scope, pid in zip(all_.scopes, pids, strict=True):
            scope.join("g", pid)
        await all_.quiesce(rng)
        gone = all_.scopes[1].pid
        assert gone is not None
        all_.nodes[1].exit(gone, KILL)
        await all_.quiesce(rng)
        assert all_.scopes[1].pid not in (None, gone)
        for scope in all_.scopes:
            assert set(scope.get_members("g")) == {pids[0], pids[2]}
        all_.scopes[1].join("g", pids[1])
        await all_.quiesce(rng)
        for scope in all_.scopes:
            assert set(scope.get_members("g")) == set(pids)

    run_nodes(test)


class Chaos:
    """What may happen to three nodes, drawn one after the other."""

    def __init__(self, all_: Nodes, rng: random.Random) -> None:
        self.all = all_
        self.rng = rng
        self.pids = [[node.spawn(Server) for _ in range(2)] for node in all_.nodes]

    def happen(self) -> None:
        rng, mesh = self.rng, self.all.mesh
        what = rng.choice(["join", "join", "leave", "end", "kill", "drop", "connect", "step"])
        if what == "drop":
            mesh.drop(*rng.sample(mesh.names, 2), rng)
        elif what == "connect":
            mesh.connect(*rng.sample(mesh.names, 2))
        elif what == "step":
            mesh.step(rng)
        else:
            self.happen_on(rng.randrange(3), rng.randrange(2), what)

    def happen_on(self, number: int, member: int, what: str) -> None:
        node, scope = self.all.nodes[number], self.all.scopes[number]
        pid = self.pids[number][member]
        if what == "end":
            node.exit(pid, KILL)
            self.pids[number][member] = node.spawn(Server)
        elif scope.pid is None:
            return
        elif what == "join":
            scope.join(self.rng.choice("ab"), pid)
        elif what == "leave":
            scope.leave(self.rng.choice("ab"), pid)
        elif self.rng.random() < 0.3:
            node.exit(scope.pid, KILL)


@pytest.mark.parametrize("seed", range(12))
def test_all_nodes_agree_whatever_happened(seed: int) -> None:
    """As for the state machine alone, but with real processes, supervisors and mailboxes."""

    async def test(all_: Nodes) -> None:
        rng = random.Random(seed)
        chaos = Chaos(all_, rng)
        for _ in range(200):
            chaos.happen()
            if rng.random() < 0.5:
                await all_.settle()
        for one, two in itertools.combinations(all_.mesh.names, 2):
            all_.mesh.connect(one, two)
        await all_.quiesce(rng)
        for group in "ab":
            truth = Counter(pid for scope in all_.scopes for pid in scope.get_local_members(group))
            for node, scope in zip(all_.nodes, all_.scopes, strict=True):
                assert Counter(scope.get_members(group)) == truth
                assert all(map(node.is_alive, scope.get_local_members(group)))

    run_nodes(test)
