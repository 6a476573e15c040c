"""The tester's kit: histories of concurrent clients, and whether they can be explained.

from palaver.actors.simulation import History, Register, check
"""

from palaver.actors.simulation.history import UNKNOWN, Call, History, HistoryError, Operation
from palaver.actors.simulation.linearizability import (
    NotLinearizable,
    Undecided,
    Verdict,
    check,
)
from palaver.actors.simulation.models import Bag, Counter, Map, Model, Queue, Register, State
from palaver.actors.simulation.operations import (
    EMPTY,
    Add,
    CompareAndSet,
    Dequeue,
    Enqueue,
    Insert,
    Items,
    MapStep,
    Read,
    ReadAll,
    Remove,
    Transaction,
    Write,
)
from palaver.actors.simulation.serializability import (
    Anomaly,
    Append,
    NotSerializable,
    Report,
    check_transactions,
)

__all__ = [
    "EMPTY",
    "UNKNOWN",
    "Add",
    "Anomaly",
    "Append",
    "Bag",
    "Call",
    "CompareAndSet",
    "Counter",
    "Dequeue",
    "Enqueue",
    "History",
    "HistoryError",
    "Insert",
    "Items",
    "Map",
    "MapStep",
    "Model",
    "NotLinearizable",
    "NotSerializable",
    "Operation",
    "Queue",
    "Read",
    "ReadAll",
    "Register",
    "Remove",
    "Report",
    "State",
    "Transaction",
    "Undecided",
    "Verdict",
    "Write",
    "check",
    "check_transactions",
]
