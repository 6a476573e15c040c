"""The observer: figures, sorted pages, the tree, one process in full, states."""

from __future__ import annotations

import asyncio
import json
import weakref
from typing import Any

import pytest
from runtime_kit import Server, World, run

from palaver.actors.observing import sys
from palaver.actors.observing.details import process_info
from palaver.actors.observing.memory import deep_bytes, resident_bytes, shallow_bytes
from palaver.actors.observing.observatory import MAX_TREE, Observatory
from palaver.actors.observing.records import TreeNode, plain
from palaver.actors.runtime import (
    NOREPLY,
    From,
    GenServer,
    MailboxLimit,
    ProcessContext,
)
from palaver.supervisors import ChildSpec, DynamicSupervisor, StartChild, Supervisor


class Leaf(GenServer):
    __slots__ = ("__weakref__", "big", "kept")

    def init(self, size: int = 0) -> None:
        self.big = "x" * size
        self.kept: list[Any] = []

    def handle_cast(self, message: Any) -> None:
        self.kept.append(message)

    def handle_call(self, request: Any, from_: From) -> Any:
        return NOREPLY if request == "later" else self.slow()

    async def slow(self) -> None:
        await self.sleep(5)


def test_figures_are_rates_between_two_looks() -> None:
    async def test(w: World) -> None:
        scope = Observatory(w.node, memory=lambda: 4096)
        leaf = w.node.spawn(Leaf)
        await w.settle()
        first = await scope.figures()
        assert (first.processes, first.interval_s, first.messages_per_s) == (1, 0, 0)
        assert (first.messages_total, first.memory_bytes, first.name) == (1, 4096, w.node.name)
        for n in range(40):
            w.node.cast(leaf, n)
        gone = w.node.spawn(Leaf)
        await w.settle()
        w.node.exit(gone, "enough")
        assert (await scope.figures()) is first  # within the interval: the same look
        await w.advance(2)
        second = await scope.figures()
        assert second.interval_s == 2
        assert second.messages_per_s == 20.5
        assert (second.spawned_per_s, second.spawned_total, second.exited_total) == (0.5, 2, 1)
        (row,) = (await scope.processes()).rows
        assert (row.pid, row.reductions, row.reductions_per_s) == (leaf, 41, 20)
        assert plain(second)["messages_per_s"] == 20.5
        w.node.cast(leaf, "after a long time")
        await w.advance(1000)
        assert (await scope.figures()).interval_s == 0  # too long ago to say

    run(test)


def test_pages_are_sorted_searched_and_bounded() -> None:
    async def test(w: World) -> None:
        scope = Observatory(w.node)
        pids = [w.node.spawn(Leaf, n * 1000, name=f"leaf-{n}") for n in range(10)]
        other = w.node.spawn(Server, name="another")
        await w.settle()
        for n, pid in enumerate(pids):
            for _ in range(n):
                w.node.cast(pid, "x")
            await w.settle()
        for n in (3, 7):
            await sys.suspend(w.node, pids[n])
            for _ in range(n):
                w.node.cast(pids[n], "x")
        page = await scope.processes("mailbox", limit=3)
        assert [row.pid for row in page.rows] == [pids[7], pids[3], pids[0]]
        assert [row.mailbox for row in page.rows] == [7, 3, 0]
        assert page.rows[0].status == "suspended"
        assert page.total == 11
        by_work = await scope.processes("reductions", limit=2, offset=1)
        assert [row.name for row in by_work.rows] == ["leaf-7", "leaf-8"]  # equal
        by_age = await scope.processes("pid", limit=20)
        assert [row.pid for row in by_age.rows] == [*pids, other]
        by_size = await scope.processes("memory", limit=2)
        assert [row.name for row in by_size.rows] == ["leaf-9", "leaf-8"]
        assert by_size.rows[0].memory_bytes > 9000
        found = await scope.processes("pid", search="LEAF-3")
        assert [row.name for row in found.rows] == ["leaf-3"]
        assert (await scope.processes(search="runtime_kit.server")).total == 1
        assert (await scope.processes(search=str(other))).rows[0].pid is other
        assert (await scope.processes(search="nothing like it")).rows == ()
        assert len((await scope.processes(limit=-5)).rows) == 1
        assert (await scope.processes(offset=99)).rows == ()
        with pytest.raises(ValueError, match="sorted by 'colour'"):
            await scope.processes("colour")  # type: ignore[arg-type]

    run(test)


