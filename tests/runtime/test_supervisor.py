"""Supervisors, in the words of OTP's manual."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import World, boom, run

from palaver.actors.runtime import (
    KILL,
    NORMAL,
    SHUTDOWN,
    GenServer,
    Ignore,
    Pid,
    ProcessContext,
    Shutdown,
    StartError,
    Stop,
)
from palaver.supervisors import (
    AlreadyPresent,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    CountChildren,
    DeleteChild,
    FailedToStart,
    RestartChild,
    StartChild,
    Supervisor,
    SupervisorFlags,
    TerminateChild,
    WhichChildren,
)


class Child(GenServer):
    """Writes its life into a list."""

    def init(self, name: str, events: list[Any], plan: list[Any] | None = None) -> Any:
        self.name, self.events = name, events
        self.trap_exit = True
        step = plan.pop(0) if plan else "up"
        if step == "up":
            events.append(("up", name))
            return None
        if step == "ignore":
            return Ignore()
        return Stop(step)

    def handle_cast(self, message: Any) -> Any:
        return boom() if message == "crash" else Stop(message)

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.pid

    def terminate(self, reason: Any) -> Any:
        self.events.append(("down", self.name))


def spec(name: str, events: list[Any], *plan: Any, **options: Any) -> ChildSpec:
    return ChildSpec(name, Child, (name, events, list(plan)), name=name, **options)


def ups(*names: str) -> list[Any]:
    return [("up", name) for name in names]


def downs(*names: str) -> list[Any]:
    return [("down", name) for name in names]


async def running(w: World, sup: Pid) -> list[object]:
    return [info.id for info in await w.node.call(sup, WhichChildren()) if info.pid is not None]


def test_children_start_from_left_to_right_and_stop_in_reverse() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        sup = await w.node.start_server(Supervisor, [spec(name, events) for name in "abc"])
        assert events == ups("a", "b", "c")
        events.clear()
        w.node.exit(sup, SHUTDOWN)
        assert await w.node.wait(sup) is SHUTDOWN
        assert events == downs("c", "b", "a")
        assert w.node.stats().processes == 0

    run(test)


def test_a_child_that_does_not_start_stops_those_before_it_and_the_supervisor() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        specs = [spec("a", events), spec("b", events), spec("c", events, "no"), spec("d", events)]
        with pytest.raises(StartError) as caught:
            await w.node.start_server(Supervisor, specs, name="sup")
        assert caught.value.reason == Shutdown(FailedToStart("c", "no"))
        assert "child 'c' did not start: no" in str(caught.value)
        assert events == [*ups("a", "b"), *downs("b", "a")]
        assert w.node.stats().processes == 0
        assert w.node.whereis("sup") is None

    run(test)


def test_a_child_that_says_ignore_is_kept_without_a_process() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        specs = [
            spec("a", events, "ignore"),
            spec("b", events, "ignore", restart="temporary"),
            spec("c", events),
        ]
        sup = await w.node.start_server(Supervisor, specs)
        infos = await w.node.call(sup, WhichChildren())
        assert [(info.id, info.pid is None) for info in infos] == [("a", True), ("c", False)]
        assert await w.node.call(sup, RestartChild("a")) is w.node.whereis("a")

    run(test)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", [*downs("b"), *ups("b")]),
        ("one_for_all", [*downs("b", "d", "c", "a"), *ups("a", "b", "c", "d")]),
        ("rest_for_one", [*downs("b", "d", "c"), *ups("b", "c", "d")]),
    ],
)
def test_the_strategy_says_who_is_restarted(strategy: Any, expected: list[Any]) -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        specs = [spec(name, events) for name in "abcd"]
        sup = await w.node.start_server(Supervisor, specs, strategy=strategy)
        events.clear()
        w.node.cast("b", "crash")
        await w.settle()
        assert events == expected
        assert await running(w, sup) == list("abcd")
        assert w.node.stats().restarts_total == sum(event[0] == "up" for event in expected)

    run(test)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("x"), "odd", KILL])
def test_the_restart_type_and_the_reason_say_whether(restart: Any, reason: Any) -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        sup = await w.node.start_server(Supervisor, [spec("a", events, restart=restart)])
        old = w.node.whereis("a")
        if reason is KILL:
            assert old is not None
            w.node.exit(old, KILL)
        else:
            w.node.cast("a", reason)
        await w.settle()
        abnormal = reason in ("odd", KILL)
        again = restart == "permanent" or (restart == "transient" and abnormal)
        assert (w.node.whereis("a") is not None) == again
        assert w.node.whereis("a") is not old
        kept = [info.id for info in await w.node.call(sup, WhichChildren())]
        assert kept == ([] if restart == "temporary" else ["a"])

    run(test)


@pytest.mark.parametrize("intensity", [0, 1, 3])
def test_more_than_intensity_restarts_in_the_period_stop_the_supervisor(intensity: int) -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        sup = await w.node.start_server(
            Supervisor, [spec("a", events), spec("b", events)], intensity=intensity, period_s=5
        )
        for _ in range(intensity):
            w.node.cast("a", "crash")
            await w.advance(1)
            assert w.node.is_alive(sup)
        waiting = asyncio.ensure_future(w.node.wait(sup))
        w.node.cast("a", "crash")
        assert await waiting is SHUTDOWN
        assert events[-1] == ("down", "b")
        assert [entry[0] for entry in w.observer.gave_up] == [sup]
        assert w.node.stats().processes == 0

    run(test)


def test_restarts_that_are_far_apart_are_forgiven() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        sup = await w.node.start_server(Supervisor, [spec("a", events)], intensity=1, period_s=5)
        for _ in range(10):
            w.node.cast("a", "crash")
            await w.advance(5.1)
        assert w.node.is_alive(sup)
        assert len(w.observer.restarts) == 10

    run(test)


def test_a_restart_that_fails_is_tried_again_and_counts() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        specs = [spec("a", events, "up", "no", "no", "up"), spec("b", events)]
        sup = await w.node.start_server(Supervisor, specs, intensity=3)
        w.node.cast("a", "crash")
        await w.settle()
        assert await running(w, sup) == ["a", "b"]
        specs = [spec("c", events, "up", "no", "no", "no"), spec("d", events)]
        sup = await w.node.start_server(Supervisor, specs, intensity=3)
        w.node.cast("c", "crash")
        await w.settle()
        assert not w.node.is_alive(sup)
        assert w.node.whereis("d") is None

    run(test)


def test_a_restart_of_several_that_fails_half_way_is_done_again() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        specs = [spec("a", events), spec("b", events, "up", "no", "up"), spec("c", events)]
        sup = await w.node.start_server(Supervisor, specs, strategy="one_for_all", intensity=2)
        w.node.cast("c", "crash")
        await w.settle()
        assert await running(w, sup) == ["a", "b", "c"]
        assert events[-4:] == [("down", "a"), *ups("a", "b", "c")]

    run(test)


def test_a_child_that_does_not_stop_in_time_is_killed() -> None:
    async def test(w: World) -> None:
        class Stubborn(Child):
            async def terminate(self, reason: Any) -> None:
                self.events.append(("asked", self.name))
                await self.sleep(100)
                self.events.append(("down", self.name))

        events: list[Any] = []
        specs = [
            ChildSpec("patient", Stubborn, ("patient", events), shutdown_s=None),
            ChildSpec("killed", Stubborn, ("killed", events), shutdown_s=3),
            ChildSpec("brutal", Stubborn, ("brutal", events), shutdown_s=0),
        ]
        sup = await w.node.start_server(Supervisor, specs)
        events.clear()
        w.node.exit(sup, SHUTDOWN)
        await w.advance(2.9)
        assert events == [("asked", "killed")]
        await w.advance(0.1)
        assert events == [("asked", "killed"), ("asked", "patient")]
        await w.advance(99)
        assert w.node.is_alive(sup)
        await w.advance(1)
        assert events[-1] == ("down", "patient")
        assert w.node.stats().processes == 0

    run(test)


@pytest.mark.parametrize(
    ("auto", "ends_after"),
    [("any_significant", 1), ("all_significant", 2)],
)
def test_significant_children_end_the_supervisor(auto: Any, ends_after: int) -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        specs = [
            spec("a", events, restart="transient", significant=True),
            spec("b", events, restart="temporary", significant=True),
            spec("c", events),
        ]
        sup = await w.node.start_server(Supervisor, specs, auto_shutdown=auto, intensity=9)
        w.node.cast("a", "crash")  # restarted: that is no end
        w.node.cast("c", "crash")
        await w.settle()
        assert w.node.is_alive(sup)
        waiting = asyncio.ensure_future(w.node.wait(sup))
        for name in ("a", "b")[:ends_after]:
            assert w.node.is_alive(sup)
            w.node.cast(name, NORMAL)
            await w.settle()
        assert await waiting is SHUTDOWN
        assert w.node.stats().processes == 0

    run(test)


def test_a_significant_child_that_is_terminated_on_request_ends_nothing() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        specs = [spec("a", events, restart="transient", significant=True)]
        sup = await w.node.start_server(Supervisor, specs, auto_shutdown="any_significant")
        await w.node.call(sup, TerminateChild("a"))
        await w.settle()
        assert w.node.is_alive(sup)

    run(test)


def test_requests() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        sup = await w.node.start_server(Supervisor, [spec("a", events)])

        async def ask(request: Any) -> Any:
            return await w.node.call(sup, request)

        assert await ask(StartChild(spec("b", events))) is w.node.whereis("b")
        with pytest.raises(AlreadyPresent) as caught:
            await ask(StartChild(spec("b", events)))
        assert caught.value.pid is w.node.whereis("b")
        with pytest.raises(StartError):
            await ask(StartChild(spec("c", events, "no")))
        with pytest.raises(ChildRunning):
            await ask(RestartChild("a"))
        with pytest.raises(ChildRunning):
            await ask(DeleteChild("a"))
        for request in (TerminateChild("x"), RestartChild("x"), DeleteChild("x")):
            with pytest.raises(ChildNotFound):
                await ask(request)
        await ask(TerminateChild("a"))
        assert w.node.whereis("a") is None
        assert await running(w, sup) == ["b"]
        assert await ask(RestartChild("a")) is w.node.whereis("a")
        await ask(TerminateChild("a"))
        await ask(DeleteChild("a"))
        await ask(StartChild(spec("t", events, restart="temporary")))
        await ask(TerminateChild("t"))
        await ask(StartChild(spec("s", events, kind="supervisor")))
        counts = await ask(CountChildren())
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (2, 2, 1, 1)
        with pytest.raises(TypeError):
            await ask("nonsense")
        with pytest.raises(TypeError):
            await ask(StartChild(spec("x", events, restart="transient", significant=True)))
        assert w.node.is_alive(sup)

    run(test)


def test_a_subclass_specifies_its_own_children_functions_among_them() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []

        async def function(ctx: ProcessContext, name: str, *, note: str) -> None:
            events.append((note, name))
            await ctx.receive()

        class Tree(Supervisor):
            def specification(self, *names: str, note: str = "up") -> Any:
                return SupervisorFlags("one_for_all", intensity=5), [
                    ChildSpec(name, function, (name,), options={"note": note}) for name in names
                ]

        sup = await w.node.start_server(Tree, "a", "b", note="on")
        await w.settle()
        assert events == [("on", "a"), ("on", "b")]
        w.node.exit((await w.node.call(sup, WhichChildren()))[0].pid, KILL)
        await w.settle()
        assert events[2:] == [("on", "a"), ("on", "b")]

    run(test)


def test_trees_of_supervisors_fail_upwards() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        inner = ChildSpec(
            "inner", Supervisor, ([spec("a", events), spec("b", events)],), kind="supervisor"
        )
        top = await w.node.start_server(Supervisor, [inner], intensity=1)
        w.node.cast("a", "crash")
        await w.settle()
        w.node.cast("a", "crash")  # once too often for inner: top restarts it
        await w.settle()
        assert w.node.is_alive(top)
        assert w.node.whereis("a") is not None
        for _ in range(2):
            w.node.cast("a", "crash")
            await w.settle()
        assert not w.node.is_alive(top)
        assert w.node.stats().processes == 0
        assert len(w.observer.gave_up) == 3

    run(test)


def test_a_killed_supervisor_takes_its_children_along_and_they_clean_up() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        sup = await w.node.start_server(Supervisor, [spec("a", events), spec("b", events)])
        w.node.exit(sup, KILL)
        await w.settle()
        assert sorted(events[2:]) == downs("a", "b")
        assert w.node.stats().processes == 0

    run(test)


def test_wrong_specifications_are_refused() -> None:
    events: list[Any] = []
    with pytest.raises(ValueError, match="significant"):
        spec("a", events, significant=True)
    with pytest.raises(ValueError, match="restart"):
        spec("a", events, restart="sometimes")
    with pytest.raises(ValueError, match="kind"):
        spec("a", events, kind="boss")
    with pytest.raises(ValueError, match="shutdown_s"):
        spec("a", events, shutdown_s=-1.0)
    with pytest.raises(ValueError, match="strategy"):
        SupervisorFlags("all_for_one")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="auto_shutdown"):
        SupervisorFlags(auto_shutdown="always")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="intensity"):
        SupervisorFlags(intensity=-1)
    assert spec("a", events).shutdown_s == 5
    assert spec("a", events, kind="supervisor").shutdown_s is None

    async def test(w: World) -> None:
        twice = [spec("a", events), spec("a", events)]
        with pytest.raises(StartError):
            await w.node.start_server(Supervisor, twice)
        assert w.node.stats().processes == 0

    run(test)


@st.composite
def trees(draw: st.DrawFn) -> Any:
    """A tree: lists are supervisors, with a strategy; strings are workers' restart types."""
    workers = st.sampled_from(["permanent", "transient", "temporary"])
    strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
    return draw(
        st.recursive(
            workers,
            lambda inner: st.tuples(strategies, st.lists(inner, min_size=1, max_size=4)),
            max_leaves=12,
        ).filter(lambda tree: isinstance(tree, tuple))
    )


