"""Dynamic supervisors: templates, limits, ends, and a model of all that can happen to children."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import World, inside, run
from supervision_kit import Life, SlowWorker, Worker, spec

from palaver.actors.runtime import (
    KILL,
    NORMAL,
    SHUTDOWN,
    CallTimeout,
    GenServer,
    Ignore,
    Pid,
    ProcessContext,
    StartError,
)
from palaver.supervisors import (
    BadSpecification,
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    MaxChildren,
    SimpleOneForOne,
    StartChild,
    count_children,
    delete_child,
    get_childspec,
    restart_child,
    start_child,
    start_from_template,
    terminate_child,
    which_children,
)


class Small(GenServer):
    __slots__ = ()

    def handle_cast(self, message: Any) -> Any:
        raise ValueError(message)


def test_children_of_a_template_differ_in_their_further_arguments() -> None:
    async def test(w: World) -> None:
        life = Life()
        template = ChildSpec("w", Worker, ("w", life), options={"x": 1})
        sup = await w.node.start_server(DynamicSupervisor, template=template, intensity=9)
        one = await start_from_template(w.node, sup, 1, 2, y=2)
        plain = await start_from_template(w.node, sup)
        assert await w.node.call(one, "?") == ("w", (1, 2), {"x": 1, "y": 2})
        assert await w.node.call(plain, "?") == ("w", (), {"x": 1})
        assert await get_childspec(w.node, sup, plain) is template
        w.node.exit(one, KILL)
        await w.settle()
        again = next(i.pid for i in await which_children(w.node, sup) if i.pid is not plain)
        assert await w.node.call(again, "?") == ("w", (1, 2), {"x": 1, "y": 2})
        with pytest.raises(SimpleOneForOne, match="use StartFromTemplate"):
            await start_child(w.node, sup, spec("a", life))
        for ask in (restart_child, delete_child):
            with pytest.raises(SimpleOneForOne, match="start a new one"):
                await ask(w.node, sup, again)
        bare = await w.node.start_server(DynamicSupervisor)
        with pytest.raises(SimpleOneForOne, match="use StartChild"):
            await start_from_template(w.node, bare)

    run(test)


def test_of_temporary_children_no_arguments_are_kept() -> None:
    async def test(w: World) -> None:
        life = Life()
        template = ChildSpec("w", Worker, ("w", life), restart="temporary")
        sup = await w.node.start_server(DynamicSupervisor, template=template)
        pid = await start_from_template(w.node, sup, "large")
        assert await w.node.call(pid, "?") == ("w", ("large",), {})
        assert await get_childspec(w.node, sup, pid) is template

    run(test)


def test_extra_arguments_stand_before_those_of_every_child() -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(
            DynamicSupervisor, extra_arguments=("extra", life), intensity=9
        )
        for kind in (Worker, SlowWorker):
            pid = await start_child(w.node, sup, ChildSpec("w", kind, (7,)))
            assert await w.node.call(pid, "?") == ("extra", (7,), {})
            w.node.exit(pid, KILL)
            await w.settle()
        infos = await which_children(w.node, sup)
        assert [await w.node.call(info.pid, "?") for info in infos] == [("extra", (7,), {})] * 2

    run(test)


def test_wrong_options_are_refused_at_the_start() -> None:
    async def test(w: World) -> None:
        life = Life()
        significant = ChildSpec("w", Worker, ("w", life), restart="temporary", significant=True)
        for options in (
            {"template": significant},
            {"intensity": -1},
            {"period_s": 0},
            {"auto_shutdown": "sometimes"},
        ):
            with pytest.raises(StartError):
                await w.node.start_server(DynamicSupervisor, **options)
        sup = await w.node.start_server(DynamicSupervisor)
        with pytest.raises(BadSpecification):
            await start_child(w.node, sup, significant)

    run(test)


@pytest.mark.parametrize("kind", [Worker, SlowWorker])
def test_how_a_start_can_go(kind: Any) -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(DynamicSupervisor, max_children=1)
        child = ChildSpec("w", kind, ("w", life))
        life.plans["w"] = ["no", "ignore"]
        with pytest.raises(StartError) as caught:
            await start_child(w.node, sup, child)
        assert caught.value.reason == "no"
        assert await start_child(w.node, sup, child) is None
        pid = await start_child(w.node, sup, child)
        with pytest.raises(MaxChildren, match="max_children"):
            await start_child(w.node, sup, child)
        life.plans["w"] = ["ignore"]
        w.node.exit(pid, KILL)
        await w.settle()
        assert await which_children(w.node, sup) == []
        assert (await count_children(w.node, sup)).specs == 0

    run(test)


@pytest.mark.parametrize(("auto", "left"), [("any_significant", 2), ("all_significant", 0)])
def test_significant_children(auto: Any, left: int) -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(DynamicSupervisor, auto_shutdown=auto, intensity=9)
        pids = []
        for name in "abc":
            child = spec(name, life, restart="transient", significant=True)
            pids.append(await start_child(w.node, sup, child))
        await start_child(w.node, sup, spec("d", life))
        w.node.cast(pids[0], "crash")  # restarted: no end
        await terminate_child(w.node, sup, pids[1])  # on request: no end
        await w.settle()
        assert w.node.is_alive(sup)
        ending = asyncio.ensure_future(w.node.wait(sup))
        w.node.cast("a", NORMAL)
        await w.settle()
        if left == 0:
            assert w.node.is_alive(sup)
            w.node.cast("c", NORMAL)
        assert await ending is SHUTDOWN
        assert w.node.stats().processes == 0

    run(test)


def test_while_a_child_starts_the_supervisor_waits() -> None:
    """As OTP's and Elixir's: spread the children over a `PartitionSupervisor` if that is long."""

    async def test(w: World) -> None:
        class Late(GenServer):
            async def init(self) -> None:
                await self.sleep(60)

        sup = await w.node.start_server(DynamicSupervisor)
        w.node.send(sup, "ignored")
        outcomes: list[Any] = []

        async def starter(ctx: ProcessContext) -> None:
            outcomes.append(await start_child(ctx, sup, ChildSpec("late", Late)))

        async def asker(ctx: ProcessContext) -> None:
            try:
                await which_children(ctx, sup, timeout_s=1)
            except CallTimeout:
                outcomes.append("timeout")

        w.node.spawn(starter)
        w.node.spawn(asker)
        await w.advance(61)
        assert outcomes[0] == "timeout"
        assert isinstance(outcomes[1], Pid)

    run(test)


def test_many_children_are_listed_and_stopped_while_others_have_their_turn() -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(DynamicSupervisor)
        turns: list[str] = []
        done: list[bool] = []

        async def ticker(ctx: ProcessContext) -> None:
            while not done:
                turns.append("tick")
                await ctx.sleep(0)

        async def asker(ctx: ProcessContext) -> None:
            for _ in range(3000):
                await ctx.call(sup, start, timeout_s=None)
            ctx.spawn(ticker)
            try:
                assert len(await which_children(ctx, sup)) == 3000
                listed = len(turns)
                w.node.exit(sup, SHUTDOWN)
                await ctx.join([sup])
                assert listed >= 2
                assert len(turns) >= listed + 2
            finally:
                done.append(True)

        start = StartChild(ChildSpec("x", Small, restart="temporary"))
        await inside(w, asker)

    run(test)


OPERATIONS = st.one_of(
    st.tuples(
        st.just("start"), st.sampled_from(["permanent", "transient", "temporary"]), st.booleans()
    ),
    st.tuples(
        st.sampled_from(["crash", "end", "kill", "terminate"]), st.integers(0, 20), st.just(False)
    ),
    st.tuples(st.just("fail"), st.integers(1, 3), st.just(False)),
)


@given(operations=st.lists(OPERATIONS, max_size=30), intensity=st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_children_follow_the_model(operations: Any, intensity: int) -> None:
    """The model: a bag of children, and how many restarts there were."""

    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(DynamicSupervisor, intensity=intensity)
        kinds: Counter[str] = Counter()  # how many children of each restart type there are
        starts = restarts = failing = 0

        def restarted() -> bool:
            """Count the attempts for one child; whether there is a supervisor afterwards."""
            nonlocal starts, restarts, failing
            while True:
                restarts += 1
                if restarts > intensity:
                    return False
                if not failing:
                    starts += 1
                    return True
                failing -= 1

        for operation, arg, slow in operations:
            infos = await which_children(w.node, sup)
            if operation == "fail":
                failing = arg
                life.plans["w"] = ["no"] * arg
                continue
            if operation == "start":
                kind = SlowWorker if slow else Worker
                child = ChildSpec(arg, kind, ("w", life), restart=arg)
                if failing:
                    failing -= 1
                    with pytest.raises(StartError):
                        await start_child(w.node, sup, child)
                else:
                    await start_child(w.node, sup, child)
                    kinds[arg] += 1
                    starts += 1
            elif infos:
                victim = infos[arg % len(infos)]
                restart = str(victim.id)
                assert victim.pid is not None
                if operation == "terminate":
                    await terminate_child(w.node, sup, victim.pid)
                    with pytest.raises(ChildNotFound):
                        await terminate_child(w.node, sup, victim.pid)
                elif operation == "kill":
                    w.node.exit(victim.pid, KILL)
                else:
                    w.node.cast(victim.pid, "crash" if operation == "crash" else NORMAL)
                abnormal = operation in ("crash", "kill")
                again = operation != "terminate" and (
                    restart == "permanent" or (restart == "transient" and abnormal)
                )
                await w.settle()
                if again and not restarted():
                    assert not w.node.is_alive(sup)
                    assert w.node.stats().processes == 0
                    return
                kinds[restart] -= not again
            now = await which_children(w.node, sup)
            assert Counter(str(info.id) for info in now) == +kinds
            assert all(info.pid is not None and w.node.is_alive(info.pid) for info in now)
            counts = await count_children(w.node, sup)
            assert counts.specs == counts.active == counts.workers == kinds.total()
            assert life.events.count(("up", "w")) == starts

    run(test)


def test_a_child_that_ignores_its_restart_is_forgotten_and_its_label_stays_free() -> None:
    class Once(GenServer):
        def init(self, seen: list[int]) -> Any:
            seen.append(1)
            return Ignore() if len(seen) > 1 else None

    async def test(w: World) -> None:
        sup = await w.node.start_server(DynamicSupervisor)
        seen: list[int] = []
        pid = await start_child(w.node, sup, ChildSpec("once", Once, (seen,), kind="supervisor"))
        assert (await count_children(w.node, sup)).supervisors == 1
        w.node.exit(pid, KILL)
        await w.settle()
        assert (await count_children(w.node, sup)).supervisors == 0

    run(test)
