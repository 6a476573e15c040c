"""Helpers of the tests in the simulated world: a town of nodes whose messages are bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from links_kit import Echo

from palaver.actors.distribution import Distribution, Vocabulary
from palaver.actors.runtime import Node
from palaver.actors.simulation import Fabric, Host, Outcome, Source, World, run


class Town:
    """Nodes, each with an `Echo` and what `furnish` puts there."""

    def __init__(self, world: World, names: str) -> None:
        self.world = world
        self.fabric = Fabric(net_ticktime_s=4.0, vocabulary=Vocabulary())
        self.hosts: dict[str, Host] = {name: world.host(name, self.boot) for name in names}
        self.nodes: dict[str, Node] = {}

    async def boot(self, host: Host) -> None:
        node = await host.node()
        self.nodes[host.name] = node
        await self.fabric.join(node)
        await node.start_server(Echo, name="echo")
        await self.furnish(host.name)

    async def furnish(self, name: str) -> None:
        """Start what the test needs."""

    def distribution(self, name: str) -> Distribution:
        return self.fabric.distribution(self.nodes[name])

    def echo(self, name: str) -> Any:
        """The echo itself, to be looked into."""
        pid = self.nodes[name].whereis("echo")
        assert pid is not None
        assert pid.process_ is not None
        return pid.process_.context

    async def connected(self) -> None:
        await self.world.eventually(self.fabric.connected, "the nodes are connected")


T = TypeVar("T", bound=Town)


def in_town(
    test: Callable[[T], Awaitable[None]],
    kind: type[T],
    names: str = "ab",
    source: Source | None = None,
) -> Outcome:
    """Run a test in a town that is up."""

    async def scenario(world: World) -> None:
        town = kind(world, names)
        await world.start_all()
        await town.connected()
        await test(town)

    outcome = run(scenario, source)
    if outcome.failure is not None:
        raise outcome.failure
    return outcome