class Leaf(GenServer):
    def init(self, alive: set[Pid], trap: bool) -> None:
        self.alive, self.trap_exit = alive, trap
        alive.add(self.pid)


def build(tree: Any, alive: set[Pid], rng: random.Random, child_id: int) -> ChildSpec:
    if isinstance(tree, str):
        return ChildSpec(child_id, Leaf, (alive, rng.random() < 0.5), restart=tree)  # type: ignore[arg-type]
    strategy, children = tree
    specs = [build(child, alive, rng, index) for index, child in enumerate(children)]
    options = {"strategy": strategy, "intensity": 1000}
    return ChildSpec(child_id, Supervisor, (specs,), kind="supervisor", options=options)


async def shape(w: World, pid: Pid) -> Any:
    """The tree as it runs: temporary children may be gone, all others are there."""
    found = []
    for info in await w.node.call(pid, WhichChildren()):
        assert info.pid is not None
        assert w.node.is_alive(info.pid)
        found.append(await shape(w, info.pid) if info.kind == "supervisor" else info.id)
    return found


def expected(tree: Any, temporary: bool) -> Any:
    return [
        expected(child, temporary) if isinstance(child, tuple) else index
        for index, child in enumerate(tree[1])
        if temporary or child != "temporary"
    ]


@given(
    tree=trees(),
    kills=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([KILL, "odd"])), max_size=8),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=80, deadline=None)
