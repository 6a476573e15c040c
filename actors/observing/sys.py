"""System requests to servers, after OTP's `sys`: look at, hold, trace and change a running one.

    from palaver.actors.observing import sys

    await sys.get_state(node, "counter")                # from asyncio code
    await sys.trace(self, pid, True, to=print)          # from a process

All take first from where they are asked (a `Node`, or the process itself: `self`, `ctx`), then the
server as a pid, a name or an alias. They are handled between two messages, in the order in which
they came, also by a server that is suspended. One whose handler is parked answers when that is
done. All raise

* `NoProcess`, `CalleeExited`, `CallTimeout` (after `timeout_s`, 5 s by default) as a call does; a
  request whose time is up is not carried out any more;
* `NotAServer` for a process that runs a plain function.

A server that nobody looks into pays nothing for all this.
See https://www.erlang.org/docs/25/man/sys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import structlog

from palaver.actors.observing.asking import Seat, ask
from palaver.actors.observing.changing import NotSuspended, change_class
from palaver.actors.observing.debugging import (
    DONE,
    Counting,
    DebugFunction,
    Event,
    Installed,
    Log,
    Statistics,
    Tracer,
)
from palaver.actors.runtime import Dest, ExitProcess, GenServer, Pid
from palaver.actors.runtime.inspection import Looker
from palaver.actors.runtime.server import ServerProcess

__all__ = [
    "DONE",
    "Event",
    "Statistics",
    "Status",
    "change_code",
    "get_state",
    "get_status",
    "install",
    "log",
    "no_debug",
    "remove",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "terminate",
    "trace",
]

T = TypeVar("T")

TIMEOUT_S: Final = 5.0

LOG_SIZE: Final = 10
"""How many events `log` keeps where no number is given; OTP's number."""

MAX_LOG: Final = 10_000

logger = structlog.get_logger("palaver.actors.sys")


@dataclass(frozen=True, slots=True)
class Status:
    """What `get_status` says of a server."""

    pid: Pid
    behaviour: str
    status: Literal["running", "suspended"]
    parent: Pid | None
    debug: tuple[str, ...]
    """What looks on: ``log``, ``statistics``, ``trace`` and installed functions."""
    state: Any
    """What `format_status` shows; the state itself where that is not defined."""


# -- the state -------------------------------------------------------------------------------------


async def get_state(seat: Seat, dest: Dest, *, timeout_s: float | None = TIMEOUT_S) -> Any:
    """The state of a server: its attributes by name, or what its behaviour takes for the state.

    For debugging. The dict is new, what it holds is the server's own: change nothing in it.
    """
    return await ask(seat, dest, lambda process: process.server.system_get_state(), timeout_s)


async def replace_state(
    seat: Seat,
    dest: Dest,
    change: Callable[[Any], Any],
    *,
    timeout_s: float | None = TIMEOUT_S,
) -> Any:
    """Put what `change(state)` returns in the place of the state; the new state.

    If `change` raises, `CallbackFailed` is raised here and the server keeps its state, unless
    `change` has altered what the state holds in place.
    """
    return await ask(
        seat, dest, lambda process: process.server.system_replace_state(change), timeout_s
    )


async def get_status(seat: Seat, dest: Dest, *, timeout_s: float | None = TIMEOUT_S) -> Status:
    """Who and what a server is, what looks on, and its state as `format_status` shows it."""

    def status(process: ServerProcess) -> Status:
        server = process.server
        inspection = process.inspection
        shown = server.format_status()
        return Status(
            pid=process.pid,
            behaviour=process.label,
            status="suspended" if inspection is not None and inspection.suspended else "running",
            parent=process.parent,
            debug=tuple(map(str, inspection.lookers)) if inspection is not None else (),
            state=server.system_get_state() if shown is None else shown,
        )

    return await ask(seat, dest, status, timeout_s)


# -- holding it ------------------------------------------------------------------------------------


async def suspend(seat: Seat, dest: Dest, *, timeout_s: float | None = TIMEOUT_S) -> None:
    """Let a server handle only system requests, until `resume`; suspending it twice is once.

    Its messages wait. It still ends when its parent or a kill ends it, or a linked process exits.
    """

    def hold(process: ServerProcess) -> None:
        process.inspect().suspended = True

    await ask(seat, dest, hold, timeout_s)


async def resume(seat: Seat, dest: Dest, *, timeout_s: float | None = TIMEOUT_S) -> None:
    """Let a suspended server go on with its messages, in their order."""

    def release(process: ServerProcess) -> None:
        inspection = process.inspection
        if inspection is None or not inspection.suspended:
            return
        inspection.suspended = False
        silence_s, inspection.silence_s = inspection.silence_s, None
        _tidy(process)
        if silence_s is not None:
            process.await_silence(silence_s)

    await ask(seat, dest, release, timeout_s)


async def terminate(
    seat: Seat, dest: Dest, reason: object, *, timeout_s: float | None = TIMEOUT_S
) -> None:
    """Have a server run `terminate` and exit with `reason`; returns before it has exited."""

    def end(_: ServerProcess) -> None:
        raise ExitProcess(reason)

    await ask(seat, dest, end, timeout_s)


