"""Names in the whole cluster, under splits and crashes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from distribution_world import Town, in_town
from links_kit import Echo

from palaver.actors.distribution import GlobalNameConflict, GlobalNames, GlobalServer
from palaver.actors.runtime import (
    KILL,
    NORMAL,
    CallFailed,
    CallTimeout,
    GenServer,
    NodeDown,
    NoProcess,
    Pid,
)
from palaver.actors.simulation import Faults, Seeded, World, run


class GlobalTown(Town):
    """Every node has global names."""

    def __init__(self, world: World, names: str) -> None:
        super().__init__(world, names)
        self.names: dict[str, GlobalNames] = {}

    async def furnish(self, name: str) -> None:
        names = self.names[name] = GlobalNames(self.distribution(name))
        await self.nodes[name].start_server(GlobalServer, names, name="global")

    async def process(self, name: str) -> Pid:
        return await self.nodes[name].start_server(Echo)

    async def register(self, on: str, name: str, pid: Pid, **options: Any) -> bool:
        return await self.names[on].register_name(self.nodes[on], name, pid, **options)

    def holders(self, name: str) -> set[Any]:
        """Who has a name, as each node sees it: all the same, if they agree."""
        found = set()
        for each, names in self.names.items():
            pid = names.whereis_name(name)
            where = None if pid is None else self.distribution(each).directory.where(pid)
            found.add(where)
        return found

    def cut(self, one: str, other: str) -> Any:
        """Part two groups of nodes; what is given back heals it."""
        heals = [self.world.network.cut(first, second) for first in one for second in other]
        return lambda: [heal() for heal in heals]

    async def parted(self, one: str, other: str) -> None:
        def apart() -> bool:
            return not any(
                self.fabric.connected(self.nodes[first], self.nodes[second])
                for first in one
                for second in other
            )

        await self.world.eventually(apart, "the parts have lost each other", within_s=60.0)


def test_a_name_is_known_on_every_node_when_it_is_registered() -> None:
    async def test(town: GlobalTown) -> None:
        pid = await town.process("a")
        assert await town.register("a", "bank", pid)
        assert len(town.holders("bank")) == 1
        for each in "abc":
            names, node = town.names[each], town.nodes[each]
            found = names.whereis_name("bank")
            assert found is not None
            assert found.node_name == "a"
            assert names.registered_names() == ["bank"]
            address = names.name("bank")
            assert await node.call(address, each) == each
            assert address == names.name("bank")
            assert len({address, names.name("bank"), names.name("x")}) == 2
            assert "bank" in repr(address)
            with pytest.raises(NoProcess):
                await node.call(names.name("nobody"), 1)

    in_town(test, GlobalTown, "abc")


def test_a_name_is_taken_once() -> None:
    async def test(town: GlobalTown) -> None:
        pid, other = await town.process("a"), await town.process("b")
        assert await town.register("a", "bank", pid)
        assert not await town.register("b", "bank", other)
        assert not await town.register("a", "bank", pid)
        assert await town.register("b", "till", other)
        # Of a process of another node; in the place of another.
        there = town.fabric.remote(on=town.nodes["c"], pid=other)
        names = town.names["c"]
        await names.re_register_name(town.nodes["c"], "bank", there)
        assert town.holders("bank") == {town.distribution("b").directory.where(other)}
        await names.unregister_name(town.nodes["c"], "bank")
        assert town.holders("bank") == {None}
        await names.unregister_name(town.nodes["c"], "bank")
        with pytest.raises(ValueError, match="resolve"):
            await town.register("a", "bank", pid, resolve="fight")

    in_town(test, GlobalTown, "abc")


class Registering(GenServer):
    """Registers itself as it starts."""

    async def init(self, names: GlobalNames, name: str) -> None:
        self.has = await names.register_name(self, name, self.pid)

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.has


@pytest.mark.parametrize("seed", range(5))
def test_of_many_at_once_one_has_the_name(seed: int) -> None:
    async def test(town: GlobalTown) -> None:
        pids = [
            (town.nodes[each], town.nodes[each].spawn(Registering, town.names[each], "bank"))
            for each in "abcabc"
        ]
        assert [await node.call(pid, 1) for node, pid in pids].count(True) == 1
        assert len(town.holders("bank")) == 1
        for each in "abc":
            await town.names[each].unregister_name(town.nodes[each], "bank")
            for server in town.nodes[each].table.values():
                assert not getattr(server.context, "locks", {})

    in_town(test, GlobalTown, "abc", Seeded(seed))


def test_names_go_with_their_process_and_with_its_node() -> None:
    async def test(town: GlobalTown) -> None:
        pid, other = await town.process("a"), await town.process("b")
        assert await town.register("a", "bank", pid)
        assert await town.register("b", "till", other)
        town.nodes["a"].exit(pid, KILL)
        await town.world.eventually(lambda: town.holders("bank") == {None}, "the name is free")
        town.hosts["b"].crash()
        del town.names["b"]
        await town.world.eventually(
            lambda: town.holders("till") == {None}, "the name is free", within_s=20.0
        )
        assert await town.register("c", "till", await town.process("c"))

    in_town(test, GlobalTown, "abc")


@pytest.mark.parametrize("resolve", ["exit", "notify", "notify_all"])
def test_when_parts_come_together_one_keeps_the_name(resolve: str) -> None:
    async def test(town: GlobalTown) -> None:
        heal = town.cut("ab", "c")
        await town.parted("ab", "c")
        pid, other = await town.process("a"), await town.process("c")
        assert await town.register("a", "bank", pid, resolve=resolve)
        assert await town.register("c", "bank", other, resolve=resolve)
        assert len(town.holders("bank")) == 2
        heal()
        await town.connected()
        await town.world.eventually(lambda: len(town.holders("bank")) == 1, "they agree")
        await town.world.sleep(1.0)
        (where,) = town.holders("bank")
        alive = [each.process_ is not None for each in (pid, other)]
        got = [each.process_.context.got for each in (pid, other) if each.process_ is not None]
        if resolve == "exit":
            assert sorted(alive) == [False, True]
            assert where is not None
            assert got == [[]]
            return
        assert alive == [True, True]
        conflicts = [message for each in got for message in each]
        assert all(isinstance(message, GlobalNameConflict) for message in conflicts)
        assert len(conflicts) == (1 if resolve == "notify" else 2)
        assert (where is None) == (resolve == "notify_all")

    in_town(test, GlobalTown, "abc")


def test_registering_ends_with_its_caller_and_its_node() -> None:
    async def test(town: GlobalTown) -> None:
        # c hangs: nobody can be asked in time.
        pid = await town.process("a")
        town.hosts["c"].pause(2.0)
        with pytest.raises(CallTimeout):
            await town.register("a", "bank", pid, timeout_s=0.5)
        await town.world.sleep(5.0)
        assert town.names["a"].whereis_name("bank") is None
        assert await town.register("a", "bank", pid)
        there = town.fabric.remote(on=town.nodes["a"], pid=await town.process("b"))
        town.hosts["b"].crash()
        with pytest.raises(NodeDown):
            await town.register("a", "till", there)
        await town.hosts["b"].start()
        await town.connected()
        with pytest.raises(CallFailed):  # its node has had another incarnation since
            await town.register("a", "till", there)

    in_town(test, GlobalTown, "abc")


# -- at random -------------------------------------------------------------------------------------


FAULTS = Faults(
    crash=0.01, power=0.0, kill=0.0, partition=0.02, oneway=0.01, clog=0.02, reset=0.02,
    pause=0.01, jump=0.0,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_after_all_faults_all_nodes_agree(seed: int) -> None:
    async def scenario(world: World) -> None:
        town = GlobalTown(world, "abc")
        world.nemesis(FAULTS)
        await world.start_all()
        chance: random.Random = world.tape.random("steps")
        for _ in range(150):
            host = chance.choice([*town.hosts.values()])
            if host.alive and host.nodes and host.name in town.names:
                node, names = host.nodes[0], town.names[host.name]
                if node.running and node.whereis("global") is not None:
                    node.spawn(Registering, names, chance.choice(["x", "y", "z"]))
                    if chance.random() < 0.3:
                        victim = chance.choice([*node.table.values()])
                        if isinstance(victim.context, Registering):
                            node.exit(victim.pid, NORMAL if chance.random() < 0.5 else KILL)
            await world.sleep(chance.choice([0.01, 0.1, 0.5]))
        await world.calm()
        await world.eventually(
            lambda: (
                all(host.nodes for host in town.hosts.values())
                and town.fabric.connected(*(host.nodes[0] for host in town.hosts.values()))
            ),
            "all nodes are connected",
            within_s=90.0,
        )
        await world.sleep(70.0)
        for name in "xyz":
            assert len(town.holders(name)) == 1, f"the nodes disagree on {name}"
            members = [town.names[each].scope.get_members(name) for each in "abc"]
            assert all(len(each) < 2 for each in members), f"{name} belongs to several"
            free = town.holders(name) == {None}
            assert await town.register("a", name, await town.process("a")) is free

    outcome = run(scenario, Seeded(seed))
    if outcome.failure is not None:
        raise outcome.failure
