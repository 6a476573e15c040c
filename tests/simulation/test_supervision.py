"""Supervision trees: whatever is killed at whatever moment, the tree comes back or gives up.

Each supervisor is read along by a model of OTP's (`tree_model`): the order of starts and stops, the
sets of each strategy, restarts that fail, the intensity's window, the patience of stops, and in the
end that all runs that should, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tree_story import Story

from palaver.actors.runtime import KILL, GenServer, Ignore, Node
from palaver.actors.simulation import (
    Coverage,
    Host,
    Seeded,
    Violation,
    World,
    assert_tree_whole,
    run,
)
from palaver.supervisors import (
    ChildSpec,
    DynamicSupervisor,
    Supervisor,
    dynamic,
    start_child,
    supervisor,
)
from palaver.supervisors.window import RestartWindow

SEEDS = 300
LONG_SEEDS = 20_000


async def scenario(world: World) -> None:
    await Story(world).act()


def search(seeds: range) -> Coverage:
    coverage = Coverage()
    for seed in seeds:
        outcome = run(scenario, Seeded(seed))
        coverage.merge(outcome.coverage)
        if outcome.failure is not None:
            raise AssertionError(f"seed {seed}: {outcome.failure}") from outcome.failure
    return coverage


def test_a_tree_comes_back_or_gives_up_as_specified() -> None:
    coverage = search(range(SEEDS))
    for state in (
        "restarted", "gave up", "did not start", "child_terminated", "start_error", "shutdown",
        "shutdown_error",
    ):  # fmt: skip
        assert coverage.reached[state], f"{state}: never"


@pytest.mark.long
def test_a_tree_comes_back_or_gives_up_for_long() -> None:
    search(range(SEEDS, LONG_SEEDS))


def test_two_runs_of_one_tape_are_the_same() -> None:
    for seed in range(5):
        assert run(scenario, Seeded(seed)).hash == run(scenario, Seeded(seed)).hash


# -- the model finds what is wrong ----------------------------------------------------------------


class TooGenerous(RestartWindow):
    def allows(self, now_s: float) -> bool:
        return super().allows(now_s) or len(self._times) <= self.intensity + 1


class Forgetful(RestartWindow):
    def allows(self, now_s: float) -> bool:
        self._times.clear()
        return super().allows(now_s)


async def stop_forwards(self: Any, children: Sequence[Any]) -> None:
    for child in children:
        await original_stop(self, [child])


async def stop_nobody(self: Any, children: Sequence[Any]) -> None:
    """Leave them running."""


original_stop = Supervisor._stop


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (supervisor, "RestartWindow", TooGenerous),
        (supervisor, "RestartWindow", Forgetful),
        (dynamic, "RestartWindow", TooGenerous),
        (supervisor, "is_abnormal", lambda reason: False),
        (supervisor, "is_abnormal", lambda reason: True),
        (Supervisor, "_stop", stop_forwards),
        (Supervisor, "_stop", stop_nobody),
        (Supervisor, "_not_started", lambda self, child, error: None),
    ],
)
def test_a_supervisor_with_a_fault_is_found(
    where: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError, match="seed"):
        search(range(SEEDS))


# -- whole trees ----------------------------------------------------------------------------------


class Leaf(GenServer):
    def init(self, how: str = "up") -> Any:
        return Ignore() if how == "ignore" else None


class Runaway(GenServer):
    def init(self) -> None:
        self.child = self.spawn(Leaf, name="left behind")


def in_world(test: Any) -> None:
    async def scene(world: World) -> None:
        nodes: list[Node] = []

        async def boot(host: Host) -> None:
            nodes.append(await host.node())

        await world.host("h", boot).start()
        await test(world, nodes[0])

    outcome = run(scene)
    if outcome.failure is not None:
        raise outcome.failure


def test_a_whole_tree_is_said_to_be_one() -> None:
    async def test(world: World, node: Node) -> None:
        specs = [
            ChildSpec("leaf", Leaf, name="leaf"),
            ChildSpec("nothing", Leaf, ("ignore",), restart="transient"),
            ChildSpec("pool", DynamicSupervisor, kind="supervisor", name="pool"),
        ]
        await node.start_server(Supervisor, specs, intensity=10, name="top")
        await start_child(node, "pool", ChildSpec("x", Leaf))
        with pytest.raises(Violation, match=r"child 'nothing' of top <h\.1> is stopped"):
            assert_tree_whole(node)
        assert_tree_whole(node, stopped=["nothing"])
        leaf = node.whereis("leaf")
        assert leaf is not None
        node.exit(leaf, KILL)
        with pytest.raises(Violation, match=r"'leaf' of top <h\.1> is dead"):
            assert_tree_whole(node, stopped=["nothing"])
        await world.sleep(0.1)
        assert_tree_whole(node, stopped=["nothing"])

    in_world(test)


def test_what_has_outlived_its_parent_is_told() -> None:
    async def test(world: World, node: Node) -> None:
        runaway = await node.start_server(Runaway)
        assert_tree_whole(node)
        node.exit(runaway, KILL)
        await world.sleep(0.1)
        with pytest.raises(Violation, match=r"left behind <h.2> has outlived its parent <h\.1>"):
            assert_tree_whole(node)
        assert_tree_whole(node, orphans=["left behind"])

    in_world(test)


def test_a_child_that_is_not_linked_or_not_known_is_told() -> None:
    async def test(world: World, node: Node) -> None:
        top = await node.start_server(Supervisor, [ChildSpec("leaf", Leaf)], name="top")
        process = top.process_
        assert process is not None
        context: Any = process.context
        context.spawn(Leaf)
        with pytest.raises(Violation, match=r"is a child of top <h\.1>, and not linked to it"):
            assert_tree_whole(node)
        context.spawn_link(Leaf)
        await world.sleep(0.1)
        with pytest.raises(Violation, match=r"is a child of top <h\.1> that it has forgotten"):
            assert_tree_whole(node)

    in_world(test)


def test_a_child_that_is_being_restarted_is_told() -> None:
    class Stubborn(GenServer):
        async def init(self, starts: list[bool]) -> None:
            if not starts.pop(0):
                await self.sleep(5.0)
                raise ValueError("no")

    async def test(world: World, node: Node) -> None:
        starts = [True, False, False, True]
        spec = ChildSpec("x", Stubborn, (starts,))
        await node.start_server(Supervisor, [spec], intensity=9, period_s=600.0, name="top")
        await node.start_server(DynamicSupervisor, intensity=9, period_s=600.0, name="pool")
        assert_tree_whole(node)
        (_, child, _) = node.table
        node.exit(child, KILL)
        await world.sleep(1.0)
        with pytest.raises(Violation, match=r"child 'x' of top <h\.1> is stopped"):
            assert_tree_whole(node)
        await world.sleep(6.0)
        with pytest.raises(Violation, match=r"child 'x' of top <h\.1> is restarting"):
            assert_tree_whole(node)
        await world.sleep(10.0)
        assert_tree_whole(node)
        starts[:] = [True, False, True]
        pid = await start_child(node, "pool", spec)
        assert pid is not None
        node.exit(pid, KILL)
        await world.sleep(1.0)
        with pytest.raises(Violation, match="that it has forgotten"):
            assert_tree_whole(node)
        await world.sleep(10.0)
        assert_tree_whole(node)

    in_world(test)
