"""The queue of a device: what happens at the partition of an account when something arrives.

Positions rise by one from 1 for each device and are never used again. A queue keeps an event
until the device acknowledges its position; liveness never decides whether something is kept.
"""

from __future__ import annotations

from typing import Any

from palaver.actors.chat.state import commands as cmd
from palaver.actors.chat.state.step import Step
from palaver.actors.chat.state.tables import (
    ENTRY,
    U64,
    device_key,
    owned_key,
    queue_key,
    save,
)
from palaver.storage import ReadTxn, WriteTxn

__all__ = ["acknowledge", "enqueue", "entry_event", "next_position"]

#: A fan-out whose copies would exceed this many bytes stores the event once, and references.
_SHARED_BYTES = 64 * 1024


def enqueue(step: Step, command: cmd.Command) -> Any:
    """Put events into the queue of each device of an account, but the one that sent them."""
    _, account, except_device, members, events = command
    devices = [device for device in step.devices(account) if device != except_device]
    txn = step.txn
    for conversation, seq, sender, event, file in events:
        if file is not None:
            _grant(step, account, file)
        if not devices:
            continue
        raw_sender = sender.encode()
        shared = len(event) * max(members, len(devices)) > _SHARED_BYTES
        value = ENTRY.pack(conversation, seq, shared, len(raw_sender)) + raw_sender
        if shared:
            _share(txn, conversation, seq, event, len(devices))
        else:
            value += event
        for device in devices:
            key = device_key(account, device)
            position = next_position(step, key)
            txn.put("queues", key + U64.pack(position), value)
            step.memory.tails[key] = position + 1
            step.effects.append(cmd.Queued(account, device, position, event))
    return None


def next_position(step: Step, key: bytes) -> int:
    """The position that the next event of a device gets: after its last, or after its last ack."""
    known = step.memory.tails.get(key)
    if known is None:
        last = step.txn.last("queues", key)
        if last is not None:
            known = U64.unpack(last[0][-8:])[0] + 1
        else:
            raw = step.txn.get("acked", key)
            known = (U64.unpack(raw)[0] if raw else 0) + 1
        step.memory.tails[key] = known
    return known


def _grant(step: Step, account: str, file: tuple[bytes, int, str]) -> None:
    """Let an account fetch a file that was sent to a conversation of its."""
    file_id, size_bytes, kind = file
    key = owned_key(account, file_id)
    if step.txn.get("files", key) is None:
        step.txn.put("files", key, save((size_bytes, kind, False)))


def _share(txn: WriteTxn, conversation: bytes, seq: int, event: bytes, count: int) -> None:
    key = conversation + U64.pack(seq)
    raw = txn.get("bodies", key)
    before = U64.unpack_from(raw)[0] if raw else 0
    txn.put("bodies", key, U64.pack(before + count) + event)


def _release(txn: WriteTxn, conversation: bytes, seq: int) -> None:
    key = conversation + U64.pack(seq)
    raw = txn.get("bodies", key)
    if raw is None:
        return
    left = U64.unpack_from(raw)[0] - 1
    if left:
        txn.put("bodies", key, U64.pack(left) + raw[8:])
    else:
        txn.delete("bodies", key)


def entry_event(txn: ReadTxn, value: bytes) -> bytes:
    """The event of a queue entry, wherever it lies."""
    conversation, seq, shared, sender_bytes = ENTRY.unpack_from(value)
    if not shared:
        return value[ENTRY.size + sender_bytes :]
    raw = txn.get("bodies", conversation + U64.pack(seq))
    if raw is None:
        raise LookupError(f"the shared body of seq {seq} in {conversation.hex()} is missing")
    return raw[8:]


def acknowledge(step: Step, command: cmd.Command) -> Any:
    """Delete a device's queue up to a position, and raise the delivered watermarks it implies."""
    _, account, device, position = command
    key = device_key(account, device)
    txn = step.txn
    position = min(position, next_position(step, key) - 1)
    raw = txn.get("acked", key)
    acked = U64.unpack(raw)[0] if raw else 0
    if position <= acked:
        return acked
    # Per conversation: the highest seq, and the senders whose messages are covered.
    covered: dict[bytes, tuple[int, set[str]]] = {}
    for number in range(acked + 1, position + 1):
        # Positions have no gaps, so each row is found by its key, without a cursor.
        row_key = key + U64.pack(number)
        value = txn.get("queues", row_key)
        if value is None:
            continue
        conversation, seq, shared, sender_bytes = ENTRY.unpack_from(value)
        sender = value[ENTRY.size : ENTRY.size + sender_bytes].decode()
        if shared:
            _release(txn, conversation, seq)
        txn.delete("queues", row_key)
        if sender != account:
            known = covered.get(conversation)
            if known is None:
                covered[conversation] = (seq, {sender})
            else:
                known[1].add(sender)
                covered[conversation] = (max(seq, known[0]), known[1])
    txn.put("acked", key, U64.pack(position))
    for conversation, (seq, senders) in covered.items():
        step.submit(conversation, (cmd.DELIVERED, conversation, account, seq, sorted(senders)))
    return position


def drop_queue(step: Step, account: str, device: int) -> None:
    """Forget a device's queue, with its shared bodies and its position."""
    key = device_key(account, device)
    first, stop = queue_key(account, device, 0), key + b"\xff" * 8
    for _, value in list(step.txn.range("queues", first, stop)):
        conversation, seq, shared, _ = ENTRY.unpack_from(value)
        if shared:
            _release(step.txn, conversation, seq)
    step.txn.delete_range("queues", first, stop)
    step.txn.delete("acked", key)
    step.memory.tails.pop(key, None)
