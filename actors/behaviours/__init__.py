"""Behaviours beyond `GenServer`: state machines, stages with demand, tasks.

    from palaver.actors.behaviours import GenStatem

See `docs/behaviours.md`.
"""

from palaver.actors.behaviours.gen_statem import GenStatem
from palaver.actors.behaviours.task import Task, TaskMisuse
from palaver.actors.behaviours.task_results import Done, Exited, TaskResult
from palaver.actors.behaviours.task_stream import TaskStream
from palaver.actors.behaviours.transitions import (
    HIBERNATE,
    POSTPONE,
    SAME,
    Action,
    Event,
    EventTimeout,
    KeepState,
    NextEvent,
    NextState,
    RepeatState,
    Reply,
    StateTimeout,
    StopAndReply,
    Timeout,
    TimeoutEvent,
    Transition,
)

__all__ = [
    "HIBERNATE",
    "POSTPONE",
    "SAME",
    "Action",
    "Done",
    "Event",
    "EventTimeout",
    "Exited",
    "GenStatem",
    "KeepState",
    "NextEvent",
    "NextState",
    "RepeatState",
    "Reply",
    "StateTimeout",
    "StopAndReply",
    "Task",
    "TaskMisuse",
    "TaskResult",
    "TaskStream",
    "Timeout",
    "TimeoutEvent",
    "Transition",
]
