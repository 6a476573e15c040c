"""One process in full, after `erlang:process_info/1`."""

from __future__ import annotations

import reprlib
from types import CoroutineType
from typing import Any, Final

from palaver.actors.observing.asking import CallbackFailed, NotAServer, ask
from palaver.actors.observing.changing import version_of
from palaver.actors.observing.memory import deep_bytes
from palaver.actors.observing.records import ProcessDetails, StateView
from palaver.actors.runtime import CallFailed, GenServer, Node, Pid, RuntimeFault
from palaver.actors.runtime.calls import From
from palaver.actors.runtime.introspection import ancestors, status_of, waiting
from palaver.actors.runtime.lifecycle import Join, Monitor
from palaver.actors.runtime.links import linked
from palaver.actors.runtime.observer import shorten
from palaver.actors.runtime.parking import FROZEN, RECEIVING, SUSPENDED, Alarm
from palaver.actors.runtime.process import Process
from palaver.actors.runtime.server import ServerProcess

__all__ = ["process_info", "state_view"]

MAX_PIDS: Final = 100
MAX_FRAMES: Final = 20
MAX_ATTRIBUTES: Final = 60
MAX_TEXT: Final = 400

SHORT: Final = reprlib.Repr()
SHORT.maxlevel = 4
SHORT.maxdict = SHORT.maxlist = SHORT.maxtuple = SHORT.maxset = SHORT.maxfrozenset = 12
SHORT.maxdeque = SHORT.maxarray = 12
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 120


def process_info(pid: Pid, *, children: int | None = None) -> ProcessDetails | None:
    """Everything to be known of a process without asking it; None if it has exited.

    Lists of pids end after 100.
    """
    process = pid.process_
    if process is None:
        return None
    context = process.context
    server = isinstance(process, ServerProcess)
    kind = type(context)
    version = version_of(kind) if server else None
    memory_bytes, complete = deep_bytes(process)
    inspection = process.inspection
    current = process.current if process.coroutine is not None else None
    return ProcessDetails(
        pid=pid,
        registered_names=tuple(process.names or ()),
        behaviour=process.label,
        initial_call=f"{process.label}.init" if server else process.label,
        status=status_of(process),
        waits_for=_waits_for(process),
        current_message=None if current is None else shorten(current[0], MAX_TEXT),
        current_stacktrace=_stack(process.coroutine),
        parent=process.parent,
        ancestors=ancestors(process)[:MAX_PIDS],
        trap_exit=process.trap_exit,
        message_queue_len=waiting(process),
        mailbox_limit=None if process.limit is None else process.limit.size,
        reductions=process.reductions,
        promised_replies=len(process.pending or ()),
        links=tuple(other.pid for other in linked(process)[:MAX_PIDS]),
        monitors=tuple(p.pid for p in list((process.monitors or {}).values())[:MAX_PIDS]),
        monitored_by=tuple(
            watcher.owner.pid
            for watcher in list(process.watchers or ())[:MAX_PIDS]
            if isinstance(watcher, Monitor) and watcher.owner is not None
        ),
        children=children,
        suspended=inspection is not None and inspection.suspended,
        debug=tuple(map(str, inspection.lookers)) if inspection is not None else (),
        version=None if version is None else str(version),
        memory_bytes=memory_bytes,
        memory_complete=complete,
    )


def _waits_for(process: Process) -> str | None:
    wait = process.wait
    if wait is None:
        return None
    if wait is RECEIVING:
        return "a message"
    if wait is SUSPENDED:
        return "room in a mailbox"
    if wait is FROZEN:
        return "sys.resume"
    if isinstance(wait, Alarm):
        left_s = wait.timer.deadline_s - process.scheduler.timers.monotonic()
        return f"a moment {max(0.0, left_s):.3g} s from now, or a message"
    if isinstance(wait, From):
        return "the answer to a call"
    if isinstance(wait, Join):
        return f"{len(wait.left)} processes to exit or to answer"
    return "asyncio code"


def _stack(coroutine: Any) -> tuple[str, ...]:
    """The functions that a parked coroutine is in, but the runtime's own."""
    frames: list[str] = []
    while coroutine is not None and len(frames) < MAX_FRAMES:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            module = frame.f_globals.get("__name__", "?")
            if not str(module).startswith("palaver.actors.runtime"):
                code = frame.f_code
                frames.append(f"{module}.{code.co_qualname}:{frame.f_lineno}")
        inner = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        coroutine = (
            inner if isinstance(inner, CoroutineType) or hasattr(inner, "gi_frame") else None
        )
    return tuple(reversed(frames))


async def state_view(
    node: Node, pid: Pid, *, raw: bool = True, timeout_s: float = 1.0
) -> StateView:
    """The state of a server as short texts, read between two of its messages.

    What its class's `format_status` shows, where it has one. Else every attribute's repr,
    shortened: only if `raw`, for there may be secrets in it.
    """

    def look(process: ServerProcess) -> StateView:
        server = process.server
        if type(server).format_status is not GenServer.format_status:
            return _view("format_status", server.format_status())
        return _view("state", server.system_get_state()) if raw else StateView("hidden")

    try:
        return await ask(node, pid, look, timeout_s)
    except NotAServer:
        return StateView("function")
    except TimeoutError:
        return StateView("busy")
    except CallFailed:
        return StateView("gone")
    except CallbackFailed as error:
        return StateView("failed", (("error", shorten(error.__cause__, MAX_TEXT)),))
    except RuntimeFault as error:
        return StateView("failed", (("error", shorten(error, MAX_TEXT)),))


def _view(source: Any, state: Any) -> StateView:
    if not isinstance(state, dict):
        return StateView(source, (("", _short(state)),))
    items = list(state.items())
    shown = tuple((str(key)[:MAX_TEXT], _short(value)) for key, value in items[:MAX_ATTRIBUTES])
    return StateView(source, shown, len(items) - len(shown))


def _short(value: object) -> str:
    try:
        text = SHORT.repr(value)
    except Exception:  # noqa: BLE001 - `shorten` says what is wrong with it
        text = shorten(value, MAX_TEXT)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
