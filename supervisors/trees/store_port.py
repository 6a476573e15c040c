"""What a chat node needs of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from palaver.actors.chat.partition import PartitionPort
from palaver.storage import ReadTxn

__all__ = ["StorePort"]

T = TypeVar("T")


class StorePort(PartitionPort, Protocol):
    """What a chat node needs of a store: its partitions' appends and reads, and a first look."""

    def view(self, partition: int, fn: Callable[[ReadTxn], T]) -> T:
        """Run `fn` over a snapshot here and now."""
