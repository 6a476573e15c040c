"""Supervisors of every kind against a model: any operations, in any order, with failing starts.

After each operation the order of all starts and stops, the list of children and the life of the
supervisor are those of the model (`supervisor_model`).
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_kit import World, run
from supervision_kit import Life, spec
from supervisor_model import Model

from palaver.actors.runtime import KILL, NORMAL, SHUTDOWN, Pid
from palaver.supervisors import Supervisor as RealSupervisor
from palaver.supervisors import (
    SupervisorFlags,
    change_specification,
    delete_child,
    restart_child,
    start_child,
    terminate_child,
    which_children,
)

NAMES = st.sampled_from("abcde")
RESTARTS = st.sampled_from(["permanent", "permanent", "transient", "temporary"])
SPECS = st.tuples(NAMES, RESTARTS, st.booleans()).map(
    lambda drawn: (drawn[0], drawn[1], drawn[2] and drawn[1] != "permanent")
)
STRATEGIES = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
AUTOS = st.sampled_from(["never", "never", "any_significant", "all_significant"])
INTENSITIES = st.sampled_from([30, 30, 30, 4, 2, 0])
PLANS = st.dictionaries(
    NAMES, st.lists(st.sampled_from(["no", "no", "ignore"]), min_size=1, max_size=3), max_size=2
)

ENDS = st.tuples(
    st.sampled_from(["crash", "kill", "odd", "end"]), st.integers(0, 9), PLANS | st.just({})
)  # how, who, and how the next starts go
OPERATIONS = st.one_of(
    ENDS,
    ENDS,
    ENDS,
    st.tuples(st.sampled_from(["terminate", "restart", "delete"]), NAMES, PLANS),
    st.tuples(st.just("start"), SPECS, PLANS),
    st.tuples(
        st.just("change"),
        st.tuples(STRATEGIES, INTENSITIES, AUTOS, st.lists(SPECS, max_size=4)),
        st.just({}),
    ),
)


async def real(w: World, sup: Pid, life: Life, operation: str, arg: Any, slow: bool) -> str:
    """Do it to the supervisor; how it was answered."""
    node = w.node
    try:
        if operation == "terminate":
            await terminate_child(node, sup, arg)
        elif operation == "restart":
            await restart_child(node, sup, arg)
        elif operation == "delete":
            await delete_child(node, sup, arg)
        elif operation == "start":
            name, restart, significant = arg
            child = spec(name, life, slow=slow, restart=restart, significant=significant)
            await start_child(node, sup, child)
        elif operation == "change":
            strategy, intensity, auto, specs = arg
            children = [
                spec(name, life, slow=slow, restart=restart, significant=significant)
                for name, restart, significant in specs
            ]
            flags = SupervisorFlags(strategy, intensity, 5.0, auto)
            await change_specification(node, sup, flags, children)
    except Exception as error:
        return type(error).__name__
    return "ok"


def modelled(model: Model, operation: str, arg: Any) -> str:
    if operation == "terminate":
        return model.terminate(arg)
    if operation == "restart":
        return model.start_again(arg)
    if operation == "delete":
        return model.delete(arg)
    if operation == "start":
        return model.add(*arg)
    return model.change(*arg)


def end_child(w: World, model: Model, operation: str, which: int) -> None:
    """Let one of those that run end, if any does."""
    running = [name for name, entry in model.order.items() if entry.runs]
    if not running:
        return
    name = running[which % len(running)]
    if operation == "kill":
        pid = w.node.whereis(name)
        assert pid is not None
        w.node.exit(pid, KILL)
    else:
        w.node.cast(name, {"crash": "crash", "end": NORMAL, "odd": "odd"}[operation])
    model.child_ends(name, abnormal=operation != "end", cleans_up=operation != "kill")


@given(
    strategy=STRATEGIES,
    intensity=INTENSITIES,
    auto=AUTOS,
    specs=st.lists(SPECS, min_size=2, max_size=5, unique_by=lambda drawn: drawn[0]),
    operations=st.lists(OPERATIONS, min_size=5, max_size=25),
    slow=st.booleans(),
)
@settings(max_examples=250, deadline=None)
def test_a_supervisor_does_what_the_model_does(
    strategy: Any, intensity: int, auto: Any, specs: Any, operations: Any, slow: bool
) -> None:
    async def test(w: World) -> None:
        life = Life()
        model = Model(strategy, intensity, auto)
        sup = await w.node.start_server(
            RealSupervisor, strategy=strategy, intensity=intensity, auto_shutdown=auto
        )
        for drawn in specs:
            answer = await real(w, sup, life, "start", drawn, slow)
            assert answer == model.add(*drawn)
        for operation, arg, plans in operations:
            for name, steps in plans.items():
                life.plans[name], model.plans[name] = list(steps), list(steps)
            if operation in ("crash", "end", "odd", "kill"):
                end_child(w, model, operation, arg)
                await w.settle()
            else:
                answer = await real(w, sup, life, operation, arg, slow)
                assert answer == modelled(model, operation, arg), (operation, arg)
            assert life.take() == model.take(), (operation, arg)
            assert w.node.is_alive(sup) == model.alive, (operation, arg)
            if not model.alive:
                break
            infos = await which_children(w.node, sup)
            assert [(info.id, info.pid is not None) for info in infos] == model.shown()
            assert not any(info.restarting for info in infos)
        w.node.exit(sup, SHUTDOWN)
        await w.settle()
        if model.alive:
            model.give_up()
        assert life.take() == model.take()
        assert w.node.stats().processes == 0

    run(test)