def shape(nodes: tuple[TreeNode, ...]) -> Any:
    return [(n.row.child_id or n.row.name, n.below, shape(n.children)) for n in nodes]


def test_the_tree_is_who_spawned_whom() -> None:
    async def test(w: World) -> None:
        scope = Observatory(w.node)
        specs = [
            ChildSpec("store", Leaf),
            ChildSpec("pool", Supervisor, ([ChildSpec("a", Leaf), ChildSpec("b", Leaf)],)),
        ]
        root = await w.node.start_server(Supervisor, specs, name="root")
        w.node.spawn(Server, name="alone")
        tree = await scope.tree()
        assert shape(tree) == [
            ("root", 4, [("store", 0, []), ("pool", 2, [("a", 0, []), ("b", 0, [])])]),
            ("alone", 0, []),
        ]
        assert [n.row.supervisor for n in tree] == [True, False]
        pool = tree[0].children[1].row.pid
        assert shape(await scope.tree(pool)) == [("pool", 2, [("a", 0, []), ("b", 0, [])])]
        (cut,) = await scope.tree(root, depth=1)
        assert (cut.children, cut.hidden, cut.below) == ((), 2, 4)
        (narrow,) = await scope.tree(root, per_parent=1)
        assert [c.row.child_id for c in narrow.children] == ["pool"]  # supervisors first
        assert narrow.hidden == 1
        details = await scope.details(root)
        assert details is not None
        assert details.children == 2
        json.dumps(plain(tree))

    run(test)


def test_sums_go_up_the_tree_and_orphans_stand_at_the_top() -> None:
    async def test(w: World) -> None:
        scope = Observatory(w.node)

        def parent(s: Server) -> None:
            s.log = [s.spawn(Leaf), s.spawn(Leaf)]

        top = w.node.spawn(Server, parent, name="top")
        await w.settle()
        leaves = top.process_.context.log  # type: ignore[union-attr]
        await scope.figures()
        for leaf in leaves:
            await sys.suspend(w.node, leaf)
            w.node.cast(leaf, 1)
        await w.advance(1)
        (tree,) = await scope.tree()
        assert (tree.mailbox_below, tree.rate_below) == (2, 2)
        w.node.exit(top, "gone")
        await w.advance(1)
        assert [n.row.pid for n in await scope.tree()] == leaves

    run(test)


def test_a_hundred_thousand_processes_are_one_look_that_lets_the_loop_run() -> None:
    async def test(w: World) -> None:
        boss = await w.node.start_server(DynamicSupervisor)
        spec = ChildSpec("leaf", Leaf, restart="temporary")
        for _ in range(100_000):
            await w.node.call(boss, StartChild(spec))
        scope = Observatory(w.node, memory=lambda: None)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        first, page, tree = await asyncio.gather(
            scope.figures(), scope.processes("mailbox", limit=10), scope.tree()
        )
        counting.cancel()
        assert first.processes == page.total == 100_001
        assert len(page.rows) == 10
        (top,) = tree
        assert (top.below, len(top.children), top.hidden) == (100_000, 50, 99_950)
        assert turns >= 200  # a hundred in the look, a hundred in the sums
        (wide,) = await scope.tree(per_parent=5000)
        assert len(wide.children) == 1000
        assert len(wide.children) < MAX_TREE

    run(test)


