"""Partition supervisors: which key goes where, and what is there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_kit import World, inside, run

from palaver.actors.runtime import (
    KILL,
    Crash,
    From,
    GenServer,
    NoProcess,
    Pid,
    ProcessContext,
    StartError,
)
from palaver.supervisors import (
    DEFAULT_PARTITIONS,
    ChildSpec,
    DynamicSupervisor,
    Partition,
    PartitionSupervisor,
    Supervisor,
    partition_of,
    start_child,
    which_children,
)


class Collector(GenServer):
    def init(self, *args: Any) -> None:
        self.args = args
        self.seen: list[Any] = []

    def handle_cast(self, message: Any) -> None:
        self.seen.append(message)

    def handle_call(self, request: Any, from_: From) -> Any:
        return self.args if request == "args" else self.seen


COLLECTOR = ChildSpec("any", Collector, ("x",))

KEYS = st.recursive(
    st.integers() | st.text() | st.binary(), lambda keys: st.tuples(keys, keys), max_leaves=4
)


@given(key=KEYS, partitions=st.integers(1, 100))
def test_every_key_has_one_place(key: Any, partitions: int) -> None:
    place = partition_of(key, partitions)
    assert 0 <= place < partitions
    assert place == partition_of(key, partitions)
    if isinstance(key, int):
        assert place == abs(key) % partitions


def test_the_places_are_the_same_for_ever() -> None:
    """Known values: another run, machine or version must give these too."""
    keys = [0, 7, -13, "", "alice", "ünï", b"alice", ("room", 5), ("a", ("b", b"c"))]
    places = [partition_of(key, 10) for key in keys]  # type: ignore[arg-type]
    assert places == [0, 7, 3, 0, 5, 6, 5, 9, 1]


def test_keys_are_spread_evenly() -> None:
    places = [partition_of(f"user-{number}", 8) for number in range(8000)]
    assert all(800 < places.count(place) < 1200 for place in range(8))


@pytest.mark.parametrize("key", [None, 1.5, object(), ("a", None), frozenset({1})])
def test_what_has_no_stable_place_is_refused(key: Any) -> None:
    async def test(w: World) -> None:
        with pytest.raises(TypeError, match="use an int, a str, bytes or a tuple"):
            Partition(w.node, "name", key)

    run(test)


def test_messages_go_to_the_partition_of_their_key() -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(PartitionSupervisor, COLLECTOR, 3, name="parts")
        infos = await which_children(w.node, sup)
        assert [info.id for info in infos] == [0, 1, 2]
        for key in range(9):
            w.node.cast(Partition(w.node, "parts", key), key)
        for info in infos:
            assert info.pid is not None
            seen = await w.node.call(info.pid, "seen")
            assert seen == [key for key in range(9) if key % 3 == info.id]

        async def inner(ctx: ProcessContext) -> None:
            partition = Partition(ctx, sup, 4)
            assert partition.pid is infos[1].pid
            assert ctx.whereis(partition) is infos[1].pid
            assert await ctx.call(partition, "seen") == [1, 4, 7]
            ctx.send(partition, "plain")
            ref = ctx.monitor(partition)
            ctx.exit(partition.pid, KILL)  # type: ignore[arg-type]
            assert (await ctx.receive()).ref is ref

        await inside(w, inner)

    run(test)


def test_a_partition_is_whoever_has_it_at_the_time() -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(PartitionSupervisor, COLLECTOR, 2, name="parts")
        partition = Partition(w.node, "parts", 1)
        first = partition.pid
        assert first is not None
        w.node.exit(first, KILL)
        await w.settle()
        assert partition.pid not in (None, first)
        assert await w.node.call(partition, "seen") == []
        w.node.exit(sup, KILL)
        await w.settle()
        assert partition.pid is None
        w.node.cast(partition, "dropped")
        with pytest.raises(NoProcess):
            await w.node.call(partition, "seen")
        with pytest.raises(NoProcess, match="partition of nobody for 'k'"):
            await w.node.call(Partition(w.node, "nobody", "k"), "seen")

    run(test)


def test_a_partition_of_something_else_says_so() -> None:
    async def test(w: World) -> None:
        await w.node.start_server(Supervisor, name="plain")
        with pytest.raises(TypeError, match="plain is no PartitionSupervisor"):
            w.node.cast(Partition(w.node, "plain", 1), "x")

    run(test)


def test_while_the_partitions_start_there_is_nobody_yet() -> None:
    async def test(w: World) -> None:
        found: list[Pid | None] = []

        class Curious(GenServer):
            def init(self) -> None:
                found.append(Partition(self, "parts", 1).pid)

        spec = ChildSpec("c", Curious)
        pid = w.node.spawn(PartitionSupervisor, spec, 2, name="parts")
        assert Partition(w.node, "parts", 1).pid is None
        await w.settle()
        assert found == [None, None]
        assert w.node.is_alive(pid)

    run(test)


def test_each_partition_may_have_arguments_of_its_own() -> None:
    async def test(w: World) -> None:
        await w.node.start_server(
            PartitionSupervisor,
            COLLECTOR,
            2,
            with_arguments=lambda args, number: (*args, number),
            name="parts",
        )
        for number in range(2):
            found = await w.node.call(Partition(w.node, "parts", number), "args")
            assert found == ("x", number)

    run(test)


@pytest.mark.parametrize(("strategy", "same"), [("one_for_one", [0, 2]), ("one_for_all", [])])
def test_the_strategy_is_that_of_a_supervisor(strategy: Any, same: list[int]) -> None:
    async def test(w: World) -> None:
        sup = await w.node.start_server(PartitionSupervisor, COLLECTOR, 3, strategy=strategy)
        before = [info.pid for info in await which_children(w.node, sup)]
        assert before[1] is not None
        w.node.exit(before[1], KILL)
        await w.settle()
        after = [info.pid for info in await which_children(w.node, sup)]
        assert [number for number in range(3) if before[number] is after[number]] == same

    run(test)


def test_children_are_spread_over_dynamic_supervisors() -> None:
    async def test(w: World) -> None:
        dynamic = ChildSpec("sup", DynamicSupervisor, kind="supervisor")
        await w.node.start_server(PartitionSupervisor, dynamic, name="sessions")
        for number in range(2 * DEFAULT_PARTITIONS):
            pid = await start_child(w.node, Partition(w.node, "sessions", number), COLLECTOR)
            assert pid is not None
        infos = await which_children(w.node, "sessions")
        assert len(infos) == DEFAULT_PARTITIONS
        for info in infos:
            assert info.pid is not None
            assert info.kind == "supervisor"
            assert len(await which_children(w.node, info.pid)) == 2

    run(test)


@pytest.mark.parametrize(
    "args", [(COLLECTOR, 0), (ChildSpec("c", Collector, name="only one"), 2)], ids=["none", "named"]
)
def test_what_cannot_be_is_refused(args: Any) -> None:
    async def test(w: World) -> None:
        with pytest.raises(StartError) as caught:
            await w.node.start_server(PartitionSupervisor, *args)
        assert isinstance(caught.value.reason, Crash)
        assert isinstance(caught.value.reason.exception, ValueError)

    run(test)
