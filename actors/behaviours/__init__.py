"""Behaviours beyond `GenServer`: state machines, stages with demand, tasks.

    from palaver.actors.behaviours import GenStatem

See `docs/behaviours.md`.
"""

from palaver.actors.behaviours.gen_statem import GenStatem
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
    "Event",
    "EventTimeout",
    "GenStatem",
    "KeepState",
    "NextEvent",
    "NextState",
    "RepeatState",
    "Reply",
    "StateTimeout",
    "StopAndReply",
    "Timeout",
    "TimeoutEvent",
    "Transition",
]
