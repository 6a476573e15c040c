"""Applications: started in order, stopped in reverse, and what their end does."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import World, inside, run, world

from palaver.actors.runtime import (
    KILL,
    NORMAL,
    SHUTDOWN,
    Crash,
    GenServer,
    Ignore,
    NameTaken,
    Node,
    ProcessContext,
    StartError,
    Stop,
)
from palaver.supervisors import (
    Application,
    ApplicationEnded,
    ApplicationFailed,
    ApplicationStarted,
    BadApplication,
    ChildSpec,
    DependencyCycle,
    DependencyNotStarted,
    NotLoaded,
    NotStarted,
    StartType,
    Supervisor,
    change_env,
    ensure_all_started,
    get_env,
    load_application,
    loaded_applications,
    start_application,
    start_controller,
    stop_application,
    unload_application,
    which_applications,
)


class Worker(GenServer):
    def init(self, name: str, events: list[Any], outcome: Any = None) -> Any:
        if outcome is not None:
            return outcome
        self.name, self.events, self.trap_exit = name, events, True
        events.append(("worker up", name))
        return None

    def handle_cast(self, message: Any) -> Any:
        return Stop(message)

    def terminate(self, reason: Any) -> None:
        self.events.append(("worker down", self.name))


@dataclass(frozen=True)
class Env:
    events: list[Any]
    outcome: Any = None
    port: int = 0


class Base(Application[Env]):
    """Says what happens to it."""

    def start(self, ctx: ProcessContext) -> ChildSpec:
        args = (self.name, self.env.events, self.env.outcome)
        return ChildSpec(self.name, Worker, args, name=f"{self.name}-worker")

    def prep_stop(self, ctx: ProcessContext) -> None:
        self.env.events.append(("prep_stop", self.name))

    async def stop(self, ctx: ProcessContext) -> None:
        await ctx.sleep(0)
        self.env.events.append(("stop", self.name))

    def config_change(self, ctx: ProcessContext, old: Env) -> None:
        self.env.events.append(("config_change", old.port, self.env.port))


def app(name: str, events: list[Any], *needs: str, outcome: Any = None) -> Application[Env]:
    kind = type(name.title(), (Base,), {"name": name, "applications": needs})
    made = kind(Env(events, outcome))
    assert isinstance(made, Application)
    return made


def life(name: str) -> list[Any]:
    return [("prep_stop", name), ("worker down", name), ("stop", name)]


async def names(w: World) -> list[str]:
    return [info.name for info in await which_applications(w.node)]


def test_applications_start_after_what_they_need_and_stop_in_reverse() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        controller = await start_controller(
            w.node, app("chat", events, "storage", "net"), app("storage", events, "net")
        )
        await load_application(w.node, app("net", events))
        assert await loaded_applications(w.node) == ["chat", "storage", "net"]
        assert await ensure_all_started(w.node, "chat") == ["net", "storage", "chat"]
        assert events == [("worker up", name) for name in ("net", "storage", "chat")]
        infos = await which_applications(w.node)
        assert [(info.name, info.start_type) for info in infos] == [
            ("net", "temporary"),
            ("storage", "temporary"),
            ("chat", "temporary"),
        ]
        assert infos[0].top is w.node.whereis("net-worker")
        assert await ensure_all_started(w.node, "chat", "net") == []
        events.clear()
        w.node.exit(controller, SHUTDOWN)
        await w.node.wait(controller)
        assert events == [*life("chat"), *life("storage"), *life("net")]
        assert w.node.stats().processes == 0

    run(test)


def test_one_is_started_and_stopped_on_request() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        await start_controller(w.node, app("a", events), app("b", events, "a"))
        with pytest.raises(DependencyNotStarted, match="ensure_all_started"):
            await start_application(w.node, "b")
        with pytest.raises(NotStarted):
            await stop_application(w.node, "a")

        async def inner(ctx: ProcessContext) -> None:
            await start_application(ctx, "a", start_type="permanent")
            await start_application(ctx, "b")

        await inside(w, inner)
        with pytest.raises(ApplicationStarted, match="running"):
            await start_application(w.node, "a")
        with pytest.raises(ApplicationStarted):
            await unload_application(w.node, "a")
        events.clear()
        await stop_application(w.node, "a")  # permanent: but it was asked for, so nothing follows
        assert events == life("a")
        assert await names(w) == ["b"]
        await unload_application(w.node, "a")
        for ask in (start_application, stop_application, unload_application, ensure_all_started):
            with pytest.raises(NotLoaded, match="load it first"):
                await ask(w.node, "a")

    run(test)


def test_cycles_and_missing_ones_are_found_before_anything_starts() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        await start_controller(
            w.node,
            app("a", events, "b"),
            app("b", events, "c"),
            app("c", events, "b"),
            app("x", events, "y"),
        )
        with pytest.raises(DependencyCycle, match="b -> c -> b") as caught:
            await ensure_all_started(w.node, "a")
        assert caught.value.names == ("b", "c", "b")
        with pytest.raises(NotLoaded, match="no application 'y', which 'x' needs"):
            await ensure_all_started(w.node, "x")
        assert events == []

    run(test)


@pytest.mark.parametrize("outcome", [Stop("no"), Ignore()])
def test_one_that_does_not_start_stops_those_that_were_started_for_it(outcome: Any) -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        await start_controller(
            w.node,
            app("base", events),
            app("mid", events),
            app("top", events, "base", "mid", outcome=outcome),
        )
        await start_application(w.node, "base")
        events.clear()
        with pytest.raises(ApplicationFailed) as caught:
            await ensure_all_started(w.node, "top", start_type="permanent")
        assert caught.value.name == "top"
        assert caught.value.reason == "no" or "Ignore()" in str(caught.value)
        assert events == [("worker up", "mid"), *life("mid")]
        assert await names(w) == ["base"]

    run(test)


def test_a_start_callback_that_raises_is_a_failed_start() -> None:
    class Broken(Application[None]):
        name = "broken"

        async def start(self, ctx: ProcessContext) -> ChildSpec:
            raise ValueError("boom")

    async def test(w: World) -> None:
        await start_controller(w.node, Broken(None))
        with pytest.raises(ApplicationFailed, match="boom") as caught:
            await start_application(w.node, "broken")
        assert isinstance(caught.value.reason, Crash)

    run(test)


ENDS = [NORMAL, SHUTDOWN, "odd"]


@pytest.mark.parametrize("start_type", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", ENDS)
def test_what_the_end_of_an_application_does(start_type: StartType, reason: Any) -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        halted: list[ApplicationEnded] = []
        controller = await start_controller(
            w.node, app("a", events), app("b", events), halt=halted.append
        )
        await start_application(w.node, "a", start_type=start_type)
        await start_application(w.node, "b")
        events.clear()
        ending = asyncio.ensure_future(w.node.wait(controller))
        await asyncio.sleep(0)  # it waits now
        w.node.cast("a-worker", reason)
        await w.settle()
        # It ended by itself: there is nothing left to prepare.
        ended = [("worker down", "a"), ("stop", "a")]
        if start_type == "permanent" or (start_type == "transient" and reason is not NORMAL):
            assert await ending == ApplicationEnded("a", start_type, reason)
            assert halted == [ApplicationEnded("a", start_type, reason)]
            assert events == [*ended, *life("b")]
            assert w.node.stats().processes == 0
        else:
            assert events == ended
            assert await names(w) == ["b"]
            assert halted == []
            await start_application(w.node, "a")
            ending.cancel()

    run(test)


def test_the_end_of_a_permanent_application_can_stop_the_node() -> None:
    async def main() -> None:
        async with world() as w:
            events: list[Any] = []
            tasks: list[Any] = []

            def halt(ended: ApplicationEnded) -> None:
                tasks.append(asyncio.ensure_future(w.node.stop()))

            controller = await start_controller(w.node, app("a", events), halt=halt)
            await start_application(w.node, "a", start_type="permanent")
            worker = w.node.whereis("a-worker")
            assert worker is not None
            w.node.exit(worker, KILL)
            reason = await w.node.wait(controller)
            assert str(reason) == "the permanent application 'a' has ended: killed"
            await tasks[0]
            assert w.node.stats().processes == 0

    asyncio.run(main())


def test_the_controller_answers_while_an_application_starts() -> None:
    class Late(Application[None]):
        name = "late"

        async def start(self, ctx: ProcessContext) -> ChildSpec | None:
            await ctx.sleep(10)
            # The others can be asked for from within.
            assert await which_applications(ctx) == []
            return None

    async def test(w: World) -> None:
        await start_controller(w.node, Late(None))
        outcomes: list[Any] = []

        async def starter(ctx: ProcessContext, ensure: bool) -> None:
            if ensure:
                outcomes.append(await ensure_all_started(ctx, "late"))
            else:
                await start_application(ctx, "late")
                outcomes.append("started")

        w.node.spawn(starter, False)
        await w.settle()
        w.node.spawn(starter, True)
        await w.settle()
        assert await names(w) == []
        with pytest.raises(ApplicationStarted, match="starting"):
            await start_application(w.node, "late")
        await w.advance(10)
        assert outcomes == ["started", []]
        (info,) = await which_applications(w.node)
        assert info.top is None

    run(test)


def test_an_application_that_is_starting_can_be_stopped() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []

        class Late(Base):
            name = "late"

            async def start(self, ctx: ProcessContext) -> ChildSpec:  # type: ignore[override]
                await ctx.sleep(10)
                return super().start(ctx)

        await start_controller(w.node, Late(Env(events)))
        outcomes: list[Any] = []

        async def starter(ctx: ProcessContext) -> None:
            try:
                await start_application(ctx, "late")
            except ApplicationFailed as error:
                outcomes.append(error.reason)

        async def stopper(ctx: ProcessContext) -> None:
            await stop_application(ctx, "late")
            outcomes.append("stopped")

        w.node.spawn(starter)
        await w.settle()
        w.node.spawn(stopper)
        await w.settle()
        w.node.spawn(stopper)
        with pytest.raises(ApplicationStarted, match="stopping"):
            await start_application(w.node, "late")
        await w.advance(11)
        assert outcomes == [SHUTDOWN, "stopped", "stopped"]
        assert events == [("worker up", "late"), *life("late")]
        assert await names(w) == []

    run(test)


def test_a_callback_that_fails_does_not_keep_an_application_from_stopping() -> None:
    class Clumsy(Application[list[Any]]):
        name = "clumsy"

        def start(self, ctx: ProcessContext) -> ChildSpec:
            return ChildSpec("top", Supervisor, kind="supervisor")

        def prep_stop(self, ctx: ProcessContext) -> None:
            raise ValueError("prep_stop")

        def stop(self, ctx: ProcessContext) -> None:
            self.env.append("stop")
            raise ValueError("stop")

    async def test(w: World) -> None:
        env: list[Any] = []
        controller = await start_controller(w.node, Clumsy(env))
        await start_application(w.node, "clumsy")
        await stop_application(w.node, "clumsy")
        assert env == ["stop"]
        assert w.node.is_alive(controller)
        assert w.node.stats().processes == 1

    run(test)


def test_the_configuration_is_typed_and_can_be_changed() -> None:
    class Web(Base):
        name = "web"

    async def test(w: World) -> None:
        events: list[Any] = []
        await start_controller(w.node, Web(Env(events, port=80)))
        env = await get_env(w.node, Web)
        assert env.port == 80
        await change_env(w.node, Web, Env(events, port=81))
        assert events == []  # it does not run: nobody to tell
        await start_application(w.node, "web")
        events.clear()
        await change_env(w.node, Web, Env(events, port=82))
        await w.settle()
        assert events == [("config_change", 81, 82)]
        assert (await get_env(w.node, Web)).port == 82
        with pytest.raises(BadApplication, match="is a Env, not a int"):
            await change_env(w.node, Web, 5)  # type: ignore[arg-type]

    run(test)


def test_what_cannot_be_loaded_is_refused() -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        await start_controller(w.node, app("a", events))
        for bad in (app("a", events), Application(None), "a"):
            with pytest.raises(BadApplication):
                await load_application(w.node, bad)  # type: ignore[arg-type]
        with pytest.raises(NameTaken):
            await start_controller(w.node)
        with pytest.raises(TypeError):
            await w.node.call("application_controller", "nonsense")

    async def alone() -> None:
        async with Node() as node:
            with pytest.raises(StartError):
                await start_controller(node, Application(None))

    run(test)
    asyncio.run(alone())


@given(
    needs=st.lists(st.sets(st.integers(0, 6), max_size=4), min_size=7, max_size=7),
    wanted=st.lists(st.integers(0, 6), min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_any_dependencies_give_an_order_or_a_cycle(
    needs: list[set[int]], wanted: list[int]
) -> None:
    async def test(w: World) -> None:
        events: list[Any] = []
        apps = [
            app(f"n{number}", events, *(f"n{need}" for need in sorted(needs[number])))
            for number in range(7)
        ]
        await start_controller(w.node, *apps)
        order: list[str] = []
        circle: tuple[str, ...] = ()
        try:
            order = await ensure_all_started(w.node, *(f"n{number}" for number in wanted))
        except DependencyCycle as cycle:
            circle = cycle.names
        if circle:
            assert circle[0] == circle[-1]
            for name, need in itertools.pairwise(circle):
                assert int(need[1:]) in needs[int(name[1:])]
            assert events == []
            return
        reached = set(wanted)
        while True:
            more = reached.union(*(needs[number] for number in reached))
            if more == reached:
                break
            reached = more
        assert sorted(order) == sorted(f"n{number}" for number in reached)
        for number in reached:
            for need in needs[number]:
                assert order.index(f"n{need}") < order.index(f"n{number}")
        assert await names(w) == order
        assert events == [("worker up", name) for name in order]

    run(test)
