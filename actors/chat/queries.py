"""What can be asked of a partition, by name: plain reads over one snapshot.

A query is named and its arguments are plain values, so that it can be asked of a partition that
lives elsewhere just as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from palaver.actors.chat.state.machine import outbox_rows
from palaver.actors.chat.state.queues import entry_event
from palaver.actors.chat.state.tables import (
    PAIR,
    U64,
    Account,
    Conversation,
    Device,
    account_prefix,
    device_key,
    load,
    owned_key,
)
from palaver.storage import ReadTxn

__all__ = ["QUERIES", "ConversationRow", "DeviceRow", "FileRow", "Login", "PresenceRow"]


class Login(NamedTuple):
    """What a login needs: the key to verify against, and where the device's queue stands."""

    public_key: bytes | None
    revoked: bool
    acked: int
    last: int
    as_of: tuple[int, int] = (0, 0)
    """Which process of the partition was asked, and what it had committed; set by it."""


class PresenceRow(NamedTuple):
    """What decides who may see an account's presence, and its stored last seen (unix ms)."""

    known: bool
    hides: bool
    blocked: tuple[str, ...]
    last_seen_ms: int | None


class ConversationRow(NamedTuple):
    """A conversation as its members see it."""

    conversation: bytes
    kind: int
    name: str
    members: tuple[str, ...]
    blocked_by: tuple[str, ...]
    last_seq: int


class DeviceRow(NamedTuple):
    """A registered device of an account."""

    device: int
    name: str
    created_ms: int
    last_seen_ms: int | None


class FileRow(NamedTuple):
    """A file that an account may fetch."""

    size_bytes: int
    type: str


def _account(txn: ReadTxn, account: str) -> Account | None:
    raw = txn.get("accounts", account.encode())
    return Account(*load(raw)) if raw else None  # type: ignore[arg-type]


def login(txn: ReadTxn, account: str, device: int) -> Login:
    """The key and the queue position of a device."""
    key = device_key(account, device)
    raw = txn.get("devices", key)
    if raw is None:
        record = _account(txn, account)
        return Login(None, record is not None and 0 < device < record.next_device, 0, 0)
    public_key = Device(*load(raw)).public_key  # type: ignore[arg-type]
    raw_acked = txn.get("acked", key)
    acked = U64.unpack(raw_acked)[0] if raw_acked else 0
    last = txn.last("queues", key)
    return Login(public_key, False, acked, U64.unpack(last[0][-8:])[0] if last else acked)


def drain(
    txn: ReadTxn, account: str, device: int, first: int, limit: int, size_bytes: int
) -> tuple[int, list[bytes]]:
    """Events of a queue from position `first` on, with the position of the first that was found.

    At least one if there is one, then as many as `limit` and `size_bytes` allow.
    """
    key = device_key(account, device)
    events: list[bytes] = []
    start, total = first, 0
    for row_key, value in txn.range(
        "queues", key + U64.pack(first), key + b"\xff" * 8, limit=limit
    ):
        if not events:
            start = U64.unpack(row_key[-8:])[0]
        event = entry_event(txn, value)
        total += len(event)
        if events and total > size_bytes:
            break
        events.append(event)
    return start, events


def conversation(txn: ReadTxn, conversation_id: bytes) -> ConversationRow | None:
    """One conversation."""
    raw = txn.get("convs", conversation_id)
    if raw is None:
        return None
    record = Conversation(*load(raw))  # type: ignore[arg-type]
    head = txn.get("heads", conversation_id)
    last_seq = PAIR.unpack(head)[0] if head else 0
    return ConversationRow(
        conversation_id, record.kind, record.name, record.members, record.blocked_by, last_seq
    )


def conversation_rows(txn: ReadTxn, ids: list[bytes]) -> list[ConversationRow]:
    """Those of these conversations that live here."""
    rows = (conversation(txn, conversation_id) for conversation_id in ids)
    return [row for row in rows if row is not None]


def conversation_ids(txn: ReadTxn, account: str, after: bytes | None, limit: int) -> list[bytes]:
    """The conversations of an account, in the order of their ids, after the given one."""
    prefix = account_prefix(account)
    start = prefix if after is None else owned_key(account, after) + b"\x00"
    rows = txn.range("members", start, account.encode() + b"\x01", limit=limit)
    return [key[len(prefix) :] for key, _ in rows]


