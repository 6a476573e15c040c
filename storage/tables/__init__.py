"""Mnesia-like tables: typed records, transactions, indexes, events, backups.

The names here are the package's face; the modules are its rooms. Begin with `Database.open`.
"""

from __future__ import annotations

from .activity import Activity, Dirty, Transaction
from .database import Database
from .definitions import IGNORE
from .errors import (
    Aborted,
    AlreadyExists,
    BadArgument,
    BadType,
    CombineError,
    CommitFailed,
    Conflict,
    NestedTransaction,
    NoExists,
    NoTransaction,
    NotRunning,
    ReadOnly,
    RecordDamaged,
    SchemaMismatch,
    SystemLimit,
    TableError,
)
from .expressions import BINDINGS, RECORD
from .matching import END, Selection
from .matchspec import match
from .patterns import ANY, V, pattern
from .queries import Query, count, descending, each, max_of, min_of, query, rows, sum_of
from .subscriptions import Subscription
from .table import Table

__all__ = [
    "ANY",
    "BINDINGS",
    "END",
    "IGNORE",
    "RECORD",
    "Aborted",
    "Activity",
    "AlreadyExists",
    "BadArgument",
    "BadType",
    "CombineError",
    "CommitFailed",
    "Conflict",
    "Database",
    "Dirty",
    "NestedTransaction",
    "NoExists",
    "NoTransaction",
    "NotRunning",
    "Query",
    "ReadOnly",
    "RecordDamaged",
    "SchemaMismatch",
    "Selection",
    "Subscription",
    "SystemLimit",
    "Table",
    "TableError",
    "Transaction",
    "V",
    "count",
    "descending",
    "each",
    "match",
    "max_of",
    "min_of",
    "pattern",
    "query",
    "rows",
    "sum_of",
]
