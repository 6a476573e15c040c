"""Words for programs that are written by hand."""

from __future__ import annotations

from typing import Any

from mnesia_conform.language import Program, Step

__all__ = [
    "THREE",
    "TWO",
    "archive",
    "async_dirty",
    "dirty",
    "in_memory",
    "nested",
    "on_disc",
    "sync_transaction",
    "table",
    "transaction",
    "tried",
    "writes",
]

THREE = ["k", "a", "b"]
TWO = ["k", "a"]


def table(
    name: str,
    *index: str,
    attributes: list[str] = THREE,
    storage: str = "ram_copies",
    load_order: int = 0,
    mode: str = "read_write",
) -> Step:
    return ("create_table", name, (attributes, storage, list(index), load_order, mode))


def transaction(*operations: Any) -> Step:
    return ("activity", "transaction", list(operations))


def sync_transaction(*operations: Any) -> Step:
    return ("activity", "sync_transaction", list(operations))


def nested(*operations: Any, then: str = "catch") -> Any:
    return ("nested", "transaction", list(operations), then)


def async_dirty(*operations: Any) -> Step:
    return ("activity", "async_dirty", list(operations))


def dirty(*operation: Any) -> Step:
    return ("dirty", operation)


def writes(name: str, *records: list[Any]) -> list[Step]:
    return [dirty("write", name, record) for record in records]


def tried(*operation: Any) -> Any:
    return ("try", operation)


def in_memory(*steps: Step) -> Program:
    return Program(list(steps))


def on_disc(*steps: Step) -> Program:
    return Program(list(steps), disc=True)


def archive(*operation: Any) -> Step:
    return ("archive", operation)
