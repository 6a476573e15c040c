"""Where a table's records are while the database runs: in memory, or on the disk with an overlay.

A copy maps encoded keys to slots. A slot is a record, or in a bag a tuple of records in the order
of their insertion. What a copy holds is what has been committed in memory, durable or not.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from heapq import merge
from itertools import islice
from typing import Any, ClassVar, Protocol, TypeAlias

from sortedcontainers import SortedList

Key: TypeAlias = bytes
Slot: TypeAlias = Any
Decode: TypeAlias = Callable[[bytes], Slot]
Pair: TypeAlias = tuple[Key, Slot]

SCAN_ROWS = 256
"""Rows that one look into the disk takes at most: no snapshot outlives it."""


class Copy(Protocol):
    """One table's records, or the entries of one of its indexes.

    Writing belongs to whoever holds the database's mutex; `get` may be called from any thread.

    Attributes:
        layered: whether what is not durable lies above the disk, until `settle`.
    """

    layered: ClassVar[bool]

    def get(self, key: Key) -> Slot | None:
        """Return what is under `key`, None when there is nothing."""

    def peek(self, key: Key) -> Slot | bytes | None:
        """Return what is under `key` as it lies there, perhaps not decoded."""

    def swap(self, key: Key, slot: Slot | None, commit: int) -> Any:
        """Write, or delete (None), for the commit of that number; return what `restore` needs."""

    def restore(self, key: Key, before: Any) -> None:
        """Undo a `swap`; the later ones of that key have been undone."""

    def scan(
        self, low: Key, high: Key | None, *, limit: int | None = None, reverse: bool = False
    ) -> list[Pair]:
        """Return the pairs with low <= key < high, in the order of the keys."""

    def pairs(self) -> Iterator[Pair]:
        """Yield every pair, in no particular order, without holding anything up meanwhile."""

    def settle(self, keys: Iterable[Key], commit: int) -> None:
        """Hear that what a commit wrote under these keys is durable."""


class MemoryCopy:
    """All records in a dict; the order of the keys is kept from when it is first asked for.

    A record that was loaded stays as the bytes that it was stored as until it is first read.
    """

    layered: ClassVar[bool] = False

    __slots__ = ("_decode", "_mutex", "_order", "rows")

    def __init__(self, mutex: AbstractContextManager[Any], decode: Decode | None = None) -> None:
        self.rows: dict[Key, Slot] = {}
        self._decode = decode
        self._mutex = mutex
        self._order: SortedList[Key] | None = None

    def rebind(self, decode: Decode, convert: Callable[[Slot], Slot]) -> None:
        """Make the records ones of another class, all or (where one does not fit) none."""
        self.rows = {
            key: slot if type(slot) is bytes else convert(slot) for key, slot in self.rows.items()
        }
        self._decode = decode

    def get(self, key: Key) -> Slot | None:
        """Return what is under `key`, None when there is nothing."""
        slot = self.rows.get(key)
        if type(slot) is bytes:
            slot = self._wake(key, slot)
        return slot

    def _wake(self, key: Key, stored: bytes) -> Slot:
        decode = self._decode
        assert decode is not None
        slot = decode(stored)
        with self._mutex:  # a commit may have written meanwhile; then this is of no use
            if self.rows.get(key) is stored and self._decode is decode:
                self.rows[key] = slot
        return slot

    def peek(self, key: Key) -> Slot | bytes | None:
        """Return what is under `key` as it lies there, perhaps not decoded."""
        return self.rows.get(key)

    def swap(self, key: Key, slot: Slot | None, commit: int) -> Slot | None:
        """Write, or delete (None); return what was there."""
        rows = self.rows
        before = rows.get(key)
        order = self._order
        if slot is None:
            rows.pop(key, None)
            if order is not None:
                order.discard(key)
        else:
            if order is not None and before is None:
                order.add(key)
            rows[key] = slot
        return before

    def restore(self, key: Key, before: Slot | None) -> None:
        """Undo a `swap`."""
        self.swap(key, before, 0)

    def scan(
        self, low: Key, high: Key | None, *, limit: int | None = None, reverse: bool = False
    ) -> list[Pair]:
        """Return the pairs with low <= key < high, in the order of the keys."""
        with self._mutex:
            order = self._order
            if order is None:
                order = self._order = SortedList(self.rows)
            keys = order.irange(low, high, (True, False), reverse)
            chosen = list(keys if limit is None else islice(keys, limit))
            get = self.get
            return [(key, get(key)) for key in chosen]

    def pairs(self) -> Iterator[Pair]:
        """Yield every pair, in no particular order, without holding anything up meanwhile."""
        get = self.get
        for key in list(self.rows):
            slot = get(key)
            if slot is not None:
                yield key, slot

    def settle(self, keys: Iterable[Key], commit: int) -> None:
        """Nothing to do: memory is where it stays."""


class DiscRows(Protocol):
    """What a disc copy asks of the store: rows of one space over all partitions."""

    def get(self, space: int, key: Key) -> bytes | None:
        """Return the durable payload under `key`."""

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


class DiscCopy:
    """Records on the disk, under what is committed and not yet durable."""

    layered: ClassVar[bool] = True

    __slots__ = ("_decode", "_durable", "_overlay", "_rows", "_space")

    def __init__(self, rows: DiscRows, space: int, decode: Decode) -> None:
        self._rows = rows
        self._space = space
        self._decode = decode
        self._overlay: dict[Key, tuple[int, Slot | None]] = {}
        # The last commit that is durable under one in the overlay that may yet be undone.
        self._durable: dict[Key, int] = {}

    def rebind(self, decode: Decode, convert: Callable[[Slot], Slot]) -> None:
        """Make the records ones of another class, all or (where one does not fit) none."""
        self._overlay = {
            key: (commit, None if slot is None else convert(slot))
            for key, (commit, slot) in self._overlay.items()
        }
        self._decode = decode

    def get(self, key: Key) -> Slot | None:
        """Return what is under `key`, None when there is nothing."""
        # The overlay first: a row leaves it only after it can be found on the disk.
        found = self._overlay.get(key)
        if found is not None:
            return found[1]
        stored = self._rows.get(self._space, key)
        return None if stored is None else self._decode(stored)

    def peek(self, key: Key) -> Slot | bytes | None:
        """Return what is under `key` as it lies there, perhaps not decoded."""
        found = self._overlay.get(key)
        if found is not None:
            return found[1]
        return self._rows.get(self._space, key)

    def swap(self, key: Key, slot: Slot | None, commit: int) -> tuple[int, Slot | None] | None:
        """Write, or delete (None), for the commit of that number; return what was above."""
        before = self._overlay.get(key)
        self._overlay[key] = (commit, slot)
        return before

    def restore(self, key: Key, before: tuple[int, Slot | None] | None) -> None:
        """Undo a `swap`."""
        if before is None or self._durable.get(key, 0) >= before[0]:
            del self._overlay[key]
            self._durable.pop(key, None)
        else:
            self._overlay[key] = before

    def scan(
        self, low: Key, high: Key | None, *, limit: int | None = None, reverse: bool = False
    ) -> list[Pair]:
        """Return the pairs with low <= key < high, in the order of the keys."""
        over = [
            (key, slot)
            for key, (_, slot) in sorted(self._overlay.copy().items(), reverse=reverse)
            if key >= low and (high is None or key < high)
        ]
        found: list[Pair] = []
        for pair in overlaid(over, self._below(low, high, reverse), reverse=reverse):
            found.append(pair)
            if limit is not None and len(found) >= limit:
                break
        return found

    def pairs(self) -> Iterator[Pair]:
        """Yield every pair, in order, without holding anything up meanwhile."""
        low = b""
        while batch := self.scan(low, None, limit=SCAN_ROWS):
            yield from batch
            low = batch[-1][0] + b"\x00"

    def _below(self, low: Key, high: Key | None, reverse: bool) -> Iterator[Pair]:
        while True:
            batch = self._rows.scan(self._space, low, high, SCAN_ROWS, reverse, self._overlay)
            for key, stored in batch:
                yield key, self._decode(stored)
            if len(batch) < SCAN_ROWS:
                return
            last = batch[-1][0]
            if reverse:
                high = last
            else:
                low = last + b"\x00"

    def settle(self, keys: Iterable[Key], commit: int) -> None:
        """Take what is durable now out of the overlay, unless it was written again."""
        overlay = self._overlay
        for key in keys:
            found = overlay.get(key)
            if found is None:
                continue
            if found[0] == commit:
                del overlay[key]
                self._durable.pop(key, None)
            else:
                self._durable[key] = commit


def overlaid(
    over: Iterable[tuple[Key, Slot | None]], under: Iterable[Pair], *, reverse: bool = False
) -> Iterator[Pair]:
    """Merge two sorted sequences of pairs; where both have a key the upper one counts.

    A slot of None in the upper one hides the lower one's.
    """
    tagged = merge(
        ((key, 0, slot) for key, slot in over),
        ((key, 1, slot) for key, slot in under),
        key=_place_backwards if reverse else _place,
        reverse=reverse,
    )
    last: Key | None = None
    for key, _, slot in tagged:
        if key == last:
            continue
        last = key
        if slot is not None:
            yield key, slot


def _place(row: tuple[Key, int, Slot]) -> tuple[Key, int]:
    return row[0], row[1]


def _place_backwards(row: tuple[Key, int, Slot]) -> tuple[Key, int]:
    return row[0], -row[1]


def layered(
    layers: Sequence[Mapping[Key, Slot | None]],
    copy: Copy,
    low: Key,
    high: Key | None,
    *,
    limit: int | None,
    reverse: bool,
) -> list[Pair]:
    """Return a scan of `copy` under the writes of a transaction and those around it.

    Args:
        layers: the writes, the innermost first.
        copy: the table.
        low: the first key.
        high: the first key that is not part of it; None for no bound.
        limit: at most so many pairs.
        reverse: from the end.
    """
    own: dict[Key, Slot | None] = {}
    for layer in reversed(layers):
        own.update(layer)
    over = sorted(
        (pair for pair in own.items() if pair[0] >= low and (high is None or pair[0] < high)),
        key=_key_of,
        reverse=reverse,
    )
    if not over:
        return copy.scan(low, high, limit=limit, reverse=reverse)
    # The lower scan may lose as many rows as the upper one hides.
    wanted = None if limit is None else limit + len(over)
    under = copy.scan(low, high, limit=wanted, reverse=reverse)
    merged = overlaid(over, under, reverse=reverse)
    if limit is None:
        return list(merged)
    return list(islice(merged, limit))


def _key_of(pair: tuple[Key, Any]) -> Key:
    return pair[0]
