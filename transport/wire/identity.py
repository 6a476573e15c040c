"""What both sides compute alike: a direct conversation's id and the text that AUTH signs."""

from __future__ import annotations

from hashlib import sha256

_DIRECT_LABEL = b"palaver-direct-v1\0"
_AUTH_LABEL = b"palaver-auth-v1\0"


def direct_conversation(a: str, b: str) -> bytes:
    """Return the id of the conversation of two accounts; their order does not matter.

    It is the first 16 bytes of SHA-256 over ``"palaver-direct-v1" 00 lower 00 higher``, the
    accounts compared as bytes.
    """
    low, high = sorted((a.encode(), b.encode()))
    return sha256(_DIRECT_LABEL + low + b"\0" + high).digest()[:16]


def auth_payload(nonce: bytes, account: str, device: int) -> bytes:
    """Return the bytes that a device signs with its Ed25519 key to authenticate.

    They are ``"palaver-auth-v1" 00 nonce account 00 device``: the 32 bytes of the nonce that this
    connection's HELLO was answered with, and the device as 8 bytes, big-endian.
    """
    return _AUTH_LABEL + nonce + account.encode() + b"\0" + device.to_bytes(8, "big")
