"""What can be asked about a table and about the database: table_info/2 and system_info/1."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .copies import MemoryCopy
from .core import Core
from .errors import BadArgument, NoExists
from .schema import SCHEMA_VERSION
from .table import TableState

_TABLE_FACTS: dict[str, Callable[[Core, TableState], Any]] = {
    "access_mode": lambda _, state: state.definition.access_mode,
    "arity": lambda _, state: len(state.definition.attributes) + 1,
    "attributes": lambda _, state: list(state.definition.attributes),
    "checkpoints": lambda _, state: sorted(each.checkpoint.name for each in state.retainers),
    "damaged": lambda _, state: len(state.damaged),
    "index": lambda _, state: list(state.definition.index),
    "key": lambda _, state: state.definition.attributes[state.definition.key_position],
    "load_order": lambda _, state: state.definition.load_order,
    "memory": lambda _, state: _memory(state),
    "n_fragments": lambda database, _: database.partitions,
    "record_name": lambda _, state: state.definition.record,
    "record_class": lambda _, state: state.record_type.cls,
    "size": lambda _, state: state.size,
    "storage_type": lambda _, state: state.definition.storage,
    "subscribers": lambda _, state: [each.callback for each in state.watchers],
    "type": lambda _, state: state.definition.type,
    "user_properties": lambda _, state: dict(state.definition.properties),
    "version": lambda _, state: state.definition.version,
}

_SYSTEM_FACTS: dict[str, Callable[[Core], Any]] = {
    "checkpoints": lambda database: sorted(database.checkpoints_by_name),
    "fallback_activated": lambda database: database.fallback_activated,
    "backlog": lambda database: database.pipeline.backlog,
    "directory": lambda database: None if database.path is None else str(database.path),
    "is_running": lambda database: "yes" if database.is_running else "no",
    "max_backlog": lambda database: database.max_backlog,
    "partitions": lambda database: database.partitions,
    "schema_version": lambda _: SCHEMA_VERSION,
    "tables": lambda database: database.tables(),
    "transaction_commits": lambda database: database.counters.commits,
    "transaction_failures": lambda database: database.counters.failures,
    "transaction_restarts": lambda database: database.counters.restarts,
    "transactions": lambda database: len(database.running),
    "use_dir": lambda database: database.path is not None,
}


def table_fact(database: Core, table: Any, item: str) -> Any:
    """Return a fact about a table; see `Database.table_info`."""
    state = database.state(table)
    if item == "all":
        return {name: fact(database, state) for name, fact in _TABLE_FACTS.items()}
    if item not in _TABLE_FACTS:
        raise NoExists(item, f"a table has no {item!r}; ask for one of {sorted(_TABLE_FACTS)}")
    return _TABLE_FACTS[item](database, state)


def system_fact(database: Core, item: str) -> Any:
    """Return a fact about the database; see `Database.system_info`."""
    if item == "all":
        return {name: fact(database) for name, fact in _SYSTEM_FACTS.items()}
    if item not in _SYSTEM_FACTS:
        raise BadArgument(f"there is no {item!r}; ask for one of {sorted(_SYSTEM_FACTS)}")
    return _SYSTEM_FACTS[item](database)


def _memory(state: TableState) -> int:
    """Estimate the bytes that a table takes in memory, from a sample of its records."""
    copy = state.copy
    if not isinstance(copy, MemoryCopy):
        return 0
    sample = [copy.rows.get(key) for key, _ in zip(list(copy.rows), range(100), strict=False)]
    if not sample:
        return sys.getsizeof(copy.rows)
    each = sum(map(_bytes_of, sample)) / len(sample)
    return sys.getsizeof(copy.rows) + int(each * len(copy.rows))


def _bytes_of(slot: Any) -> int:
    if isinstance(slot, bytes) or slot is None:
        return sys.getsizeof(slot)
    fields = slot if isinstance(slot, tuple) else _fields(slot)
    return sys.getsizeof(slot) + sum(map(sys.getsizeof, fields))


def _fields(record: Any) -> list[Any]:
    names = getattr(type(record), "__slots__", None) or vars(record)
    return [getattr(record, name, None) for name in names]