def test_a_process_in_full() -> None:
    async def test(w: World) -> None:
        scope = Observatory(w.node)
        root = await w.node.start_server(
            Supervisor, [ChildSpec("a", Leaf, name="leaf")], name="root"
        )
        leaf = w.node.whereis("leaf")
        assert leaf is not None

        async def watcher(ctx: ProcessContext) -> None:
            ctx.monitor(leaf)
            ctx.send_request(leaf, "later")
            await ctx.receive()

        looking = w.node.spawn(watcher)
        await w.settle()
        await sys.log(w.node, leaf, True)
        got = await scope.details("leaf")
        assert got is not None
        assert (got.pid, got.registered_names, got.status) == (leaf, ("leaf",), "idle")
        assert got.behaviour.endswith(".Leaf")
        assert got.initial_call.endswith(".Leaf.init")
        assert (got.parent, got.ancestors, got.links) == (root, (root,), (root,))
        assert (got.monitored_by, got.promised_replies) == ((looking,), 1)
        assert (got.debug, got.suspended) == (("log",), False)
        watching = process_info(looking)
        assert watching is not None
        assert (watching.monitors, watching.waits_for) == ((leaf,), "a message")
        assert any("watcher" in frame for frame in watching.current_stacktrace)
        assert (await scope.details(str(root))).trap_exit  # type: ignore[union-attr]
        assert (await scope.details(str(leaf.serial))) is not None
        for nobody in ("none", "<palaver@local.9999>", "", "9" * 30, "²"):
            assert await scope.details(nobody) is None
        json.dumps(plain(got))
        w.node.exit(leaf, "gone")
        await w.settle()
        assert process_info(leaf) is None
        assert await scope.details(leaf) is None

    run(test)


def test_what_a_process_waits_for() -> None:
    async def test(w: World) -> None:
        async def call(ctx: ProcessContext) -> None:
            await ctx.call(leaf, "later", timeout_s=None)

        async def sleep(ctx: ProcessContext) -> None:
            await ctx.sleep(3)

        async def foreign(ctx: ProcessContext) -> None:
            await ctx.bridge(asyncio.get_running_loop().create_future())

        async def join(ctx: ProcessContext) -> None:
            await ctx.join([leaf])

        async def suspended(ctx: ProcessContext) -> None:
            ctx.cast(full, 1)
            ctx.cast(full, 2)
            await ctx.sleep(0)

        leaf, full = w.node.spawn(Leaf), w.node.spawn(Leaf, mailbox=MailboxLimit(1))
        await w.settle()
        busy = asyncio.ensure_future(w.node.call(full, "slow"))
        await asyncio.sleep(0)
        await w.settle()
        waits = []
        for fn in (call, sleep, foreign, join, suspended):
            pid = w.node.spawn(fn)
            await w.settle()
            info = process_info(pid)
            assert info is not None
            waits.append(info.waits_for)
        assert waits == [
            "the answer to a call",
            "a moment 3 s from now, or a message",
            "asyncio code",
            "1 processes to exit or to answer",
            "room in a mailbox",
        ]
        parked = process_info(full)
        assert parked is not None
        assert (parked.current_message, parked.mailbox_limit) == ("'slow'", 1)
        assert "Leaf.slow" in parked.current_stacktrace[0]
        await sys.suspend(w.node, leaf)
        frozen = process_info(leaf)
        assert frozen is not None
        assert (frozen.waits_for, frozen.suspended, frozen.status) == (
            "sys.resume", True, "suspended",
        )  # fmt: skip
        busy.cancel()

    run(test)


