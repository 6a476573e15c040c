"""Events as the wire carries them, encoded once where their place in the order is decided.

The same bytes lie in every queue and go out on every socket: pushing never encodes again. The
numbers have CBOR's eight-byte form, so that one ``struct`` call writes them all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache

from palaver.actors.chat.state.commands import Fresh

__all__ = ["members_event", "message_event"]

# [1, conversation, seq, stamp, seen, ...: array(12), 1, bytes(16), three uints of eight bytes.
_MESSAGE_HEAD = struct.Struct(">3s16sBQBQBQ")
_MEMBERS_HEAD = struct.Struct(">3s16sBQBQ")
_DEVICE_AND_ID = struct.Struct(">BQBQ")
_MESSAGE = b"\x8c\x01\x50"
_MEMBERS = b"\x8b\x02\x50"
_NULL = b"\xf6"


def _head(major: int, length: int) -> bytes:
    if length < 24:
        return bytes((major | length,))
    if length < 0x100:
        return bytes((major | 24, length))
    if length < 0x10000:
        return bytes((major | 25,)) + length.to_bytes(2)
    return bytes((major | 26,)) + length.to_bytes(4)


@lru_cache(maxsize=8192)
def _text(value: str) -> bytes:
    # Names and types come again and again. A memo of a pure function: it decides nothing.
    raw = value.encode()
    return _head(0x60, len(raw)) + raw


def _texts(values: Iterable[str]) -> bytes:
    items = [_text(value) for value in values]
    return _head(0x80, len(items)) + b"".join(items)


def _bytes(value: bytes) -> bytes:
    return _head(0x40, len(value)) + value


def message_event(
    conversation: bytes,
    seq: int,
    stamp: int,
    seen: int,
    sender: str,
    device: int,
    message: Fresh,
    *,
    to: str | None,
) -> bytes:
    """``[1, conv, seq, stamp, seen, sender, device, cid, to, type, body, file]`` as CBOR."""
    return b"".join(
        (
            _MESSAGE_HEAD.pack(_MESSAGE, conversation, 0x1B, seq, 0x1B, stamp, 0x1B, seen),
            _text(sender),
            _DEVICE_AND_ID.pack(0x1B, device, 0x1B, message.client_id),
            _NULL if to is None else _text(to),
            _text(message.type),
            _bytes(message.body),
            _NULL if message.file is None else _bytes(message.file[0]),
        )
    )


def members_event(
    conversation: bytes,
    seq: int,
    stamp: int,
    sender: str,
    device: int,
    client_id: int,
    name: str,
    members: Iterable[str],
    added: Iterable[str],
    removed: Iterable[str],
) -> bytes:
    """``[2, conv, seq, stamp, sender, device, cid, name, members, added, removed]`` as CBOR."""
    return b"".join(
        (
            _MEMBERS_HEAD.pack(_MEMBERS, conversation, 0x1B, seq, 0x1B, stamp),
            _text(sender),
            _DEVICE_AND_ID.pack(0x1B, device, 0x1B, client_id),
            _text(name),
            _texts(members),
            _texts(added),
            _texts(removed),
        )
    )