async def change_code(
    seat: Seat,
    dest: Dest,
    new_class: type[GenServer[Any]],
    old_version: object = None,
    extra: Any = None,
    *,
    timeout_s: float | None = TIMEOUT_S,
) -> None:
    """Put a suspended server under another class and have that adapt the state by `code_change`.

    `old_version` is told to it; the old class's `__vsn__` if None. If it raises, the server keeps
    class and attributes, and `CallbackFailed` is raised here. Raises `NotSuspended`. To do all of
    it in one step, see `hot_code.change_code`.
    """

    def change(process: ServerProcess) -> None:
        if process.inspection is None or not process.inspection.suspended:
            raise NotSuspended(process.pid)
        change_class(process, new_class, extra, old_version=old_version)

    await ask(seat, dest, change, timeout_s)


# -- looking on ------------------------------------------------------------------------------------


async def statistics(
    seat: Seat,
    dest: Dest,
    flag: bool | Literal["get"],
    *,
    timeout_s: float | None = TIMEOUT_S,
) -> Statistics | None:
    """Begin (True; anew, if they were on) or end (False) to count, or get the counts.

    None where nothing is counted.
    """

    def do(process: ServerProcess) -> Statistics | None:
        counting = _looker(process, "statistics")
        if flag == "get":
            return counting.get(process) if isinstance(counting, Counting) else None
        _set(process, "statistics", Counting(process) if flag else None)
        return None

    return await ask(seat, dest, do, timeout_s)


async def log(
    seat: Seat,
    dest: Dest,
    flag: bool | int | Literal["get", "print"],
    *,
    timeout_s: float | None = TIMEOUT_S,
) -> list[Event]:
    """Begin to keep the last events (True: 10; a number: so many), end it (False), or get them.

    ``print`` also logs them by structlog. Always returns those kept so far, the oldest first.
    Raises `ValueError` unless a number is from 1 to 10,000.
    """
    size = LOG_SIZE if flag is True else flag
    if isinstance(size, int) and size is not False and not 1 <= size <= MAX_LOG:
        raise ValueError(f"a log keeps 1 to {MAX_LOG} events")

    def do(process: ServerProcess) -> list[Event]:
        kept = _looker(process, "log")
        events = list(kept.events) if isinstance(kept, Log) else []
        if not isinstance(size, str):
            _set(process, "log", Log(size, events) if size else None)
        return events

    events = await ask(seat, dest, do, timeout_s)
    if flag == "print":
        for event in events:
            _say(event)
    return events


async def trace(
    seat: Seat,
    dest: Dest,
    flag: bool,
    *,
    to: Callable[[Event], object] | None = None,
    timeout_s: float | None = TIMEOUT_S,
) -> None:
    """Begin or end to show every event at once: to a function, or by structlog at level info.

    The function is called within the server's turn. If it raises, the trace ends.
    """
    await ask(
        seat,
        dest,
        lambda process: _set(process, "trace", Tracer(to or _say) if flag else None),
        timeout_s,
    )


async def install(
    seat: Seat,
    dest: Dest,
    fn: DebugFunction,
    state: Any = None,
    *,
    key: object = None,
    timeout_s: float | None = TIMEOUT_S,
) -> None:
    """Have `fn(state, event, server)` called for every event, within the server's turn.

    It returns its new state, or `DONE` to be removed; if it raises, it is removed. One that is
    installed under its `key` (itself, if None) already is left as it is.
    """
    name = ("debug", fn if key is None else key)

    def do(process: ServerProcess) -> None:
        if _looker(process, name) is None:
            _set(process, name, Installed(name, fn, state))

    await ask(seat, dest, do, timeout_s)


async def remove(
    seat: Seat, dest: Dest, key: object, *, timeout_s: float | None = TIMEOUT_S
) -> None:
    """Remove a debug function, by its key or itself; harmless if there is none."""
    await ask(seat, dest, lambda process: _set(process, ("debug", key), None), timeout_s)


async def no_debug(seat: Seat, dest: Dest, *, timeout_s: float | None = TIMEOUT_S) -> None:
    """End everything that looks on: log, statistics, trace and debug functions."""

    def do(process: ServerProcess) -> None:
        if process.inspection is not None:
            process.inspection.lookers.clear()
            _tidy(process)

    await ask(seat, dest, do, timeout_s)


def _say(event: Event) -> None:
    logger.info("sys event", pid=str(event.pid), what=str(event))


def _looker(process: ServerProcess, key: object) -> Looker | None:
    return None if process.inspection is None else process.inspection.lookers.get(key)


def _set(process: ServerProcess, key: object, looker: Looker | None) -> None:
    if looker is not None:
        process.inspect().lookers[key] = looker
    elif process.inspection is not None:
        process.inspection.lookers.pop(key, None)
        _tidy(process)


def _tidy(process: ServerProcess) -> None:
    """Let the process handle its messages in the usual way again, if nothing is left to do."""
    if process.inspection is not None and not process.inspection.needed:
        process.inspection = None