def marks(txn: ReadTxn, conversation_id: bytes, account: str) -> list[tuple[str, int, int]] | None:
    """The watermarks of a conversation's members, or None if `account` is not one of them."""
    raw = txn.get("convs", conversation_id)
    if raw is None:
        return None
    record = Conversation(*load(raw))  # type: ignore[arg-type]
    if account not in record.members:
        return None
    found = []
    for member in record.members:
        row = txn.get("marks", conversation_id + member.encode())
        found.append((member, *(PAIR.unpack(row) if row else (0, 0))))
    return found


def reachable(txn: ReadTxn, accounts: list[str]) -> list[str]:
    """Those of these accounts (which live here) that have a device to deliver to."""
    return [account for account in accounts if devices(txn, account)]


def devices(txn: ReadTxn, account: str) -> list[DeviceRow]:
    """The registered devices of an account."""
    prefix = account_prefix(account)
    found = []
    for key, raw in txn.range("devices", prefix, account.encode() + b"\x01"):
        record = Device(*load(raw))  # type: ignore[arg-type]
        number = U64.unpack(key[len(prefix) :])[0]
        seen = txn.get("lastseen", key)
        last_seen_ms = U64.unpack(seen)[0] if seen else None
        found.append(DeviceRow(number, record.name, record.created_ms, last_seen_ms))
    return found


def presence(txn: ReadTxn, account: str) -> PresenceRow:
    """What decides who sees an account's presence."""
    record = _account(txn, account)
    if record is None:
        return PresenceRow(False, True, (), None)
    raw = txn.get("lastseen", account.encode())
    last_seen = U64.unpack(raw)[0] if raw else None
    return PresenceRow(True, record.hides_last_seen, record.blocked, last_seen)


def file(txn: ReadTxn, account: str, file_id: bytes) -> FileRow | None:
    """A file, if the account may fetch it."""
    raw = txn.get("files", owned_key(account, file_id))
    if raw is None:
        return None
    size_bytes, kind, _ = load(raw)
    return FileRow(size_bytes, kind)  # type: ignore[arg-type]


def used_bytes(txn: ReadTxn, account: str) -> int:
    """How many bytes the account's uploads take."""
    raw = txn.get("usage", account.encode())
    return U64.unpack(raw)[0] if raw else 0


def accounts(txn: ReadTxn, after: str | None, limit: int) -> list[tuple[str, int, int, int]]:
    """Accounts in order: name, created (unix ms), number of devices, waiting events."""
    start = b"" if after is None else after.encode() + b"\x00"
    found = []
    for key, raw in txn.range("accounts", start, limit=limit):
        name = key.decode()
        record = Account(*load(raw))  # type: ignore[arg-type]
        own = devices(txn, name)
        depth = sum(waiting(txn, name, row.device) for row in own)
        found.append((name, record.created_ms, len(own), depth))
    return found


def account_created(txn: ReadTxn, account: str) -> int | None:
    """When an account was made (unix ms), None if there is none."""
    record = _account(txn, account)
    return None if record is None else record.created_ms


def waiting(txn: ReadTxn, account: str, device: int) -> int:
    """How many events wait in a device's queue."""
    state = login(txn, account, device)
    return state.last - state.acked


def reserved_stamp(txn: ReadTxn) -> int:
    """The highest stamp that this partition may have given out."""
    raw = txn.get("chatmeta", b"stamp")
    return U64.unpack(raw)[0] if raw else 0


def outbox(txn: ReadTxn, partitions: int, limit: int) -> list[tuple[int, int, list[Any]]]:
    """What waits for other partitions: target, first number, commands."""
    found = []
    for target in range(partitions):
        first, commands = outbox_rows(txn, target, limit)
        if commands:
            found.append((target, first, commands))
    return found


QUERIES: Mapping[str, Callable[..., Any]] = {
    query.__name__: query
    for query in (
        account_created,
        accounts,
        conversation,
        conversation_ids,
        conversation_rows,
        devices,
        drain,
        file,
        login,
        marks,
        outbox,
        presence,
        reachable,
        reserved_stamp,
        used_bytes,
        waiting,
    )
}
