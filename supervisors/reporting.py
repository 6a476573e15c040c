"""What supervisors report of their children, as OTP's supervisor reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from palaver.actors.runtime import (
    KILLED,
    NOPROC,
    NORMAL,
    GenServer,
    NamedReason,
    Pid,
    SupervisorReport,
    is_abnormal,
    report_supervisor,
)
from palaver.supervisors.spec import ChildSpec
from palaver.supervisors.window import RestartWindow

__all__ = ["MAX_INTENSITY", "report_child", "report_exit", "report_shutdown"]

MAX_INTENSITY: Final = NamedReason("reached_max_restart_intensity")
"""Why a supervisor stops after too many restarts; its exit reason is `SHUTDOWN`, as in OTP."""


def report_exit(
    supervisor: GenServer, spec: ChildSpec, pid: Pid | None, reason: object, window: RestartWindow
) -> None:
    """A child has exited by itself: reported if it is permanent, or its exit was abnormal."""
    # Looked up first: most observers of tests and benchmarks hear nothing, and restarts are many.
    if getattr(supervisor.node.observer, "supervisor_report", None) is None:
        return
    if spec.restart == "permanent" or is_abnormal(reason):
        again = spec.restart != "temporary"
        report_child(
            supervisor, "child_terminated", reason, spec, pid, window, restarts=1 if again else 0
        )


def report_shutdown(
    supervisor: GenServer, children: Sequence[tuple[Pid, ChildSpec]], reasons: Mapping[Pid, object]
) -> None:
    """Children have been stopped: those that did not exit as they were told to are reported."""
    if getattr(supervisor.node.observer, "supervisor_report", None) is None:
        return
    for pid, spec in children:
        reason = reasons.get(pid, NOPROC)
        if spec.shutdown_s == 0:
            expected = reason is KILLED
        else:
            expected = not is_abnormal(reason) and (
                reason is not NORMAL or spec.restart != "permanent"
            )
        if not expected and reason is not NOPROC:
            report_child(supervisor, "shutdown_error", reason, spec, pid)


def report_child(
    supervisor: GenServer,
    context: Literal["start_error", "child_terminated", "shutdown_error", "shutdown"],
    reason: object,
    spec: ChildSpec,
    pid: Pid | None,
    window: RestartWindow | None = None,
    *,
    restarts: int = 0,
) -> None:
    """Give a report to the observer; `restarts` are added to those that the window counts."""
    node = supervisor.node
    if getattr(node.observer, "supervisor_report", None) is None:
        return
    start = spec.start
    names = supervisor.process_.names
    if window is not None:
        restarts += window.count(supervisor.clock.monotonic())
    report = SupervisorReport(
        supervisor=supervisor.pid,
        name=names[0] if names else None,
        context=context,
        reason=reason,
        child_id=spec.id,
        child=pid,
        start=f"{start.__module__}.{getattr(start, '__qualname__', start)}",
        restart=spec.restart,
        kind=spec.kind,
        restarts=restarts,
        intensity=0 if window is None else window.intensity,
        period_s=0.0 if window is None else window.period_s,
    )
    report_supervisor(node, report)
