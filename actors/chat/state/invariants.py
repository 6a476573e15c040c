"""What must hold between the rows of a partition, checked offline by `palaver check`."""

from __future__ import annotations

from collections.abc import Iterator

from palaver.actors.chat.state.tables import ENTRY, PAIR, U64, Conversation, load
from palaver.storage import ReadTxn
from palaver.storage.partitioning import partition_of

__all__ = ["violations"]


def violations(txn: ReadTxn, partition: int, partitions: int) -> Iterator[str]:
    """Every invariant that the rows break, as a sentence with the row in it."""
    yield from _placement(txn, partition, partitions)
    yield from _queues(txn, partition, partitions)
    yield from _heads(txn)
    yield from _outboxes(txn)


def _everything(txn: ReadTxn, table: str) -> Iterator[tuple[bytes, bytes]]:
    return iter(txn.range(table, b""))


def _placement(txn: ReadTxn, partition: int, partitions: int) -> Iterator[str]:
    for key, _ in _everything(txn, "accounts"):
        if partition_of(key, partitions) != partition:
            yield f"account {key.decode(errors='replace')} lies in the wrong partition"
    for key, raw in _everything(txn, "convs"):
        if partition_of(key, partitions) != partition:
            yield f"conversation {key.hex()} lies in the wrong partition"
        record = Conversation(*load(raw))  # type: ignore[arg-type]
        if record.kind == 0 and len(record.members) != 2:
            yield f"direct conversation {key.hex()} has {len(record.members)} members"


def _queues(txn: ReadTxn, partition: int, partitions: int) -> Iterator[str]:
    references: dict[bytes, int] = {}
    owner, expected = b"", 0
    last_seq: dict[bytes, int] = {}
    for key, value in _everything(txn, "queues"):
        device, position = key[:-8], U64.unpack(key[-8:])[0]
        name = f"queue {device[:-9].decode(errors='replace')}:{U64.unpack(device[-8:])[0]}"
        if device != owner:
            raw = txn.get("acked", device)
            owner, expected = device, (U64.unpack(raw)[0] if raw else 0) + 1
            last_seq.clear()
            if txn.get("devices", device) is None:
                yield f"{name} belongs to no device"
        if position != expected:
            yield f"{name} has position {position} where {expected} should be"
        expected = position + 1
        conversation, seq, shared, _ = ENTRY.unpack_from(value)
        if seq <= last_seq.get(conversation, 0):
            yield f"{name} holds seq {seq} of {conversation.hex()} after a later one"
        last_seq[conversation] = seq
        if partition_of(conversation, partitions) == partition:
            raw = txn.get("heads", conversation)
            if raw is None or PAIR.unpack(raw)[0] < seq:
                yield f"{name} holds seq {seq} of {conversation.hex()}, which it never gave out"
        if shared:
            body = conversation + U64.pack(seq)
            references[body] = references.get(body, 0) + 1
    for key, raw in _everything(txn, "bodies"):
        counted = U64.unpack_from(raw)[0]
        found = references.pop(key, 0)
        if counted != found:
            yield f"shared body {key.hex()} counts {counted} references, {found} queues hold it"
    for key in references:
        yield f"shared body {key.hex()} is missing"


def _heads(txn: ReadTxn) -> Iterator[str]:
    seqs: dict[bytes, set[int]] = {}
    for _, raw in _everything(txn, "answers"):
        seq, stamp = PAIR.unpack_from(raw)
        conversation = raw[16:]
        head = txn.get("heads", conversation)
        last_seq, last_stamp = PAIR.unpack(head) if head else (0, 0)
        if seq > last_seq or stamp > last_stamp:
            yield f"seq {seq} of {conversation.hex()} was answered; the last is {last_seq}"
        known = seqs.setdefault(conversation, set())
        if seq in known:
            yield f"seq {seq} of {conversation.hex()} was given to two messages"
        known.add(seq)
    for key, raw in _everything(txn, "marks"):
        delivered, read = PAIR.unpack(raw)
        head = txn.get("heads", key[:16])
        if delivered < read or head is None or PAIR.unpack(head)[0] < delivered:
            yield f"watermarks {delivered}/{read} of {key[16:].decode(errors='replace')} are ahead"


def _outboxes(txn: ReadTxn) -> Iterator[str]:
    last: dict[int, int] = {}
    for key, _ in _everything(txn, "outbox"):
        target, number = PAIR.unpack(key)
        if target in last and number != last[target] + 1:
            yield f"outbox to partition {target} has {number} after {last[target]}"
        last[target] = number
    for target, number in last.items():
        raw = txn.get("outnext", U64.pack(target))
        if raw is None or U64.unpack(raw)[0] != number + 1:
            yield f"outbox to partition {target} ends at {number}, its counter disagrees"
