"""The durable rows of a space, over all partitions: what disc copies stand on."""

from __future__ import annotations

from collections.abc import Callable, Container
from heapq import merge
from itertools import islice

from palaver.storage.errors import RecordCorrupt
from palaver.storage.store import Store
from palaver.storage.transaction import ReadTxn

from . import spaces
from .copies import Key
from .errors import RecordDamaged
from .table import DAMAGED

Found = Callable[[int, bytes], RecordDamaged]
"""Hears of a damaged row, its space and its key; returns what to raise."""


class StoreRows:
    """Reads rows from snapshots that live no longer than the call.

    A damaged row is told. Alone it is given as a payload that nothing decodes from, because whoever
    is about to write it may look at it; within a scan it is raised.
    """

    def __init__(self, store: Store, found: Found) -> None:
        self._store = store
        self._found = found

    def get(self, space: int, key: Key) -> bytes | None:
        """Return the durable payload under `key`."""
        store = self._store
        with store.look(store.partition_of(key)) as txn:
            try:
                return spaces.get_row(txn, space, key)
            except RecordCorrupt:
                self._found(space, key)
                return DAMAGED

    def scan(
        self,
        space: int,
        low: Key,
        high: Key | None,
        limit: int,
        reverse: bool,
        hidden: Container[Key],
    ) -> list[tuple[Key, bytes]]:
        """Return at most `limit` durable pairs with low <= key < high, in order.

        A damaged row whose key is `hidden` is passed over.
        """
        parts = []
        for partition in range(self._store.partitions):
            with self._store.look(partition) as txn:
                parts.append(self._part(txn, space, low, high, limit, reverse, hidden))
        if len(parts) == 1:
            return parts[0]
        return list(islice(merge(*parts, key=_key_of, reverse=reverse), limit))

    def _part(
        self,
        txn: ReadTxn,
        space: int,
        low: Key,
        high: Key | None,
        limit: int,
        reverse: bool,
        hidden: Container[Key],
    ) -> list[tuple[Key, bytes]]:
        def damaged(key: bytes) -> None:
            if key not in hidden:
                raise self._found(space, key)

        found = spaces.rows(txn, space, low, high, reverse=reverse, damaged=damaged)
        return list(islice(found, limit))


def _key_of(pair: tuple[Key, bytes]) -> Key:
    return pair[0]
