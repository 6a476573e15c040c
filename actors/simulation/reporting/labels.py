"""What processes are called in a report: ``host/name``, or ``host/Behaviour.serial``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from palaver.actors.runtime import Node, Pid
from palaver.actors.simulation.between.addresses import Remote, RemoteName
from palaver.actors.simulation.world.place import HERE

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process
    from palaver.actors.simulation.world.world import World

__all__ = ["Labels"]


class Labels:
    """One label for each process of a run, the same from its first moment on.

    Attributes:
        aliases: What the world itself calls them (``host/serial``, ``host/name``), to the label.
    """

    def __init__(self) -> None:
        self.world: World | None = None
        self.aliases: dict[str, str] = {}
        # By pid: it is one object for each process, and outlives it.
        self._labels: dict[Pid, str] = {}
        self._taken: set[str] = set()
        self._hosts: WeakKeyDictionary[Node, str] = WeakKeyDictionary()

    def host(self, node: Node) -> str:
        """The host of a node; the node's name if it is on none."""
        name = self._hosts.get(node)
        if name is None:
            place = HERE.get(None)
            # It may be about to start: then this is its host's boot.
            name = node.name if place is None else place.name
            for host in {} if self.world is None else self.world.hosts.values():
                if node in host.nodes:
                    name = host.name
            self._hosts[node] = name
        return name

    def process(self, process: Process) -> str:
        """The label of a process; of one of another node, as it is called there."""
        if isinstance(process, Remote):
            found = self.behind(process)
            return self.process(found) if found is not None else str(process)
        label = self._labels.get(process.pid)
        if label is None:
            host = self.host(process.scheduler.node)
            serial = process.pid.serial
            name = process.names[0] if process.names else f"{_last(process.label)}.{serial}"
            label = f"{host}/{name}"
            # A process that is started anew under a name is another one.
            if label in self._taken:
                label = f"{label}#{serial}"
            self._taken.add(label)
            self._labels[process.pid] = label
            self.aliases[f"{host}/{serial}"] = label
        if process.names:
            for name in process.names:
                self.aliases[f"{label.partition('/')[0]}/{name}"] = label
        return label

    def behind(self, remote: Remote) -> Process | None:
        """The process that a node means by the address of one elsewhere, if it is there now."""
        where = remote.where
        for host in {} if self.world is None else self.world.hosts.values():
            for node in host.nodes:
                if node.name != where.node_name:
                    continue
                if isinstance(remote, RemoteName):
                    pid = node.whereis(remote.name)
                else:
                    pid = next((pid for pid in node.table if pid.serial == where.key), None)
                return None if pid is None else pid.process_
        return None

    def pid(self, pid: Pid) -> str:
        """The label of a process that may have exited."""
        label = self._labels.get(pid)
        if label is None:
            label = str(pid) if pid.process_ is None else self.process(pid.process_)
        return label


def _last(behaviour: str) -> str:
    return behaviour.rpartition(".")[2] or behaviour
