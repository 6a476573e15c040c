"""Whether a node's supervision trees are whole, once nothing befalls them any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from palaver.actors.runtime import Node, Pid
from palaver.actors.runtime.links import linked
from palaver.actors.runtime.process import ALIVE, Process
from palaver.actors.simulation.world.statements import Violation

__all__ = ["assert_tree_whole"]


def assert_tree_whole(
    node: Node, *, stopped: Collection[object] = (), orphans: Collection[str] = ()
) -> None:
    """State that every supervisor of a node has its children, and every child its supervisor.

    To be asked when all is calm: a supervisor in the middle of a restart is not whole. What counts
    as a supervisor is a server with `supervises`, as those of `palaver.supervisors` have it.

    Args:
        node: whose trees.
        stopped: the ids of children that may be stopped: transient ones that have ended as they
            should, or said `Ignore()`, or were terminated.
        orphans: the names of processes that may outlive their parent, because they were started
            without a link.

    Raises:
        Violation: they are not whole; the text says each thing that is amiss.
    """
    faults = [fault for process in node.table.values() for fault in _faults(process, stopped)]
    for process in node.table.values():
        parent = process.parent
        named = set(process.names or ()) & set(orphans)
        if parent is not None and parent.process_ is None and not named:
            faults.append(f"{_called(process)} has outlived its parent {parent}")
    if faults:
        raise Violation(f"the trees of {node.name} are whole", "\n  ".join(["", *faults]))


def _faults(process: Process, stopped: Collection[object]) -> Iterator[str]:
    supervisor: Any = process.context
    if not getattr(supervisor, "supervises", False):
        return
    name = _called(process)
    if process.exiting is not ALIVE:
        yield f"{name} is about to exit"
        return
    status = supervisor.format_status()
    children = status["children"]
    if isinstance(children, dict):
        for child, state in children.items():
            if isinstance(state, Pid):
                if not process.scheduler.node.is_alive(state):
                    yield f"child {child!r} of {name} is dead, and {name} has not seen to it"
            elif state != "stopped" or child not in stopped:
                yield f"child {child!r} of {name} is {state}"
    elif status["restarting"]:
        yield f"{name} has {status['restarting']} children that are being restarted"
    for pid, other in process.scheduler.node.table.items():
        if other.parent is not process.pid:
            continue
        if process not in linked(other):
            yield f"{_called(other)} is a child of {name}, and not linked to it"
        elif supervisor.child_id(pid) is None:
            yield f"{_called(other)} is a child of {name} that it has forgotten"


def _called(process: Process) -> str:
    names = process.names
    return f"{names[0]} {process.pid}" if names else f"{process.label} {process.pid}"
