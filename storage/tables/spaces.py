"""Rows by (space, key) in one LMDB table, with keys of any length in order.

A space is a number of 4 bytes before the key: a table, an index, or something of our own. LMDB
takes keys of 511 bytes at most. A key of `LONG_KEY_BYTES` or more shares one row, the bucket, with
all keys that begin with the same `LONG_KEY_BYTES` bytes; the bucket holds the whole keys, sorted.
No shorter key can have a bucket's row, so the order of the rows is the order of the keys.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

import cbor2

from palaver.storage.transaction import ReadTxn, WriteTxn, successor

from .errors import SystemLimit

ROWS = "rows"
"""Name of the LMDB table."""

LONG_KEY_BYTES = 480
MAX_BUCKET_BYTES = 16 << 20
"""Of all records whose keys share their first `LONG_KEY_BYTES` bytes."""

SCHEMA_SPACE = 0
PREPARED_SPACE = 1
DECIDED_SPACE = 2
FINISHED_SPACE = 3
SIZES_SPACE = 4
FIRST_TABLE_SPACE = 16

Row = tuple[bytes, bytes]
Bucket = list[tuple[bytes, bytes]]


def prefix_of(space: int) -> bytes:
    """Return the bytes that every row of a space begins with."""
    return space.to_bytes(4, "big")


def is_long(key: bytes) -> bool:
    """Whether the key shares a bucket."""
    return len(key) >= LONG_KEY_BYTES


def load_bucket(value: bytes | None) -> Bucket:
    """Decode a bucket's value."""
    if value is None:
        return []
    return [(key, payload) for key, payload in cbor2.loads(value)]


def get_row(txn: ReadTxn, space: int, key: bytes) -> bytes | None:
    """Return the payload under `key`, None when there is none."""
    if len(key) < LONG_KEY_BYTES:
        return txn.get(ROWS, prefix_of(space) + key)
    for found, payload in load_bucket(txn.get(ROWS, prefix_of(space) + key[:LONG_KEY_BYTES])):
        if found == key:
            return payload
    return None


def put_row(txn: WriteTxn, space: int, key: bytes, payload: bytes) -> None:
    """Write `payload` under `key`; SystemLimit when its bucket would grow too large."""
    if len(key) < LONG_KEY_BYTES:
        txn.put(ROWS, prefix_of(space) + key, payload)
    else:
        _change_bucket(txn, space, key, payload)


def delete_row(txn: WriteTxn, space: int, key: bytes) -> None:
    """Remove `key`, if it is there."""
    if len(key) < LONG_KEY_BYTES:
        txn.delete(ROWS, prefix_of(space) + key)
    else:
        _change_bucket(txn, space, key, None)


def clear_space(txn: WriteTxn, space: int) -> None:
    """Remove every row of a space."""
    txn.delete_range(ROWS, prefix_of(space), prefix_of(space + 1))


def rows(
    txn: ReadTxn,
    space: int,
    start: bytes = b"",
    stop: bytes | None = None,
    *,
    reverse: bool = False,
    damaged: Callable[[bytes], None] | None = None,
) -> Iterator[Row]:
    """Yield (key, payload) for start <= key < stop in order, or backwards.

    Args:
        txn: where.
        space: of the rows.
        start: the first key.
        stop: the first key that is not part of it; None for no bound.
        reverse: from the end.
        damaged: called with the key of each damaged row (of a bucket: what its keys begin with),
            which is passed over; without it RecordCorrupt is raised.
    """
    prefix = prefix_of(space)
    low = prefix + start[:LONG_KEY_BYTES]
    high = prefix_of(space + 1) if stop is None else prefix + stop[:LONG_KEY_BYTES]
    if stop is not None and is_long(stop):
        high += b"\x00"  # keys before `stop` may be in the bucket that it is in itself
    skip = len(prefix)
    bucket_bytes = skip + LONG_KEY_BYTES
    tell = None
    if damaged is not None:
        hear = damaged

        def tell(_table: str, row_key: bytes, _stored: bytes) -> None:
            hear(row_key[skip:])

    for row_key, value in txn.range(ROWS, low, high, reverse=reverse, damaged=tell):
        if len(row_key) < bucket_bytes:
            yield row_key[skip:], value
            continue
        bucket = load_bucket(value)
        for key, payload in reversed(bucket) if reverse else bucket:
            if key >= start and (stop is None or key < stop):
                yield key, payload


def _change_bucket(txn: WriteTxn, space: int, key: bytes, payload: bytes | None) -> None:
    row_key = prefix_of(space) + key[:LONG_KEY_BYTES]
    bucket = load_bucket(txn.get(ROWS, row_key))
    keys = [found for found, _ in bucket]
    at = bisect_left(keys, key)
    if at < len(keys) and keys[at] == key:
        del bucket[at]
    if payload is not None:
        bucket.insert(at, (key, payload))
    if not bucket:
        txn.delete(ROWS, row_key)
        return
    value = cbor2.dumps([list(pair) for pair in bucket])
    if len(value) > MAX_BUCKET_BYTES:
        raise SystemLimit(
            f"the records whose keys share their first {LONG_KEY_BYTES} bytes take more than "
            f"{MAX_BUCKET_BYTES} bytes; use shorter keys"
        )
    txn.put(ROWS, row_key, value)


def after(key: bytes) -> bytes:
    """Return the smallest key above `key`."""
    return key + b"\x00"


def end_of(prefix: bytes) -> bytes | None:
    """Return the smallest key above all that begin with `prefix`."""
    return successor(prefix)


def dump(term: Any) -> bytes:
    """Encode one of storage's own rows."""
    return cbor2.dumps(term)
