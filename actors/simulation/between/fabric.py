"""What connects the nodes of a world: every node with every other, for as long as the network lets.

    fabric = Fabric()

    async def boot(host):
        node = await host.node()
        distribution = await fabric.join(node)
        await node.start_server(Bank, name="bank")

    ...
    bank = fabric.remote(on=node_a, at=("b", "bank"))      # an address on node a
    await node_a.call(bank, Deposit(5))

Nodes find each other and stay connected, as with a cluster manager on Erlang; a message to a node
that is not connected does not make a connection, but is dropped, and a call of it fails.
"""

from __future__ import annotations

from typing import Any

from palaver.actors.distribution.distribution import Distribution
from palaver.actors.distribution.vocabulary import Vocabulary
from palaver.actors.runtime import Node, Pid
from palaver.actors.simulation.between.station import Station
from palaver.actors.simulation.between.wires import Outboxes
from palaver.actors.simulation.world import SimulationError

__all__ = ["Fabric"]


class Fabric:
    """A cluster of simulated nodes; one object for all of them.

    Args:
        net_ticktime_s: a node that is silent for so long is given up, after at most a quarter more;
            Erlang's `net_ticktime`, and its default. A node says something every quarter of it.
        setup_s: how long making a connection may take; Erlang's `net_setuptime`.
        retry_s: how long after that, or after a loss, it is tried (again).
        max_waiting: signals that may be under way on a connection; one that falls behind further is
            given up, as its node is no part of the cluster in any useful sense.
        encoded: messages cross as the bytes that they are between real nodes, so only what is in
            the vocabulary crosses; else they are copied, with any class that is data.
        vocabulary: what may cross encoded, beside the runtime's own; implies `encoded`.
    """

    def __init__(
        self,
        *,
        net_ticktime_s: float = 60.0,
        setup_s: float = 7.0,
        retry_s: float = 1.0,
        max_waiting: int = 100_000,
        encoded: bool = False,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        if net_ticktime_s <= 0 or setup_s <= 0 or retry_s <= 0 or max_waiting < 1:
            raise ValueError("the times of a fabric are more than 0, and max_waiting at least 1")
        self.net_ticktime_s = net_ticktime_s
        self.setup_s = setup_s
        self.retry_s = retry_s
        self.max_waiting = max_waiting
        self.vocabulary = vocabulary or (Vocabulary() if encoded else None)
        self.outboxes = Outboxes()
        self._addresses: dict[str, tuple[str, int]] = {}
        self._stations: dict[str, Station] = {}
        self._creations: dict[str, int] = {}
        self._distributions: dict[Node, Distribution] = {}

    def __repr__(self) -> str:
        return f"<fabric of {', '.join(self._stations) or 'no nodes'}>"

    async def join(self, node: Node) -> Distribution:
        """Make a node part of the cluster; to be called on its host, in its boot.

        A node of the same name that joined before is another incarnation of it, and must be gone.
        It leaves by stopping. Raises `SimulationError` if it has joined already.
        """
        if node in self._distributions:
            raise SimulationError(f"node {node.name} has joined already")
        name = node.name
        creation = self._creations[name] = self._creations.get(name, 0) + 1
        self.outboxes.retire_all(name)
        station = Station(self, node, creation)
        self._distributions[node] = station.distribution
        self._addresses[name] = await station.open()
        others = dict(self._stations)
        others.pop(name, None)
        self._stations[name] = station
        for other in others.values():
            station.meet(other.name)
            other.meet(name)
        return station.distribution

    def address(self, name: str) -> tuple[str, int]:
        """Where a node listens."""
        return self._addresses[name]

    def distribution(self, node: Node) -> Distribution:
        """What a node is to the others; raises `SimulationError` if it has not joined."""
        found = self._distributions.get(node)
        if found is None:
            raise SimulationError(f"node {node.name} has not joined: await fabric.join(node) first")
        return found

    def remote(self, *, on: Node, pid: Pid | None = None, at: tuple[str, str] | None = None) -> Any:
        """The address, for use on one node, of a process of another.

        Args:
            on: where it is to be used.
            pid: the process, as it is called on its own node.
            at: or a node's name and the name that some process has registered there.

        Raises:
            SimulationError: neither or both are given, or the node of `pid` is not known.
        """
        here = self.distribution(on)
        if at is not None and pid is None:
            return here.at(*at)
        if pid is None or at is not None:
            raise SimulationError("an address is that of a pid, or of a name at a node")
        process = pid.process_
        if process is not None:
            there = self._distributions.get(process.scheduler.node)
        else:
            station = self._stations.get(pid.node_name)
            there = None if station is None else station.distribution
        if there is None:
            raise SimulationError(
                f"the node of {pid} has not joined: await fabric.join(node) first"
            )
        return here.directory.found(there.directory.where(pid))

    def connected(self, *nodes: Node) -> bool:
        """Whether each of these nodes is connected with each other one; with none: all there are.

        await world.eventually(fabric.connected, "the nodes are connected")
        """
        some = nodes or [station.node for station in self._stations.values()]
        names = {node.name for node in some}
        return all(names - {node.name} <= set(self.distribution(node).nodes()) for node in some)
