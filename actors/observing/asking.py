"""System requests: have something done to server processes, each between two of its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from palaver.actors.runtime import (
    CalleeExited,
    CallFailed,
    CallTimeout,
    Dest,
    ExitProcess,
    Node,
    NoProcess,
    Pid,
    ProcessContext,
    RuntimeFault,
)
from palaver.actors.runtime.alias import Alias
from palaver.actors.runtime.lifecycle import Join, OutsideJoin, ProcessJoin
from palaver.actors.runtime.parking import park
from palaver.actors.runtime.process import Process
from palaver.actors.runtime.server import ServerProcess

__all__ = ["CallbackFailed", "NotAServer", "Outcome", "Seat", "ask", "ask_all", "find_server"]

T = TypeVar("T")

Seat: TypeAlias = "Node | ProcessContext"
"""From where it is asked: a node, by asyncio code; or a process, by its own coroutine."""


class NotAServer(RuntimeFault):
    """A process runs a plain function: it has no moment between two messages to be asked in."""

    def __init__(self, pid: Pid) -> None:
        super().__init__(f"{pid} runs a plain function; only servers answer system requests")
        self.pid = pid


class CallbackFailed(RuntimeFault):
    """A function given to a system request raised; the process is as it was. See `__cause__`."""

    def __init__(self, pid: Pid, error: BaseException) -> None:
        super().__init__(f"a system request to {pid} failed: {type(error).__name__}: {error}")
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of a request: its value, or the error it raised."""

    value: T | None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """Tells an outcome from the exit reason of a process that ended before it was asked."""

    outcome: Outcome[Any]


def node_of(seat: Seat) -> Node:
    """The node of a seat."""
    return seat if isinstance(seat, Node) else seat.node


def find_server(seat: Seat, dest: Dest) -> ServerProcess:
    """The server behind a destination; raises `NoProcess` or `NotAServer`."""
    found: Any = node_of(seat).find(dest)
    process = found.owner if isinstance(found, Alias) else found
    if process is None:
        raise NoProcess(dest)
    if not isinstance(process, ServerProcess):
        raise NotAServer(process.pid)
    return process


async def ask(
    seat: Seat, dest: Dest, request: Callable[[ServerProcess], T], timeout_s: float | None
) -> T:
    """Have `request(process)` called between two messages of a server; its value.

    A server whose handler is parked is asked when that is done. A request whose time is up is not
    carried out any more.

    Raises:
        NoProcess, CallTimeout, CalleeExited: as a call.
        NotAServer: it runs a plain function.
        CallbackFailed: `request` raised.
        RuntimeFault: one that `request` raised.
    """
    process = find_server(seat, dest)
    if not isinstance(seat, Node) and process is seat.process_:
        raise CallFailed("calling_self", "a process that asks itself would wait for ever")
    answers, reasons = await ask_all(seat, [process], request, timeout_s)
    pid = process.pid
    if pid in reasons:
        raise CalleeExited(pid, reasons[pid])
    outcome = answers.get(pid)
    if outcome is None:
        raise CallTimeout(timeout_s or 0.0)
    if outcome.error is not None:
        if isinstance(outcome.error, RuntimeFault):
            raise outcome.error
        raise CallbackFailed(pid, outcome.error) from outcome.error
    return outcome.value  # type: ignore[return-value]


async def ask_all(
    seat: Seat,
    processes: Iterable[ServerProcess],
    request: Callable[[ServerProcess], T],
    timeout_s: float | None,
) -> tuple[dict[Pid, Outcome[T]], dict[Pid, object]]:
    """Ask many servers at once: the outcomes, and the exit reasons of those that ended instead.

    One that is in neither did not get to it within `timeout_s`.
    """
    node = node_of(seat)
    asked = {process.pid: process for process in processes}
    if not asked:
        return {}, {}
    join: OutsideJoin | ProcessJoin
    if isinstance(seat, Node):
        join = OutsideJoin(asyncio.get_running_loop().create_future())
    else:
        join = ProcessJoin(seat.process_)
    timer = None if timeout_s is None else node.timers.add(timeout_s, join.expire)
    try:
        for process in asked.values():
            _post(join, process, request)
        join.watch(asked)
        if isinstance(join, OutsideJoin):
            await join.future
        else:
            join.process.wait = join
            await park(join.process)
    finally:
        if timer is not None:
            node.timers.cancel(timer)
        join.cancel()
        join.left.clear()  # requests that still wait in mailboxes find that nobody asks any more
    answers: dict[Pid, Outcome[T]] = {}
    reasons: dict[Pid, object] = {}
    for pid, reason in join.reasons.items():
        if isinstance(reason, _Answer):
            answers[pid] = reason.outcome
        else:
            reasons[pid] = reason
    return answers, reasons


def _post(join: Join, process: ServerProcess, request: Callable[[ServerProcess], Any]) -> None:
    # The turn that sees to the request puts an end to the timer of a `Timeout`, as a message does;
    # but a system request is no message, so what was left of the time goes on afterwards.
    idle = process.idle
    ends_s = None if idle is None or idle.action is None else idle.deadline_s

    def handle(asked: Process) -> None:
        if process.pid not in join.left:
            return
        leave: ExitProcess | None = None
        try:
            outcome = Outcome(request(process))
        except ExitProcess as error:
            leave, outcome = error, Outcome(None)
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            outcome = Outcome(None, error)
        if asked.watchers is not None:
            asked.watchers.pop(join, None)
        join.down(asked.pid, _Answer(outcome))
        if leave is not None:
            raise leave
        if ends_s is not None:
            _go_on_waiting(process, ends_s)

    process.system(handle)


def _go_on_waiting(process: ServerProcess, ends_s: float) -> None:
    left_s = max(0.0, ends_s - process.scheduler.timers.monotonic())
    inspection = process.inspection
    if inspection is not None and inspection.suspended:
        inspection.silence_s = left_s
    else:
        process.await_silence(left_s)
