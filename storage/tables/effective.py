"""Which operations of a transaction its commit carries out: what subscribers hear.

As in Mnesia, it is what the transaction leaves to be done at its end, key by key. In a set that is
one operation: the last write or delete; what it wrote before has never been there for anybody. In a
bag it is every operation that a later one has not made void.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from .copies import Key
from .identity import identical
from .table import TableState

Operation: TypeAlias = tuple[str, TableState, Key, Any]
"""What was done (`write`, `delete` or `delete_object`), where, and the record or deleted key."""

_Pending: TypeAlias = dict[int, Operation]


def effective(operations: Sequence[Operation]) -> list[Operation]:
    """Return those that are carried out, in their order."""
    if len(operations) < 2:
        return list(operations)
    pending: dict[tuple[TableState, Key], _Pending] = {}
    for number, operation in enumerate(operations):
        _, state, key, _ = operation
        of_key = pending.setdefault((state, key), {})
        if operation[0] == "delete":
            of_key.clear()
            of_key[number] = operation
        elif state.is_bag:
            _in_bag(of_key, number, operation)
        else:
            _in_set(of_key, number, operation)
    kept = {number: each for of_key in pending.values() for number, each in of_key.items()}
    return [kept[number] for number in sorted(kept)]


def _in_set(pending: _Pending, number: int, operation: Operation) -> None:
    name, state, key, record = operation
    if name == "write":
        pending.clear()
        pending[number] = operation
        return
    for at, (before, _, _, written) in list(pending.items()):
        if before == "delete_object":
            if identical(state.record_type, written, record):
                del pending[at]
        elif before == "write" and identical(state.record_type, written, record):
            del pending[at]
            pending[number] = ("delete", state, key, state.key_of(record))
            return
        else:  # the record is not there any more
            return
    pending[number] = operation


def _in_bag(pending: _Pending, number: int, operation: Operation) -> None:
    name, state, _, record = operation
    for at, (before, _, _, other) in list(pending.items()):
        if before == "delete" or not identical(state.record_type, other, record):
            continue
        if name == "delete_object":
            del pending[at]
        elif before == "write":
            return
    pending[number] = operation


def after(operation: Operation, before: list[Any]) -> list[Any]:
    """Return what the key holds after an operation, in the order of a bag."""
    name, state, _, record = operation
    if name == "delete":
        return []
    if name == "write" and not state.is_bag:
        return [record]
    left = [each for each in before if not identical(state.record_type, each, record)]
    if name == "write":
        return before if len(left) < len(before) else [*before, record]
    return left
