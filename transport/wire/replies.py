"""What a server says, as bytes: each builder returns one encoded operation.

The builders of what is said once per message (`sent`, `push`, `receipt`) write their few heads
directly and join them with what is encoded already: an event is encoded once, when it is stored,
and goes out to every device as those bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cbor2 import dumps

from . import constants as c
from .codec import array_head, uint
from .constants import ErrorCode

_OK = b"\x83\x18\x40"
_ERROR = b"\x85\x18\x41"
_PUSH = b"\x83\x18\x42"
_RECEIPT = b"\x85\x18\x43\x50"
_NULL = b"\xf6"


def ok(request_id: int, result: Any) -> bytes:
    """Answer a request with plain data."""
    return _OK + uint(request_id) + dumps(result)


def ok_null(request_id: int) -> bytes:
    """Answer a request that has no result."""
    return _OK + uint(request_id) + _NULL


def sent(request_id: int, conv: bytes, seq: int, stamp: int) -> bytes:
    """Answer SEND, GROUP and MEMBERS: where in which conversation the message stands."""
    assert len(conv) == c.CONVERSATION_BYTES
    return b"".join((_OK, uint(request_id), b"\x83\x50", conv, uint(seq), uint(stamp)))


def welcome(
    request_id: int, version: int, server: str, nonce: bytes, limits: Mapping[str, int]
) -> bytes:
    """Answer HELLO."""
    assert len(nonce) == c.NONCE_BYTES
    return ok(request_id, [version, server, nonce, dict(limits)])


def error(request_id: int, code: ErrorCode, text: str, retry_after_ms: int | None = None) -> bytes:
    """Answer a request that failed; `retry_after_ms` says when another try makes sense."""
    return _ERROR + uint(request_id) + b"".join(map(dumps, (str(code), text, retry_after_ms)))


def push(first_pos: int, events: Sequence[bytes]) -> bytes:
    """Deliver encoded events from a device's queue, at the positions from `first_pos` on."""
    assert events
    return b"".join((_PUSH, uint(first_pos), array_head(len(events)), *events))


def receipt(conv: bytes, account: str, delivered: int, read: int) -> bytes:
    """Say how far an account has received and read a conversation."""
    assert len(conv) == c.CONVERSATION_BYTES
    return b"".join((_RECEIPT, conv, dumps(account), uint(delivered), uint(read)))


def presence(account: str, online: bool, last_seen_ms: int | None) -> bytes:
    """Say that a watched account's presence changed."""
    return dumps([c.PRESENCE, account, online, last_seen_ms])


def typing(conv: bytes, account: str, on: bool) -> bytes:
    """Say that a member of a conversation is typing, or stopped."""
    return dumps([c.TYPING_FROM, conv, account, on])


def going(reason: str, reconnect_after_ms: int) -> bytes:
    """Say that the server is about to close, and when to come back."""
    return dumps([c.GOING, reason, reconnect_after_ms])


def message_event(
    conv: bytes,
    seq: int,
    stamp: int,
    seen: int,
    sender: str,
    device: int,
    cid: int,
    to: str | None,
    kind: str,
    body: bytes,
    file: bytes | None,
) -> bytes:
    """Encode a message as the event that is stored and pushed."""
    return dumps(
        (c.EVENT_MESSAGE, conv, seq, stamp, seen, sender, device, cid, to, kind, body, file)
    )


def members_event(
    conv: bytes,
    seq: int,
    stamp: int,
    sender: str,
    device: int,
    cid: int,
    name: str,
    members: Iterable[str],
    added: Iterable[str],
    removed: Iterable[str],
) -> bytes:
    """Encode a change of a group's members as the event that is stored and pushed."""
    return dumps(
        (
            c.EVENT_MEMBERS, conv, seq, stamp, sender, device, cid, name,
            list(members), list(added), list(removed),
        )
    )  # fmt: skip
