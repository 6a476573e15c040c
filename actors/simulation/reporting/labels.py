"""What processes are called in a report: ``host/name``, or ``host/Behaviour.serial``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from palaver.actors.distribution.addresses import Remote, RemoteName
from palaver.actors.runtime import Node, Pid
from palaver.actors.simulation.world.place import HERE
from palaver.actors.simulation.world.trace import Line

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process
    from palaver.actors.simulation.world.world import World

__all__ = ["Labels"]

#: Lines of these kinds are the world's own: it calls processes by names or serial numbers.
_OF_WORLD: Final = frozenset({"crash", "restart", "gave up", "fault"})


class Labels:
    """One label for each process of a run, the same from its first moment on.

    A process that is started anew under its name has the label of the one before.
    """

    def __init__(self) -> None:
        self.world: World | None = None
        # By pid: it is one object for each process, and outlives it.
        self._labels: dict[Pid, str] = {}
        self._hosts: WeakKeyDictionary[Node, str] = WeakKeyDictionary()
        # What the world calls them, each with the time from which on it is so.
        self._aliases: dict[str, list[tuple[float, str]]] = {}

    def line(self, line: Line) -> Line:
        """A line of the trace, with labels in place of what the world calls processes."""
        if line.kind not in _OF_WORLD:
            return line
        label = line.who
        for since_s, alias in self._aliases.get(line.who, ()):
            if since_s <= line.at_s:
                label = alias
        return line._replace(who=label)

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
            if process.names:
                label = f"{host}/{process.names[0]}"
            else:
                label = f"{host}/{_last(process.label)}.{serial}{self._incarnation(host)}"
            self._labels[process.pid] = label
            self._alias(f"{host}/{serial}", label)
        for name in process.names or ():
            self._alias(f"{label.partition('/')[0]}/{name}", label)
        return label

    def _incarnation(self, host: str) -> str:
        """Serial numbers begin anew with each start of a host."""
        found = None if self.world is None else self.world.hosts.get(host)
        return "" if found is None or found.incarnation < 2 else f"@{found.incarnation}"

    def _alias(self, alias: str, label: str) -> None:
        known = self._aliases.setdefault(alias, [])
        if not known or known[-1][1] != label:
            known.append((0.0 if self.world is None else self.world.now_s, label))

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
