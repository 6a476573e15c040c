"""`Watchdog`: tells of a handler that hangs while it hangs; the runtime itself can only tell after.

A thread asks the event loop again and again for a sign of life. When it has had none for `hang_s`,
it looks which process has its turn and where its Python code is, and tells; again when the hang is
over. It watches the loop, so it also sees what hangs there without being a process.

It measures real time: an aid for who runs a node, never part of a simulation.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import structlog

from palaver.actors.runtime import Node, Pid

__all__ = ["HangDetector", "HangObserver", "HangReport", "LogHangs", "Watchdog"]

log = structlog.get_logger("palaver.actors.embedding")

MAX_FRAMES = 50


@dataclass(frozen=True, slots=True)
class HangReport:
    """What holds the event loop."""

    node_name: str
    pid: Pid | None
    """The process whose turn it is; None if the event loop runs something else."""
    behaviour: str | None
    """Its class, or the name of its function."""
    seconds: float
    """How long at least the loop has been held."""
    stack: str
    """Where the Python code of the loop's thread is, the innermost call last."""

    def __str__(self) -> str:
        who = "the event loop" if self.pid is None else f"{self.behaviour} {self.pid}"
        return f"{who} has not returned for {self.seconds:.1f} s; it is here:\n{self.stack}"


class HangObserver(Protocol):
    """Port: hears of hangs. Called in the watchdog's thread, for the loop's own is held."""

    def handler_hangs(self, report: HangReport) -> None:
        """Something has held the event loop for too long, and goes on doing so."""

    def hang_over(self, report: HangReport, seconds: float) -> None:
        """What was reported has returned, after `seconds` in all."""


class LogHangs:
    """Logs by structlog."""

    def __init__(self) -> None:
        self._log = log

    def handler_hangs(self, report: HangReport) -> None:
        """Log an error, with the stack."""
        self._log.error(
            "handler hangs",
            node=report.node_name,
            pid=str(report.pid),
            behaviour=report.behaviour,
            seconds=round(report.seconds, 3),
            stack=report.stack,
        )

    def hang_over(self, report: HangReport, seconds: float) -> None:
        """Log a warning."""
        self._log.warning(
            "handler no longer hangs",
            node=report.node_name,
            pid=str(report.pid),
            behaviour=report.behaviour,
            seconds=round(seconds, 3),
        )


class HangDetector:
    """When to ask for a sign of life and when to tell, without a thread or a clock."""

    __slots__ = ("_asked_s", "_told", "hang_s")

    def __init__(self, hang_s: float) -> None:
        self.hang_s = hang_s
        self._asked_s: float | None = None
        self._told = False

    def asked(self, now_s: float) -> None:
        """The loop was asked for a sign."""
        self._asked_s = now_s
        self._told = False

    def answered(self, now_s: float) -> float | None:
        """The sign came: how long it took if a hang was told of, else None."""
        asked_s, self._asked_s = self._asked_s, None
        told, self._told = self._told, False
        return now_s - asked_s if told and asked_s is not None else None

    def wait_s(self, now_s: float) -> float:
        """How long to wait for the sign now; 0 when it is time to tell, infinite after that."""
        if self._asked_s is None or self._told:
            return float("inf")
        return max(0.0, self._asked_s + self.hang_s - now_s)

    def tell(self, now_s: float) -> float | None:
        """How long the loop has hung, if that is to be told now: once for each sign asked for."""
        if self._asked_s is None or self._told or now_s - self._asked_s < self.hang_s:
            return None
        self._told = True
        return now_s - self._asked_s


class Watchdog:
    """Watches a node's event loop from a thread of its own.

        async with Node() as node, Watchdog(node, hang_s=1.0):
            ...

    It costs the loop a wake-up every quarter of `hang_s`.

    Args:
        node: A node that runs in the present event loop.
        hang_s: How long the loop may be held by one turn.
        observer: Who is told; the log if None.
    """

    def __init__(
        self, node: Node, *, hang_s: float = 1.0, observer: HangObserver | None = None
    ) -> None:
        if hang_s <= 0:
            raise ValueError("hang_s is a time")
        self._node = node
        self._observer: HangObserver = observer or LogHangs()
        self._detector = HangDetector(hang_s)
        self._answer = threading.Event()  # a sign of life, or the end
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch the running event loop, whose thread this is; once."""
        if self._thread is not None:
            raise RuntimeError("a watchdog is started once")
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._watch,
            args=(loop, threading.get_ident()),
            name=f"palaver watchdog {self._node.name}",
            daemon=True,  # a hanging program can still be ended
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread; harmless if it has ended."""
        self._end.set()
        self._answer.set()
        if self._thread is not None:
            self._thread.join()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        detector = self._detector
        report: HangReport | None = None
        while not self._end.wait(detector.hang_s / 4):
            self._answer.clear()
            detector.asked(time.monotonic())
            try:
                loop.call_soon_threadsafe(self._answer.set)
            except RuntimeError:  # the loop is closed: there is nothing to watch
                return
            while not self._end.is_set():
                wait_s = detector.wait_s(time.monotonic())
                if self._answer.wait(None if wait_s == float("inf") else wait_s):
                    break
                seconds = detector.tell(time.monotonic())
                if seconds is not None:
                    report = self._look(thread_id, seconds)
                    self._notify(self._observer.handler_hangs, report)
            seconds = detector.answered(time.monotonic())
            if seconds is not None and report is not None:
                self._notify(self._observer.hang_over, report, seconds)

    def _look(self, thread_id: int, seconds: float) -> HangReport:
        process = self._node.scheduler.current
        frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - as documented
        stack = "".join(traceback.format_stack(frame)[-MAX_FRAMES:])
        return HangReport(
            node_name=self._node.name,
            pid=None if process is None else process.pid,
            behaviour=None if process is None else process.label,
            seconds=seconds,
            stack=stack,
        )

    def _notify(self, tell: object, *args: object) -> None:
        """Tell the observer; its failure must not end the watch."""
        assert callable(tell)
        try:
            tell(*args)
        except Exception:
            log.exception("the hang observer failed", observer=type(self._observer).__qualname__)
