"""Functions of other nodes, called by name."""

from __future__ import annotations

from typing import Any

import pytest
from distribution_world import Town, in_town

from palaver.actors.distribution import (
    CannotCross,
    Rpc,
    RpcBusy,
    RpcExited,
    RpcRaised,
    RpcServer,
    RpcUnknown,
)
from palaver.actors.runtime import (
    KILL,
    KILLED,
    CallTimeout,
    GenServer,
    NodeDown,
    NoProcess,
    ProcessContext,
)


def add(ctx: ProcessContext, *numbers: int) -> int:
    return sum(numbers)


async def slow(ctx: ProcessContext, delay_s: float) -> str:
    await ctx.sleep(delay_s)
    ctx.send("echo", "slow is done")
    return ctx.node.name


def fails(ctx: ProcessContext) -> None:
    raise ValueError("no")


def dies(ctx: ProcessContext) -> Any:
    ctx.exit(ctx.pid, KILL)
    return ctx.sleep(60.0)


def gives_no_data(ctx: ProcessContext) -> object:
    return object()


FUNCTIONS = {
    "add": add,
    "slow": slow,
    "fails": fails,
    "dies": dies,
    "gives_no_data": gives_no_data,
}


class Started(GenServer):
    def init(self, number: int) -> None:
        self.number = number

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.number


class RpcTown(Town):
    async def furnish(self, name: str) -> None:
        distribution = self.distribution(name)
        await self.nodes[name].start_server(
            RpcServer, distribution, FUNCTIONS, {"started": Started}, 3, name="rpc"
        )

    def rpc(self, name: str = "a") -> Rpc:
        return Rpc(self.distribution(name))


def test_a_function_of_another_node_is_called() -> None:
    async def test(town: RpcTown) -> None:
        a, rpc = town.nodes["a"], town.rpc()
        assert await rpc.call(a, "b", "add", 1, 2, 3) == 6
        assert await rpc.call(a, "a", "add", 1) == 1
        assert await rpc.call(a, "b", "slow", 1.0) == "b"
        with pytest.raises(RpcUnknown, match=r"os\.system at b is not registered"):
            await rpc.call(a, "b", "os.system", "rm")
        with pytest.raises(RpcRaised) as raised:
            await rpc.call(a, "b", "fails")
        assert type(raised.value.__cause__) is ValueError
        assert (raised.value.node_name, raised.value.function) == ("b", "fails")
        with pytest.raises(RpcExited) as exited:
            await rpc.call(a, "b", "dies")
        assert exited.value.reason is KILLED
        with pytest.raises(RpcRaised) as raised:
            await rpc.call(a, "b", "gives_no_data")
        assert type(raised.value.__cause__) is CannotCross
        with pytest.raises(NodeDown):
            await rpc.call(a, "c", "add")
        with pytest.raises(TypeError, match="does not understand"):
            await a.call(town.distribution("a").at("b", "rpc"), "nonsense")

    in_town(test, RpcTown)


def test_a_function_goes_on_when_nobody_waits() -> None:
    async def test(town: RpcTown) -> None:
        a, rpc = town.nodes["a"], town.rpc()
        with pytest.raises(CallTimeout):
            await rpc.call(a, "b", "slow", 2.0, timeout_s=1.0)
        rpc.cast(a, "b", "slow", 2.0)
        rpc.cast(a, "b", "unheard of")
        rpc.cast(a, "b", "fails")
        await town.world.sleep(5.0)
        assert town.echo("b").got == ["slow is done"] * 2

    in_town(test, RpcTown)


def test_no_more_run_than_may() -> None:
    async def test(town: RpcTown) -> None:
        a, rpc = town.nodes["a"], town.rpc()
        for _ in range(3):
            rpc.cast(a, "b", "slow", 10.0)
        with pytest.raises(RpcBusy):
            await rpc.call(a, "b", "add")
        await town.world.sleep(11.0)
        assert await rpc.call(a, "b", "add") == 0

    in_town(test, RpcTown)


def test_many_nodes_are_called_at_once() -> None:
    async def test(town: RpcTown) -> None:
        a, rpc = town.nodes["a"], town.rpc()
        begin_s = a.clock.monotonic()
        assert await rpc.multicall(a, ["c", "a", "b"], "slow", 1.0) == {
            "c": "c",
            "a": "a",
            "b": "b",
        }
        assert a.clock.monotonic() - begin_s < 1.9
        got = await rpc.multicall(a, ["b", "nowhere"], "fails")
        assert [type(each) for each in got.values()] == [RpcRaised, NodeDown]
        got = await rpc.multicall(a, ["b"], "slow", 9.0, timeout_s=1.0)
        assert type(got["b"]) is CallTimeout
        pid = town.nodes["c"].whereis("rpc")
        assert pid is not None
        town.nodes["c"].exit(pid, KILL)
        await town.world.sleep(0.1)
        got = await rpc.multicall(a, ["b", "c"], "add", 4)
        assert got["b"] == 4
        assert type(got["c"]) is NoProcess

    in_town(test, RpcTown, "abc")


def test_a_call_ends_with_the_connection() -> None:
    async def test(town: RpcTown) -> None:
        a, rpc = town.nodes["a"], town.rpc()
        town.world.network.later(1.0, town.hosts["b"].crash)
        got = await rpc.multicall(a, ["b", "c"], "slow", 20.0, timeout_s=40.0)
        assert type(got["b"]) is NodeDown
        assert got["c"] == "c"

    in_town(test, RpcTown, "abc")


def test_what_is_registered_is_started_there() -> None:
    async def test(town: RpcTown) -> None:
        a, rpc = town.nodes["a"], town.rpc()
        pid = await rpc.spawn(a, "b", "started", 7)
        assert pid.node_name == "b"
        assert await a.call(pid, "number") == 7
        with pytest.raises(RpcUnknown):
            await rpc.spawn(a, "b", "add", 7)

    in_town(test, RpcTown)
