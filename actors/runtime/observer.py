"""What the runtime tells the outside: crashes, restarts, slow handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from palaver.actors.runtime.pid import Pid
from palaver.actors.runtime.reasons import Crash

__all__ = ["CrashReport", "NullObserver", "Observer", "StructlogObserver"]

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

    def __str__(self) -> str:
        """The report, readable, with the traceback and its chain of causes."""
        name = f" ({self.name})" if self.name else ""
        lines = [f"{self.behaviour} {self.pid}{name} terminating: {self.reason}"]
        if self.last_message is not None:
            lines.append(f"  last message: {shorten(self.last_message)}")
        if self.state is not None:
            lines.append(f"  state: {shorten(self.state)}")
        lines.append(f"  parent: {self.parent}, waiting messages: {self.mailbox_len}")
        if isinstance(self.reason, Crash):
            lines.append(self.reason.traceback.rstrip())
        return "\n".join(lines)


class Observer(Protocol):
    """Port for metrics and logs; called within the scheduler, so it must be quick."""

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
            stack=str(
                report
            ),  # by this name structlog's console prints it as it is, below the line
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