def test_whoever_is_killed_the_tree_grows_again(tree: Any, kills: list[Any], seed: int) -> None:
    """Kill any processes of any tree, in any schedule: what is not temporary runs again.

    Afterwards every worker that is alive has its place in the tree, and the end of the root is the
    end of all.
    """

    async def test(w: World) -> None:
        alive: set[Pid] = set()
        rng = random.Random(seed)
        root_spec = build(tree, alive, rng, 0)
        root = await w.node.start_server(Supervisor, [root_spec], intensity=1000)
        assert await shape(w, root) == [expected(tree, True)]
        for which, reason in kills:
            victims = [info.pid for info in w.node.processes() if info.pid is not root]
            w.node.exit(victims[which % len(victims)], reason) if victims else None
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
        await w.settle()
        if not kills:
            assert await shape(w, root) == [expected(tree, True)]
        got = await shape(w, root)
        assert contains(got, [expected(tree, False)])
        assert contains([expected(tree, True)], got)
        placed = sum(1 for _ in leaves(got))
        assert placed == sum(w.node.is_alive(pid) for pid in alive)
        w.node.exit(root, SHUTDOWN)
        await w.settle()
        assert w.node.stats().processes == 0

    def leaves(node: Any) -> Any:
        for child in node:
            if isinstance(child, list):
                yield from leaves(child)
            else:
                yield child

    def contains(big: Any, small: Any) -> bool:
        """Whether `small` is `big` without some leaves."""
        big_lists = [child for child in big if isinstance(child, list)]
        small_lists = [child for child in small if isinstance(child, list)]
        big_leaves = [child for child in big if not isinstance(child, list)]
        small_leaves = [child for child in small if not isinstance(child, list)]
        return (
            set(small_leaves) <= set(big_leaves)
            and small_leaves == sorted(small_leaves)
            and len(big_lists) == len(small_lists)
            and all(map(contains, big_lists, small_lists))
        )

    run(test, shuffle=random.Random(seed))


@given(
    strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    count=st.integers(1, 6),
    victims=st.lists(st.integers(0, 5), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_restarts_follow_the_model(strategy: Any, count: int, victims: list[int]) -> None:
    """The order of every stop and start is the one that the strategy prescribes."""

    async def test(w: World) -> None:
        events: list[Any] = []
        names = [f"n{index}" for index in range(count)]
        await w.node.start_server(
            Supervisor, [spec(name, events) for name in names], strategy=strategy, intensity=99
        )
        for victim in (index % count for index in victims):
            events.clear()
            w.node.cast(names[victim], "crash")
            await w.settle()
            first = {"one_for_one": victim, "one_for_all": 0, "rest_for_one": victim}[strategy]
            last = victim + 1 if strategy == "one_for_one" else count
            others = [name for name in names[first:last] if name != names[victim]]
            assert events == [
                *downs(names[victim], *reversed(others)),
                *ups(*names[first:last]),
            ]

    run(test)
