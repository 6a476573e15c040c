"""Helpers of the tests of several nodes: a cluster of hosts, an echo."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from palaver.actors.runtime import NOREPLY, GenServer, Node, Stop
from palaver.actors.simulation import (
    Distribution,
    Fabric,
    Host,
    Outcome,
    Source,
    World,
    run,
)


class Cluster:
    """Hosts with a node each, on one fabric; every node has an `Echo` named "echo"."""

    def __init__(self, world: World, names: str = "ab", **options: Any) -> None:
        self.world = world
        self.fabric = Fabric(**{"net_ticktime_s": 8.0, **options})
        self.hosts: dict[str, Host] = {name: world.host(name, self.boot) for name in names}
        self.nodes: dict[str, Node] = {}

    async def boot(self, host: Host) -> None:
        node = await host.node()
        self.nodes[host.name] = node
        await self.fabric.join(node)
        await node.start_server(Echo, name="echo")

    async def start(self) -> None:
        await self.world.start_all()
        await self.connected()

    async def connected(self) -> None:
        await self.world.eventually(self.fabric.connected, "the nodes are connected")

    def distribution(self, name: str) -> Distribution:
        return self.fabric.distribution(self.nodes[name])

    def echo(self, on: str, of: str) -> Any:
        """The pid of an echo, as another node calls it."""
        pid = self.nodes[of].whereis("echo")
        assert pid is not None
        return self.fabric.remote(on=self.nodes[on], pid=pid)


class Echo(GenServer):
    """Answers; a cast ends it."""

    def init(self) -> None:
        self.calls: list[Any] = []
        self.got: list[Any] = []

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "crash":
            raise ValueError("crash")
        if request == "keep":
            self.calls.append(from_)
            return NOREPLY
        if request == "hand over":
            return from_.pid
        return ("echo", request, self.pid)

    def handle_cast(self, message: Any) -> Any:
        if isinstance(message, tuple) and message[0] == "stop":
            return Stop(message[1])
        if isinstance(message, tuple) and message[0] == "do":
            message[1](self)
            return None
        self.got.append(("cast", message))
        return None

    def handle_info(self, message: Any) -> Any:
        self.got.append(message)
        if isinstance(message, tuple) and message[0] == "answer to":
            self.send(message[1], ("answer", *message[2:]))


def server(cluster: Cluster, name: str) -> Echo:
    """The echo itself, to be looked into."""
    pid = cluster.nodes[name].whereis("echo")
    assert pid is not None
    assert pid.process_ is not None
    context = pid.process_.context
    assert isinstance(context, Echo)
    return context


def in_cluster(
    test: Callable[[Cluster], Awaitable[None]],
    names: str = "ab",
    source: Source | None = None,
    **options: Any,
) -> Outcome:
    """Run a test in a cluster that is up."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world, names, **options)
        await cluster.start()
        await test(cluster)

    outcome = run(scenario, source)
    if outcome.failure is not None:
        raise outcome.failure
    return outcome
