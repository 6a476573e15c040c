"""Who a client is: an account, one of its devices, and that device's private key."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palaver.transport.client.errors import StateError

__all__ = ["Identity", "new_key"]

_FORMAT = "palaver-identity-1"


def new_key() -> Ed25519PrivateKey:
    """Return a fresh Ed25519 private key from the operating system's randomness."""
    return Ed25519PrivateKey.generate()


@dataclass(frozen=True, slots=True)
class Identity:
    """An account (E.164 phone number), a device number and the device's Ed25519 key."""

    account: str
    device: int
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """The device's public key, 32 bytes."""
        return self.key.public_key().public_bytes_raw()

    def sign(self, payload: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of a payload."""
        return self.key.sign(payload)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the identity to a file that only its owner can read (mode 0600).

        The file is replaced as a whole: it is never seen half-written. The key in it is not
        encrypted.

        Raises:
            OSError: The file cannot be written.
        """
        target = Path(path)
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        content = json.dumps(
            {
                "format": _FORMAT,
                "account": self.account,
                "device": self.device,
                "key": pem.decode("ascii"),
            }
        ).encode()
        beside = target.with_name(f".{target.name}.{os.getpid()}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o600)  # An older file of that name keeps its mode.
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Identity:
        """Read what ``save`` wrote.

        Raises:
            OSError: The file cannot be read.
            StateError: It is not an identity.
        """
        raw = Path(path).read_bytes()
        try:
            content = json.loads(raw)
            if content["format"] != _FORMAT:
                raise ValueError("unknown format")
            account, device = content["account"], content["device"]
            if not isinstance(account, str) or not isinstance(device, int):
                raise TypeError("account or device")
            key = serialization.load_pem_private_key(content["key"].encode(), password=None)
        except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm) as error:
            raise StateError(f"{path} is not a Palaver identity: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise StateError(f"{path} holds a key that is not Ed25519")
        return cls(account, device, key)
