"""What clients ask of the objects that `models` describes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "EMPTY",
    "Add",
    "CompareAndSet",
    "Dequeue",
    "Enqueue",
    "Insert",
    "Items",
    "MapStep",
    "Read",
    "ReadAll",
    "Remove",
    "Transaction",
    "Write",
]


@dataclass(frozen=True, slots=True)
class Read:
    """Answers the value of `key`: what a register, a counter or a map has; None: nothing."""

    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Write:
    """Sets `key` to `value`."""

    value: Hashable
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Sets `key` to `new` if it is `old`; answers whether it was."""

    old: Hashable
    new: Hashable
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Add:
    """Adds to the number at `key` (none counts as 0); answers the new one, or None if not told."""

    amount: int
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Insert:
    """Puts an item into a bag."""

    item: Hashable
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Takes an item out of a bag, however often it is there, or removes a map's key.

    It answers whether the bag had the item, or None.
    """

    item: Hashable = None
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Items:
    """Answers a bag's items: any iterable, in any order."""

    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Puts an item at the end of a queue."""

    item: Hashable
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Dequeue:
    """Takes the first item of a queue and answers it; EMPTY if there is none."""

    key: Hashable = None


@dataclass(frozen=True, slots=True)
class ReadAll:
    """Answers everything that a map holds, as a dict."""


MapStep: TypeAlias = Read | Write | Add | Remove | CompareAndSet | ReadAll


@dataclass(frozen=True, slots=True)
class Transaction:
    """Steps on several keys of a map that happen at one moment; answers a tuple with one each."""

    steps: tuple[MapStep, ...]


class _Empty:
    __slots__ = ()

    def __repr__(self) -> str:
        return "EMPTY"


EMPTY = _Empty()
"""What `Dequeue` answers when there is nothing."""
