"""A live view of a node: its figures, its processes sorted and in pages, its supervision tree.

Made for nodes with a hundred thousand processes: all that is asked within `interval_s` is answered
from one look at them, which gives the event loop its turn after every thousand; what is built for
an answer is bounded by the answer. A node that nobody looks at pays nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from palaver.actors.observing.details import process_info, state_view
from palaver.actors.observing.memory import resident_bytes, shallow_bytes
from palaver.actors.observing.records import (
    NodeFigures,
    ProcessDetails,
    ProcessPage,
    ProcessRow,
    SortKey,
    StateView,
    TreeNode,
)
from palaver.actors.runtime import Node, Pid, TimerRef
from palaver.actors.runtime.introspection import status_of, waiting
from palaver.actors.runtime.links import linked
from palaver.actors.runtime.process import Process

__all__ = ["MAX_PAGE", "MAX_TREE", "Observatory"]

MAX_PAGE: Final = 1000
"""Rows in a page at most."""

MAX_TREE: Final = 2000
"""Processes in a tree at most."""

MAX_DEPTH: Final = 32
PER_SLICE: Final = 1000
FORGET_S: Final = 30.0


class _Below:
    """What is below a process in the tree; the children by their places in the look."""

    __slots__ = ("children", "count", "mailbox", "rate")

    def __init__(self) -> None:
        self.children: list[int] = []
        self.count = 0
        self.mailbox = 0
        self.rate = 0.0


class _Look:
    """One look at all processes of a node, the oldest first.

    Lists of plain numbers, one for each figure: an object for each process would have the garbage
    collector go through everything again and again.
    """

    __slots__ = (
        "at_s", "below", "figures", "mailbox", "memory", "processes", "rate", "reductions",
        "serials",
    )  # fmt: skip

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.processes: list[Process] = []
        self.mailbox: list[int] = []
        self.reductions: list[int] = []
        self.rate: list[float] = []
        self.memory: list[int] = []  # empty until it is measured
        self.serials: dict[int, int] = {}  # the place of each
        self.below: dict[int, _Below] | None = None
        self.figures: NodeFigures | None = None

    def row(self, at: int) -> ProcessRow:
        """The row of the process at a place."""
        process = self.processes[at]
        return ProcessRow(
            pid=process.pid,
            name=process.names[0] if process.names else None,
            behaviour=process.label,
            supervisor=_supervises(process),
            status=status_of(process),
            mailbox=self.mailbox[at],
            reductions=self.reductions[at],
            reductions_per_s=self.rate[at],
            memory_bytes=self.memory[at] if self.memory else shallow_bytes(process),
            links=len(linked(process)),
            monitors=len(process.monitors or ()),
            child_id=_child_id(process),
        )


class Observatory:
    """Looks at one node on behalf of any number of people; asked from asyncio code.

    Args:
        node: The node.
        interval_s: What is asked within this time is answered from the same look.
        memory: Tells the resident memory of the operating system's process in bytes.
    """

    def __init__(
        self,
        node: Node,
        *,
        interval_s: float = 0.5,
        memory: Callable[[], int | None] = resident_bytes,
    ) -> None:
        self.node = node
        self._interval_s = interval_s
        self._memory = memory
        self._look: _Look | None = None
        self._looking = asyncio.Lock()
        self._forgetting: TimerRef | None = None

    # -- what can be asked --------------------------------------------------------------------

    async def figures(self) -> NodeFigures:
        """The node as a whole."""
        figures = (await self._now()).figures
        assert figures is not None
        return figures

    async def processes(
        self, sort: SortKey = "mailbox", *, limit: int = 50, offset: int = 0, search: str = ""
    ) -> ProcessPage:
        """A page of the processes, the greatest first (by `pid`: the oldest first).

        `search` is looked for in names, behaviours and pids, whatever the case. At most 1000 rows;
        `offset` at most 100,000. Raises `ValueError` for an unknown `sort`.
        """
        if sort not in ("mailbox", "reductions", "rate", "memory", "pid"):
            raise ValueError(f"processes are not sorted by {sort!r}")
        limit = max(1, min(limit, MAX_PAGE))
        offset = max(0, min(offset, 100_000))
        look = await self._now(measure=sort == "memory")
        found: Sequence[int] = range(len(look.processes))
        if search:
            found = await self._matching(look, search.lower())
        if sort == "pid":
            page = found[offset : offset + limit]
        else:
            # `nlargest` keeps equal ones in their order, that of the pids.
            figure: list[Any] = getattr(look, sort)
            page = heapq.nlargest(offset + limit, found, key=figure.__getitem__)[offset:]
        return ProcessPage(len(found), offset, tuple(map(look.row, page)))

    async def tree(
        self, root: Pid | None = None, *, depth: int = MAX_DEPTH, per_parent: int = 50
    ) -> tuple[TreeNode, ...]:
        """Who has spawned whom, from the program's own processes down, or from `root`.

        Processes whose parent has exited stand at the top. Of each one's children, the first
        `per_parent` are shown, supervisors before others; 2000 processes in all.
        """
        look = await self._now()
        below = await self._below(look)
        if root is None:
            tops = below[0].children if 0 in below else []
        else:
            tops = [look.serials[root.serial]] if root.serial in look.serials else []
        depth, per_parent = max(1, min(depth, MAX_DEPTH)), max(1, min(per_parent, MAX_PAGE))
        growing = _Growing(look, below, per_parent)
        return tuple(growing.node(at, depth - 1) for at in growing.chosen(tops))

    async def details(self, pid: Pid | str) -> ProcessDetails | None:
        """One process in full; None if there is no such process (any more)."""
        found = self.find(pid)
        if found is None:
            return None
        children = None
        if self._look is not None and self._look.below is not None:
            under = self._look.below.get(found.serial)
            children = 0 if under is None else len(under.children)
        return process_info(found, children=children)

    async def state(self, pid: Pid | str, *, raw: bool = True, timeout_s: float = 1.0) -> StateView:
        """The state of one server, read between two of its messages.

        Without `raw`, only what a `format_status` of its class shows.
        """
        found = self.find(pid)
        if found is None:
            return StateView("gone")
        return await state_view(self.node, found, raw=raw, timeout_s=timeout_s)

    def find(self, pid: Pid | str) -> Pid | None:
        """The living process of a pid, its text, its number or a registered name."""
        if isinstance(pid, Pid):
            return pid if pid.process_ is not None else None
        if pid in self.node.names:
            return self.node.names[pid]
        number = pid.strip("<>").rpartition(".")[2]
        if not (number.isascii() and number.isdigit() and len(number) < 20):
            return None
        return next((p for p in list(self.node.table) if p.serial == int(number)), None)

    # -- looking ------------------------------------------------------------------------------

    async def _now(self, *, measure: bool = False) -> _Look:
        async with self._looking:
            look = self._look
            now_s = self.node.clock.monotonic()
            if look is None or now_s - look.at_s >= self._interval_s:
                recent = look is not None and now_s - look.at_s < FORGET_S
                self._look = look = await self._scan(look if recent else None)
                if self._forgetting is None:
                    self._forgetting = self.node.timers.add(FORGET_S, self._forget)
            if measure and not look.memory:
                await self._measure(look)
            return look

    def _forget(self) -> None:
        """Let go of the last look if nobody has looked for long: it holds every process."""
        self._forgetting = None
        if self._look is None:
            return
        left_s = self._look.at_s + FORGET_S - self.node.clock.monotonic()
        if left_s > 0:
            self._forgetting = self.node.timers.add(left_s, self._forget)
        else:
            self._look = None

    async def _scan(self, before: _Look | None) -> _Look:
        node = self.node
        look = _Look(node.clock.monotonic())
        interval_s = 0.0 if before is None else look.at_s - before.at_s
        messages = 0
        for number, process in enumerate(list(node.table.values()), 1):
            if number % PER_SLICE == 0:
                await asyncio.sleep(0)
            if process.pid.process_ is None:  # has exited meanwhile
                continue
            serial, reductions = process.pid.serial, process.reductions
            rate = 0.0
            if before is not None and interval_s > 0:
                place = before.serials.get(serial)
                earlier = 0 if place is None else before.reductions[place]
                rate = (reductions - earlier) / interval_s
            look.serials[serial] = len(look.processes)
            look.processes.append(process)
            look.mailbox.append(waiting(process))
            look.reductions.append(reductions)
            look.rate.append(rate)
            messages += reductions
        last = before.figures if before is not None and interval_s > 0 else None
        # Not `Node.stats`, which would look at all of them again.
        spawned = node.spawned_total
        messages += node.messages_total
        if last is not None:  # one that exited during the look may have been counted twice
            messages = max(messages, last.messages_total)
        look.figures = NodeFigures(
            name=node.name,
            time_ms=node.clock.time_ms(),
            interval_s=interval_s,
            processes=len(node.table),
            run_queue=len(node.scheduler.queue),
            mailbox_total=sum(look.mailbox),
            mailbox_max=max(look.mailbox, default=0),
            messages_total=messages,
            messages_per_s=(messages - last.messages_total) / interval_s if last else 0.0,
            spawned_total=spawned,
            spawned_per_s=(spawned - last.spawned_total) / interval_s if last else 0.0,
            exited_total=spawned - len(node.table),
            restarts_total=node.restarts_total,
            timers=len(node.timers),
            memory_bytes=self._memory(),
            cpu_s=time.process_time(),
        )
        return look

    async def _measure(self, look: _Look) -> None:
        sizes = []
        for number, process in enumerate(look.processes, 1):
            if number % PER_SLICE == 0:
                await asyncio.sleep(0)
            sizes.append(shallow_bytes(process))
        look.memory = sizes

    async def _matching(self, look: _Look, wanted: str) -> list[int]:
        found = []
        for at, process in enumerate(look.processes):
            if at % PER_SLICE == 0:
                await asyncio.sleep(0)
            if _matches(process, wanted):
                found.append(at)
        return found

    async def _below(self, look: _Look) -> dict[int, _Below]:
        """What is below each process, by its number; 0 stands for the program itself."""
        if look.below is not None:
            return look.below
        below: dict[int, _Below] = {}
        # Parents are older than their children: from the youngest up, all sums are complete.
        for at in reversed(range(len(look.processes))):
            if at % PER_SLICE == 0:
                await asyncio.sleep(0)
            process = look.processes[at]
            parent = process.parent
            number = parent.serial if parent is not None and parent.serial in look.serials else 0
            over = below.get(number)
            if over is None:
                over = below[number] = _Below()
            own = below.get(process.pid.serial)
            over.children.append(at)
            over.count += 1 + (own.count if own is not None else 0)
            over.mailbox += look.mailbox[at] + (own.mailbox if own is not None else 0)
            over.rate += look.rate[at] + (own.rate if own is not None else 0.0)
        for each in below.values():
            each.children.reverse()
        look.below = below
        return below


class _Growing:
    """Makes the nodes of a tree, as many as a tree may have."""

    __slots__ = ("_below", "_left", "_look", "_per_parent")

    def __init__(self, look: _Look, below: dict[int, _Below], per_parent: int) -> None:
        self._look = look
        self._below = below
        self._per_parent = per_parent
        self._left = MAX_TREE

    def chosen(self, children: list[int]) -> list[int]:
        """Those to show where there are too many: supervisors first, then the oldest."""
        limit = min(self._per_parent, self._left)
        if len(children) > limit:
            processes = self._look.processes
            first = heapq.nlargest(limit, children, key=lambda at: _supervises(processes[at]))
            children = sorted(first)
        self._left -= len(children)
        return children

    def node(self, at: int, depth: int) -> TreeNode:
        """A process and what is below it, `depth` further down at most."""
        row = self._look.row(at)
        under = self._below.get(row.pid.serial)
        if under is None:
            return TreeNode(row, 0, 0, 0.0, (), 0)
        shown = self.chosen(under.children) if depth > 0 else []
        return TreeNode(
            row,
            under.count,
            under.mailbox,
            under.rate,
            tuple(self.node(child, depth - 1) for child in shown),
            len(under.children) - len(shown),
        )


def _supervises(process: Process) -> bool:
    return getattr(process.context, "supervises", False) is True


def _child_id(process: Process) -> str | None:
    """What its parent calls it: asked of a server with a method `child_id(pid)`."""
    parent = None if process.parent is None else process.parent.process_
    ask: Any = None if parent is None else getattr(parent.context, "child_id", None)
    if not callable(ask):
        return None
    try:
        found = ask(process.pid)
        return None if found is None else str(found)[:100]
    except Exception as error:  # noqa: BLE001 - a view must not fail on what it looks at
        return f"(child_id raised {type(error).__name__})"


def _matches(process: Process, wanted: str) -> bool:
    return (
        wanted in process.label.lower()
        or wanted in str(process.pid).lower()
        or any(wanted in name.lower() for name in process.names or ())
    )
