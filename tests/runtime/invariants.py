"""What holds of a node between two slices, whatever its processes have done.

`check` walks the whole node; `watch` has it checked after every slice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Any

from palaver.actors.runtime import Node
from palaver.actors.runtime.calls import From, ProcessCall
from palaver.actors.runtime.function import FunctionProcess
from palaver.actors.runtime.lifecycle import Monitor
from palaver.actors.runtime.links import linked
from palaver.actors.runtime.mailbox import STOP, BoundedMailbox
from palaver.actors.runtime.parking import FROZEN, RECEIVING, SUSPENDED, Alarm
from palaver.actors.runtime.process import ALIVE, Process

__all__ = ["check", "held_calls", "watch"]


def watch(node: Node, failures: list[BaseException]) -> None:
    """Check the node after every slice; what fails, and what a slice raises, is collected."""
    scheduler = node.scheduler
    call_soon = scheduler.call_soon
    assert call_soon is not None

    def soon(run: Callable[[], None]) -> object:
        def slice_and_check() -> None:
            try:
                run()
                check(node)
            except BaseException as error:
                failures.append(error)
                raise

        return call_soon(slice_and_check)

    scheduler.call_soon = soon


def check(node: Node) -> None:
    """Assert all invariants of a node in which no process runs at the moment."""
    scheduler = node.scheduler
    processes = list(node.table.values())
    queued = Counter(scheduler.queue)
    assert all(count == 1 for count in queued.values()), f"queued twice: {queued}"
    assert all(node.table.get(one.pid) is one for one in queued), "a dead process is queued"
    assert not scheduler.queue or scheduler.armed, "no slice is on its way"
    assert scheduler.current is None
    assert scheduler.depth == 0
    assert scheduler.handed_s == 0
    assert length_hint(scheduler.rest) == 0, "a batch is not used up"
    exits = sum(one.exiting is not ALIVE for one in processes)
    waiting = [item for one in processes for item in (*(one.backlog or ()), *(one.saved or ()))]
    assert scheduler.dying == exits + sum(tag is STOP for _, tag in waiting)
    held = Counter(
        sender
        for one in processes
        if isinstance(one.mailbox, BoundedMailbox)
        for sender, _ in one.mailbox.waiting
        if sender is not None and node.table.get(sender.pid) is sender
    )
    calls = set(held_calls(node))
    for one in processes:
        try:
            check_state(one, queued=one in queued)
            check_fast(one)
            check_relations(one)
            assert one.held == held[one], "suspended for nothing, or not suspended"
            if isinstance(one.wait, ProcessCall):
                assert one.wait in calls, "waits for an answer that nobody owes"
        except AssertionError as error:
            raise AssertionError(f"{one.label} {one.pid}: {error}\n{show(one)}") from error
    assert set(node.names.values()) <= set(node.table)


def show(process: Process) -> str:
    slots = (name for kind in type(process).__mro__ for name in getattr(kind, "__slots__", ()))
    return "\n".join(f"  {name} = {getattr(process, name)!r}" for name in slots)


def check_state(one: Process, *, queued: bool) -> None:
    """Idle, queued or parked, and never between them."""
    assert one.pid.process_ is one
    assert one.context is not None
    assert one.context.process_ is one
    if queued:
        assert one.wait is None, "queued and parked"
        assert one.mailbox is not None, "queued and idle"
    elif one.mailbox is None:
        assert not one.backlog, "idle, with messages"
        if one.coroutine is None:
            assert one.wait is None, "idle and parked"
        else:
            assert one.wait is RECEIVING or isinstance(one.wait, Alarm), "parked on nothing"
    else:
        assert one.wait is not None, "forgotten: neither idle, nor queued, nor parked"
    if one.exiting is not ALIVE:
        assert queued, "it has been told to exit, and never will"
    if one.wait is SUSPENDED:
        assert one.held
    if one.wait is FROZEN:
        assert one.inspection is not None
        assert one.inspection.suspended
        assert not one.inspection.has_control(one), "frozen, with a request of sys"
    if isinstance(one.wait, Alarm):
        assert one.wait.process is one
        assert one.wait.timer.action is not None, "waits for an alarm that never rings"
    if isinstance(one.wait, ProcessCall):
        assert one.wait.process is one
        assert one.wait.lane is None or one.wait in one.wait.lane, "a timeout that never comes"
    if isinstance(one.mailbox, BoundedMailbox) and one.mailbox.waiting:
        assert len(one.mailbox) >= one.mailbox.room, "waiting although there is room"
    if not isinstance(one, FunctionProcess):
        assert (one.coroutine is None) == (one.current is None)
        assert not one.saved or one.coroutine is not None, "passed over, and forgotten"
        if one.coroutine is None:
            assert one.wait in (None, SUSPENDED, FROZEN), "parked without a handler"


def check_fast(one: Process) -> None:
    """`fast` is the server exactly if there is nothing to see to first."""
    unusual = (
        one.exiting is not ALIVE
        or one.coroutine is not None
        or bool(one.backlog)
        or one.held > 0
        or one.limit is not None
        or one.inspection is not None
        or one.idle is not None
    )
    if one.fast is not None:
        assert one.fast is one.context
        assert not unusual, "on the fast path, with something to see to"
    elif one.mailbox is None:
        assert unusual, "idle, and off the fast path for nothing"
    if one.idle is not None:
        assert one.idle.action is not None, "a silence that never ends"
        assert one.coroutine is None, "it waits for silence within a handler"


def check_relations(one: Process) -> None:
    """Links go both ways, monitors have two ends, calls know who owes the answer."""
    for other in linked(one):
        assert other.pid.process_ is other, "linked to a dead process"
        assert one in linked(other), "a link that goes one way"
    for ref, target in (one.monitors or {}).items():
        assert isinstance(ref, Monitor)
        assert ref.owner is one
        assert ref.target is target
        assert target.pid.process_ is target, "monitors a dead process"
        assert ref in (target.watchers or {})
    for ref in one.watchers or {}:
        if isinstance(ref, Monitor):
            assert ref.owner is not None
            assert ref in (ref.owner.monitors or {}), "watched by nobody"
    for call in one.pending or {}:
        assert call.callee is one
    for name in one.names or ():
        assert one.scheduler.node.names[name] is one.pid


def held_calls(node: Node) -> Iterator[From]:
    """All calls that some process has still to answer."""
    for one in node.table.values():
        yield from one.pending or ()
        # Those that came behind an exit signal fail when it has ended the process.
        yield from (ref for ref in one.watchers or () if isinstance(ref, From))
        items: list[Any] = [one.current] if one.current is not None else []
        items += [*(one.mailbox or ()), *(one.backlog or ()), *(one.saved or ())]
        if isinstance(one.mailbox, BoundedMailbox):
            items += [item for _, item in one.mailbox.waiting]
        for _, tag in items:
            if isinstance(tag, From):
                yield tag
