"""Behaviours beyond `GenServer`: state machines, stages with demand, tasks.

    from palaver.actors.behaviours import GenStatem

See `docs/behaviours.md`.
"""

from palaver.actors.behaviours.gen_statem import GenStatem
from palaver.actors.behaviours.task import Task, TaskMisuse
from palaver.actors.behaviours.task_results import Done, Exited, TaskResult
from palaver.actors.behaviours.task_stream import TaskStream
from palaver.actors.behaviours.transitions import (
    POSTPONE,
    SAME,
    Action,
    Event,
    EventTimeout,
    GenericTimeout,
    KeepState,
    NextEvent,
    NextState,
    RepeatState,
    ReplyTo,
    StateTimeout,
    StopAndReply,
    TimeoutEvent,
    Transition,
)

__all__ = [
    "POSTPONE",
    "SAME",
    "Action",
    "Done",
    "Event",
    "EventTimeout",
    "Exited",
    "GenStatem",
    "GenericTimeout",
    "KeepState",
    "NextEvent",
    "NextState",
    "RepeatState",
    "ReplyTo",
    "StateTimeout",
    "StopAndReply",
    "Task",
    "TaskMisuse",
    "TaskResult",
    "TaskStream",
    "TimeoutEvent",
    "Transition",
]
