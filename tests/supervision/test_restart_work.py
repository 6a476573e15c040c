"""What a restart costs does not depend on how many children there are: counted, not timed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from runtime_kit import World, run

from palaver.actors.runtime import KILL, GenServer, Pid
from palaver.supervisors import (
    ChildSpec,
    DynamicSupervisor,
    StartChild,
    Supervisor,
    which_children,
)


class Child(GenServer):
    __slots__ = ()

    def handle_cast(self, message: Any) -> Any:
        raise ValueError(message)


class Late(GenServer):
    async def init(self) -> None:
        await self.sleep(0)


def calls_made(fn: Callable[[], None]) -> int:
    """How many Python functions are called by it."""
    count = 0

    def look(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    # What hears of the collector, such as Hypothesis, would be counted, too.
    gc.disable()
    sys.setprofile(look)
    try:
        fn()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


async def start(w: World, dynamic: bool, width: int) -> Pid:
    options: dict[str, Any] = {"intensity": 1_000_000}
    specs = [ChildSpec(number, Child) for number in range(width)]
    if not dynamic:
        return await w.node.start_server(Supervisor, specs, **options)
    sup = await w.node.start_server(DynamicSupervisor, **options)
    for spec in specs:
        await w.node.call(sup, StartChild(spec))
    return sup


@pytest.mark.parametrize("how", ["kill", "crash"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_restart_is_the_same_work_with_ten_children_as_with_thousands(
    dynamic: bool, how: str
) -> None:
    work: dict[int, int] = {}

    async def test(w: World) -> None:
        for width in (10, 3000):
            sup = await start(w, dynamic, width)
            infos = await which_children(w.node, sup)
            victims = [info.pid for info in (infos[0], infos[width // 2], infos[-1])]

            def slices(victims: Any = victims) -> None:
                for victim in victims:
                    if how == "kill":
                        w.node.exit(victim, KILL)
                    else:
                        w.node.cast(victim, "crash")
                while w.node.scheduler.queue:
                    w.node.scheduler.run()

            before = w.node.restarts_total
            work[width] = calls_made(slices)
            assert w.node.restarts_total == before + 3
            assert len(await which_children(w.node, sup)) == width

    run(test)
    assert work[10] == work[3000]


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_restart_under_one_for_one_happens_within_one_message(dynamic: bool) -> None:
    async def test(w: World) -> None:
        sup = await start(w, dynamic, 3)
        first = (await which_children(w.node, sup))[0].pid
        assert first is not None
        before = {info.pid: info.reductions for info in w.node.processes()}
        w.node.exit(first, KILL)
        await w.settle()
        after = {info.pid: info.reductions for info in w.node.processes()}
        assert after[sup] == before[sup] + 1

    run(test)


@pytest.mark.parametrize("dynamic", [False, True])
def test_children_whose_init_waits_are_restarted_too(dynamic: bool) -> None:
    async def test(w: World) -> None:
        spec = ChildSpec("late", Late)
        if dynamic:
            sup = await w.node.start_server(DynamicSupervisor, intensity=5)
            await w.node.call(sup, StartChild(spec))
        else:
            sup = await w.node.start_server(Supervisor, [spec], intensity=5)
        for _ in range(3):
            (info,) = await which_children(w.node, sup)
            assert info.pid is not None
            w.node.exit(info.pid, KILL)
            await w.settle()
        (info,) = await which_children(w.node, sup)
        assert info.pid is not None
        assert w.node.is_alive(info.pid)
        assert w.node.restarts_total == 3

    run(test)
