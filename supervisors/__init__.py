"""Supervision: who starts, restarts and stops whom.

from palaver.supervisors import ChildSpec, DynamicSupervisor, Supervisor
"""

from palaver.supervisors.dynamic import DynamicSupervisor
from palaver.supervisors.spec import (
    AlreadyPresent,
    AutoShutdown,
    ChildCounts,
    ChildInfo,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    CountChildren,
    DeleteChild,
    FailedToStart,
    MaxChildren,
    Restart,
    RestartChild,
    StartChild,
    Strategy,
    SupervisorError,
    SupervisorFlags,
    TerminateChild,
    WhichChildren,
)
from palaver.supervisors.supervisor import Supervisor
from palaver.supervisors.tasks import TaskSupervisor

__all__ = [
    "AlreadyPresent",
    "AutoShutdown",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildRunning",
    "ChildSpec",
    "CountChildren",
    "DeleteChild",
    "DynamicSupervisor",
    "FailedToStart",
    "MaxChildren",
    "Restart",
    "RestartChild",
    "StartChild",
    "Strategy",
    "Supervisor",
    "SupervisorError",
    "SupervisorFlags",
    "TaskSupervisor",
    "TerminateChild",
    "WhichChildren",
]
