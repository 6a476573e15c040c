"""Mnesia-like tables: typed records, transactions, indexes, events, backups.

The names here are the package's face; the modules are its rooms. Begin with `Database.open`.
"""

from __future__ import annotations

from .activity import Activity
from .archives.building import restore_database
from .archives.checkpoints import Checkpoint
from .archives.format import Contents
from .archives.format import inspect as inspect_backup
from .archives.items import Item, RecordItem, SchemaItem, traverse_backup
from .checking import check_database
from .database import Database
from .definitions import IGNORE
from .dirty_activity import Dirty
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
from .transactions import Transaction

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
    "Checkpoint",
    "CombineError",
    "CommitFailed",
    "Conflict",
    "Contents",
    "Database",
    "Dirty",
    "Item",
    "NestedTransaction",
    "NoExists",
    "NoTransaction",
    "NotRunning",
    "Query",
    "ReadOnly",
    "RecordDamaged",
    "RecordItem",
    "SchemaItem",
    "SchemaMismatch",
    "Selection",
    "Subscription",
    "SystemLimit",
    "Table",
    "TableError",
    "Transaction",
    "V",
    "check_database",
    "count",
    "descending",
    "each",
    "inspect_backup",
    "match",
    "max_of",
    "min_of",
    "pattern",
    "query",
    "restore_database",
    "rows",
    "sum_of",
    "traverse_backup",
]
