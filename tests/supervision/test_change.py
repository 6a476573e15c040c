"""Live change of a supervisor's specifications: what OTP's supervisor does in `code_change`."""

from __future__ import annotations

from typing import Any

import pytest
from runtime_kit import World, run
from supervision_kit import Life, SlowWorker, Worker, spec, ups

from palaver.actors.runtime import NORMAL, Ignore
from palaver.supervisors import (
    BadSpecification,
    ChildSpec,
    DynamicSupervisor,
    Supervisor,
    SupervisorFlags,
    change_specification,
    get_childspec,
    restart_child,
    start_from_template,
    which_children,
)


def test_running_children_are_kept_in_the_new_order_and_nothing_is_started() -> None:
    """As tried with OTP 25: a, b, c, d becomes d, x, b, and a and c are kept behind them."""

    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(Supervisor, [spec(name, life) for name in "abcd"])
        pids = {name: w.node.whereis(name) for name in "abcd"}
        new = [spec(name, life, restart="transient") for name in "dxb"]
        await change_specification(w.node, sup, SupervisorFlags("rest_for_one", 3), new)
        infos = await which_children(w.node, sup)
        assert [(info.id, info.pid) for info in infos] == [
            ("d", pids["d"]),
            ("x", None),
            ("b", pids["b"]),
            ("a", pids["a"]),
            ("c", pids["c"]),
        ]
        assert await get_childspec(w.node, sup, "b") is new[2]
        assert (await get_childspec(w.node, sup, "a")).restart == "permanent"
        assert life.take() == ups(*"abcd")
        assert await restart_child(w.node, sup, "x") is w.node.whereis("x")
        life.take()
        w.node.cast("b", NORMAL)  # transient from now on
        await w.settle()
        assert life.take() == [("down", "b")]
        w.node.cast("a", "crash")
        await w.settle()  # rest_for_one from now on: a, and c behind it
        assert life.take() == [("down", "a"), ("down", "c"), *ups("a", "c")]

    run(test)


def test_the_restarts_so_far_stay_counted() -> None:
    async def test(w: World) -> None:
        life = Life()
        specs = [spec("a", life)]
        sup = await w.node.start_server(Supervisor, specs, intensity=9)
        for _ in range(2):
            w.node.cast("a", "crash")
            await w.settle()
        await change_specification(w.node, sup, SupervisorFlags(intensity=2), specs)
        assert w.node.is_alive(sup)
        w.node.cast("a", "crash")
        await w.settle()
        assert not w.node.is_alive(sup)

    run(test)


def test_a_change_that_cannot_be_changes_nothing() -> None:
    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(Supervisor, [spec("a", life)])
        twice = [spec("b", life), spec("b", life)]
        with pytest.raises(BadSpecification):
            await change_specification(w.node, sup, SupervisorFlags("one_for_all"), twice)
        assert [info.id for info in await which_children(w.node, sup)] == ["a"]

    run(test)


def test_code_change_asks_the_specification_again() -> None:
    class Tree(Supervisor):
        version = 1

        def specification(self, life: Life, *, strategy: Any) -> Any:
            if Tree.version == 3:
                return Ignore()
            names = "ab" if Tree.version == 1 else "bc"
            return SupervisorFlags(strategy), [spec(name, life) for name in names]

        def handle_call(self, request: Any, from_: Any) -> Any:
            if request == "change":
                return self.code_change(1, {}, None)
            return super().handle_call(request, from_)

    async def test(w: World) -> None:
        life = Life()
        sup = await w.node.start_server(Tree, life, strategy="one_for_one")
        b = w.node.whereis("b")
        for Tree.version in (2, 3):
            await w.node.call(sup, "change")
            infos = await which_children(w.node, sup)
            assert [(info.id, info.pid is None) for info in infos] == [
                ("b", False),
                ("c", True),
                ("a", False),
            ]
            assert infos[0].pid is b

    run(test)


def test_a_dynamic_supervisor_changes_its_flags_and_template() -> None:
    """OTP's `simple_one_for_one`: children that run keep their arguments, the rest is new."""

    async def test(w: World) -> None:
        life = Life()
        template = ChildSpec("w", Worker, ("w", life))
        sup = await w.node.start_server(DynamicSupervisor, template=template, intensity=5)
        await start_from_template(w.node, sup, 1)
        await start_from_template(w.node, sup)
        new = ChildSpec("new", SlowWorker, ("other", life), restart="transient")
        flags = SupervisorFlags(intensity=3)
        await change_specification(w.node, sup, flags, [new])
        first, second = await which_children(w.node, sup)
        assert first.id == "new"
        w.node.cast(first.pid, "crash")
        w.node.cast(second.pid, NORMAL)  # transient from now on
        await w.settle()
        (only,) = await which_children(w.node, sup)
        assert await w.node.call(only.pid, "what") == ("w", (1,), {})
        third = await start_from_template(w.node, sup, 2)
        assert await w.node.call(third, "what") == ("other", (2,), {})
        for bad in ([], [new, spec("y", life)]):
            with pytest.raises(BadSpecification, match="one specification if it has a template"):
                await change_specification(w.node, sup, flags, bad)
        with pytest.raises(BadSpecification):
            await change_specification(w.node, sup, SupervisorFlags("one_for_all"), [new])

    run(test)
