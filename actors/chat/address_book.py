"""Addresses of processes as text, for what keeps them outside of the node."""

from __future__ import annotations

from typing import Any, Protocol

from palaver.actors.distribution.signals import Where
from palaver.actors.distribution.told import ToldPids
from palaver.actors.runtime import Node, Pid

__all__ = ["AddressBook", "ClusterBook", "LocalBook", "NodeDirectory"]


class AddressBook(Protocol):
    """What a process is called in text, and what a text means here. Texts have no white space."""

    def text(self, pid: Pid) -> str:
        """What a process is called; another process is never called so."""

    def pid(self, text: str) -> Pid | None:
        """The process; None where the text means nothing here (any more)."""


class LocalBook:
    """The book of a node that is alone: a text is good as long as this node runs.

    Args:
        node: whose processes these are.
        run: what tells this run of the node from all others, such as its start in random hex
            digits.
    """

    __slots__ = ("_node", "_pids", "_run")

    def __init__(self, node: Node, run: str) -> None:
        self._node = node
        self._run = run
        self._pids = ToldPids()

    def text(self, pid: Pid) -> str:
        """What a process is called."""
        self._pids.add(pid)
        return f"{self._node.name}/{self._run}/{pid.serial}"

    def pid(self, text: str) -> Pid | None:
        """The process; None for one of another run."""
        name, _, rest = text.rpartition("/")
        if name != f"{self._node.name}/{self._run}" or not _is_number(rest):
            return None
        return self._pids.get(int(rest))


class NodeDirectory(Protocol):
    """What a node of a cluster knows of addresses; the distribution's `Directory` is one."""

    def where(self, thing: Any) -> Where:
        """What an address is called between nodes."""

    def found(self, where: Any) -> Any:
        """What an address means here."""


class ClusterBook:
    """The book of a node in a cluster: a text means the same process on all of them."""

    __slots__ = ("_directory",)

    def __init__(self, directory: NodeDirectory) -> None:
        self._directory = directory

    def text(self, pid: Pid) -> str:
        """What a process is called."""
        where = self._directory.where(pid)
        return f"{where.node_name}/{where.creation}/{where.key}"

    def pid(self, text: str) -> Pid | None:
        """The process, or what stands for it here; None where the text is none of ours."""
        name, _, serial = text.rpartition("/")
        name, _, creation = name.rpartition("/")
        if not name or not _is_number(creation) or not _is_number(serial):
            return None
        found = self._directory.found(Where("pid", name, int(creation), int(serial)))
        return found if isinstance(found, Pid) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
