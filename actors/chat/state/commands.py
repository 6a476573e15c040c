"""The commands of the log: plain tuples, first the opcode, all CBOR-able.

A command carries everything that is not deterministic (stamps, times, fresh identifiers), so that
applying it never asks a clock or a random number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "ACK",
    "BLOCK_IN_CONVERSATION",
    "CHANGE_MEMBERS",
    "CONFIRM",
    "CREATE_GROUP",
    "DELETE_ACCOUNT",
    "DELIVER",
    "DELIVERED",
    "ENQUEUE",
    "JOIN",
    "LAST_SEEN",
    "LEAVE",
    "READ",
    "RECORD_FILE",
    "REGISTER_DEVICE",
    "REMOVE_MEMBER",
    "REVOKE_DEVICE",
    "SEND",
    "SET_BLOCK",
    "SET_PRIVACY",
    "Command",
    "ConversationChanged",
    "DeviceRevoked",
    "Effect",
    "Forwarded",
    "Fresh",
    "Marked",
    "Queued",
    "Refusal",
    "Sent",
]

Command = tuple[Any, ...]

SEND = 1
"""(SEND, conversation, pair | None, reachable, sender, device, stamp, low, previous, [Fresh...])

`previous` is the client id of the message before, if its outcome was not known when this one was
submitted, else 0: should that one fail, this one must too, or they would end up out of order.
"""
CREATE_GROUP = 2
"""(CREATE_GROUP, conversation, name, creator, device, stamp, low, client id, [members])"""
CHANGE_MEMBERS = 3
"""(CHANGE_MEMBERS, conversation, sender, device, stamp, low, client id, [added], [removed],
previous); `previous` as for SEND."""
ENQUEUE = 4
"""(ENQUEUE, account, except_device, members, [(conversation, seq, sender, event, file | None)...])

`members` is how many the conversation has: an event for many is stored once."""
ACK = 5
"""(ACK, account, device, position)"""
DELIVERED = 6
"""(DELIVERED, conversation, account, seq, [senders])"""
READ = 7
"""(READ, conversation, account, seq)"""
REGISTER_DEVICE = 8
"""(REGISTER_DEVICE, account, public key, device name, now_ms)"""
REVOKE_DEVICE = 9
"""(REVOKE_DEVICE, account, device)"""
DELETE_ACCOUNT = 10
"""(DELETE_ACCOUNT, account, stamp)"""
SET_PRIVACY = 11
"""(SET_PRIVACY, account, hides_last_seen)"""
SET_BLOCK = 12
"""(SET_BLOCK, account, other, conversation, blocked)"""
BLOCK_IN_CONVERSATION = 13
"""(BLOCK_IN_CONVERSATION, conversation, pair, blocker, blocked)"""
LAST_SEEN = 14
"""(LAST_SEEN, [(account, device, time_ms)...])"""
JOIN = 15
"""(JOIN, account, conversation)"""
LEAVE = 16
"""(LEAVE, account, conversation)"""
RECORD_FILE = 17
"""(RECORD_FILE, account, file, size_bytes, type)"""
DELIVER = 18
"""(DELIVER, source partition, first number, [commands])"""
CONFIRM = 19
"""(CONFIRM, target partition, number)"""
REMOVE_MEMBER = 20
"""(REMOVE_MEMBER, conversation, account, stamp)"""


class Fresh(NamedTuple):
    """A message as its sender wrote it; `file` is (file id, size_bytes, type) or None."""

    client_id: int
    seen: int
    type: str
    body: bytes
    file: tuple[bytes, int, str] | None


class Sent(NamedTuple):
    """The answer to an accepted message: its place in its conversation."""

    conversation: bytes
    seq: int
    stamp: int


class Refusal(NamedTuple):
    """The answer to a message that was not accepted: a stable code of the wire, and a text."""

    code: str
    text: str


class Queued(NamedTuple):
    """Effect: an event was put into a device's queue at `position`."""

    account: str
    device: int
    position: int
    event: bytes


class Marked(NamedTuple):
    """Effect: an account's watermarks in a conversation moved; `accounts` should be told."""

    conversation: bytes
    account: str
    delivered: int
    read: int
    accounts: tuple[str, ...]


class ConversationChanged(NamedTuple):
    """Effect: the members or blocks of a conversation changed."""

    conversation: bytes


class DeviceRevoked(NamedTuple):
    """Effect: a device may no longer connect; a live session of it must end."""

    account: str
    device: int


class Forwarded(NamedTuple):
    """Effect: a command waits in the outbox for another partition."""

    target: int


Effect = Queued | Marked | ConversationChanged | DeviceRevoked | Forwarded
