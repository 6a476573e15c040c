"""The processes of each node, as a tree of who has spawned whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from palaver.actors.runtime import GenServer, Node
from palaver.actors.runtime.introspection import status_of, waiting
from palaver.actors.runtime.observer import shorten
from palaver.actors.runtime.process import Process

if TYPE_CHECKING:
    from palaver.actors.simulation.reporting.labels import Labels
    from palaver.actors.simulation.world.world import World

__all__ = ["TreeLine", "trees"]

MAX_PROCESSES: Final = 400
"""Of one node."""
MAX_STATE: Final = 300


@dataclass(frozen=True, slots=True)
class TreeLine:
    """A process in the tree, below the last one that is less deep."""

    depth: int
    label: str
    behaviour: str
    status: str
    waiting: int
    """How many messages wait for it."""
    supervisor: bool
    state: str | None
    """What `format_status` shows; None if it is not defined."""

    def __str__(self) -> str:
        """It, indented."""
        mark = "+" if self.supervisor else "-"
        mail = f", {self.waiting} waiting" if self.waiting else ""
        return f"{'  ' * self.depth}{mark} {self.label} ({self.behaviour}): {self.status}{mail}"


def trees(world: World, labels: Labels, *, secrets: bool = False) -> dict[str, list[TreeLine]]:
    """The processes of each host's nodes now; a host that is down has none."""
    found: dict[str, list[TreeLine]] = {}
    for host in world.hosts.values():
        if not host.alive:
            found[f"{host.name} (down)"] = []
            continue
        for node in host.nodes:
            title = host.name if node.name == host.name else f"{host.name} ({node.name})"
            found[title] = _tree(node, labels, secrets)
    return found


def _tree(node: Node, labels: Labels, secrets: bool) -> list[TreeLine]:
    children: dict[Process | None, list[Process]] = {}
    for process in node.table.values():
        parent = None if process.parent is None else process.parent.process_
        children.setdefault(parent, []).append(process)
    lines: list[TreeLine] = []
    rest = [(process, 0) for process in reversed(children.get(None, []))]
    while rest and len(lines) < MAX_PROCESSES:
        process, depth = rest.pop()
        server = process.context
        lines.append(
            TreeLine(
                depth=depth,
                label=labels.process(process),
                behaviour=process.label,
                status=status_of(process),
                waiting=waiting(process),
                supervisor=bool(getattr(server, "supervises", False)),
                state=_state(server, secrets),
            )
        )
        rest += [(child, depth + 1) for child in reversed(children.get(process, []))]
    return lines


def _state(server: object, secrets: bool) -> str | None:
    if not isinstance(server, GenServer):
        return None
    try:
        shown = server.format_status()
        if shown is None and secrets:
            shown = server.system_get_state()
    except Exception as error:  # noqa: BLE001 - a report must not fail on what it reports
        return f"format_status raised {shorten(error, MAX_STATE)}"
    return None if shown is None else shorten(shown, MAX_STATE)