def test_states_are_shown_as_far_as_they_may() -> None:
    class Discreet(Leaf):
        def format_status(self) -> Any:
            return {"kept": len(self.kept)}

    class Broken(Leaf):
        def format_status(self) -> Any:
            raise ValueError("no")

    class Evil:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    async def test(w: World) -> None:
        scope = Observatory(w.node)
        leaf, discreet = w.node.spawn(Leaf, 10_000), w.node.spawn(Discreet)
        w.node.cast(leaf, Evil())
        view = await scope.state(leaf)
        shown = dict(view.attributes)
        assert view.source == "state"
        assert len(shown["big"]) < 500
        assert "kept" in shown
        assert (await scope.state(leaf, raw=False)).source == "hidden"
        for raw in (True, False):
            view = await scope.state(discreet, raw=raw)
            assert (view.source, view.attributes) == ("format_status", (("kept", "0"),))
        failed = await scope.state(w.node.spawn(Broken))
        assert (failed.source, failed.attributes) == ("failed", (("error", "ValueError('no')"),))

        async def function(ctx: ProcessContext) -> None:
            await ctx.receive()

        assert (await scope.state(w.node.spawn(function))).source == "function"
        assert (await scope.state("nobody")).source == "gone"
        busy = asyncio.ensure_future(w.node.call(leaf, "slow", timeout_s=None))
        await asyncio.sleep(0)
        await w.settle()
        asking = asyncio.ensure_future(scope.state(leaf))
        await asyncio.sleep(0)
        await w.advance(1)
        assert (await asking).source == "busy"
        await w.advance(5)
        await busy
        many = w.node.spawn(Server, lambda s: vars(s).update({f"a{n}": n for n in range(100)}))
        view = await scope.state(many)
        assert len(view.attributes) + view.hidden == 101
        assert view.hidden > 0

    run(test)


def test_estimates_of_memory_grow_with_what_is_held_and_have_an_end() -> None:
    async def test(w: World) -> None:
        small, big, huge = (w.node.spawn(Leaf, n) for n in (0, 100_000, 0))
        for n in range(50_000):
            w.node.cast(huge, str(n))
        await w.settle()
        for measure in (shallow_bytes, lambda p: deep_bytes(p)[0]):
            assert measure(big.process_) > measure(small.process_) + 90_000  # type: ignore[arg-type]
        assert deep_bytes(small.process_)[1]  # type: ignore[arg-type]
        size, complete = deep_bytes(huge.process_)  # type: ignore[arg-type]
        assert size > 500_000
        assert not complete
        assert 1 << 20 < (resident_bytes() or 0) < 1 << 40

    run(test)


def test_a_look_is_forgotten_when_nobody_looks_any_more() -> None:
    async def test(w: World) -> None:
        scope = Observatory(w.node)
        leaf = w.node.spawn(Leaf)
        await w.settle()
        await scope.figures()
        await w.advance(20)
        await scope.figures()
        dying = weakref.ref(leaf.process_.context)  # type: ignore[union-attr]
        await w.advance(29)
        assert len(w.node.timers) == 1
        await w.advance(2)
        assert len(w.node.timers) == 0
        assert scope._look is None
        w.node.exit(leaf, "gone")
        await w.settle()
        assert dying() is None

    run(test)


def test_supervisors_show_their_children() -> None:
    async def test(w: World) -> None:
        scope = Observatory(w.node)
        specs = [
            ChildSpec("a", Leaf),
            ChildSpec("pool", DynamicSupervisor, kind="supervisor", name="pool"),
        ]
        root = await w.node.start_server(Supervisor, specs, strategy="rest_for_one")
        for n in range(30):
            await w.node.call("pool", StartChild(ChildSpec(n, Leaf)))
        shown = dict((await scope.state(root, raw=False)).attributes)
        assert shown["strategy"] == "'rest_for_one'"
        assert "'a': <palaver@local.2>" in shown["children"]
        status = await sys.get_status(w.node, "pool")
        assert status.state["children"] == 30
        assert len(status.state["first_children"]) == 10

    run(test)


def test_a_parent_that_cannot_say_what_it_calls_its_child_is_shown_so() -> None:
    class Forgetful(Server):
        def child_id(self, pid: object) -> str:
            raise LookupError("who?")

    async def test(w: World) -> None:
        parent = await w.node.start_server(Forgetful)
        await w.node.call(parent, lambda s, _: s.spawn_link(Server))
        (tree,) = await Observatory(w.node).tree()
        assert [c.row.child_id for c in tree.children] == ["(child_id raised LookupError)"]

    run(test)
