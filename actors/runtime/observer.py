"""What the runtime tells the outside: crashes, restarts, slow handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import structlog

from palaver.actors.runtime.pid import Pid
from palaver.actors.runtime.reasons import Crash

if TYPE_CHECKING:
    from palaver.actors.runtime.node import Node

__all__ = [
    "CrashReport",
    "NullObserver",
    "Observer",
    "StructlogObserver",
    "SupervisorReport",
    "report_supervisor",
]

MAX_TEXT = 500


def shorten(value: object, limit: int = MAX_TEXT) -> str:
    """A value's repr, at most `limit` characters; never raises."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a report must not fail on what it reports
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@dataclass(frozen=True, slots=True)
class CrashReport:
    """A process that ended abnormally, by itself: not one that others took along by a link."""

    pid: Pid
    name: str | None
    behaviour: str
    reason: object
    last_message: object
    """What it was handling; None if nothing."""
    state: object
    """What `format_status` said; None if it is not defined."""
    parent: Pid | None
    mailbox_len: int
    ancestors: tuple[str, ...] = ()
    """Its parent, that one's parent and so on: names and pids, the nearest first."""
    links: tuple[str, ...] = ()
    client: Pid | None = None
    """Which process's call it was handling."""
    trap_exit: bool = False
    status: str = "running"
    reductions: int = 0

    def __str__(self) -> str:
        """The report as OTP words it, with the traceback and its chain of causes."""
        name = f" ({self.name})" if self.name else ""
        lines = [f"{self.behaviour} {self.pid}{name} terminating: {self.reason}"]
        if self.last_message is not None:
            lines.append(f"  last message: {shorten(self.last_message)}")
        if self.client is not None:
            lines.append(f"  client: {self.client}")
        if self.state is not None:
            lines.append(f"  state: {shorten(self.state)}")
        lines.append(f"  parent: {self.parent}, waiting messages: {self.mailbox_len}")
        if self.ancestors:
            lines.append(f"  ancestors: {', '.join(self.ancestors)}")
        if self.links:
            lines.append(f"  links: {', '.join(self.links)}")
        lines.append(f"  trap_exit: {self.trap_exit}, reductions: {self.reductions}")
        if isinstance(self.reason, Crash):
            lines.append(self.reason.traceback.rstrip())
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class SupervisorReport:
    """What a supervisor says of a child, as OTP's supervisor reports.

    `context` is ``start_error``, ``child_terminated``, ``shutdown_error`` (the child did not stop
    as it should) or ``shutdown`` (more restarts than the intensity allows: the supervisor stops).
    """

    supervisor: Pid
    name: str | None
    """The supervisor's name."""
    context: Literal["start_error", "child_terminated", "shutdown_error", "shutdown"]
    reason: object
    child_id: object
    child: Pid | None
    """The process that ended; None if it never ran."""
    start: str
    """What the child is started from."""
    restart: str
    kind: str
    restarts: int = 0
    """Restarts within the period, with the one that follows."""
    intensity: int = 0
    period_s: float = 0.0

    def __str__(self) -> str:
        """The report as OTP words it."""
        who = f"{self.supervisor} ({self.name})" if self.name else str(self.supervisor)
        return "\n".join(
            [
                f"supervisor {who}: {self.context}",
                f"  reason: {shorten(self.reason)}",
                f"  child: {self.child_id!r} {self.child} {self.start}, {self.restart} {self.kind}",
                f"  restarts: {self.restarts} of {self.intensity} within {self.period_s:g} s",
            ]
        )


def report_supervisor(node: Node, report: SupervisorReport) -> None:
    """Give a report to the node's observer, if that has a method `supervisor_report`."""
    tell = getattr(node.observer, "supervisor_report", None)
    if tell is not None:
        node.notify(tell, report)


class Observer(Protocol):
    """Port for metrics and logs; called within the scheduler, so it must be quick.

    It may also have a method `supervisor_report(report: SupervisorReport)`.
    """

    def process_crashed(self, report: CrashReport) -> None:
        """A process ended abnormally."""

    def child_restarted(self, supervisor: Pid, child_id: object, reason: object) -> None:
        """A supervisor has restarted a child, which had exited with `reason`."""

    def supervisor_gave_up(self, supervisor: Pid, reason: object) -> None:
        """A child exited with `reason` once too often: its supervisor stops."""

    def handler_slow(self, pid: Pid, seconds: float) -> None:
        """A process has held the event loop for `seconds` in one turn."""


class NullObserver:
    """Hears nothing."""

    def process_crashed(self, report: CrashReport) -> None:
        """Ignored."""

    def child_restarted(self, supervisor: Pid, child_id: object, reason: object) -> None:
        """Ignored."""

    def supervisor_gave_up(self, supervisor: Pid, reason: object) -> None:
        """Ignored."""

    def handler_slow(self, pid: Pid, seconds: float) -> None:
        """Ignored."""


class StructlogObserver:
    """Logs by structlog, with what OTP's reports say."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("palaver.actors")

    def process_crashed(self, report: CrashReport) -> None:
        """Log the report as an error."""
        self._log.error(
            "process crashed",
            pid=str(report.pid),
            name=report.name,
            behaviour=report.behaviour,
            reason=str(report.reason),
            last_message=shorten(report.last_message),
            ancestors=list(report.ancestors),
            links=list(report.links),
            # By this name structlog's console prints it as it is, below the line.
            stack=str(report),
        )

    def supervisor_report(self, report: SupervisorReport) -> None:
        """Log it as an error."""
        self._log.error(
            "supervisor report",
            supervisor=str(report.supervisor),
            name=report.name,
            context=report.context,
            reason=str(report.reason),
            child=str(report.child_id),
            pid=str(report.child),
            start=report.start,
            restart=report.restart,
            kind=report.kind,
            restarts=report.restarts,
            intensity=report.intensity,
            period_s=report.period_s,
            stack=str(report),
        )

    def child_restarted(self, supervisor: Pid, child_id: object, reason: object) -> None:
        """Log a warning."""
        self._log.warning(
            "child restarted", supervisor=str(supervisor), child=str(child_id), reason=str(reason)
        )

    def supervisor_gave_up(self, supervisor: Pid, reason: object) -> None:
        """Log an error."""
        self._log.error(
            "supervisor gave up: more restarts than its intensity allows",
            supervisor=str(supervisor),
            reason=str(reason),
        )

    def handler_slow(self, pid: Pid, seconds: float) -> None:
        """Log a warning."""
        self._log.warning("handler slow", pid=str(pid), seconds=round(seconds, 3))
