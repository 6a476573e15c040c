"""Bearer tokens for media: who asks, from which device, until when, under one HMAC.

A token is `base64url(claims) "." base64url(mac)`: the claims are a version byte, the device and
the expiry (milliseconds) as 8 bytes each, and the account in UTF-8; the MAC is HMAC-SHA256 over
them. Nothing is stored for a token. A revoked device's token dies with the device, because the
media service asks whether the device is still valid each time.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from palaver.storage.blob_local import sync_path

KEY_BYTES: Final = 32
MAX_TOKEN_CHARS: Final = 256
_VERSION: Final = 1
_CLAIMS: Final = struct.Struct(">BQQ")
_MAC_BYTES: Final = 32


class MediaKeyError(Exception):
    """The key file is damaged or can be read by others; says which file and what to do."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a valid token says."""

    account: str
    device: int
    expires_ms: int


class TokenSigner:
    """Makes and checks media tokens with one secret key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise MediaKeyError(f"a media key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key

    @classmethod
    def open(cls, path: Path, random_bytes: Callable[[int], bytes]) -> TokenSigner:
        """Reads the key file, or makes one with mode 0600 where there is none. Blocks.

        Raises:
            MediaKeyError: the file has another size, or its mode lets others read it.
        """
        if not path.exists():
            _make_key(path, random_bytes(KEY_BYTES))
        if path.stat().st_mode & 0o077:
            raise MediaKeyError(f"{path} can be read by others: chmod 600 it, or delete it")
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise MediaKeyError(f"{path} is damaged: delete it, clients then ask for new tokens")
        return cls(key)

    def sign(self, account: str, device: int, expires_ms: int) -> str:
        """A token for the account's device, valid until `expires_ms` (unix milliseconds)."""
        claims = _CLAIMS.pack(_VERSION, device, expires_ms) + account.encode()
        return f"{_text(claims)}.{_text(self._mac(claims))}"

    def verify(self, token: str, now_ms: int) -> TokenClaims | None:
        """The token's claims, or None if it is forged, malformed or expired."""
        if len(token) > MAX_TOKEN_CHARS:
            return None
        left, _, right = token.partition(".")
        claims, mac = _data(left), _data(right)
        if claims is None or mac is None or len(mac) != _MAC_BYTES or len(claims) < _CLAIMS.size:
            return None
        if not hmac.compare_digest(mac, self._mac(claims)):
            return None
        version, device, expires_ms = _CLAIMS.unpack_from(claims)
        if version != _VERSION or now_ms >= expires_ms:
            return None
        return TokenClaims(claims[_CLAIMS.size :].decode(), device, expires_ms)

    def _mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._key, b"palaver-media-token\x00" + claims, hashlib.sha256)


def _make_key(path: Path, key: bytes) -> None:
    """Writes the key so that the file is either absent or whole, even if the power goes."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    # Another process may have made the key meanwhile: the first one stays.
    with contextlib.suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
    sync_path(path.parent)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _data(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
