"""Names of the tables of a partition, their keys, and their packed values.

A key begins with what the row belongs to, so that one owner's rows lie side by side in the
B-tree: a device's queue is one contiguous range, drained and deleted in order.

========== ============================ =============================================
table      key                          value
========== ============================ =============================================
accounts   account                      CBOR :class:`Account`
devices    account 00 device            CBOR :class:`Device`
lastseen   account, or account 00 dev.  last seen, unix ms
members    account 00 conversation      empty: the account's conversations
convs      conversation                 CBOR :class:`Conversation`
heads      conversation                 last seq, last stamp
marks      conversation account         delivered and read watermarks
answers    account 00 device client id  seq, stamp, conversation of an accepted message
floors     account 00 device            client ids below this are forgotten
queues     account 00 device position   :data:`ENTRY` header, sender, event
acked      account 00 device            last position that the device acknowledged
bodies     conversation seq             reference count, event of a wide fan-out
files      account 00 file              CBOR [size, type, owned]: files it may fetch
usage      account                      bytes of the files that the account uploaded
outbox     target partition, number     CBOR command on its way to another partition
outnext    target partition             next number
inlast     source partition             last number applied
chatmeta   name                         the reserved stamp
========== ============================ =============================================
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import cbor2

__all__ = [
    "ENTRY",
    "PAIR",
    "TABLES",
    "U64",
    "Account",
    "Conversation",
    "Device",
    "account_prefix",
    "device_key",
    "direct_partition_key",
    "load",
    "owned_key",
    "queue_key",
    "save",
]

TABLES = (
    "accounts",
    "devices",
    "lastseen",
    "members",
    "convs",
    "heads",
    "marks",
    "answers",
    "floors",
    "queues",
    "acked",
    "bodies",
    "files",
    "usage",
    "outbox",
    "outnext",
    "inlast",
    "chatmeta",
)

U64 = struct.Struct(">Q")
PAIR = struct.Struct(">QQ")

#: conversation, seq, 1 if the event lies in ``bodies``, length of the sender's name that follows.
ENTRY = struct.Struct(">16sQBB")


class Account(NamedTuple):
    """An account: when it was made, whether it hides its last seen, whom it blocks."""

    created_ms: int
    hides_last_seen: bool
    next_device: int
    blocked: tuple[str, ...]


class Device(NamedTuple):
    """A registered device: its Ed25519 public key (32 bytes), name and time of registration."""

    public_key: bytes
    name: str
    created_ms: int


class Conversation(NamedTuple):
    """A set of members; kind 0 is a direct conversation of two, kind 1 a group."""

    kind: int
    name: str
    members: tuple[str, ...]
    admins: tuple[str, ...]
    blocked_by: tuple[str, ...]


def save(record: tuple[object, ...]) -> bytes:
    """Encode a record as a CBOR array."""
    return cbor2.dumps(list(record))


def load(value: bytes) -> list[object]:
    """Decode a record; arrays become tuples, so that records stay hashable and immutable."""
    items = cbor2.loads(value)
    return [tuple(item) if isinstance(item, list) else item for item in items]


def account_prefix(account: str) -> bytes:
    """The prefix of all rows that belong to an account."""
    return account.encode() + b"\x00"


def device_key(account: str, device: int) -> bytes:
    """The key of a row of one device."""
    return account.encode() + b"\x00" + U64.pack(device)


def owned_key(account: str, item: bytes) -> bytes:
    """The key of a conversation or file below an account."""
    return account.encode() + b"\x00" + item


def queue_key(account: str, device: int, position: int) -> bytes:
    """The key of a position in a device's queue."""
    return account.encode() + b"\x00" + PAIR.pack(device, position)


def direct_partition_key(account: str) -> bytes:
    """What an account is hashed by, to find its partition."""
    return account.encode()
