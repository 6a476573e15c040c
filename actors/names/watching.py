"""Hearing of the end of a process at once: the one place here that looks inside the runtime.

A `Down` is a message, which is handled in a later turn. Tables must not lag behind like that, so
they are told by a `Watcher`, within the turn in which the process exits: before anybody handles a
`Down` or an `Exit` of it, its entries are gone.
"""

from __future__ import annotations

from collections.abc import Callable

from palaver.actors.names.errors import NotLocal
from palaver.actors.runtime import Node, NoProcess, Pid, Ref
from palaver.actors.runtime.lifecycle import watchers_of
from palaver.actors.runtime.process import Process

__all__ = [
    "Watch",
    "Watching",
    "discard",
    "exit_signal",
    "is_local",
    "local_process",
    "pid_of",
    "tell",
]


class Watching(Ref):
    """The base of who watches processes; one watches any number of them."""

    __slots__ = ()

    def down(self, pid: Pid, reason: object) -> None:
        """`pid` has exited. This runs within its end: it may neither raise nor take long."""
        raise AttributeError("down")

    def add(self, pid: Pid) -> bool:
        """Watch a process; twice is the same as once. False if it has exited."""
        process = pid.process_
        if process is None:
            return False
        watchers_of(process)[self] = self
        return True

    def remove(self, pid: Pid) -> None:
        """Watch it no more; harmless if it was not watched."""
        process = pid.process_
        if process is not None and process.watchers is not None:
            process.watchers.pop(self, None)


class Watch(Watching):
    """Calls `gone(pid, reason)` when a watched process has exited."""

    __slots__ = ("gone",)

    def __init__(self, gone: Callable[[Pid, object], None]) -> None:
        self.gone = gone

    def down(self, pid: Pid, reason: object) -> None:
        """`pid` has exited."""
        self.gone(pid, reason)


def is_local(pid: Pid, node: Node) -> bool:
    """Whether `pid` is, or was, a process of this very node."""
    process = pid.process_
    return pid.node_name == node.name if process is None else process.scheduler.node is node


def local_process(pid: Pid, node: Node) -> Process:
    """The process of a pid of this node; raises `NotLocal`, or `NoProcess` if it has exited."""
    process = pid.process_
    if process is None:
        raise NoProcess(pid)
    if process.scheduler.node is not node:
        raise NotLocal(pid, node.name)
    return process


def pid_of(process: Process) -> Pid:
    """The pid of a process."""
    return process.pid


def tell(pid: Pid | None, message: object) -> None:
    """Put a signal into the mailbox of a process, whatever its limit; dropped if it has exited."""
    if pid is not None and pid.process_ is not None:
        pid.process_.tell(message)


def discard(pid: Pid, unwanted: Callable[[object], bool]) -> None:
    """Take every unwanted message out of what waits for a process."""
    process = pid.process_
    found = process is not None

    def first(message: object) -> bool:
        nonlocal found
        found = unwanted(message)
        return found

    while process is not None and found:
        found = False
        process.discard(first)


def exit_signal(pid: Pid, sender: Pid, reason: object) -> None:
    """Send the exit signal that a link to `sender` would send at the end of that."""
    if pid.process_ is not None:
        pid.process_.exit_signal(sender, reason, linked=True)
