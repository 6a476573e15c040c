"""What supervisors answer, to the functions that ask them, in the words of OTP's manual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from runtime_kit import World, inside, run
from supervision_kit import Life, Worker, downs, spec, ups

from palaver.actors.runtime import (
    KILL,
    SHUTDOWN,
    CallTimeout,
    Crash,
    Exit,
    GenServer,
    Ignore,
    NameTaken,
    NoProcess,
    ProcessContext,
    Shutdown,
    StartError,
)
from palaver.supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    BadSpecification,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    FailedToStart,
    SimpleOneForOne,
    Supervisor,
    SupervisorFlags,
    check_childspecs,
    count_children,
    delete_child,
    get_childspec,
    restart_child,
    start_child,
    terminate_child,
    which_children,
)


def test_the_life_of_a_child_on_request() -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(Supervisor, [spec("a", life)])
        b = spec("b", life)
        assert await start_child(w.node, sup, b) is w.node.whereis("b")
        assert await get_childspec(w.node, sup, "b") is b
        with pytest.raises(AlreadyStarted, match="'b' is there already and runs as"):
            await start_child(w.node, sup, b)
        with pytest.raises(ChildRunning, match="terminate it first"):
            await restart_child(w.node, sup, "b")
        with pytest.raises(ChildRunning):
            await delete_child(w.node, sup, "b")
        await terminate_child(w.node, sup, "b")
        await terminate_child(w.node, sup, "b")  # of a stopped one: fine, as in OTP
        with pytest.raises(AlreadyPresent, match="restart or delete it") as caught:
            await start_child(w.node, sup, b)
        assert type(caught.value) is AlreadyPresent
        infos = await which_children(w.node, sup)
        assert [(info.id, info.pid, info.kind) for info in infos] == [
            ("a", w.node.whereis("a"), "worker"),
            ("b", None, "worker"),
        ]
        assert await restart_child(w.node, sup, "b") is w.node.whereis("b")
        await terminate_child(w.node, sup, "b")
        await delete_child(w.node, sup, "b")
        with pytest.raises(ChildNotFound, match="which_children lists"):
            await get_childspec(w.node, sup, "b")
        assert (await count_children(w.node, sup)).specs == 1
        assert life.take() == [*ups("a", "b"), *downs("b"), *ups("b"), *downs("b")]

    run(test)


def test_processes_ask_with_the_same_functions() -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(Supervisor, (), name="sup")

        async def asker(ctx: ProcessContext) -> None:
            pid = await start_child(ctx, "sup", spec("a", life))
            assert pid is ctx.whereis("a")
            assert (await count_children(ctx, sup)).active == 1
            await terminate_child(ctx, sup, "a")

        await inside(w, asker)
        with pytest.raises(NoProcess):
            await which_children(w.node, "nobody")

    run(test)


def test_they_wait_as_long_as_it_takes_unless_told_otherwise() -> None:
    async def test(w: World) -> None:
        class Late(GenServer):
            async def init(self) -> None:
                await self.sleep(60)

        sup = await w.node.start_server(Supervisor)
        outcomes: list[Any] = []

        async def patient(ctx: ProcessContext) -> None:
            outcomes.append(await start_child(ctx, sup, ChildSpec("late", Late)))

        async def impatient(ctx: ProcessContext) -> None:
            try:
                await which_children(ctx, sup, timeout_s=1)
            except CallTimeout as error:
                outcomes.append(error)

        w.node.spawn(patient)
        w.node.spawn(impatient)
        await w.advance(2)
        assert [type(outcome) for outcome in outcomes] == [CallTimeout]
        await w.advance(60)
        assert w.node.is_alive(outcomes[1])

    run(test)


def test_a_child_that_does_not_start_on_request_changes_nothing() -> None:
    async def test(w: World) -> None:
        life = Life()
        life.plans = {"a": ["no"], "b": ["up", "no", "ignore", "up"]}
        sup = await w.node.start_server(Supervisor)
        with pytest.raises(StartError) as caught:
            await start_child(w.node, sup, spec("a", life))
        assert caught.value.reason == "no"
        assert await which_children(w.node, sup) == []
        await start_child(w.node, sup, spec("b", life))
        await terminate_child(w.node, sup, "b")
        with pytest.raises(StartError):
            await restart_child(w.node, sup, "b")
        assert [info.pid for info in await which_children(w.node, sup)] == [None]
        assert await restart_child(w.node, sup, "b") is None
        assert await restart_child(w.node, sup, "b") is w.node.whereis("b")
        with pytest.raises(NameTaken):
            await start_child(w.node, sup, ChildSpec("other", Worker, ("x", life), name="b"))
        assert w.node.is_alive(sup)

    run(test)


def test_a_child_that_cannot_even_be_made_is_a_child_that_does_not_start() -> None:
    """Wrong arguments of a function raise where it is called, which is in the supervisor."""

    async def function(ctx: ProcessContext) -> None:
        await ctx.receive()

    async def test(w: World) -> None:
        sup = await w.node.start_server(Supervisor)
        with pytest.raises(StartError) as caught:
            await start_child(w.node, sup, ChildSpec("f", function, ("one too many",)))
        assert isinstance(caught.value.reason, Crash)
        assert w.node.is_alive(sup)
        with pytest.raises(StartError) as caught:
            await w.node.start_server(Supervisor, [ChildSpec("f", function, (1,))])
        assert isinstance(caught.value.reason, Shutdown)
        assert isinstance(caught.value.reason.detail, FailedToStart)

    run(test)


def test_a_child_whose_restart_failed_is_restarting() -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(Supervisor, [spec("a", life)], intensity=1000)
        life.plans["a"] = ["no"] * 100
        seen: list[Any] = []

        async def asker(ctx: ProcessContext) -> None:
            # Both in one go: the second is asked after the first attempt, before the next.
            ctx.exit(ctx.whereis("a"), KILL)  # type: ignore[arg-type]
            while not seen or not seen[-1].restarting:
                seen.extend(await which_children(ctx, sup))
            for ask in (restart_child, delete_child):
                with pytest.raises(ChildRestarting, match="wait, or terminate it"):
                    await ask(ctx, sup, "a")
            await terminate_child(ctx, sup, "a")  # gives up trying

        await inside(w, asker)
        await w.settle()
        assert [(info.pid, info.restarting) for info in await which_children(w.node, sup)] == [
            (None, False)
        ]

    run(test)


def test_only_living_children_are_active() -> None:
    """A child that was just told to exit is no longer counted, as in OTP (`is_process_alive`)."""

    async def test(w: World) -> None:
        async def plain(ctx: ProcessContext) -> None:
            await ctx.receive()

        sup = await w.node.start_server(
            Supervisor, [ChildSpec("a", plain, name="a", restart="transient")]
        )

        async def asker(ctx: ProcessContext) -> int:
            ctx.exit(ctx.whereis("a"), SHUTDOWN)  # type: ignore[arg-type]
            return (await count_children(ctx, sup)).active

        assert await inside(w, asker) == 0

    run(test)


def test_a_child_stays_linked_until_it_has_stopped() -> None:
    """So it learns of it if the supervisor is killed while it waits: no orphan is left."""

    async def test(w: World) -> None:
        heard: list[Any] = []

        async def stubborn(ctx: ProcessContext) -> None:
            ctx.trap_exit = True
            while True:
                message = await ctx.receive()
                if isinstance(message, Exit):
                    heard.append(message.reason)
                    if message.reason is not SHUTDOWN:
                        return

        sup = await w.node.start_server(Supervisor, [ChildSpec("s", stubborn, shutdown_s=None)])
        await w.settle()
        w.node.exit(sup, SHUTDOWN)
        await w.settle()
        assert heard == [SHUTDOWN]
        assert w.node.is_alive(sup)
        w.node.exit(sup, KILL)
        await w.settle()
        assert [str(reason) for reason in heard] == ["shutdown", "killed"]
        assert w.node.stats().processes == 0

    run(test)


def test_a_supervisor_may_find_that_there_is_nothing_to_supervise() -> None:
    class Nothing(Supervisor):
        def specification(self) -> Any:
            return Ignore()

    async def test(w: World) -> None:
        top = await w.node.start_server(
            Supervisor, [ChildSpec("nothing", Nothing, kind="supervisor")]
        )
        assert [info.pid for info in await which_children(w.node, top)] == [None]

    run(test)


def test_check_childspecs() -> None:
    life = Life()
    good = [spec("a", life), spec("b", life)]
    assert check_childspecs(iter(good)) == tuple(good)
    with pytest.raises(BadSpecification, match="two children have the id 'a'"):
        check_childspecs([good[0], good[0]])
    with pytest.raises(BadSpecification, match="not 'x'"):
        check_childspecs(["x"])  # type: ignore[list-item]
    significant = [spec("a", life, restart="transient", significant=True)]
    assert check_childspecs(significant)
    assert check_childspecs(significant, "any_significant")
    with pytest.raises(BadSpecification, match="set auto_shutdown"):
        check_childspecs(significant, "never")

    async def test(w: World) -> None:
        for specs in ([good[0], good[0]], significant, ["x"]):
            with pytest.raises(StartError) as caught:
                await w.node.start_server(Supervisor, specs)
            assert isinstance(caught.value.reason, Crash)
            assert isinstance(caught.value.reason.exception, BadSpecification)
        assert life.events == []  # nothing was started for it

    run(test)


@pytest.mark.parametrize("error", [ChildNotFound, AlreadyPresent, SimpleOneForOne])
def test_the_errors_have_one_base(error: Callable[..., Any]) -> None:
    from palaver.supervisors import SupervisorError

    assert issubclass(error, SupervisorError)  # type: ignore[arg-type]


def test_flags_check_themselves() -> None:
    with pytest.raises(ValueError, match="period_s"):
        SupervisorFlags(period_s=0)


def test_restarts_and_gave_up_are_told_to_the_observer() -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(Supervisor, [spec("a", life)], intensity=2)
        w.node.cast("a", "odd")
        await w.settle()
        life.plans["a"] = ["first", "second"]
        w.node.cast("a", "other")
        await w.settle()
        assert w.observer.restarts == [(sup, "a", "odd")]
        # Attempts: after `other`, and after `first`, which was one too many.
        assert w.observer.gave_up == [(sup, "first")]

    run(test)
