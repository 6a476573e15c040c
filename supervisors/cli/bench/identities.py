"""The accounts and keys of load users, by number; the same in every process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_USERS = 1_000_000


def account(user: int) -> str:
    """Return the phone number of a load user (a German mobile number)."""
    if not 0 <= user < MAX_USERS:
        raise ValueError(f"load users are numbered 0 to {MAX_USERS - 1}")
    return f"+49170{2_000_000 + user}"


def device_key(user: int) -> Ed25519PrivateKey:
    """Return the key of a load user's device; anybody can compute it, so it protects nothing."""
    return Ed25519PrivateKey.from_private_bytes(sha256(b"palaver load %d" % user).digest())


def write_import(path: Path, users: Iterable[int]) -> None:
    """Write the devices of these users as `palaver user import` reads them: JSON lines."""
    with path.open("w") as file:
        for user in users:
            key = device_key(user).public_key().public_bytes_raw()
            record = {"account": account(user), "device_name": "load", "pubkey_hex": key.hex()}
            file.write(json.dumps(record) + "\n")
