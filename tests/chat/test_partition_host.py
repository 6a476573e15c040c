"""What a node has of the partitions is changed while it runs, and survives its supervisor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from chat_kit import phone
from two_nodes_kit import PARTITIONS, Cell, Cluster, two_nodes

from palaver.actors.chat import names
from palaver.actors.chat.queries import QUERIES
from palaver.actors.runtime import KILL, StartError
from palaver.storage import StoreClosed
from palaver.supervisors.trees.chat import PARTITIONS as SUPERVISOR

Run = Callable[[Coroutine[Any, Any, None]], None]
ANN = phone(1)
OWNED = (names.partition_name, names.manager_name, names.presence_name)


def behaviour(cell: Cell, name: str) -> str:
    """What runs under a name, "" for nothing."""
    for info in cell.node.processes():
        if info.name == name:
            return info.behaviour.rpartition(".")[2]
    return ""


def all_there(cell: Cell) -> bool:
    """Whether every name has a process."""
    return all(
        cell.node.whereis(name(number)) for number in range(PARTITIONS) for name in OWNED
    ) and bool(cell.node.whereis(names.ACCOUNTS))


def test_names_stand_for_the_real_or_for_stand_ins_and_are_free_in_between(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path) as cluster:
            a, b = cluster.cells["a"], cluster.cells["b"]
            assert (a.chat.partitions.owned, b.chat.partitions.owned) == ((0, 2), (1, 3))
            for number in range(PARTITIONS):
                here, there = (a, b) if number % 2 == 0 else (b, a)
                for name in OWNED:
                    assert behaviour(here, name(number)) not in ("", "Proxy")
                    assert behaviour(there, name(number)) == "Proxy"
                assert not there.node.whereis(names.forwarder_name(number))
            assert behaviour(a, names.ACCOUNTS) == "Accounts"
            assert behaviour(b, names.ACCOUNTS) == "Proxy"
            await a.chat.partitions.stop(0)
            for name in (*(name(0) for name in OWNED), names.ACCOUNTS, names.forwarder_name(0)):
                assert behaviour(a, name) == ""
            await a.chat.partitions.start_owner(0)
            assert behaviour(a, names.ACCOUNTS) == "Accounts"

    run(main())


@pytest.mark.parametrize("name", [SUPERVISOR, "root's child"])
def test_a_supervisor_that_begins_anew_starts_what_is_wanted_now(
    run: Run, tmp_path: Path, name: str
) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            a, b = cluster.cells["a"], cluster.cells["b"]
            await cluster.give(1, "b")
            supervisor = a.node.whereis(SUPERVISOR)
            assert supervisor is not None
            if name == SUPERVISOR:
                a.node.exit(supervisor, KILL)
            else:  # in the middle of a change
                changing = cluster.give(2, "b")
                a.node.exit(supervisor, KILL)
                await changing
            await cluster.until(
                lambda: a.node.whereis(SUPERVISOR) not in (None, supervisor) and all_there(a)
            )
            assert behaviour(a, names.partition_name(0)) == "PartitionServer"
            assert behaviour(a, names.partition_name(1)) == "Proxy"
            assert behaviour(b, names.partition_name(1)) == "PartitionServer"
            ann = await cluster.online("b", ANN)
            await ann.hang_up()

    run(main())


def test_giving_a_partition_away_writes_who_was_seen(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            await cluster.online("b", ANN)
            number = cluster.places.number_of(ANN)
            a = cluster.cells["a"]
            await cluster.until(lambda: a.stats.online_by_partition[number] == 1)
            await a.chat.partitions.start_proxy(number, "b")
            row = cluster.store.view(number, lambda txn: QUERIES["presence"](txn, ANN))
            assert row.last_seen_ms is not None
            assert number not in a.stats.online_by_partition

    run(main())


def test_the_same_again_changes_nothing(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path) as cluster:
            a = cluster.cells["a"]
            before = {info.pid for info in a.node.processes()}
            await a.chat.partitions.start_owner(0)
            await a.chat.partitions.start_proxy(1, "b")
            assert {info.pid for info in a.node.processes()} == before

    run(main())


class _Broken:
    """A store that cannot be looked into."""

    def __init__(self, cluster: Cluster) -> None:
        self.partitions = cluster.store.partitions

    def view(self, partition: int, fn: Callable[[Any], Any]) -> Any:
        raise StoreClosed


def test_a_partition_that_cannot_be_read_is_not_owned(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            host = cluster.cells["b"].chat.partitions
            host._store = _Broken(cluster)  # type: ignore[assignment]
            with pytest.raises(StoreClosed):
                await host.start_owner(0)
            assert host.owned == ()
            assert behaviour(cluster.cells["b"], names.partition_name(0)) == "Proxy"

    run(main())


def test_what_cannot_start_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with two_nodes(tmp_path, ["a"] * PARTITIONS) as cluster:
            b = cluster.cells["b"]
            await b.chat.partitions.stop(0)

            async def squat(ctx: Any) -> None:
                await ctx.receive()

            squatter = b.node.spawn(squat, name=names.forwarder_name(0))
            with pytest.raises(StartError):
                await b.chat.partitions.start_owner(0)
            assert b.chat.partitions.owned == ()
            assert behaviour(b, names.partition_name(0)) == ""
            b.node.exit(squatter, KILL)
            await b.node.wait(squatter)
            await b.chat.partitions.start_proxy(0, "a")
            assert behaviour(b, names.partition_name(0)) == "Proxy"

    run(main())
